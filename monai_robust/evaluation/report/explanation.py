"""What a report says of what networks look at, from ``explanation.npz`` of their folders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import names_of
from monai_robust.evaluation.sections.figures_explanation import (
    NEIGHBOURS,
    embedding_figure,
    masks_figure,
    saliency_figure,
)
from monai_robust.evaluation.sections.parts import Measure, Picture, ReportTable, Section, listed, number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.explanation_file import EXPLANATION, KINDS, METHODS, Explained, read_explanation
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["explanation_frames", "explanation_sections"]

_SHOWN = 3


def explanation_frames(runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """``explanation``: a row for each sample, in order, and ``embedding``: one for each point; none names a sample."""
    rows, points = [], []
    for index, run, found in _explained(runs):
        start = {"run": index, "name": run.name, "perturbation": found.attack, "severity": found.radius}
        for place in range(len(found.images)):
            row = {**start, "place": place}
            if found.moved is not None:
                row["dice_of_predictions"] = found.moved[place]
            for method in found.maps:
                row[f"rank_correlation_{method}"] = found.correlation[method][place]
                row[f"top_overlap_{method}"] = found.overlap[method][place]
            rows.append(row)
        if found.embedding is not None:
            own = found.embedding
            frame = pd.DataFrame(own.places, columns=["first", "second"])
            frame = frame.assign(kind=[KINDS[kind] for kind in own.kinds], label=own.labels, prediction=own.predictions)
            points.append(frame.assign(run=index, name=run.name))
    frames = {"explanation": pd.DataFrame(rows)} if rows else {}
    return frames | ({"embedding": pd.concat(points, ignore_index=True)} if points else {})


def explanation_sections(runs: Sequence[Run]) -> list[Section]:
    """One section about all runs that were explained, of each name the first."""
    explained = list(_explained(runs))
    if not explained:
        return []
    first = {run.name: (run, found) for _, run, found in reversed(explained)}
    chosen = [first[name] for name in names_of(runs) if name in first]
    text = _text([found for _, found in chosen])
    if len(explained) > len(chosen):
        text += " Of several runs of one name the first is shown; numbers are means over all of them."
    tables = [_table(explained, [run.name for run, _ in chosen])]
    pictures = [picture for run, found in chosen for picture in _pictures(run, found)]
    return [Section("Explanation", text, tables, pictures)]


def _explained(runs: Sequence[Run]) -> list[tuple[int, Run, Explained]]:
    found = [(index, run, _read(run.folder)) for index, run in enumerate(runs)]
    there = [(index, run, one) for index, run, one in found if one is not None]
    for _, run, one in there:
        points = [] if one.embedding is None else [one.embedding.labels, one.embedding.predictions]
        least = -1 if run.task == "multi_label" else 0  # none of the findings
        for indices in (one.labels, one.predictions, *points):
            if indices.size and not least <= indices.min() <= indices.max() < len(run.classes):
                raise BadInputError(f"{run.folder / EXPLANATION} holds a class that run.json beside it does not list")
    if len({one.masks is None for _, _, one in there}) > 1:
        raise BadInputError(f"{there[0][1].folder / EXPLANATION} is of another task than those of the other runs")
    return there


@lru_cache(maxsize=64)
def _cached(folder: Path, changed: int) -> Explained | None:
    return read_explanation(folder)


def _read(folder: Path) -> Explained | None:
    path = folder / EXPLANATION
    return _cached(folder, path.stat().st_mtime_ns) if path.exists() else None


def _text(found: Sequence[Explained]) -> str:
    one = found[0]
    attack = f"{perturbation_label(one.attack)} at radius {number(one.radius)}"
    text = f"{len(one.images)} samples, clean and under {attack}. "
    if one.masks is not None:
        text += "Where the predicted areas move; the Dice of both predictions needs no truth and is 1 where none moves."
        return text + _notes(found)
    text += (
        "Saliency maps show which pixels the predicted class depends on: the input's gradient, the same of 25 noisy "
        "inputs (SmoothGrad), and Grad-CAM, which sees the last layer that has places. How far a map moves under "
        "attack is told by Spearman's rank correlation of all pixels (1: the same order, 0: no relation) and by the "
        "overlap of the 10 % most important pixels (1: the same, 0.1: chance). A map that stays does not show that "
        "the network looks at the right place, nor one that moves that it is wrong."
    )
    if any(own.embedding is not None for own in found):
        text += (
            " Features before the last linear layer are drawn in a plane by t-SNE, which keeps neighbours and no "
            f"distances; regions are what the {NEIGHBOURS} nearest of all points are predicted to be, points have the "
            "colour of their true class. It is an illustration, and nothing can be measured in it."
        )
    return text + _notes(found)


def _notes(found: Sequence[Explained]) -> str:
    return "".join(f" {note}" for note in dict.fromkeys(note for one in found for note in one.notes))


def _table(explained: Sequence[tuple[int, Run, Explained]], names: Sequence[str]) -> ReportTable:
    """A row for each name; of saliency also of the samples whose prediction flips and of those where it stays."""
    if explained[0][2].masks is not None:
        rows = [([name], [_mean([one.moved for _, run, one in explained if run.name == name])]) for name in names]
        return ReportTable(
            "table_explanation", "Dice of the clean and the attacked prediction", ["Run"], ["Dice"], rows, 1.0, 3
        )
    methods = [name for name in METHODS if any(name in one.maps for _, _, one in explained)]
    headers = [f"{METHODS[name]}: {what}" for name in methods for what in ("rank correlation", "top 10 % overlap")]
    rows = []
    for name in names:
        own = [one for _, run, one in explained if run.name == name]
        for label, chosen in (("all", None), ("prediction stays", False), ("prediction flips", True)):
            values = []
            for method in methods:
                for numbers in ("correlation", "overlap"):
                    parts = [_of(one, getattr(one, numbers), method, chosen) for one in own]
                    values.append(_mean(parts))
            count = sum(int(_flips(one, chosen).sum()) for one in own)
            rows.append(([name, f"{label} ({count})"], values))
    title = "How alike saliency maps are, clean and attacked"
    return ReportTable("table_explanation", title, ["Run", "Samples"], headers, rows, 1.0, 2)


def _flips(found: Explained, chosen: bool | None) -> NDArray[np.bool_]:
    flipped = found.predictions[:, 0] != found.predictions[:, 1]
    return np.ones(len(flipped), dtype=bool) if chosen is None else flipped == chosen


def _of(
    found: Explained, numbers: Mapping[str, NDArray[np.float64]], method: str, chosen: bool | None
) -> NDArray[np.float64]:
    return numbers[method][_flips(found, chosen)] if method in numbers else np.empty(0)


def _mean(parts: Sequence[NDArray[np.float64] | None]) -> Measure:
    values = np.concatenate([part for part in parts if part is not None] or [np.empty(0)])
    values = values[~np.isnan(values)]
    return Measure(float(values.mean()) if len(values) else math.nan)


def _pictures(run: Run, found: Explained) -> list[Picture]:
    places = np.unique(np.linspace(0, len(found.images) - 1, min(_SHOWN, len(found.images))).round().astype(int))
    shown = [int(place) for place in places]
    attack = f"{perturbation_label(found.attack)} at radius {number(found.radius)}"
    if found.masks is not None:
        alt = f"Pictures of {len(shown)} samples with the outlines that {run.name} predicts, clean and under {attack}."
        return [Picture(masks_figure(found, shown), alt, f"{run.name}: outlines clean and under {attack}.")]
    methods = listed([METHODS[name] for name in found.maps])
    alt = f"Pictures of {len(shown)} samples and what the prediction of {run.name} depends on, by {methods}, clean and "
    alt += f"under {attack}."
    caption = f"{run.name}: saliency clean and under {attack}; in each image, what is predicted."
    pictures = [Picture(saliency_figure(found, shown, run.classes, run.task != "multi_label"), alt, caption)]
    if found.embedding is not None:
        alt = f"Points: penultimate features of {run.name} in a plane, of {listed(list(KINDS))} samples, by class."
        pictures.append(Picture(embedding_figure(found.embedding, run.classes), alt, f"{run.name}: features by t-SNE."))
    return pictures
