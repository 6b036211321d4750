"""What a report says about segmentation: its statistics, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import ScoreStyle, falls, undertrained, whole
from monai_robust.evaluation.sections.parts import NO_NUMBER, RADIUS, ReportTable, Section, listed, told
from monai_robust.evaluation.sections.scores import attack_section, score_frames, score_sections, statistics_table
from monai_robust.evaluation.statistics.bootstrap import Drawable
from monai_robust.evaluation.tables.run_folder import OUTCOMES, Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.segmentation.areas import GLOSSARY as OF_AREAS
from monai_robust.evaluation.tasks.segmentation.areas import area_drawable, area_sections, area_statistics, check_areas
from monai_robust.evaluation.tasks.segmentation.drawable import dice_drawable
from monai_robust.evaluation.tasks.segmentation.outcomes import COUNTS
from monai_robust.metrics import (
    DiceIndex,
    average_dice_index,
    foreground_dice_index,
    sample_dice,
    total_voxel_dice_index,
    volume_dice,
)

__all__ = ["SegmentationReport"]

ADI = ScoreStyle(
    "ADI",
    "Average Dice index (ADI)",
    1.0,
    3,
    "adi",
    percent=False,
    undefined="no image holds a class, and none is predicted",
)
FOREGROUND = ScoreStyle(
    "foreground Dice", "Dice of images with foreground", 1.0, 3, "foreground_dice", percent=False, column="score"
)
PILOT_TVDI = 0.80
SCORE_TOLERANCE = 1e-4
INDICES = {
    "adi": "Average Dice index (ADI) of clean images",
    "foreground_dice": "Dice of clean images with foreground",
    "tvdi": "Total voxel Dice index (TVDI) of clean images",
    "volume_dice": "Dice of clean volumes, averaged over volumes",
}
GLOSSARY = {
    "Dice": "how well a predicted area covers the true one: twice the area they share, divided by the sum of both; 1 "
    "is perfect, 0 is no overlap.",
    "ADI": "the average Dice index (AMAT, equation 3): every image weighs the same. An image that does not hold a "
    "class, but into which it is predicted, scores 0 for it; one without either does not count. Of several classes it "
    "is the mean over those that count for an image.",
    "Foreground Dice": "as ADI, of the classes that an image holds alone: an image without any foreground is left out, "
    "whatever is predicted into it.",
    "TVDI": "the total voxel Dice index: the pixels of all images are put together first, so that large areas count "
    "for more, as do pixels predicted into images without foreground.",
    "Volume Dice": "the Dice of whole volumes, put together from their images (slices), averaged over volumes.",
    **OF_AREAS,
    "ADI under attack": "the same after every image was changed, within the stated radius, in a way sought to mislead "
    "this very network; it tells how the network fails in the worst case, not how often that occurs.",
    "Radius": RADIUS,
    "AUC_robust": "clean ADI and its mean over all radii up to the largest in one number: the root of their product.",
    "–": NO_NUMBER,
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval, such as 0.71 to 0.78, from drawing patients anew: it tells of their choice alone.",
}


class SegmentationReport:
    """Reads runs of segmentation: columns ``tp_1, fp_1, fn_1, tp_2, ..., score``; the run's classes are foreground."""

    task = "segmentation"
    confidence_is = (
        "the probability of what is said of a pixel, averaged over the predicted foreground (over all pixels where "
        "there is none)"
    )
    searched = "adi"
    glossary: Mapping[str, str] = GLOSSARY

    def style(self, runs: Sequence[Run]) -> ScoreStyle:
        """The measure that networks are first of all judged by."""
        return ADI

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
        check_areas(run)

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table.

        Returns:
            ``adi``, ``foreground_dice`` (the mean score), ``tvdi`` and ``volume_dice``, means over classes, and each
            for class c as ``adi_<c>``. A volume is what the sample id names before its last slash; a sample without
            one is a volume of its own. Further those of
            :func:`~monai_robust.evaluation.tasks.segmentation.areas.area_statistics`.
        """
        tp, fp, fn = _counts(run, rows)
        found = {
            "adi": average_dice_index(tp, fp, fn),
            "foreground_dice": foreground_dice_index(tp, fp, fn),
            "tvdi": total_voxel_dice_index(tp, fp, fn),
            "volume_dice": volume_dice(tp, fp, fn, _volumes(rows)),
        }
        indices = {name: value for index, dice in found.items() for name, value in _named(index, dice).items()}
        return indices | area_statistics(run, rows)

    def drawable(self, run: Run, rows: pd.DataFrame) -> list[Drawable]:
        """How the statistics are drawn anew for intervals."""
        tp, fp, fn = (one.astype(np.float64) for one in _counts(run, rows))
        return [*dice_drawable(tp, fp, fn, _volumes(rows)), *area_drawable(run, rows)]

    def confidence(self, run: Run, rows: pd.DataFrame) -> pd.Series | None:
        """The column ``confidence``, (N,); None in tables that were measured without it."""
        return rows.get("confidence")

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        return score_frames(runs, self.statistics, ADI, (ADI, FOREGROUND), self.drawable)

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
        parts = [told(row, "adi", "reaches {:.2f}", ADI.undefined) for _, row in clean.iterrows()]
        sentence = f"On clean images, by the average Dice index (ADI), {listed(parts)}."
        return [sentence, *falls(frames["breaking_radii"], ADI)]

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        attacks = attack_section(runs, frames, (ADI, FOREGROUND), (ADI, FOREGROUND), clean="S. Dice")
        first, *others = score_sections(runs, frames, ADI, _clean_section(runs, frames), attacks)
        return [first, *area_sections(runs, frames), *others]


def _clean_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    clean = whole(frames["means_over_severities"], CLEAN)
    empty = int(runs[0].clean["score"].isna().sum())
    text = (
        f"Of {len(runs[0].clean)} images, {empty} hold no foreground: ADI scores 0 where something is predicted into "
        "one, and TVDI and the Dice of volumes count it; the Dice of images with foreground leaves them out."
        if empty
        else "Every image holds foreground."
    )
    if runs[0].info.get("settings", {}).get("slices") == "foreground":
        text += (
            " Slices without foreground were left out of this measurement: ADI, TVDI and volume Dice do not see what "
            "is predicted into them."
        )
    return Section(
        "Dice", text, [_class_table(clean, index, title, runs[0].classes) for index, title in INDICES.items()]
    )


def _class_table(clean: pd.DataFrame, index: str, title: str, classes: Sequence[str]) -> ReportTable:
    """The mean and every class of one index."""
    mean = "score" if index == "foreground_dice" else index  # the same number, but with its interval
    places = {name: f"{index}_{place}" for place, name in enumerate(classes, 1)}
    columns = {"Mean": mean, **places} if len(classes) > 1 else {classes[0]: mean}
    return statistics_table(clean, f"table_{index}", title, columns)


def _counts(run: Run, rows: pd.DataFrame) -> list[NDArray[np.int64]]:
    """tp, fp and fn, each (N, K), of which a tensor may be made without a copy."""
    places = range(1, len(run.classes) + 1)
    return [rows[[f"{name}_{index}" for index in places]].to_numpy(dtype=np.int64, copy=True) for name in COUNTS]


def _scores(run: Run, rows: pd.DataFrame) -> NDArray[np.float64]:
    """(N,) the mean Dice of the classes that a sample holds, NaN where it holds none."""
    scores: NDArray[np.float64] = sample_dice(*(torch.from_numpy(one).double() for one in _counts(run, rows))).numpy()
    return scores


def _volumes(rows: pd.DataFrame) -> list[str]:
    return [sample.rpartition("/")[0] or sample for sample in rows["sample_id"]]


def _named(name: str, dice: DiceIndex) -> dict[str, float]:
    return {name: dice.mean} | {f"{name}_{place}": value for place, value in enumerate(dice.classes.tolist(), 1)}
