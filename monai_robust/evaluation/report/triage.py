"""What a report says of handing the images that it takes least to turn to a person, and the list of those images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from monai_robust.evaluation.measure.nearest import asks_no_label
from monai_robust.evaluation.report.confidence import confidence_note, confidence_of
from monai_robust.evaluation.report.nearest import radii_of, searches_of
from monai_robust.evaluation.report.triage_figure import score_over_coverage
from monai_robust.evaluation.sections.comparisons import ScoreStyle
from monai_robust.evaluation.sections.parts import Measure, Picture, ReportTable, Section, listed, number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.statistics.bootstrap import MINIMUM_PATIENTS, Sums, drawn, patient_draws, percentile_ends
from monai_robust.evaluation.statistics.defined import mean_of_all
from monai_robust.evaluation.statistics.triage import mean_over_coverages, scores_over_coverage, threshold_of_share
from monai_robust.evaluation.tables.run_folder import Perturbation, Run
from monai_robust.evaluation.tasks.registry import TaskReport

__all__ = ["SHARE", "TITLE", "WORKLIST", "triage_frames", "triage_sections", "worklist"]

TITLE = "What a person should read first"
WORKLIST = "worklist"
SHARE = 0.2
"""Of the images, which a person reads. Source: oncology-stability, Table 2."""
_MEANS_OF_SCORES = ("accuracy", "score")
COVERAGES = tuple(np.linspace(0.05, 1.0, 20).tolist())
_RUN = ["run", "seed", "fold", "split_seed"]
COLUMNS = [*_RUN, "sample_id", "patient_id", "perturbation", "radius", "read_first", "prediction", "confidence"]
_CHANCES = 20  # orders of images with equal radii, over which a measure of all images is averaged
_OWN_NOTE = (
    "The fifth of these images with the smallest radii is set aside, of equal radii by chance, as in the table of the "
    "paper. “By confidence”: as many are set aside, those of which the network is least sure."
)
_AUC_NOTE = (
    " AUC: the area under the "
    "ROC curve with which a small radius tells wrong predictions from right ones; 1 is perfect, 0.5 is chance, and "
    "below it small radii belong to right predictions. With few wrong images it is uncertain, with none it does not "
    "exist."
)
_FITTED_NOTE = (
    "The threshold was fitted on the validation images, so that it sets aside a fifth of those, and applied to these "
    "as it stands, which is how it would be used."
)
_INTERVAL_NOTE = " Interval of the change: patients drawn anew, the threshold as it is."
_NO_VALIDATION = (
    "The share is one of these very images. How a threshold fitted on other images would do is not known: there is no "
    "validation run with a search for the smallest radius; it is measured beside the test images where an evaluation "
    "has a validation set."
)


def triage_frames(runs: Sequence[Run], task: TaskReport) -> dict[str, pd.DataFrame]:
    """How the networks do on what is left to them; nothing where no search without labels was made.

    Args:
        runs: finished evaluations.
        task: its measure is told of the images that are left, such as mAP, beside the mean score of an image.

    Returns:
        ``triage``: a row for each run (position and name) and search with ``images`` (that have a score when clean),
        ``score``, ``left`` (their mean score without the :data:`SHARE` with the smallest radii),
        ``left_by_confidence`` (without as many of which the network is least sure), ``wrong`` and ``auc`` (of
        classes), ``over_coverages``, ``over_coverages_confidence`` and, from a validation run, ``threshold``,
        ``validation_images``, ``set_aside`` (share of the images below it), ``left_by_threshold``, ``change``,
        ``change_low`` and ``change_high``; NaN where there is none. The measure of the task has its own column, and
        ``<column>_left``, where it is no mean of scores. ``risk_coverage``: the mean score over coverage,
        ``order`` being ``radius`` or ``confidence``.
    """
    rows, curves = [], []
    for index, run in enumerate(runs):
        for one in _searches(run):
            block = _scored(run, one, task)
            if not len(block):
                continue
            key = {"run": index, "name": run.name, "perturbation": one.name}
            rows.append({**key, **_of_these(run, block), **_fitted(run, one, block), **_pooled(run, block, task)})
            for order in ("radius", "confidence"):
                if block[order].notna().all():
                    scores = scores_over_coverage(block[order], block["score"], COVERAGES)
                    curves += [
                        {**key, "order": order, "coverage": coverage, "score": score}
                        for coverage, score in zip(COVERAGES, scores, strict=True)
                    ]
    return {"triage": pd.DataFrame(rows), "risk_coverage": _of_all_runs(pd.DataFrame(curves))} if rows else {}


def worklist(runs: Sequence[Run], task: TaskReport) -> pd.DataFrame:
    """Every image of every run in the order in which a person should read them: the smallest radius first, of equal
    radii the least sure, and of these by the id of the sample, so that the order of a table's rows does not count.

    It holds ids of samples and patients, and no label: it is for images that nobody has read yet.

    Args:
        runs: finished evaluations.
        task: what is particular to their task.

    Returns:
        ``run`` (its name), ``seed, fold, split_seed`` (of its training, as far as they are known), ``sample_id,
        patient_id, perturbation, radius`` (infinite where nothing was found),
        ``read_first`` (whether it is below the threshold fitted on validation, or else among the :data:`SHARE` smallest
        radii), ``prediction`` and ``confidence`` as far as the task has them.
    """
    blocks = []
    for run in runs:
        for one in _searches(run):
            block = _images(run, one, task).sort_values(["radius", "confidence", "sample_id"], kind="stable")
            threshold = _threshold(run, one)
            if threshold is None:
                first = np.arange(len(block)) < round(SHARE * len(block))
            else:
                first = block["radius"].to_numpy() < threshold
            about = dict(zip(_RUN, (run.name, run.info.get("seed"), *run.split), strict=True))
            blocks.append(block.assign(**about, perturbation=one.name, read_first=first)[COLUMNS])
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)


def triage_sections(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], task: TaskReport) -> list[Section]:
    """A section on what is left to a network, and where the list of images is.

    Args:
        runs: finished evaluations.
        frames: from :func:`triage_frames`.
        task: as given there.
    """
    if "triage" not in frames:
        return []
    triage, curves = frames["triage"], frames["risk_coverage"]
    score = _Score.of(runs[0])
    found: list[ReportTable] = []
    pictures = []
    sure = confidence_note(runs, task)
    for one in _searches(runs[0]):
        rows = triage[triage["perturbation"] == one.name]
        if not len(rows):
            continue
        found.append(_own_table(one, rows, score, task.style(runs)))
        if rows["threshold"].notna().any():
            found.append(_fitted_table(one, rows, score))
        pictures.append(_picture(curves[curves["perturbation"] == one.name], one, score, sure))
    text = (
        "Radii tell which images a network is likely to read wrongly where those have the small ones: they could be "
        "handed to a person, and the network keeps the others. The images themselves, sorted, are in "
        f"{WORKLIST}.csv among the tables of this report, which names them."
    )
    return [Section(TITLE, text, found, pictures)]


def _of_all_runs(curves: pd.DataFrame) -> pd.DataFrame:
    """The curves without orders that some run of a name does not have, so that a mean over runs is that of all."""
    runs = curves.groupby("name")["run"].transform("nunique")
    return curves[curves.groupby(["name", "perturbation", "order"])["run"].transform("nunique") == runs]


@dataclass(frozen=True)
class _Score:
    """How the score of a sample is written."""

    name: str
    scale: float
    digits: int
    unit: str
    higher_is_better: bool

    @classmethod
    def of(cls, run: Run) -> _Score:
        info = run.info.get("score") or {}
        percent = run.task == "classification"
        unit = " [%]" if percent else " [mm]" if run.task == "landmarks" else ""
        name = str(info.get("name") or ("accuracy" if percent else "score"))
        return cls(name, 100.0 if percent else 1.0, 1 if percent else 3, unit, bool(info.get("higher_is_better", True)))

    @property
    def mean(self) -> str:
        """What its mean over images is called."""
        return self.name if self.name.startswith(("mean ", "average ")) else f"mean {self.name}"

    @property
    def title(self) -> str:
        return f"{self.name[:1].upper()}{self.name[1:]}{self.unit}"


def _searches(run: Run) -> list[Perturbation]:
    """Those that asked for no label, and so can tell of an image that nobody has read."""
    return [one for one in searches_of(run) if asks_no_label(one.settings)]


def _images(run: Run, one: Perturbation, task: TaskReport) -> pd.DataFrame:
    """The clean rows of a run with ``radius``, ``confidence`` (NaN where the task has none) and ``prediction``."""
    radii = radii_of(run, one).set_index("sample_id")["radius"]
    clean = run.clean.assign(confidence=confidence_of(run, task)).reset_index(drop=True)
    exclusive = run.task == "classification"
    said = clean["prediction"].map(dict(enumerate(run.classes))) if exclusive else pd.Series("", clean.index)
    return clean.assign(radius=clean["sample_id"].map(radii), prediction=said)


def _scored(run: Run, one: Perturbation, task: TaskReport) -> pd.DataFrame:
    images = _images(run, one, task)
    return images[images["score"].notna()].reset_index(drop=True)


def _of_these(run: Run, block: pd.DataFrame) -> dict[str, float]:
    radii, scores = block["radius"].to_numpy(), block["score"].to_numpy(dtype=np.float64)
    coverage = [1 - round(SHARE * len(block)) / len(block)]
    found = {
        "images": float(len(block)),
        "score": float(scores.mean()),
        "left": float(scores_over_coverage(radii, scores, coverage)[0]),
        "over_coverages": mean_over_coverages(radii, scores),
        "left_by_confidence": math.nan,
        "over_coverages_confidence": math.nan,
    }
    sure = block["confidence"].to_numpy()
    if not np.isnan(sure).any():
        found["left_by_confidence"] = float(scores_over_coverage(sure, scores, coverage)[0])
        found["over_coverages_confidence"] = mean_over_coverages(sure, scores)
    if run.task == "classification":
        right = scores > 0
        ranks = pd.Series(radii).rank().to_numpy()  # the same order, and finite
        found["wrong"] = float((~right).sum())
        found["auc"] = float(roc_auc_score(right, ranks)) if 0 < right.sum() < len(right) else math.nan
    return found


def _threshold(run: Run, one: Perturbation) -> float | None:
    """Fitted on the validation run, None where that was not searched alike."""
    if run.validation is None:
        return None
    same = [other for other in _searches(run.validation) if other.name == one.name and not one.differs_from(other)]
    radii = radii_of(run.validation, same[0])["radius"] if same else ()
    return threshold_of_share(radii, SHARE) if len(radii) else None


def _fitted(run: Run, one: Perturbation, block: pd.DataFrame) -> dict[str, float]:
    names = ("threshold", "validation_images", "set_aside", "left_by_threshold", "change", "change_low", "change_high")
    threshold = _threshold(run, one)
    if threshold is None or run.validation is None:
        return dict.fromkeys(names, math.nan)
    left, scores = block["radius"].to_numpy() >= threshold, block["score"].to_numpy(dtype=np.float64)
    mean = float(scores[left].mean()) if left.any() else math.nan
    numbers = (
        threshold,
        float(run.validation.clean["sample_id"].nunique()),
        float((~left).mean()),
        mean,
        mean - float(scores.mean()),
        *_ends_of_change(scores, left, _patients(block)),
    )
    return dict(zip(names, numbers, strict=True))


def _patients(block: pd.DataFrame) -> NDArray[np.intp]:
    """An index for each image; of unknown patients its own."""
    known = block["patient_id"].where(block["patient_id"] != "", "\x1f" + block["sample_id"])
    return np.unique(known.to_numpy(dtype=str), return_inverse=True)[1]


def _ends_of_change(scores: NDArray[np.float64], left: NDArray[np.bool_], member: NDArray[np.intp]) -> list[float]:
    """95 % interval of the mean score of what is left less that of all, NaN with too few patients."""
    patients = int(member.max()) + 1
    if patients < MINIMUM_PATIENTS or not left.any():
        return [math.nan, math.nan]

    def change(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {"change": sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]}

    sums = Sums(np.stack([scores * left, left, scores, np.ones_like(scores)], axis=1), change)
    draws = drawn(sums, member, patient_draws(patients))["change"]
    return [float(end) for end in percentile_ends(draws[:, None])[0]]


def _pooled(run: Run, block: pd.DataFrame, task: TaskReport) -> dict[str, float]:
    """The measure of the task on all images, and on those that are left without the smallest radii; of images with the
    very radius of the last that is set aside, chance decides: the mean over some such choices."""
    column = task.style([run]).column
    if column in _MEANS_OF_SCORES:
        return {}
    clean, generator = run.clean, np.random.default_rng(0)
    ordered, aside = block.sort_values(["radius", "sample_id"]), round(SHARE * len(block))
    radii, samples = ordered["radius"].to_numpy(), ordered["sample_id"].to_numpy()
    tied = 0 < aside < len(radii) and radii[aside - 1] == radii[aside]
    found = []
    for _ in range(_CHANCES if tied else 1):
        order = np.lexsort((generator.random(len(radii)), radii)) if tied else np.arange(len(radii))
        kept = clean[clean["sample_id"].isin(samples[order[aside:]])]
        found.append(float(task.statistics(run, kept)[column]))
    return {column: float(task.statistics(run, clean)[column]), f"{column}_left": mean_of_all(found)}


def _own_table(one: Perturbation, rows: pd.DataFrame, score: _Score, style: ScoreStyle) -> ReportTable:
    percent = f"{100 * SHARE:.0f} %"
    columns = {
        "Images": ("images", 1.0, 0),
        score.title: ("score", score.scale, score.digits),
        f"{score.title} without the {percent} smallest": ("left", score.scale, score.digits),
    }
    if style.column in rows:
        columns[style.title] = (style.column, style.scale, style.digits)
        columns[f"{style.title} without them"] = (f"{style.column}_left", style.scale, style.digits)
    if rows["left_by_confidence"].notna().any():
        columns["By confidence"] = ("left_by_confidence", score.scale, score.digits)
    if "auc" in rows:
        columns["Wrong images"] = ("wrong", 1.0, 0)
        columns["AUC"] = ("auc", 1.0, 3)
    title = f"Without the images of the smallest radii, {perturbation_label(one.name)}"
    note = _OWN_NOTE + (_AUC_NOTE if "auc" in rows else "")
    note = note if rows["threshold"].notna().any() else f"{note} {_NO_VALIDATION}"
    return _table(f"table_{one.name}_triage", title, columns, rows, note)


def _fitted_table(one: Perturbation, rows: pd.DataFrame, score: _Score) -> ReportTable:
    columns = {
        "Validation images": ("validation_images", 1.0, 0),
        "Threshold (radius)": ("threshold", 1.0, 4 if one.norm == "linf" else 3),
        "Images set aside [%]": ("set_aside", 100.0, 1),
        score.title: ("score", score.scale, score.digits),
        f"{score.title} of those left": ("left_by_threshold", score.scale, score.digits),
        "Change": ("change", score.scale, score.digits),
    }
    title = f"With a threshold fitted on validation, {perturbation_label(one.name)}"
    lacking = [str(name) for name, block in rows.groupby("name", sort=False) if block["threshold"].isna().any()]
    note = _FITTED_NOTE + (_INTERVAL_NOTE if rows["change_low"].notna().any() else "")
    if lacking:
        named = listed([f"“{name}”" for name in lacking])
        note += f" None for {named}, of which a run has no validation with a search for the smallest radius."
    return _table(f"table_{one.name}_threshold", title, columns, rows, note)


def _table(
    name: str, title: str, columns: Mapping[str, tuple[str, float, int]], frame: pd.DataFrame, note: str
) -> ReportTable:
    rows = [
        ([str(run)], [_cell(block, column, scale, digits) for column, scale, digits in columns.values()])
        for run, block in frame.groupby("name", sort=False)
    ]
    digits = [digits for *_, digits in columns.values()]
    return ReportTable(name, title, ["Run"], list(columns), rows, 1.0, digits, note)


def _cell(block: pd.DataFrame, column: str, scale: float, digits: int) -> Measure | str:
    """Mean and standard deviation over runs, where all have the number; the interval of a single one; of a number of
    images that is the same in all runs, that number."""
    values = scale * block[column]
    mean, ends = mean_of_all(values), (f"{column}_low", f"{column}_high")
    if math.isinf(mean):
        return "beyond all"
    if len(block) == 1 and ends[0] in block:
        return Measure(mean, math.nan, *(scale * float(block[end].iloc[0]) for end in ends))
    if digits == 0 and values.nunique() == 1:
        return Measure(mean)
    return Measure(mean, float(values.std(ddof=1)))


def _picture(curves: pd.DataFrame, one: Perturbation, score: _Score, sure: str) -> Picture:
    figure = score_over_coverage(curves, label=f"{score.mean}{score.unit}", scale=score.scale)
    parts = []
    for (name, order), block in curves.groupby(["name", "order"], sort=False):
        at = block.groupby("coverage")["score"].mean()
        half, every = at.iloc[len(at) // 2 - 1], at.iloc[-1]
        parts.append(f"{name} by {order} {number(score.scale * half)} at half and {number(score.scale * every)} at all")
    alt = f"Lines: {score.mean} of the images that are left to the network over their share: {listed(parts)}."
    caption = (
        f"{perturbation_label(one.name)}. To the left, more images are read by a person: those with the smallest radii "
        "(solid), or those of which the network is least sure (dashed). A line that gets no better to the left says "
        f"that this order tells nothing of errors. {sure}"
        if (curves["order"] == "confidence").any()
        else f"{perturbation_label(one.name)}. To the left, more images are read by a person: those with the smallest "
        f"radii. A line that gets no better to the left says that radii tell nothing of errors. {sure}"
    )
    return Picture(figure, alt, caption)
