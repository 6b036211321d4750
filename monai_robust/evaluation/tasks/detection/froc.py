"""What a report says of false positives: FROC, and the detections at a score threshold fitted on validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from monai_robust.evaluation.sections.comparisons import names_of, of_kind, whole
from monai_robust.evaluation.sections.figures_detection import froc_curves
from monai_robust.evaluation.sections.parts import Picture, ReportTable, Section, listed, measured, number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.sections.several_measures import Column, measures_tables
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.metrics import (
    FROC_RATES,
    FreeResponseCurve,
    ImageMatches,
    free_response_curve,
    froc_score,
    matched_scores,
    score_threshold,
)

__all__ = ["FITTED_RATE", "GLOSSARY", "fitted_threshold", "froc_section", "froc_statistics"]

FITTED_RATE = 1.0
_SHOWN = (0.125, 0.5, 1.0, 2.0, 8.0)
_COLUMNS = [
    Column("FROC score", "froc"),
    *(Column(f"at {number(rate)}", f"sensitivity_at_{number(rate)}_fp") for rate in _SHOWN),
]
_FITTED = [
    Column("Sensitivity", "sensitivity_at_threshold"),
    Column("False positives per image", "false_positives_at_threshold", 2, bounded=False),
]
GLOSSARY = {
    "FROC": "the free-response operating characteristic: the share of the objects that are found (sensitivity) over "
    "the number of wrong boxes per image, as boxes of less and less confidence are let through. A box is right if it "
    "has the right class and its IoU with an object that no surer box has found is at least 0.5.",
    "FROC score": "the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 wrong boxes per image.",
}

Matches = Callable[[str, float], Mapping[str, ImageMatches]]
"""Perturbation and severity -> what the detections of each image are matched with, by sample id."""


def froc_statistics(matches: Sequence[ImageMatches], classes: int, threshold: float | None) -> dict[str, float]:
    """Numbers about some images under one perturbation and severity.

    Args:
        matches: of the images.
        classes: their number.
        threshold: least score of a detection that counts at the operating point; None where none was fitted.

    Returns:
        ``froc``, the mean sensitivity of all classes together at :data:`~monai_robust.metrics.FROC_RATES`,
        ``sensitivity_at_<rate>_fp`` at each of them, ``froc_<c>`` of class c (from 0) by its own false positives; with
        a threshold ``sensitivity_at_threshold`` and ``false_positives_at_threshold``, per image.
    """
    own = matched_scores(matches)
    curve = free_response_curve(*own)
    found = {"froc": froc_score(curve)}
    found |= {f"sensitivity_at_{number(rate)}_fp": froc_score(curve, [rate]) for rate in FROC_RATES}
    for index in range(classes):
        found[f"froc_{index}"] = froc_score(free_response_curve(*matched_scores(matches, [index])))
    if threshold is not None:
        hits, errors = (int((scores >= threshold).sum()) for scores in (own.true, own.false))
        found["sensitivity_at_threshold"] = hits / own.targets if own.targets else math.nan
        found["false_positives_at_threshold"] = errors / own.images
    return found


def fitted_threshold(matches: Sequence[ImageMatches]) -> float:
    """The lowest score with at most one false positive per clean image of the validation split."""
    return score_threshold(free_response_curve(*matched_scores(matches)), FITTED_RATE)


def froc_section(
    runs: Sequence[Run],
    frames: Mapping[str, pd.DataFrame],
    matches: Callable[[Run], Matches],
    thresholds: Mapping[str, Sequence[float]],
    keep: float,
) -> Section:
    """FROC of clean images by class, under every perturbation, and at the fitted threshold.

    Args:
        runs: finished evaluations.
        frames: of the task's report.
        matches: of a run.
        thresholds: that were fitted on validation, of the runs of each name that have such a split.
        keep: detections of no more than this score were not kept.
    """
    lines = [
        "Sensitivity of all classes together; in the columns, the false positives per image. A detection is right at "
        f"an IoU of 0.5 or more. Detections with a score of {number(keep)} or less were not kept: where a curve ends "
        "before a rate, its last sensitivity stands there."
    ]
    tables = [_of_classes(frames, runs[0].classes)]
    tables += measures_tables(runs, frames, _COLUMNS, "froc", "FROC: sensitivity at false positives per image", "")
    if thresholds:
        told = [f"“{name}” {listed([number(one) for one in own])}" for name, own in thresholds.items()]
        note = f"Least score, fitted on clean validation images: {'; '.join(told)}; kept under every perturbation."
        title = f"Detection at the threshold with {number(FITTED_RATE)} false positive per clean validation image,"
        tables += measures_tables(runs, frames, _FITTED, "operating_point", title, note)
    else:
        lines.append(
            "No score threshold was fitted: there is no validation run, which Measurement(validation=...) or, in a "
            "bundle of ours, validation_limit gives."
        )
    return Section("False positives (FROC)", " ".join(lines), tables, _pictures(runs, matches))


def _of_classes(frames: Mapping[str, pd.DataFrame], classes: Sequence[str]) -> ReportTable:
    clean = whole(frames["means_over_severities"], CLEAN)
    columns = {"All": "froc", **{name: f"froc_{place}" for place, name in enumerate(classes)}}
    rows = [([str(row["name"])], [measured(row, column) for column in columns.values()]) for _, row in clean.iterrows()]
    note = "A class is rated by its own false positives, so that the mean of the classes is not that of all together."
    return ReportTable(
        "table_froc", "FROC score of each class, clean images", ["Run"], list(columns), rows, 1.0, 3, note
    )


def _pictures(runs: Sequence[Run], matches: Callable[[Run], Matches]) -> list[Picture]:
    """For each attack a panel for the first run of each name: clean, and at each radius."""
    first = {name: next(run for run in runs if run.name == name) for name in names_of(runs)[:3]}
    pictures = []
    for attack in of_kind(runs, "attack"):
        radii = next(one.severities for one in runs[0].perturbations if one.name == attack)
        keys = [(CLEAN, 0.0), *((attack, radius) for radius in _spread(radii))]
        panels = {
            name: {radius: _curve(matches(run)(key, radius)) for key, radius in keys} for name, run in first.items()
        }
        ends = [
            f"{name} {number(curves[0.0].sensitivity[-1])} to {number([*curves.values()][-1].sensitivity[-1])}"
            for name, curves in panels.items()
        ]
        alt = (
            f"Sensitivity over false positives per image, clean and under {perturbation_label(attack)}; at the end of "
        )
        alt += f"each curve {listed(ends)}."
        caption = "Marks: 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per image."
        if len(names_of(runs)) < len(runs):
            caption += " Of several runs of one name the first is drawn."
        pictures.append(Picture(froc_curves(panels, perturbation_label(attack)), alt, caption))
    return pictures


def _curve(matches: Mapping[str, ImageMatches]) -> FreeResponseCurve:
    return free_response_curve(*matched_scores(list(matches.values())))


def _spread(radii: Sequence[float]) -> list[float]:
    """At most four of the radii, the smallest and the largest among them."""
    ordered = sorted(radii)
    places = np.unique(np.linspace(0, len(ordered) - 1, min(4, len(ordered))).round().astype(int))
    return [ordered[place] for place in places]
