"""What a report says of a pipeline by its own metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import (
    ScoreStyle,
    breaking_table,
    common_frames,
    falls,
    of_kind,
    radius_pictures,
    whole,
)
from monai_robust.evaluation.sections.parts import NO_NUMBER, RADIUS, Section, listed, told
from monai_robust.evaluation.sections.scores import (
    attack_table,
    auc_table,
    corruption_section,
    group_section,
    statistics_table,
)
from monai_robust.evaluation.statistics.bootstrap import Drawable, means
from monai_robust.evaluation.statistics.curves import auc_by_attack, largest_error
from monai_robust.evaluation.tables.run_folder import OUTCOMES, Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["KeyMetricReport"]

GLOSSARY = {
    "Key metric": "the number by which this pipeline itself judges its results, taken for each sample alone and "
    "averaged over samples; where a pipeline takes it over all samples at once, the two may differ.",
    "Loss": "what the network was trained to make small, and what the attacks make large.",
    "Under attack": "after every image was changed, within the stated radius, in a way sought to mislead this very "
    "network; it tells how the network fails in the worst case, not how often that occurs.",
    "Radius": RADIUS,
    "AUC_robust": "the clean score and its mean over all radii up to the largest in one number: the root of their "
    "product; of an error, both divided by the largest one of the compared runs.",
    "–": NO_NUMBER,
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval from drawing patients anew: it tells of their choice alone.",
}


class KeyMetricReport:
    """Reads runs of any pipeline: columns ``loss, score``; ``run.json`` says what the score is."""

    task = "key_metric"
    searched = "score"
    glossary: Mapping[str, str] = GLOSSARY

    def style(self, runs: Sequence[Run]) -> ScoreStyle:
        """The pipeline's own metric.

        Raises:
            BadInputError: for runs whose scores are different metrics.
        """
        return _style(runs)

    def check(self, run: Run) -> None:
        """Refuse a table without the loss, and runs whose score has no name.

        Raises:
            BadInputError: naming the file.
        """
        if "loss" not in run.outcomes:
            raise BadInputError(f"{run.folder / OUTCOMES} has no column 'loss', as those of the task 'key_metric' have")
        if not (run.info.get("score") or {}).get("name"):
            raise BadInputError(f"{run.folder / 'run.json'} does not name its score")

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """``loss``, its mean over samples; the score's is there anyway."""
        return {"loss": float(pd.to_numeric(rows["loss"], errors="coerce").mean())}

    def drawable(self, run: Run, rows: pd.DataFrame) -> list[Drawable]:
        """How the statistics are drawn anew for intervals."""
        return [means({"loss": pd.to_numeric(rows["loss"], errors="coerce")})]

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name.

        Raises:
            BadInputError: for runs whose scores are different metrics.
        """
        style = _style(runs)
        frames = common_frames(runs, self.statistics, self.searched, style.higher_is_better, self.drawable)
        pooled = frames["summary_of_runs"]
        scale = {} if style.higher_is_better else {"scale": largest_error(pooled)}
        areas = auc_by_attack(pooled, higher_is_better=style.higher_is_better, **scale)
        return {**frames, "auc_robust": areas}

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """ "": of an unknown metric nobody knows what is good enough."""
        return ""

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The result in one sentence about clean inputs and one about each attack."""
        style = _style(runs)
        clean = whole(frames["means_over_severities"], CLEAN)
        parts = [told(row, "score", "has {:.2f}", style.undefined) for _, row in clean.iterrows()]
        sentence = f"On clean inputs, by the {style.name} of each sample, {listed(parts)}."
        return [sentence, *falls(frames["breaking_radii"], style)]

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        style = _style(runs)
        found = [
            _clean_section(frames, style),
            _attack_section(runs, frames, style),
            corruption_section(runs, frames, style),
            *(group_section(runs, frames, group, style) for group in runs[0].groups),
        ]
        return [section for section in found if section.tables or section.pictures]


def _style(runs: Sequence[Run]) -> ScoreStyle:
    scores = [run.info["score"] for run in runs]
    for run, score in zip(runs, scores, strict=True):
        if score != scores[0]:
            raise BadInputError(
                f"{runs[0].folder} and {run.folder} cannot be compared: the score of one is {scores[0]['name']}, that "
                f"of the other {score['name']}"
            )
    name, higher = str(scores[0]["name"]), bool(scores[0].get("higher_is_better", True))
    return ScoreStyle(name, f"{name} of each sample, mean", 1.0, 3, "score", percent=False, higher_is_better=higher)


def _clean_section(frames: Mapping[str, pd.DataFrame], style: ScoreStyle) -> Section:
    clean = whole(frames["means_over_severities"], CLEAN)
    columns = {style.name: "score", "loss": "loss"} if style.name != "loss" else {"loss": "score"}
    table = statistics_table(clean, "table_clean", f"{style.title}, clean inputs", columns)
    return Section("Clean inputs", "The pipeline's own metric, taken for each sample alone.", [table])


def _attack_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], style: ScoreStyle) -> Section:
    if not of_kind(runs, "attack"):
        return Section("Attacks")
    scale = "" if style.higher_is_better else f"the largest {style.name} of the compared runs"
    tables = [
        attack_table(runs, frames, style),
        auc_table(frames["auc_robust"], style, scale=scale),
        breaking_table(frames["breaking_radii"], style),
    ]
    text = "How far an input must be changed before the network fails."
    return Section("Attacks", text, tables, radius_pictures(runs, frames["summary"], style))
