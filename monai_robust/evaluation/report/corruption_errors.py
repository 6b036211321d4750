"""What a report says of corruptions as a whole: mean corruption error relative to a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.comparisons import ScoreStyle, names_of, of_kind, scaled
from monai_robust.evaluation.sections.figures_corruptions import corruption_bars
from monai_robust.evaluation.sections.parts import Picture, ReportTable, Section, listed, measured
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.statistics.corruption_errors import ALL, corruption_errors
from monai_robust.evaluation.statistics.summary import rated_by
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["corruption_error_frames", "corruption_error_sections"]

_FRAME = "corruption_errors"
_TITLE = "Mean corruption error"


def corruption_error_frames(
    runs: Sequence[Run], baseline: str, frames: Mapping[str, pd.DataFrame], style: ScoreStyle
) -> dict[str, pd.DataFrame]:
    """Corruption errors of several names, where corruptions were measured and the measure has an error.

    Args:
        runs: finished evaluations.
        baseline: the name that the others are compared with.
        frames: of the task's report.
        style: of the measure.
    """
    corruptions = of_kind(runs, "corruption")
    if not corruptions or len(names_of(runs)) < 2:
        return {}
    summary = rated_by(frames["summary_of_runs"], style.column)
    scores = summary.loc[summary["perturbation"].isin([*corruptions, "clean"]), "score"].dropna()
    if (scores < 0).any() or (style.higher_is_better and (scores > 1).any()):  # no error is known of such a score
        return {}
    return {_FRAME: corruption_errors(summary, baseline, corruptions, higher_is_better=style.higher_is_better)}


def corruption_error_sections(
    runs: Sequence[Run], baseline: str, frames: Mapping[str, pd.DataFrame], style: ScoreStyle
) -> list[Section]:
    """A table of mCE and relative mCE, and bars of each corruption; none without a frame of them.

    Args:
        runs: finished evaluations.
        baseline: the name that the others are compared with.
        frames: from :func:`corruption_error_frames`.
        style: of the measure.
    """
    if _FRAME not in frames:
        return []
    errors = frames[_FRAME]
    names = names_of(runs)
    total = errors[errors["perturbation"] == ALL].set_index("name")
    rows = [
        (
            [f"{name} (baseline)" if name == baseline else name],
            [
                scaled(measured(total.loc[name], "corruption_error"), 1),
                scaled(measured(total.loc[name], "relative_corruption_error"), 1),
            ],
        )
        for name in names
    ]
    error = f"1 less {style.name}" if style.higher_is_better else style.name
    single = errors[errors["perturbation"] != ALL]
    unknown = _unknown(single, "corruption_error")
    growing = [one for one in _unknown(single, "relative_corruption_error") if one not in unknown]
    notes = [
        f"mCE: the errors ({error}) under a corruption, summed over its severities, divided by those of “{baseline}”; "
        "the mean over corruptions. Relative mCE: the same of what errors grow by from clean images on. 100 is the "
        "baseline, less is better (Hendrycks and Dietterich 2019).",
    ]
    if unknown:
        notes.append(
            f"Without {listed([perturbation_label(one) for one in unknown])}, where “{baseline}” has no errors or a "
            "network has no score."
        )
    if growing:
        notes.append(
            f"Relative mCE is without {listed([perturbation_label(one) for one in growing])}, where the errors of "
            f"“{baseline}” do not grow."
        )
    headers = ["mCE in percent", "Relative mCE in percent"]
    table = ReportTable("table_mce", _TITLE, ["Run"], headers, rows, 100.0, 1, " ".join(notes))
    pictures = _pictures(single.dropna(subset=["corruption_error"]), names, baseline)
    return [Section(_TITLE, f"All corruptions in one number, compared with “{baseline}”.", [table], pictures)]


def _unknown(single: pd.DataFrame, column: str) -> list[str]:
    missing = single[single[column].isna()]
    return list(dict.fromkeys(missing["perturbation"]))


def _pictures(known: pd.DataFrame, names: list[str], baseline: str) -> list[Picture]:
    if known[known["name"] != baseline].empty:
        return []
    parts = []
    for name in (one for one in names if one != baseline):
        own = known[known["name"] == name].sort_values("corruption_error")
        if len(own):
            ends = [f"{perturbation_label(str(row['perturbation']))} {100 * row['corruption_error']:.0f} %"
                    for _, row in own.iloc[[0, -1]].iterrows()]  # fmt: skip
            parts.append(f"{name} from {ends[0]} to {ends[1]}")
    alt = f"Bars: corruption error of each corruption in percent of that of {baseline}: {listed(parts)}."
    spread = " Error bars: one standard deviation over runs." if (known["n_runs"] > 1).any() else ""
    caption = f"Right of the dashed line a network makes more errors than “{baseline}”, left of it fewer.{spread}"
    return [Picture(corruption_bars(known, names, baseline), alt, caption)]
