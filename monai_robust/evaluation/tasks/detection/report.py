"""What a report says about object detection: its statistics, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from monai_robust.data.files.schemas import checked
from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import ScoreStyle, falls, undertrained, whole
from monai_robust.evaluation.sections.parts import NO_NUMBER, RADIUS, ReportTable, Section, listed, number, told
from monai_robust.evaluation.sections.scores import attack_section, score_frames, score_sections, statistics_table
from monai_robust.evaluation.statistics.bootstrap import Drawable
from monai_robust.evaluation.tables.detections import BOXES, DETECTIONS, Detections, read_detections
from monai_robust.evaluation.tables.run_folder import INFO, OUTCOMES, Run
from monai_robust.evaluation.tables.schema import CLEAN, DETAIL_KEYS
from monai_robust.evaluation.tasks.detection.drawable import detection_drawable
from monai_robust.evaluation.tasks.detection.froc import GLOSSARY as OF_FROC
from monai_robust.evaluation.tasks.detection.froc import fitted_threshold, froc_section, froc_statistics
from monai_robust.metrics import ImageMatches, average_precisions, match_images

__all__ = ["DetectionReport"]

MAP = ScoreStyle("mAP", "mAP 0.5:0.95", 1.0, 3, "map", percent=False, undefined="no image has a box")
MAP_50 = ScoreStyle("mAP 0.5", "mAP 0.5", 1.0, 3, "map_50", percent=False)
AVERAGE_IOU = ScoreStyle("average IoU", "Average IoU of detected objects", 1.0, 3, "average_iou", percent=False)
PILOT_MAP_50 = 0.5
DEFAULT_THRESHOLD = 0.3
MOST_CLASSES = 50
GLOSSARY = {
    "IoU": "how well a predicted box fits a true one: the area they share, divided by the area they cover together; 1 "
    "is perfect, 0 is no overlap.",
    "mAP 0.5": "the mean average precision: of the boxes that a network draws, from the surest to the least sure, the "
    "share that is right, averaged over the share of the objects found so far and over classes; a box is right if it "
    "has the right class and its IoU with an object that no surer box has found is at least 0.5. 1 is perfect.",
    "mAP 0.5:0.95": "the same, averaged over ten such limits of the IoU from 0.5 to 0.95: boxes must also fit well.",
    "Average IoU": "of all boxes that a network draws with enough confidence, how well they fit the objects they have "
    "found; a box where there is no object, or one of another class, counts 0. Objects that were missed do not lower "
    "it, so read it beside mAP and the number of boxes.",
    **OF_FROC,
    "mAP under attack": "the same after every image was changed, within the stated radius, in a way sought to mislead "
    "this very network; it tells how the network fails in the worst case, not how often that occurs.",
    "Radius": RADIUS,
    "AUC_robust": "the clean number and its mean over all radii up to the largest in one: the root of their product.",
    "–": NO_NUMBER,
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval, such as 0.31 to 0.38, from drawing patients anew: it tells of their choice alone. Within "
    "groups of images there is none of mAP and FROC.",
}


class DetectionReport:
    """Reads runs of object detection: columns ``boxes, detections, score``, and the tables of boxes beside them.

    The detections of each image are matched to its boxes once for each perturbation and severity, whatever groups of
    images are looked at afterwards.
    """

    task = "detection"
    searched = "average_iou"
    confidence_is = (
        "the mean score of the boxes that count; of an image without any, 1 less the highest score that was kept"
    )
    glossary: Mapping[str, str] = GLOSSARY

    def __init__(self) -> None:
        self._tables: WeakKeyDictionary[Run, Detections] = WeakKeyDictionary()
        self._thresholds: WeakKeyDictionary[Run, float] = WeakKeyDictionary()
        self._matches: WeakKeyDictionary[Run, dict[tuple[str, float], dict[str, ImageMatches]]] = WeakKeyDictionary()

    def style(self, runs: Sequence[Run]) -> ScoreStyle:
        """The measure that networks are first of all judged by."""
        return MAP

    def check(self, run: Run) -> None:
        """Refuse tables that are no detector's or contradict each other.

        Raises:
            BadInputError: naming the file and the column or line.
        """
        path, table = run.folder / OUTCOMES, run.outcomes
        if not 1 <= len(run.classes) <= MOST_CLASSES:
            raise BadInputError(
                f"{run.folder / 'run.json'} must list 1 to {MOST_CLASSES} classes, it lists {len(run.classes)}"
            )
        if not (run.info.get("score") or {}).get("higher_is_better", True):
            raise BadInputError(f"{run.folder / 'run.json'}: of an average IoU more is better, not less")
        for name in ("boxes", "detections"):
            if name not in table:
                raise BadInputError(f"{path} has no column {name!r}; its columns are {', '.join(table.columns)}")
            if table[name].dtype.kind != "i" or (table[name] < 0).any():
                raise BadInputError(f"{path}: {name} must be a number of boxes in every row")
        nothing = (table["detections"] == 0) & (table["boxes"] == 0)
        if (table["score"].isna() != nothing).any() or not table["score"].dropna().between(0, 1).all():
            raise BadInputError(
                f"{path} contradicts itself: score must be an average IoU from 0 to 1, and empty where there are "
                "neither boxes nor detections"
            )
        self._check_counts(run)

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table, those of one perturbation and severity.

        Returns:
            ``map`` (IoU 0.5:0.95) and ``map_50``; ``average_iou``, the mean over all detections at or above the score
            threshold (0 if there are none but boxes, NaN without either); ``detections_per_image``, their number; of
            class c (from 0) ``map_<c>`` and ``map_50_<c>``, NaN where it has no boxes. Further those of
            :func:`~monai_robust.evaluation.tasks.detection.froc.froc_statistics`.
        """
        matches = self._matched(run, str(rows["perturbation"].iloc[0]), float(rows["severity"].iloc[0]))
        names = [str(index) for index in range(len(run.classes))]
        own = [matches[sample] for sample in rows["sample_id"]]
        total = int(rows["detections"].sum())
        # a score is the mean over the detections of its image; an image without any counts for nothing
        overlap = float((rows["score"] * rows["detections"]).sum()) / total if total else math.nan
        return {
            **average_precisions(own, names),
            **froc_statistics(own, len(names), self._fitted(run)),
            "average_iou": 0.0 if not total and rows["boxes"].any() else overlap,
            "detections_per_image": float(rows["detections"].mean()),
        }

    def drawable(self, run: Run, rows: pd.DataFrame) -> list[Drawable]:
        """How the statistics are drawn anew for intervals; of mAP and FROC there is none within groups."""
        matches = self._matched(run, str(rows["perturbation"].iloc[0]), float(rows["severity"].iloc[0]))
        own = [matches[sample] for sample in rows["sample_id"]]
        return detection_drawable(rows, own, len(run.classes), self._fitted(run))

    def confidence(self, run: Run, rows: pd.DataFrame) -> pd.Series:
        """The mean score of the boxes that count, of an image without any 1 less the highest score kept, (N,)."""
        found = self._detections(run).detections
        key = rows[["perturbation", "severity"]].iloc[0]
        own = found[(found["perturbation"] == key["perturbation"]) & (found["severity"] == key["severity"])]
        sure = own[own["score"] >= _threshold(run)].groupby("sample_id")["score"].mean()
        none = 1 - own.groupby("sample_id")["score"].max()
        samples = rows["sample_id"]
        return samples.map(sure).astype(float).fillna(samples.map(none).astype(float)).fillna(1.0)

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        return score_frames(runs, self.statistics, MAP, (MAP, AVERAGE_IOU), self.drawable)

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """Why the results are a pilot only, "" if they are not: robustness of an undertrained network says little."""
        worst = undertrained(runs, frames["means_over_severities"], ("erm", "std"), "map_50", PILOT_MAP_50)
        if worst is None:
            return ""
        return (
            f"“{worst['name']}”, trained in the usual way (ERM), reaches a mAP 0.5 of only {worst['map_50']:.2f} on "
            f"the clean images, less than {PILOT_MAP_50:.2f}; the robustness of an undertrained network says little"
        )

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The result in one sentence about clean images and one about each attack."""
        clean = whole(frames["means_over_severities"], CLEAN)
        parts = [told(row, "map", "reaches {:.2f}", MAP.undefined) for _, row in clean.iterrows()]
        sentence = f"On clean images, by the mean average precision (mAP) at IoU 0.5:0.95, {listed(parts)}."
        return [sentence, *falls(frames["breaking_radii"], MAP)]

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        attacks = attack_section(runs, frames, (MAP, MAP_50, AVERAGE_IOU), (MAP, AVERAGE_IOU))
        fitted: dict[str, list[float]] = {}
        for run in runs:
            if (threshold := self._fitted(run)) is not None:
                fitted.setdefault(run.name, []).append(threshold)
        kept = (runs[0].info.get("settings") or {}).get("keep_threshold", 0.0)
        keep = checked(float, kept, str(runs[0].folder / INFO), "settings.keep_threshold")
        froc = froc_section(runs, frames, lambda run: partial(self._matched, run), fitted, keep)
        first, *others = score_sections(runs, frames, MAP, _clean_section(runs, frames), attacks)
        return [first, froc, *others]

    def _check_counts(self, run: Run) -> None:
        """Refuse tables of boxes that were not written together with the outcomes."""
        found, table, threshold = self._detections(run), run.outcomes, _threshold(run)
        keys = pd.MultiIndex.from_frame(table[list(DETAIL_KEYS)])
        counts = {
            DETECTIONS: found.counts(threshold).reindex(keys, fill_value=0).to_numpy(),
            BOXES: found.true_counts().reindex(table["sample_id"], fill_value=0).to_numpy(),
        }
        texts = {
            DETECTIONS: ("detections", f" with a score of {number(threshold)} or more"),
            BOXES: ("boxes", ""),
        }
        for file, (column, which) in texts.items():
            wrong = np.flatnonzero(counts[file] != table[column].to_numpy())
            if len(wrong):
                row, held = table.iloc[wrong[0]], int(counts[file][wrong[0]])
                raise BadInputError(
                    f"{run.folder / OUTCOMES}, line {wrong[0] + 2}: {column} is {row[column]}, but {file} beside it "
                    f"holds {held} rows of that image{which}; measure again"
                )

    def _fitted(self, run: Run) -> float | None:
        """The score threshold that was fitted on the run's validation split; None where that was not measured."""
        if run.validation is None:
            return None
        if run not in self._thresholds:
            self._thresholds[run] = fitted_threshold(list(self._matched(run.validation, CLEAN, 0.0).values()))
        return self._thresholds[run]

    def _detections(self, run: Run) -> Detections:
        if run not in self._tables:
            self._tables[run] = read_detections(run.folder, run)
        return self._tables[run]

    def _matched(self, run: Run, perturbation: str, severity: float) -> dict[str, ImageMatches]:
        """By sample id."""
        known = self._matches.setdefault(run, {})
        key = (perturbation, severity)
        if key not in known:
            samples = run.outcomes["sample_id"].iloc[run.places[key]].tolist()
            matches = match_images(*self._detections(run).images(perturbation, severity, samples))
            known[key] = dict(zip(samples, matches, strict=True))
        return known[key]


def _threshold(run: Run) -> float:
    """The least score of the detections that the outcomes count."""
    found = (run.info.get("settings") or {}).get("score_threshold", DEFAULT_THRESHOLD)
    threshold: float = checked(float, found, str(run.folder / INFO), "settings.score_threshold")
    return threshold


def _clean_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    clean = whole(frames["means_over_severities"], CLEAN)
    columns = {
        MAP.title: "map",
        MAP_50.title: "map_50",
        "Average IoU": "average_iou",
        "Detections per image": "detections_per_image",
    }
    boxes = runs[0].clean["boxes"]
    text = f"{boxes.sum()} objects in {len(boxes)} images, {number(boxes.mean())} per image."
    note = f"Average IoU and detections per image: boxes with a score of {number(_threshold(runs[0]))} or more."
    tables = [
        statistics_table(clean, "table_detection", "Detection in clean images", columns, note=note),
        _class_table(clean, "map", MAP, runs[0].classes),
        _class_table(clean, "map_50", MAP_50, runs[0].classes),
    ]
    return Section("Detection", text, tables)


def _class_table(clean: pd.DataFrame, index: str, style: ScoreStyle, classes: Sequence[str]) -> ReportTable:
    """The mean and every class of one index."""
    columns = {"Mean": index, **{name: f"{index}_{place}" for place, name in enumerate(classes)}}
    note = "The mean is over the classes that have objects."
    return statistics_table(clean, f"table_{index}", f"{style.title} of each class, clean images", columns, note=note)
