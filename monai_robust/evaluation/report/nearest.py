"""What a report says of the smallest change that each image needs, and of what that tells about the network."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from monai_robust.attacks.criteria import Incorrect, PredictionChanged
from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.nearest import asks_no_label, radii_found
from monai_robust.evaluation.report.nearest_figure import share_over_radius
from monai_robust.evaluation.sections.parts import MISSING, Measure, Picture, ReportTable, Section, listed, number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.statistics.defined import mean_of_all
from monai_robust.evaluation.statistics.summary import mean_input_norm
from monai_robust.evaluation.tables.run_folder import INFO, Perturbation, Run

__all__ = ["TITLE", "nearest_frames", "nearest_sections", "radii_of", "searches_of"]

TITLE = "How little it takes"


def nearest_frames(runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """What is known of smallest radii, in no frame with the id of a sample; nothing where none were searched.

    Returns:
        ``smallest_radius``: a row for each image, its run (position in ``runs`` and name), ``perturbation``, the group
        columns, ``score`` (when clean) and ``radius`` (units of the network's input; 0 where the image needs no
        change, infinite where nothing was found). ``smallest_radius_of_runs``: a row for each run and perturbation
        with ``images`` (that have a score when clean; the others are left out), the ``median`` radius,
        ``median_percent`` (L2 only: of the mean norm of the clean inputs), ``not_found`` (share) and, as far as they
        make sense, ``already`` (share of images that need no change), ``median_right`` and ``median_wrong`` (of
        rightly and wrongly classified images).

    Raises:
        BadInputError: where ``run.json`` names a criterion that is not known.
    """
    blocks, rows = [], []
    for index, run in enumerate(runs):
        for one in searches_of(run):
            block = radii_of(run, one).assign(run=index, name=run.name, perturbation=one.name)
            block = block.sort_values("radius", kind="stable")  # not the order of samples, which would name them
            blocks.append(block[["run", "name", "perturbation", *run.groups, "score", "radius"]])
            rows.append({"run": index, "name": run.name, "perturbation": one.name, **_statistics(run, one, block)})
    return {"smallest_radius": pd.concat(blocks), "smallest_radius_of_runs": pd.DataFrame(rows)} if rows else {}


def nearest_sections(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
    """One section for all searches: for each a figure and a table of radii.

    Args:
        runs: finished evaluations.
        frames: from :func:`nearest_frames`.
    """
    searches = searches_of(runs[0])
    if not searches:
        return []
    images, of_runs = frames["smallest_radius"], frames["smallest_radius_of_runs"]
    tables, pictures = [], []
    for one in searches:
        frame = of_runs[of_runs["perturbation"] == one.name]
        tables.append(_radius_table(runs[0], one, frame))
        pictures.append(_picture(runs, one, images[images["perturbation"] == one.name]))
    changes = listed(list(dict.fromkeys(f"until {_event(runs[0], one)}" for one in searches)))
    text = (
        f"Every image was changed as little as possible {changes}. The radius is the size of the smallest such change "
        "that was found: it is an upper bound, since a smaller change that nobody has found may do. What is searched "
        "is another answer, so that an image that was read wrongly may be read rightly after the change."
    )
    return [Section(TITLE, text, tables, pictures)]


def searches_of(run: Run) -> list[Perturbation]:
    """The searches for the nearest change among a run's perturbations."""
    return [one for one in run.perturbations if one.kind == "nearest"]


def radii_of(run: Run, one: Perturbation) -> pd.DataFrame:
    """The rows of a search with the ``score`` of the clean image and the ``radius``."""
    rows = run.outcomes[run.outcomes["perturbation"] == one.name]
    clean = rows["sample_id"].map(run.clean.set_index("sample_id")["score"])
    try:
        radius = radii_found(rows, clean, one.settings, _higher_is_better(run))
    except BadInputError as error:
        raise BadInputError(f"{run.folder / INFO}, {one.name}: {error}") from None
    return rows.assign(score=clean, radius=radius)


def _statistics(run: Run, one: Perturbation, block: pd.DataFrame) -> dict[str, float]:
    scored = block[block["score"].notna()]
    radii, right = scored["radius"].to_numpy(), scored["score"].to_numpy() > 0
    norm = mean_input_norm(run)
    median = _median(radii)
    found = {
        "images": float(len(scored)),
        "median": median,
        "median_percent": 100 * median / norm if one.norm == "l2" and norm > 0 else math.nan,
        "not_found": float(np.isinf(radii).mean()) if len(radii) else math.nan,
    }
    if _can_be_zero(one):
        found["already"] = float((radii == 0).mean()) if len(radii) else math.nan
    if run.task == "classification" and run.labelled:
        found |= {"median_right": _median(radii[right]), "median_wrong": _median(radii[~right])}
    return found


def _can_be_zero(one: Perturbation) -> bool:
    """Whether an image may fulfil the criterion as it is."""
    return not asks_no_label(one.settings)


def _median(radii: np.ndarray) -> float:
    return float(np.median(radii)) if len(radii) else math.nan


def _radius_table(run: Run, one: Perturbation, frame: pd.DataFrame) -> ReportTable:
    high = number(one.severities[0])
    fine = 4 if one.norm == "linf" else 3
    columns = [_Column("Median radius", "median", 1.0, fine, f"beyond {high}")]
    if one.norm == "l2":
        columns.append(_Column("In percent of the mean image norm", "median_percent", 1.0, 2))
    judged = run.task == "classification" and run.labelled
    if judged:
        columns.append(_Column("Median, rightly classified", "median_right", 1.0, fine, f"beyond {high}"))
    if judged and not _can_be_zero(one):
        columns.append(_Column("Median, wrongly classified", "median_wrong", 1.0, fine, f"beyond {high}"))
    if _can_be_zero(one):
        columns.append(_Column("No change needed [%]", "already", 100.0, 1))
    columns.append(_Column(f"None found up to {high} [%]", "not_found", 100.0, 1))
    title = f"Smallest radius at which {_event(run, one)}, {perturbation_label(one.name)}"
    note = "Radii are in units of the network's input."
    if run.task != "classification":
        note += " Images without a score when clean are left out."
    return _table(f"table_{one.name}", title, columns, frame, note)


@dataclass(frozen=True)
class _Column:
    """A column of a table: its header, its statistic and how that is written, also where it is infinite."""

    header: str
    statistic: str
    scale: float
    digits: int
    infinite: str = MISSING

    def cell(self, values: pd.Series) -> Measure | str:
        """Mean and standard deviation over runs, where all have the number."""
        mean = self.scale * mean_of_all(values)
        if math.isinf(mean):
            return self.infinite
        return Measure(mean, self.scale * float(values.std(ddof=1)))


def _table(name: str, title: str, columns: Sequence[_Column], frame: pd.DataFrame, note: str) -> ReportTable:
    rows = [([run], [one.cell(block[one.statistic]) for one in columns]) for run, block in _by_name(frame)]
    return ReportTable(
        name, title, ["Run"], [one.header for one in columns], rows, 1.0, [one.digits for one in columns], note
    )


def _picture(runs: Sequence[Run], one: Perturbation, images: pd.DataFrame) -> Picture:
    high, scored = one.severities[0], images[images["score"].notna()]
    norm = float(np.mean([mean_input_norm(run) for run in runs]))
    percent = 100 / norm if one.norm == "l2" and norm > 0 else math.nan
    ends = [
        f"{name} {100 * float((block['radius'] <= high / 2).mean()):.0f} % up to {number(high / 2)} and "
        f"{100 * float(np.isfinite(block['radius']).mean()):.0f} % up to {number(high)}"
        for name, block in _by_name(scored)
    ]
    event = _event(runs[0], one)
    figure = share_over_radius(
        scored, high, one.norm, label=textwrap.fill(f"share of images of which {event}", 38), percent=percent
    )
    alt = f"Lines: share of images of which {event}, over the radius of the change: {listed(ends)}."
    caption = "The further to the left a line rises, the less it takes. Runs of one name put together."
    return Picture(figure, alt, caption)


def _event(run: Run, one: Perturbation) -> str:
    """What a search has waited for, after "until"."""
    criterion = one.settings["criterion"]
    if criterion == PredictionChanged.name:
        return "the predicted class changes"
    if criterion == Incorrect.name:
        return "the prediction is wrong"
    score = (run.info.get("score") or {}).get("name", "score")
    if asks_no_label(one.settings):
        score += " with what was said of the clean image"
    return f"the {score} is {'below' if _higher_is_better(run) else 'above'} {number(one.settings['level'])}"


def _by_name(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, block in frame.groupby("name", sort=False):
        yield str(name), block


def _higher_is_better(run: Run) -> bool:
    return bool((run.info.get("score") or {}).get("higher_is_better", True))
