"""What a report says of other sites and scanners: the score there, and the difference to the run's own clean images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.comparisons import ScoreStyle, of_kind
from monai_robust.evaluation.sections.parts import Measure, ReportTable, Section, listed
from monai_robust.evaluation.statistics.bootstrap import MINIMUM_PATIENTS
from monai_robust.evaluation.statistics.summary import rated_by
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["shift_sections"]


def shift_sections(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], style: ScoreStyle) -> list[Section]:
    """A row for each name and other site; empty where none was measured.

    Args:
        runs: finished evaluations.
        frames: ``shift_differences`` and ``means_over_severities``.
        style: of the measure that is shown.
    """
    names = of_kind(runs, "shift")
    if not names:
        return []
    differences = frames["shift_differences"]
    own = differences[differences["statistic"] == style.column]
    own = own if len(own) else differences[differences["statistic"] == "score"]
    means = rated_by(frames["means_over_severities"], style.column)
    means = means[means["group"] == ""]
    rows = [
        (
            [str(row["name"]), str(row["shift"]), str(row["samples"]), str(row["patients"])],
            [
                _measure(means, row, str(row["shift"]), style),
                _measure(means, row, "clean", style),
                Measure(*(style.scale * row[f"difference{end}"] for end in ("", "_std", "_low", "_high"))),
            ],
        )
        for _, row in own.iterrows()
    ]
    first = runs[0].shifts[names[0]]
    headers = ["There", "Own clean images", "Difference"]
    stub = ["Run", "Site", "Images", "Patients"]
    digits = [style.digits] * 3
    table = ReportTable("table_shifts", f"{style.title}, other sites", stub, headers, rows, 1.0, digits, _note(own))
    what = "another site" if len(names) == 1 else "other sites"
    text = (
        f"Images of {what} ({listed(names)}), as they are: no image is in both sets, and they may differ in more than "
        "the scanner, such as in how many cases there are and how ill they are. Thresholds stay as they were fitted."
    )
    if len(names) == 1 and (first.info.get("data") or {}).get("classes"):
        held = first.info["data"]["classes"]
        counts = [f"{count} {name}" for name, count in held.items()] if isinstance(held, Mapping) else []
        text += f" There: {listed(counts)}." if counts else ""
    return [Section("Other sites", text, [table])]


def _measure(means: pd.DataFrame, row: pd.Series, perturbation: str, style: ScoreStyle) -> Measure:
    own = means[(means["name"] == row["name"]) & (means["perturbation"] == perturbation)].iloc[0]
    return Measure(*(style.scale * own.get(f"score{end}", math.nan) for end in ("", "_std", "_low", "_high")))


def _note(own: pd.DataFrame) -> str:
    note = (
        "Difference: there less here. Its 95 % interval draws the patients of either set by themselves, since none is "
        "in both. Every statistic stands in shift_differences.csv."
    )
    fewest = own.assign(fewest=own[["patients", "clean_patients"]].min(axis=1))
    short = fewest[fewest["fewest"] < MINIMUM_PATIENTS]
    few = sorted({f"{row['shift']} ({row['fewest']})" for _, row in short.iterrows()})
    if few:
        note += f" An interval needs {MINIMUM_PATIENTS} patients of either set; there are fewer: {listed(few)}."
    return note
