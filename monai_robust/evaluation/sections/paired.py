"""What a report says of the differences to the baseline, sample by sample and patient by patient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from monai_robust.evaluation.sections.comparisons import ScoreStyle
from monai_robust.evaluation.sections.drawing import MARKERS, WIDTH, legend, legend_label, run_colour, styled
from monai_robust.evaluation.sections.parts import MISSING, Measure, Picture, ReportTable, Section, fixed, listed
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.statistics.bootstrap import MINIMUM_PATIENTS
from monai_robust.evaluation.statistics.paired import holm
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["differences_figure", "noninferiority", "paired_section"]


def paired_section(
    differences: pd.DataFrame, baseline: str, names: Sequence[str], style: ScoreStyle, margin: float | None = None
) -> Section:
    """The differences of all other names to the baseline; empty where there is only one name.

    Args:
        differences: of :func:`~monai_robust.evaluation.statistics.paired.paired_differences`.
        baseline: the name that the others are compared with.
        names: of all runs.
        style: of the measure that is compared.
        margin: by how much clean performance may be worse at most, in units of the score, if one was stated beforehand.
    """
    if len(names) < 2:
        return Section("")
    title = f"Compared with {baseline}"
    own = _of_measure(differences, style)
    unpaired = [name for name in names if name != baseline and name not in set(own["name"])]
    points = [("no comparison", _why_unpaired(differences, name, baseline, style)) for name in unpaired]
    if own.empty:
        return Section(title, "", points=points)
    means = own[own["severity"].isna()].copy()
    means["p_holm"] = holm(means["p"].tolist())
    rows = [
        ([str(row["name"]), perturbation_label(str(row["perturbation"]))], _cells(row, style))
        for _, row in means.iterrows()
    ]
    headers = ["This run", baseline, "Difference", "p", f"p (Holm, {len(means)} comparisons)"]
    title_of_table = f"{style.title}: difference to {baseline}"
    stub, digits = ["Run", "Perturbation"], [style.digits] * len(headers)
    table = ReportTable("table_paired", title_of_table, stub, headers, rows, 1.0, digits, _note(means))
    better = "above 0 the run is better" if style.higher_is_better else "below 0 the run is better"
    under = listed([perturbation_label(str(name)) for name in dict.fromkeys(means["perturbation"])])
    alt = f"Points: difference in {style.name} to {baseline} under {under}: {listed(_names(means))}."
    known = means["difference_low"].notna().any()
    lines = "; lines are 95 % intervals by drawing patients" if known else "; there are no intervals"
    picture = Picture(
        differences_figure(means, style, baseline),
        alt,
        f"Differences to {baseline}, {better}{lines}.",
    )
    points = [*points, *noninferiority(means, style, baseline, margin)]
    return Section(title, _text(means, baseline), [table], [picture], points)


def noninferiority(
    means: pd.DataFrame, style: ScoreStyle, baseline: str, margin: float | None
) -> list[tuple[str, str]]:
    """Whether clean performance is worse than that of the baseline by more than a margin, a sentence for each name.

    Non-inferior: the whole 95 % interval of the difference is better than the margin, a one-sided test at 2.5 %
    (Piaggio et al. 2012, the CONSORT extension for such trials). Inferior: all of it is worse. Else it is not shown.
    Where the two do not differ in any patient, that is said instead.

    Args:
        means: rows of one measure.
        style: of it.
        baseline: the name compared with.
        margin: in units of the score, above 0; None where none was stated.
    """
    if margin is None:
        return [("non-inferiority", "not judged: no margin was stated beforehand (--noninferiority_margin).")]
    found = []
    allowed = f"{style.scale * margin:g}{' percentage points' if style.percent else style.sign}"
    for _, row in means[means["perturbation"] == CLEAN].iterrows():
        low, high = row["difference_low"], row["difference_high"]
        if not style.higher_is_better:
            low, high = -high, -low
        if row["identical"] and row["patients"] >= MINIMUM_PATIENTS:
            found.append(("no difference", f"On clean images {_why_none(row, baseline)}."))
            continue
        if math.isnan(low):
            mark, why = "not shown", _why_none(row, baseline)
        else:
            ends = f"the 95 % interval of the difference in {style.name} is {_ends(row, style)}"
            mark = "non-inferior" if low > -margin else "inferior" if high < -margin else "not shown"
            why = f"{ends}, and the stated margin is {allowed}"
        what = {"non-inferior": "not worse", "inferior": "worse", "not shown": "not shown to be no worse"}[mark]
        found.append((mark, f"On clean images “{row['name']}” is {what} than “{baseline}” by that margin: {why}."))
    return found


@styled
def differences_figure(means: pd.DataFrame, style: ScoreStyle, baseline: str) -> Figure:
    """Differences to the baseline with their intervals, a row for each perturbation, a colour for each name.

    Args:
        means: rows of one measure, one for each name and perturbation.
        style: of it.
        baseline: the name compared with.
    """
    names, perturbations = _names(means), list(dict.fromkeys(means["perturbation"]))
    figure = Figure(figsize=(WIDTH, 1.4 + 0.36 * len(perturbations) * max(1.0, 0.6 * len(names))), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color="#5B6570", linewidth=1, linestyle=(0, (4, 3)))
    for index, name in enumerate(names):
        rows = means[means["name"] == name].set_index("perturbation").loc[perturbations]
        places = np.arange(len(perturbations)) + (index - (len(names) - 1) / 2) * 0.6 / len(names)
        values = style.scale * rows["difference"].to_numpy()
        ends = style.scale * np.abs(
            rows[["difference_low", "difference_high"]].to_numpy() - rows[["difference"]].to_numpy()
        )
        colour = run_colour(index + 1)
        axes.errorbar(
            values,
            places,
            xerr=np.nan_to_num(ends).T,
            fmt=MARKERS[(index + 1) % len(MARKERS)],
            color=colour,
            elinewidth=1.4,
            capsize=3,
            label=legend_label(name),
        )
    axes.set_yticks(range(len(perturbations)), [perturbation_label(name) for name in perturbations])
    axes.set_ylim(len(perturbations) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    unit = "percentage points" if style.percent else style.unit
    axes.set_xlabel(f"difference in {style.name} to {baseline}" + (f" [{unit}]" if unit else ""))
    axes.grid(axis="y", visible=False)
    legend(figure, axes)
    return figure


def _of_measure(differences: pd.DataFrame, style: ScoreStyle) -> pd.DataFrame:
    """The rows about the measure, never those about another one under its name."""
    return differences[differences["statistic"] == style.column]


def _why_unpaired(differences: pd.DataFrame, name: str, baseline: str, style: ScoreStyle) -> str:
    if name not in set(differences["name"]):
        return f"“{name}” shares no sample with “{baseline}”."
    return (
        f"The {style.name} of “{name}” cannot be compared with “{baseline}” patient by patient: "
        "it is drawn anew only where all runs have it and were tested on the same images. The mean score is compared "
        "in paired_differences.csv."
    )


def _names(means: pd.DataFrame) -> list[str]:
    return [str(name) for name in dict.fromkeys(means["name"])]


def _cells(row: pd.Series, style: ScoreStyle) -> list[Measure | str]:
    ends = (style.scale * row["difference_low"], style.scale * row["difference_high"])
    return [
        Measure(style.scale * row["value"]),
        Measure(style.scale * row["baseline_value"]),
        Measure(style.scale * row["difference"], math.nan, *ends),
        _p_text(row["p"]),
        _p_text(row["p_holm"]),
    ]


def _text(means: pd.DataFrame, baseline: str) -> str:
    images, patients = (int(means.iloc[0][name]) for name in ("samples", "patients"))
    counts = f"{images} image{'s' * (images != 1)} of {patients} patient{'s' * (patients != 1)}"
    return (
        "The same images were shown to both, so that what makes an image hard takes no part in the difference: run "
        f"less “{baseline}”, on {counts}. Of several severities the mean is compared; each of them stands in "
        "paired_differences.csv."
    )


def _note(means: pd.DataFrame) -> str:
    note = (
        "p: how often a difference at least this large comes about when the outcomes of the two are exchanged patient "
        f"by patient at random (permutation test, two-sided). Of {len(means)} comparisons some fall below 0.05 by "
        "chance; the last column is adjusted for their number."
    )
    few = means["difference_low"].isna() & (means["patients"] < MINIMUM_PATIENTS)
    if few.any():
        why = _why_none(means[few].iloc[0])
        return f"{note} {why[0].upper()}{why[1:]}."
    same = means[means["identical"]]
    if len(same):
        named = [f"“{row['name']}” ({perturbation_label(str(row['perturbation']))})" for _, row in same.iterrows()]
        note += f" No difference in any patient, and so no interval: {listed(named)}."
    return note


def _why_none(row: pd.Series, baseline: str = "") -> str:
    patients = int(row["patients"])
    if patients < MINIMUM_PATIENTS:
        verb = "are" if patients != 1 else "is"
        return (
            f"{patients} patient{'s' * (patients != 1)} {verb} too few for an interval, which needs {MINIMUM_PATIENTS}"
        )
    if row["identical"]:
        return (
            f"there is no difference between “{row['name']}” and “{baseline}” in any of the {patients} patients, so "
            "that there is no interval"
        )
    if math.isnan(row["difference"]):
        return "the difference is undefined, so that there is no interval"
    return "every draw of patients has the same difference or too many of them have none, so that there is no interval"


def _ends(row: pd.Series, style: ScoreStyle) -> str:
    low, high = (fixed(style.scale * row[f"difference_{end}"], style.digits) for end in ("low", "high"))
    return f"{low} to {high}{' percentage points' if style.percent else style.sign}"


def _p_text(p: float) -> str:
    if math.isnan(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
