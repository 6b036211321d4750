"""What a report says about segmentation: its statistics, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.comparisons import (
    ScoreStyle,
    breaking_table,
    by_name,
    common_frames,
    falls,
    of_kind,
    radius_pictures,
    radius_table,
    severities_of,
    severity_picture,
    stubs,
    undertrained,
    whole,
)
from monai_robust.evaluation.run import OUTCOMES, Run
from monai_robust.evaluation.sections import (
    ReportTable,
    Section,
    listed,
    measured,
    number,
    perturbation_label,
)
from monai_robust.evaluation.summary import auc_by_attack
from monai_robust.evaluation.table import CLEAN
from monai_robust.metrics import DiceIndex, average_dice_index, total_voxel_dice_index, volume_dice

__all__ = ["SegmentationReading"]

ADI = ScoreStyle("ADI", "Average Dice index (ADI)", 1.0, 3, "adi", percent=False)
PILOT_TVDI = 0.80
COUNTS = ("tp", "fp", "fn")
SCORE_TOLERANCE = 1e-4
INDICES = {
    "adi": "Average Dice index (ADI) of clean images",
    "tvdi": "Total voxel Dice index (TVDI) of clean images",
    "volume_dice": "Dice of clean volumes, averaged over volumes",
}
# the paper's abbreviations
SHORT = {"pgd": "P.", "bim": "IF.", "ifgsm": "IF."}
GLOSSARY = {
    "Dice": "how well a predicted area covers the true one: twice the area they share, divided by the sum of both; 1 "
    "is perfect, 0 is no overlap.",
    "ADI": "the average Dice index: every image weighs the same. An image counts for the classes it holds; one without "
    "any foreground is left out. Of several classes it is the mean over those that an image holds.",
    "TVDI": "the total voxel Dice index: the pixels of all images are put together first, so that large areas count "
    "for more, as do pixels predicted into images without foreground.",
    "Volume Dice": "the Dice of whole volumes, put together from their images (slices), averaged over volumes.",
    "ADI under attack": "the same after every image was changed, within the stated radius, in a way sought to mislead "
    "this very network; it tells how the network fails in the worst case, not how often that occurs.",
    "Radius": "the largest change an attack may make to an image, by its length (L2 norm), unless said otherwise; in "
    "brackets in percent of the length of an average image.",
    "AUC_robust": "clean ADI and its mean over all radii up to the largest in one number: the root of their product.",
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval, such as 0.71 to 0.78, from drawing patients anew: it tells of their choice alone.",
}


class SegmentationReading:
    """Reads runs of segmentation: columns ``tp_1, fp_1, fn_1, tp_2, ..., score``; the run's classes are foreground."""

    task = "segmentation"
    glossary: Mapping[str, str] = GLOSSARY

    def check(self, run: Run) -> None:
        """Refuse a table that is no segmentation's or contradicts itself.

        Raises:
            BadInputError: naming the file and the column.
        """
        path, table, classes = run.folder / OUTCOMES, run.outcomes, len(run.classes)
        if not classes:
            raise BadInputError(f"{run.folder / 'run.json'} must list the foreground classes, it lists none")
        columns = [f"{name}_{index}" for index in range(1, classes + 1) for name in COUNTS]
        if [name for name in columns if name not in table] or f"tp_{classes + 1}" in table:
            raise BadInputError(
                f"{path} must have the columns {', '.join(columns)} for its {classes} foreground classes, it has "
                f"{', '.join(table.columns)}"
            )
        for name in columns:
            if table[name].dtype.kind != "i" or (table[name] < 0).any():
                raise BadInputError(f"{path}: {name} must be a number of pixels in every row")
        if not np.allclose(table["score"], _scores(run, table), atol=SCORE_TOLERANCE, equal_nan=True):
            raise BadInputError(
                f"{path} contradicts itself: score must be the mean Dice of the classes an image holds, and empty "
                "where it holds none"
            )

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table.

        Returns:
            ``adi``, ``tvdi`` and ``volume_dice``, means over classes, and each for class c as ``adi_<c>``. A volume
            is what the sample id names before its last slash; a sample without one is a volume of its own.
        """
        tp, fp, fn = _counts(run, rows)
        found = {
            "adi": average_dice_index(tp, fp, fn),
            "tvdi": total_voxel_dice_index(tp, fp, fn),
            "volume_dice": volume_dice(tp, fp, fn, _volumes(rows)),
        }
        return {name: value for index, dice in found.items() for name, value in _named(index, dice).items()}

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        frames = common_frames(runs, self.statistics)
        return {**frames, "auc_robust": auc_by_attack(frames["summary_of_runs"])}

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """Why the results are a pilot only, "" if they are not: robustness of an undertrained network says little."""
        worst = undertrained(runs, frames["means_over_severities"], ("erm", "std"), "tvdi", PILOT_TVDI)
        if worst is None:
            return ""
        return (
            f"“{worst['name']}”, trained in the usual way (ERM), reaches a total voxel Dice index of only "
            f"{worst['tvdi']:.2f} on the clean images, less than {PILOT_TVDI:.2f}; the robustness of an undertrained "
            "network says little"
        )

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The result in one sentence about clean images and one about each attack."""
        clean = whole(frames["means_over_severities"], CLEAN)
        parts = [f"“{row['name']}” reaches {row['score']:.2f}" for _, row in clean.iterrows()]
        sentence = f"On clean images, by the average Dice index (ADI), {listed(parts)}."
        return [sentence, *falls(frames["breaking_radii"], ADI)]

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        found = [
            _clean_section(runs, frames),
            _attack_section(runs, frames),
            _corruption_section(runs, frames),
            *(_group_section(runs, frames, group) for group in runs[0].groups),
        ]
        return [section for section in found if section.tables or section.pictures]


def _clean_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    clean = whole(frames["means_over_severities"], CLEAN)
    empty = int(runs[0].clean["score"].isna().sum())
    text = (
        f"Of {len(runs[0].clean)} images, {empty} hold no foreground: ADI leaves them out; TVDI and the Dice of "
        "volumes count what is predicted into them."
        if empty
        else "Every image holds foreground."
    )
    if runs[0].info.get("settings", {}).get("slices") == "foreground":
        text += (
            " Slices without foreground were left out of this measurement: TVDI and volume Dice do not see what "
            "is predicted into them."
        )
    return Section(
        "Dice", text, [_class_table(clean, index, title, runs[0].classes) for index, title in INDICES.items()]
    )


def _class_table(clean: pd.DataFrame, index: str, title: str, classes: Sequence[str]) -> ReportTable:
    """The mean and every class of one index."""
    single = len(classes) == 1
    headers = [classes[0]] if single else ["Mean", *classes]
    columns = [f"{index}_{place}" for place in range(1, len(classes) + 1)]
    mean = "score" if index == "adi" else index  # the same number, but with its interval
    rows = [
        ([str(row["name"])], [measured(row, column) for column in ([mean] if single else [mean, *columns])])
        for _, row in clean.iterrows()
    ]
    return ReportTable(f"table_{index}", title, ["Run"], headers, rows, 1.0, 3)


def _attack_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    attacks = of_kind(runs, "attack")
    if not attacks:
        return Section("Attacks")
    tables = [
        _paper_table(runs, frames),
        _auc_table(frames["auc_robust"]),
        breaking_table(frames["breaking_radii"], ADI),
    ]
    text = "How far an image must be changed before the network fails."
    return Section("Attacks", text, tables, radius_pictures(runs, frames["summary"], ADI))


def _paper_table(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> ReportTable:
    """A row for each name in the shape of AMAT's Tables 1 to 3: clean, each attack at its radii, and their mean."""
    attacks = {one.name: one.severities for one in runs[0].perturbations if one.kind == "attack"}
    shorts = _shorts(list(attacks))
    headers = ["S. Dice"]
    for attack, radii in attacks.items():
        headers += [*(f"{shorts[attack]} {number(radius)}" for radius in radii), f"{shorts[attack]} Avg."]
    at_radii = frames["summary"][frames["summary"]["group"] == ""]
    means = frames["means_over_severities"][frames["means_over_severities"]["group"] == ""]
    rows = []
    for stub, block in stubs(at_radii):
        cells = {(row["perturbation"], row["severity"]): measured(row, "score") for _, row in block.iterrows()}
        averages = means[means["name"] == stub[0]].set_index("perturbation")
        values = [cells[CLEAN, 0.0]]
        for attack, radii in attacks.items():
            values += [*(cells[attack, radius] for radius in radii), measured(averages.loc[attack], "score")]
        rows.append((stub, values))
    legend = "; ".join(f"{short} is {perturbation_label(attack)} of that radius" for attack, short in shorts.items())
    note = f"S. Dice is the ADI of clean images; {legend}; Avg. is the mean over the radii, without the clean images."
    return ReportTable("table_adi_under_attack", "ADI, clean and under attack", ["Run"], headers, rows, 1.0, 3, note)


def _shorts(attacks: Sequence[str]) -> dict[str, str]:
    """The paper's abbreviation of each attack, where it has one and that tells it from the others."""
    found = {attack: SHORT.get(attack.rpartition("_")[0], "") for attack in attacks}
    clear = {attack: short for attack, short in found.items() if short and [*found.values()].count(short) == 1}
    return {attack: clear.get(attack, perturbation_label(attack)) for attack in attacks}


def _auc_table(areas: pd.DataFrame) -> ReportTable:
    attacks = areas.drop_duplicates("perturbation")
    headers = [
        f"{perturbation_label(row['perturbation'])} up to {number(row['largest_radius'])}"
        for _, row in attacks.iterrows()
    ]
    rows = [
        ([str(name)], [measured(row, "auc_robust") for _, row in block.iterrows()])
        for name, block in areas.groupby("name", sort=False)
    ]
    note = "The root of the product of clean ADI and mean ADI over the radii from 0 on (trapezoid rule)."
    return ReportTable("table_auc_robust", "AUC_robust", ["Run"], headers, rows, 1.0, 3, note)


def _corruption_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    names = of_kind(runs, "corruption")
    if not names:
        return Section("Corruptions")
    headers = {name: perturbation_label(name) for name in (CLEAN, *names)}
    ranges = "; ".join(f"{perturbation_label(name)}: {severities_of(runs, name)}" for name in names)
    note = f"Means over the severities that were evaluated ({ranges})."
    means = frames["means_over_severities"]
    table = by_name(means, "score", headers, "table_corruptions", ADI.title, ADI.scale, ADI.digits, note=note)
    return Section("Corruptions", "", [table], [severity_picture(frames["summary"], names, "corruption", ADI)])


def _group_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], group: str) -> Section:
    """What a table says of all samples, within each value of a group column."""
    tables = [radius_table(frames["summary"], attack, ADI, group) for attack in of_kind(runs, "attack")]
    if not tables:
        means, headers = frames["means_over_severities"], {CLEAN: "Clean"}
        tables.append(by_name(means, "score", headers, "table_adi", ADI.title, ADI.scale, ADI.digits, group))
    return Section(f"Within {group}", "All other numbers stand in the CSV files.", tables)


def _counts(run: Run, rows: pd.DataFrame) -> list[NDArray[np.int64]]:
    """tp, fp and fn, each (N, K)."""
    places = range(1, len(run.classes) + 1)
    return [rows[[f"{name}_{index}" for index in places]].to_numpy(dtype=np.int64) for name in COUNTS]


def _scores(run: Run, rows: pd.DataFrame) -> NDArray[np.float64]:
    """(N,) the mean Dice of the classes that a sample holds, NaN where it holds none."""
    tp, fp, fn = _counts(run, rows)
    present = tp + fn > 0
    dice = np.where(present, 2 * tp / np.maximum(2 * tp + fp + fn, 1), 0.0).sum(axis=1)
    return np.where(present.any(axis=1), dice / np.maximum(present.sum(axis=1), 1), np.nan)


def _volumes(rows: pd.DataFrame) -> list[str]:
    return [sample.rpartition("/")[0] or sample for sample in rows["sample_id"]]


def _named(name: str, dice: DiceIndex) -> dict[str, float]:
    return {name: dice.mean} | {f"{name}_{place}": value for place, value in enumerate(dice.classes.tolist(), 1)}
