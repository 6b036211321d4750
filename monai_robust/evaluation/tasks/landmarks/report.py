"""What a report says about landmarks: their errors in mm, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import ScoreStyle, falls, of_kind, undertrained, whole
from monai_robust.evaluation.sections.parts import (
    NO_NUMBER,
    RADIUS,
    ReportTable,
    Section,
    listed,
    measured,
    number,
    told,
)
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.sections.scores import (
    attack_section,
    frames_by,
    score_frames,
    score_sections,
    statistics_table,
)
from monai_robust.evaluation.sections.several_measures import Column, measures_tables
from monai_robust.evaluation.statistics.bootstrap import Drawable
from monai_robust.evaluation.tables.run_folder import OUTCOMES, Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.landmarks.drawable import landmark_drawable
from monai_robust.metrics import mean_radial_error, successful_detection_rate

__all__ = ["LandmarkReport"]

MRE = ScoreStyle(
    "MRE",
    "MRE in mm",
    1.0,
    2,
    "mre",
    percent=False,
    higher_is_better=False,
    unit="mm",
    undefined="no image has a landmark",
)
PILOT_MRE = 4.0
SCORE_TOLERANCE = 1e-4
# The challenge's distances in mm, and the columns of their rates: sdr_2_5 is the rate within 2 mm of landmark 5.
DISTANCES = {2.0: "sdr_2", 2.5: "sdr_2.5", 3.0: "sdr_3", 4.0: "sdr_4"}
RATES = {f"Within {number(distance)} mm": column for distance, column in DISTANCES.items()}
GLOSSARY = {
    "MRE": "the mean radial error: how far, on average, a predicted landmark lies from the true one, in mm; 0 is "
    "perfect. All landmarks of all images are put together first; where an image lacks landmarks this is not the mean "
    "of the images' own means.",
    "SD": "the standard deviation of these distances: how unequal they are.",
    "SDR": "the successful detection rate: the share of landmarks that are found within the stated distance of the "
    "true one; 2 mm is what is commonly accepted in cephalometry.",
    "MRE under attack": "the same after every image was changed, within the stated radius, in a way sought to mislead "
    "this very network; it tells how the network fails in the worst case, not how often that occurs.",
    "Radius": RADIUS,
    "AUC_robust": "clean MRE and its mean over all radii up to the largest in one number: the root of their product, "
    "both divided by the largest MRE of the compared runs; lower is better.",
    "–": NO_NUMBER,
    "± and to": "after ± stands the standard deviation over training runs (seeds or folds); where there is one run "
    "only, a 95 % interval, such as 1.5 to 1.8, from drawing patients anew: it tells of their choice alone.",
}


class LandmarkReport:
    """Reads runs of landmark detection: columns ``error_1`` and so on, and ``score``, in mm; ``classes`` are names."""

    task = "landmarks"
    searched = "mre"
    glossary: Mapping[str, str] = GLOSSARY

    def style(self, runs: Sequence[Run]) -> ScoreStyle:
        """The measure that networks are first of all judged by."""
        return MRE

    def check(self, run: Run) -> None:
        """Refuse a table that is no landmark detector's or contradicts itself.

        Raises:
            BadInputError: naming the file and the column.
        """
        path, table, landmarks = run.folder / OUTCOMES, run.outcomes, len(run.classes)
        if not landmarks:
            raise BadInputError(f"{run.folder / 'run.json'} must list the landmarks' names as classes, it lists none")
        if (run.info.get("score") or {}).get("higher_is_better", False):
            raise BadInputError(f"{run.folder / 'run.json'}: of radial errors less is better, not more")
        columns = _columns(run)
        if [name for name in columns if name not in table] or f"error_{landmarks + 1}" in table:
            raise BadInputError(
                f"{path} must have the columns {', '.join(columns)} for its {landmarks} landmarks, it has "
                f"{', '.join(table.columns)}"
            )
        errors = _errors(run, table)
        empty = (table[columns].isna() | table[columns].isin(["", "nan"])).to_numpy()
        for place, name in enumerate(columns):
            wrong = (
                (np.isnan(errors[:, place]) & ~empty[:, place]) | (errors[:, place] < 0) | np.isinf(errors[:, place])
            )
            if wrong.any():
                line = int(np.flatnonzero(wrong)[0]) + 2
                raise BadInputError(
                    f"{path}, line {line}: {name} must be a distance in mm, or empty where it is missing"
                )
        counts = np.maximum((~np.isnan(errors)).sum(axis=1), 1)
        means = np.where(np.isnan(errors).all(axis=1), np.nan, np.nansum(errors, axis=1) / counts)
        if not np.allclose(table["score"], means, rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE, equal_nan=True):
            raise BadInputError(
                f"{path} contradicts itself: score must be the mean error of the landmarks an image has, and empty "
                "where it has none"
            )

    def statistics(self, run: Run, rows: pd.DataFrame) -> dict[str, float]:
        """Numbers about some rows of a table.

        Returns:
            ``mre`` and ``sd`` in mm, pooled over all landmarks; ``sdr_2, sdr_2.5, sdr_3, sdr_4``, shares within that
            many mm; of landmark l (from 1) ``mre_<l>`` and ``sdr_2_<l>``.
        """
        errors = _errors(run, rows)
        radial, found = mean_radial_error(errors), successful_detection_rate(errors, tuple(DISTANCES))
        return {
            "mre": radial.mean,
            "sd": radial.std,
            **dict(zip(DISTANCES.values(), found.rates.tolist(), strict=True)),
            **{f"mre_{place}": value for place, value in enumerate(radial.landmarks.tolist(), 1)},
            **{f"sdr_2_{place}": value for place, value in enumerate(found.landmarks[0].tolist(), 1)},
        }

    def drawable(self, run: Run, rows: pd.DataFrame) -> list[Drawable]:
        """How the statistics are drawn anew for intervals."""
        return landmark_drawable(_errors(run, rows), DISTANCES)

    def frames(self, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
        """Every frame a report is made from, by name."""
        return score_frames(runs, self.statistics, MRE, (MRE,), self.drawable)

    def pilot(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> str:
        """Why the results are a pilot only, "" if they are not: robustness of an undertrained network says little."""
        means = frames["means_over_severities"]
        worst = undertrained(runs, means, ("erm", "std"), "mre", PILOT_MRE, higher_is_better=False)
        if worst is None:
            return ""
        return (
            f"“{worst['name']}”, trained in the usual way (ERM), misses the landmarks of the clean images by "
            f"{worst['mre']:.1f} mm on average, more than {PILOT_MRE:.0f} mm; the robustness of an undertrained "
            "network says little"
        )

    def headline(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[str]:
        """The result in one sentence about clean images and one about each attack."""
        clean = whole(frames["means_over_severities"], CLEAN)
        parts = [told(row, "mre", "misses them by {:.2f} mm", MRE.undefined) for _, row in clean.iterrows()]
        sentence = f"On clean images, by the mean radial error (MRE) of all landmarks, {listed(parts)}."
        return [sentence, *falls(frames["breaking_radii"], MRE)]

    def sections(self, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
        """Everything between the headline and the gallery."""
        pooled = frames_by(frames, MRE.column)
        rates = [_rate_table(pooled["summary"], attack) for attack in of_kind(runs, "attack")]
        landmarks = [_landmarks_under(pooled["summary"], attack, runs[0].classes) for attack in of_kind(runs, "attack")]
        attacks = attack_section(runs, frames, (MRE,), (MRE,), more=[*rates, *landmarks])
        sections = score_sections(runs, frames, MRE, _clean_section(runs, pooled), attacks)
        return [_with_rates(section, runs, frames) for section in sections]


def _clean_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    clean = whole(frames["means_over_severities"], CLEAN)
    missing = int(np.isnan(_errors(runs[0], runs[0].clean)).sum())
    text = (
        f"Of {len(runs[0].clean) * len(runs[0].classes)} landmarks, {missing} are missing and left out."
        if missing
        else "Every image has every landmark."
    )
    title = "Mean radial error (MRE) of clean images and its standard deviation (SD)"
    tables = [
        statistics_table(clean, "table_mre", title, {"MRE [mm]": "mre", "SD [mm]": "sd"}, digits=2),
        statistics_table(clean, "table_sdr", "Successful detection rate (SDR) in percent", RATES, 100.0, 1),
        _landmark_table(clean, "mre", "MRE in mm of each landmark, clean images", runs[0].classes, 1.0, 2),
        _landmark_table(clean, "sdr_2", "SDR within 2 mm in percent of each landmark, clean images", runs[0].classes),
    ]
    return Section("Radial errors", text, tables)


def _landmark_table(
    clean: pd.DataFrame, statistic: str, title: str, landmarks: Sequence[str], scale: float = 100.0, digits: int = 1
) -> ReportTable:
    """A row for each landmark, of which there are many, and a column for each name."""
    rows = [
        ([landmark], [measured(row, f"{statistic}_{place}") for _, row in clean.iterrows()])
        for place, landmark in enumerate(landmarks, 1)
    ]
    headers = [str(name) for name in clean["name"]]
    return ReportTable(f"table_{statistic}_of_landmarks", title, ["Landmark"], headers, rows, scale, digits)


def _rate_table(replicated: pd.DataFrame, attack: str) -> ReportTable:
    """The rates within each distance, a row for each radius, 0 being the clean inputs, and name."""
    chosen = replicated[(replicated["group"] == "") & replicated["perturbation"].isin([CLEAN, attack])]
    rows = [
        ([number(float(row["severity"])), str(row["name"])], [measured(row, column) for column in RATES.values()])
        for _, row in chosen.sort_values("severity", kind="stable").iterrows()
    ]
    title = f"Successful detection rate (SDR) in percent under {perturbation_label(attack)}"
    return ReportTable(f"table_sdr_{attack}", title, ["Radius", "Run"], list(RATES), rows, 100.0, 1)


def _landmarks_under(replicated: pd.DataFrame, attack: str, landmarks: Sequence[str]) -> ReportTable:
    """MRE of each landmark: a row for each landmark and name, a column for each radius, 0 being the clean inputs."""
    chosen = replicated[(replicated["group"] == "") & replicated["perturbation"].isin([CLEAN, attack])]
    radii = sorted(chosen["severity"].unique())
    rows = [
        ([landmark, str(name)], [measured(block.loc[radius], f"mre_{place}") for radius in radii])
        for place, landmark in enumerate(landmarks, 1)
        for name, block in ((name, own.set_index("severity")) for name, own in chosen.groupby("name", sort=False))
    ]
    title = f"MRE in mm of each landmark at each radius of {perturbation_label(attack)}"
    headers = [number(float(radius)) for radius in radii]
    note = "SDR of each landmark under every perturbation stands in summary.csv."
    return ReportTable(f"table_mre_of_landmarks_{attack}", title, ["Landmark", "Run"], headers, rows, 1.0, 2, note)


def _with_rates(section: Section, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    """The section about corruptions with the detection rates under each of them; any other as it is."""
    if section.title != "Corruptions":
        return section
    columns = [Column(f"{header} [share]", column) for header, column in RATES.items()]
    rates = measures_tables(runs, frames, columns, "sdr", "Successful detection rate (SDR)", "")
    return replace(section, tables=[*section.tables, rates[-1]])


def _columns(run: Run) -> list[str]:
    return [f"error_{place}" for place in range(1, len(run.classes) + 1)]


def _errors(run: Run, rows: pd.DataFrame) -> NDArray[np.float64]:
    """(N, L) radial errors in mm, NaN where a landmark is missing."""
    # a column that holds something else is text
    columns = [pd.to_numeric(rows[name], errors="coerce").to_numpy(dtype=np.float64) for name in _columns(run)]
    return np.stack(columns, axis=1)
