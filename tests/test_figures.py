"""Figures show what the tables say: their data is read back and compared, and follows a change of one row."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic_runs import RADII, write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.figures import (
    amplification,
    contrast_density,
    gallery_figure,
    grouped_bars,
    reliability_diagram,
    score_over_severity,
    score_versus_radius,
)
from monai_robust.evaluation.statistics.summary import mean_over_severities, over_replicates, summarise
from monai_robust.evaluation.tables.run_folder import Run, read_run
from monai_robust.evaluation.tasks.classification import ClassificationReport

REPORT = ClassificationReport()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of erm, one of rtda."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        read_run(write_run(folder / f"{name}{seed}", name, seed=seed, falls=falls, gallery=True))
        for name, seed, falls in (("erm", 0, 1.0), ("erm", 1, 1.0), ("rtda", 0, 0.2))
    ]


@pytest.fixture(scope="module")
def replicated(runs: list[Run]) -> pd.DataFrame:
    return over_replicates(summarise(runs, REPORT.statistics))


@pytest.fixture(scope="module")
def averaged(runs: list[Run]) -> pd.DataFrame:
    return over_replicates(mean_over_severities(runs, summarise(runs, REPORT.statistics)))


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, N) data of the line with that label."""
    return np.array(next(one for one in axes.lines if one.get_label() == label).get_data())


def heights(axes: Axes) -> list[float]:
    return [bar.get_height() for group in axes.containers for bar in getattr(group, "patches", [])]


def accuracy(run: Run, perturbation: str, severity: float) -> float:
    rows = run.outcomes[(run.outcomes["perturbation"] == perturbation) & (run.outcomes["severity"] == severity)]
    return float((rows["label"] == rows["prediction"]).mean())


def test_lines_over_the_radius_start_clean_and_are_means_over_runs(runs: list[Run], replicated: pd.DataFrame) -> None:
    axes = score_versus_radius(replicated, "pgd_l2").axes[0]
    radii, scores = line(axes, "erm")
    assert radii.tolist() == [0.0, *RADII]
    points = [("clean", 0.0), *(("pgd_l2", radius) for radius in RADII)]
    assert scores == pytest.approx([np.mean([accuracy(run, *point) for run in runs[:2]]) for point in points])
    assert "L2" in axes.get_xlabel()


def test_the_shade_is_one_standard_deviation_and_missing_for_a_single_run(
    runs: list[Run], replicated: pd.DataFrame
) -> None:
    axes = score_versus_radius(replicated, "pgd_l2").axes[0]
    assert len(axes.collections) == 1
    at_half = [accuracy(run, "pgd_l2", 0.5) for run in runs[:2]]
    band = axes.collections[0].get_paths()[0].vertices
    edges = band[np.isclose(band[:, 0], 0.5), 1]
    assert (edges.min(), edges.max()) == pytest.approx(
        (np.mean(at_half) - np.std(at_half, ddof=1), np.mean(at_half) + np.std(at_half, ddof=1))
    )


def test_a_second_scale_gives_radii_in_percent_of_the_image_norm(replicated: pd.DataFrame) -> None:
    figure = score_versus_radius(replicated, "pgd_l2")
    figure.draw_without_rendering()
    below, above = figure.axes[0].get_xlim(), figure.axes[0].child_axes[0].get_xlim()
    percent = (replicated["radius_percent"] / replicated["severity"]).dropna().iloc[0]
    assert above[1] / below[1] == pytest.approx(percent, rel=0.02)
    linf = replicated.assign(radius_percent=math.nan)
    assert not score_versus_radius(linf, "pgd_l2").axes[0].child_axes


def test_noise_has_a_panel_each_and_a_line_for_each_name(runs: list[Run], replicated: pd.DataFrame) -> None:
    figure = score_over_severity(replicated, ["gaussian", "speckle"])
    assert [axes.get_title() for axes in figure.axes] == ["Gaussian", "Speckle"]
    severities, scores = line(figure.axes[1], "rtda")
    assert scores == pytest.approx([accuracy(runs[2], "speckle", severity) for severity in severities])


def test_bars_are_the_metric_of_every_name_and_perturbation(averaged: pd.DataFrame) -> None:
    figure = grouped_bars(averaged, "brier_multiclass", ["clean", "contrast_high"], label="Brier score")
    whole = averaged[averaged["group"] == ""].set_index(["perturbation", "name"])["brier_multiclass"]
    order = [(what, name) for what in ("clean", "contrast_high") for name in ("erm", "rtda")]
    assert heights(figure.axes[0]) == pytest.approx([whole[key] for key in order])
    assert figure.axes[0].get_ylabel() == "Brier score"


def test_the_reliability_diagram_shows_its_bins(runs: list[Run]) -> None:
    bins = REPORT.reliability(runs)
    figure = reliability_diagram(bins)
    erm = bins[bins["run"] == 0].sort_values("confidence")
    assert line(figure.axes[0], "erm") == pytest.approx(erm[["confidence", "accuracy"]].to_numpy().T)
    assert [axes.get_title() for axes in figure.axes] == ["erm", "rtda"]


def test_contrast_densities_integrate_to_one_around_their_data(runs: list[Run]) -> None:
    axes = contrast_density(runs[0].outcomes).axes[0]
    assert [one.get_label() for one in axes.lines] == ["Clean", "High contrast × 1.5", "Low contrast × 0.5"]
    for label, factor in (("Clean", 1.0), ("High contrast × 1.5", 1.5), ("Low contrast × 0.5", 0.5)):
        places, density = line(axes, label)
        assert np.trapezoid(density, places) == pytest.approx(1, abs=0.01)
        assert np.trapezoid(density * places, places) == pytest.approx(0.2 * factor, rel=0.08)


def test_severities_of_a_shift_share_a_colour_and_a_place_in_the_legend(runs: list[Run]) -> None:
    high = runs[0].outcomes[runs[0].outcomes["perturbation"] == "contrast_high"]
    more = [high.assign(severity=factor, contrast=factor * high["contrast"]) for factor in (2.0, 3.0)]
    axes = contrast_density(pd.concat([runs[0].outcomes, *more])).axes[0]
    colour = next(one for one in axes.lines if one.get_label() == "High contrast × 1.5 to 3").get_color()
    own = [one for one in axes.lines if one.get_color() == colour]
    assert len(own) == 3
    assert [one.get_label() for one in axes.lines if not str(one.get_label()).startswith("_")] == [
        "Clean", "High contrast × 1.5 to 3", "Low contrast × 0.5"
    ]  # fmt: skip


def test_a_density_of_equal_contrasts_can_be_drawn(runs: list[Run]) -> None:
    places, density = line(contrast_density(runs[0].outcomes.assign(contrast=0.2)).axes[0], "Clean")
    assert np.trapezoid(density, places) == pytest.approx(1, abs=0.01)


def test_the_gallery_names_the_factor_by_which_it_amplifies(runs: list[Run]) -> None:
    gallery = runs[0].gallery
    assert gallery is not None
    figure = gallery_figure(gallery, "pgd_l2@2.0")
    assert len(figure.axes) == 12
    clean, change, attacked, shifted = figure.axes[:4]
    factor = float(change.get_xlabel().split("×")[1])
    window = float(gallery.pictures["clean"][0].max() + gallery.pictures["clean"][0].min())
    drawn = np.asarray(change.images[0].get_array())
    difference = gallery.pictures["pgd_l2@2.0"][0].astype(float) - gallery.pictures["clean"][0]
    assert drawn == pytest.approx(window / 2 + factor * difference)
    assert clean.get_xlabel() == "is covid\nsaid covid, 93 %"
    assert attacked.get_xlabel() == "is covid\nsaid normal, 81 % (wrong)"
    assert len({axes.images[0].get_clim() for axes in (clean, change, attacked, shifted)}) == 1


def test_a_gallery_without_attack_shows_what_there_is_and_a_wrong_key_is_refused(runs: list[Run]) -> None:
    gallery = runs[0].gallery
    assert gallery is not None
    assert len(gallery_figure(gallery).axes) == 9
    with pytest.raises(BadInputError, match="it has clean"):
        gallery_figure(gallery, "fgsm@1.0")


@pytest.mark.parametrize(("size", "expected"), [(0.01, 30.0), (0.0001, 3000.0), (0.2, 1.0), (5.0, 1.0), (0.0, 1.0)])
def test_the_amplification_is_round_and_never_below_one(size: float, expected: float) -> None:
    assert amplification(np.full((4, 4), size), 1.0) == expected


def test_an_unknown_perturbation_is_refused_with_those_there_are(replicated: pd.DataFrame) -> None:
    with pytest.raises(BadInputError, match="they hold clean, pgd_l2"):
        score_versus_radius(replicated, "fgsm_linf")


def change_row(folder: Path, perturbation: str, severity: float, **cells: str) -> None:
    """Change the first matching row of the file ``outcomes.csv``."""
    path = folder / "outcomes.csv"
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    places = [header.index("perturbation"), header.index("severity")]
    row = next(row for row in rows if [row[place] for place in places] == [perturbation, repr(severity)])
    for name, value in cells.items():
        row[header.index(name)] = value
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def radius_data(run: Run) -> np.ndarray:
    return line(score_versus_radius(over_replicates(summarise([run], REPORT.statistics)), "pgd_l2").axes[0], "erm")[1]


def noise_data(run: Run) -> np.ndarray:
    figure = score_over_severity(over_replicates(summarise([run], REPORT.statistics)), ["gaussian"])
    return line(figure.axes[0], "erm")[1]


def bar_data(run: Run) -> np.ndarray:
    means = over_replicates(mean_over_severities([run], summarise([run], REPORT.statistics)))
    return np.array(heights(grouped_bars(means, "brier_multiclass", ["clean", "contrast_low"], label="").axes[0]))


def reliability_data(run: Run) -> np.ndarray:
    return line(reliability_diagram(REPORT.reliability([run])).axes[0], "erm")


def contrast_data(run: Run) -> np.ndarray:
    return line(contrast_density(run.outcomes).axes[0], "Clean")


CERTAIN = {"probability_0": "1.0", "probability_1": "0.0", "probability_2": "0.0"}
WRONG = {"label": "0", "prediction": "1", "score": "0.0"}
RIGHT = {"label": "0", "prediction": "0", "score": "1.0"}


@pytest.mark.parametrize(
    ("perturbation", "severity", "one", "other", "data"),
    [
        ("pgd_l2", 1.0, WRONG, RIGHT, radius_data),
        ("gaussian", 0.5, WRONG, RIGHT, noise_data),
        ("contrast_low", 0.5, RIGHT, RIGHT | CERTAIN, bar_data),
        ("clean", 0.0, RIGHT, RIGHT | CERTAIN, reliability_data),
        ("clean", 0.0, {"contrast": "0.2"}, {"contrast": "0.9"}, contrast_data),
    ],
)
def test_a_figure_follows_a_change_of_one_row_of_the_table(
    tmp_path: Path,
    perturbation: str,
    severity: float,
    one: dict[str, str],
    other: dict[str, str],
    data: Callable[[Run], np.ndarray],
) -> None:
    folder = write_run(tmp_path / "erm", count=16)
    change_row(folder, perturbation, severity, **one)
    before = data(read_run(folder))
    change_row(folder, perturbation, severity, **other)
    after = data(read_run(folder))
    assert before.shape != after.shape or not np.allclose(before, after)
    if data in (radius_data, noise_data):
        assert (after - before).sum() == pytest.approx(1 / 16)
        assert np.count_nonzero(after - before) == 1


def test_figures_do_not_touch_the_users_matplotlib(replicated: pd.DataFrame) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert isinstance(score_versus_radius(replicated, "pgd_l2"), Figure)
    assert dict(matplotlib.rcParams) == before


def scores(values: list[float], perturbation: str = "pgd_l2") -> pd.DataFrame:
    """A frame over replicates of one run: clean, then the severities 1, 2, ..."""
    return pd.DataFrame(
        {
            "name": "mine",
            "group": "",
            "value": "",
            "perturbation": ["clean"] + [perturbation] * (len(values) - 1),
            "norm": "l2",
            "severity": np.arange(len(values), dtype=float),
            "radius_percent": np.nan,
            "score": values,
            "score_std": np.nan,
        }
    )


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("values", [[0.3, 2.0, 7.0], [31.0, 25.0, 12.0], [-0.5, -2.0, -9.0]])
def test_a_score_that_leaves_0_to_1_is_shown_whole(values: list[float], bounded: bool) -> None:
    low, high = score_versus_radius(scores(values), "pgd_l2", percent=False, bounded=bounded).axes[0].get_ylim()
    assert low <= min(values)
    assert max(values) <= high
    assert low == 0 or min(values) < 0


def test_panels_that_share_an_axis_show_the_largest_score_of_all() -> None:
    both = pd.concat([scores([0.3, 0.9]), scores([0.3, 7.0], "gaussian").iloc[1:]])
    figure = score_over_severity(both, ["pgd_l2", "gaussian"], percent=False, bounded=True)
    assert all(axes.get_ylim()[1] >= 7 for axes in figure.axes)
    figure = score_over_severity(both, ["gaussian", "pgd_l2"], percent=False, bounded=True)
    assert all(axes.get_ylim()[1] >= 7 for axes in figure.axes)


def test_a_score_within_0_and_1_has_an_axis_from_0_to_1() -> None:
    assert score_versus_radius(scores([0.9, 0.5]), "pgd_l2").axes[0].get_ylim() == (0, 1)
