"""What a report says of samples without labels: how far answers stay what they are for the images as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.comparisons import (
    ScoreStyle,
    breaking_table,
    common_frames,
    falls,
    of_kind,
    radius_pictures,
    radius_table,
)
from monai_robust.evaluation.sections.parts import RADIUS, Section
from monai_robust.evaluation.sections.scores import corruption_section, group_section
from monai_robust.evaluation.statistics.bootstrap import Drawable
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["UnlabelledReport"]

GLOSSARY = {
    "Agreement": "how far the answer for a changed image is the answer for the image as it is, by the task's own "
    "score, with the latter in place of the truth. A network may agree with itself and be wrong.",
    "Under attack": "after every image was changed, within the stated radius, in a way sought to lead this very "
    "network away from its own answer; it tells how the network fails in the worst case, not how often that occurs.",
    "Radius": RADIUS,
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval from drawing patients anew: it tells of their choice alone.",
}
_UNKNOWN = {
    "classification": "accuracy, AUROC, sensitivity and specificity, thresholds, calibration, Brier score, confusion "
    "matrices, predictive values",
    "multi_label": "the share of images that are right, AUROC and average precision of findings, sensitivity and "
    "specificity, thresholds, calibration",
    "segmentation": "Dice, IoU, surface distances, volume differences and lesions by the truth",
    "landmarks": "radial errors and detection rates by the truth",
    "detection": "mAP, FROC and score thresholds",
}


class UnlabelledReport:
    """Reads runs of any task whose samples have no labels: the column ``score``, by the network's own clean answers.

    Args:
        task: its name.
    """

    searched = "score"
    glossary: Mapping[str, str] = GLOSSARY

    def __init__(self, task: str) -> None:
        self.task = task

    def style(self, runs: Sequence[Run]) -> ScoreStyle:
        """The task's score, by the network's own clean answers: for classes, a share of images."""
        score = runs[0].info.get("score") or {}
        if self.task in ("classification", "multi_label"):
            return ScoreStyle(
                "agreement", "Agreement with the clean answer in percent", 100.0, 1, "score", percent=True
            )
        name, higher = str(score.get("name", "score")), bool(score.get("higher_is_better", True))
        words = f"{name} by the clean answer"
        return ScoreStyle(words, f"{words}, mean", 1.0, 3, "score", percent=False, higher_is_better=higher)

    def check(self, run: Run) -> None:
        """Nothing but the score is read."""

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Nothing but the score, which is there anyway."""
        return {}

    def drawable(self, run: Run, rows: pd.DataFrame) -> list[Drawable]:
        """Nothing but the score, which is drawn anyway."""
        return []

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        return common_frames(runs, self.statistics, "score", self.style(runs).higher_is_better, self.drawable)

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """ "": whether a network is good enough is not known without labels."""
        return ""

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """What is not known, and one sentence about each attack."""
        style = self.style(runs)
        told = falls(frames["breaking_radii"], style) if style.higher_is_better else []
        return ["The images have no labels: how often the networks are right is not known.", *told]

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        style = self.style(runs)
        attacks = of_kind(runs, "attack")
        tables = [radius_table(frames["summary"], attack, style) for attack in attacks]
        if attacks and style.higher_is_better:  # an error that is 0 for clean images has no double
            tables.append(breaking_table(frames["breaking_radii"], style))
        unknown = _UNKNOWN.get(self.task, "every measure by the truth")
        text = (
            f"Scores compare with the network's own answer for each image as it is, where agreement is perfect by "
            f"definition; attacks lead away from it. Without labels these could not be computed: {unknown}, what "
            "triage would gain, and non-inferiority. Where pictures and cases speak of label or truth, it is that "
            "answer."
        )
        found = [
            Section("Without labels", text, tables, radius_pictures(runs, frames["summary"], style)),
            corruption_section(runs, frames, style),
            *(group_section(runs, frames, group, style) for group in runs[0].groups),
        ]
        return [found[0], *(section for section in found[1:] if section.tables or section.pictures)]
