"""What a report says of segmentation follows from the tables, in the shape of the paper's tables."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import trapezoid
from synthetic_runs import ORGANS, write_segmentation_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import read_gallery, read_run, write_gallery, write_report
from monai_robust.evaluation.report.training import read_training_table, training_frames, training_sections
from monai_robust.evaluation.sections.figures import gallery_figure, margins_over_epochs, score_versus_radius
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.segmentation import SegmentationReport
from monai_robust.metrics import average_dice_index

REPORT = SegmentationReport()
RADII = [2.0, 6.0, 10.0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of std, one of amat."""
    folder = tmp_path_factory.mktemp("runs")
    amat = {"margins": True, "gallery": True}
    return [
        read_run(write_segmentation_run(folder / "std0", "std", seed=0)),
        read_run(write_segmentation_run(folder / "std1", "std", seed=1)),
        read_run(write_segmentation_run(folder / "amat", "amat", falls=0.03, **amat)),
    ]


@pytest.fixture(scope="module")
def frames(runs: list[Run]) -> dict[str, pd.DataFrame]:
    return REPORT.frames(runs)


@pytest.fixture(scope="module")
def report(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([run.folder for run in runs], tmp_path_factory.mktemp("report") / "report.html")


def rows_of(run: Run, perturbation: str, severity: float) -> pd.DataFrame:
    """Rows of the file itself, by another reader."""
    table = pd.read_csv(run.folder / "outcomes.csv")
    return table[(table["perturbation"] == perturbation) & (table["severity"] == severity)]


def adi(run: Run, perturbation: str, severity: float, held_alone: bool = False) -> float:
    """Slice by slice, class by class: equation 3, or of the classes that a slice holds alone."""
    scores = []
    for _, row in rows_of(run, perturbation, severity).iterrows():
        dice = [
            2 * row[f"tp_{c}"] / (2 * row[f"tp_{c}"] + row[f"fp_{c}"] + row[f"fn_{c}"])
            for c in (1, 2)
            if row[f"tp_{c}"] + row[f"fn_{c}"] + (0 if held_alone else row[f"fp_{c}"]) > 0
        ]
        if dice:
            scores.append(sum(dice) / len(dice))
    return sum(scores) / len(scores)


def table(report: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(report.with_name("report_tables") / f"{name}.csv").set_index("Run")


def test_the_table_of_adi_has_the_shape_of_the_papers(runs: list[Run], report: Path) -> None:
    found = table(report, "table_adi_under_attack")
    shape = ["S. Dice", "P. 2", "P. 6", "P. 10", "P. Avg.", "IF. 2", "IF. 6", "IF. 10", "IF. Avg."]
    assert [column for column in found.columns if "," not in column] == shape
    assert found.index.tolist() == ["std", "amat"]
    for name, own in (("std", runs[:2]), ("amat", runs[2:])):
        at_radii = [np.mean([adi(run, "pgd_l2", radius) for run in own]) for radius in RADII]
        assert found.loc[name, ["P. 2", "P. 6", "P. 10"]].tolist() == pytest.approx(at_radii)
        assert found.loc[name, "P. Avg."] == pytest.approx(np.mean(at_radii))
        assert found.loc[name, "S. Dice"] == pytest.approx(np.mean([adi(run, "clean", 0.0) for run in own]))
        held = table(report, "table_foreground_dice_under_attack").loc[name, "P. 6"]
        assert held == pytest.approx(np.mean([adi(run, "pgd_l2", 6.0, held_alone=True) for run in own]))
    spread = [np.mean([adi(run, "ifgsm_l2", radius) for radius in RADII]) for run in runs[:2]]
    assert found.loc["std", "IF. Avg., standard deviation"] == pytest.approx(np.std(spread, ddof=1))


def test_auc_robust_is_that_of_each_run_and_averaged_over_replicates(runs: list[Run], report: Path) -> None:
    areas = []
    for run in runs[:2]:
        scores = [adi(run, "clean", 0.0), *(adi(run, "pgd_l2", radius) for radius in RADII)]
        areas.append(math.sqrt(scores[0] * trapezoid(scores, [0.0, *RADII]) / 10))
    found = table(report, "table_auc_robust")
    assert found.loc["std", "PGD (L2) up to 10"] == pytest.approx(np.mean(areas))
    assert found.loc["std", "PGD (L2) up to 10, standard deviation"] == pytest.approx(np.std(areas, ddof=1))
    assert "IFGSM (L2) up to 10" in found


def test_tvdi_and_volume_dice_stand_beside_adi_for_every_class(runs: list[Run], report: Path) -> None:
    rows = rows_of(runs[2], "clean", 0.0)
    sums = {f"{part}_{c}": rows[f"{part}_{c}"].sum() for part in ("tp", "fp", "fn") for c in (1, 2)}
    total = [2 * sums[f"tp_{c}"] / (2 * sums[f"tp_{c}"] + sums[f"fp_{c}"] + sums[f"fn_{c}"]) for c in (1, 2)]
    found = table(report, "table_tvdi").loc["amat"]
    assert found[["Mean", *ORGANS]].tolist() == pytest.approx([np.mean(total), *total])
    volumes = rows.assign(volume=rows["sample_id"].str.split("/").str[0]).groupby("volume").sum(numeric_only=True)
    dice = [
        (2 * volumes[f"tp_{c}"] / (2 * volumes[f"tp_{c}"] + volumes[f"fp_{c}"] + volumes[f"fn_{c}"])) for c in (1, 2)
    ]
    assert table(report, "table_volume_dice").loc["amat", ORGANS].tolist() == pytest.approx([d.mean() for d in dice])
    assert table(report, "table_adi").loc["amat", "Mean"] == pytest.approx(adi(runs[2], "clean", 0.0))
    held = adi(runs[2], "clean", 0.0, held_alone=True)
    assert table(report, "table_foreground_dice").loc["amat", "Mean"] == pytest.approx(held)
    assert adi(runs[2], "clean", 0.0) < held


def test_slices_without_foreground_are_left_out_and_the_page_says_so(frames, report: Path) -> None:
    clean = frames["summary_of_runs"]
    assert set(clean["n"]) == {20}
    assert set(clean["patients"]) == {4}
    assert clean["score"].notna().all()
    page = report.read_text()
    assert "Of 24 images, 4 hold no foreground" in page
    single = frames["means_over_severities"]
    single = single[(single["name"] == "amat") & (single["perturbation"] == "clean")].iloc[0]
    assert math.isnan(single["score_low"])
    assert "4 patients are too few for intervals, which need 10; none is shown" in page


def test_times_of_epochs_are_medians(report: Path) -> None:
    found = table(report, "table_epoch_times")
    assert found["Seconds per epoch"].tolist() == [4.5, 4.5]
    assert found.loc["std", "Seconds per epoch, standard deviation"] == 0
    assert found["Recipe"].tolist() == ["std", "amat"]


def test_margins_are_told_for_the_runs_that_have_them(runs: list[Run], report: Path) -> None:
    last = pd.read_csv(runs[2].folder / "margins.csv").iloc[-1]
    found = table(report, "table_margins")
    assert found.index.tolist() == ["amat"]
    assert found.loc["amat", "Median"] == pytest.approx(last["p50"])
    assert found.loc["amat", "Ever shrunk [%]"] == pytest.approx(50)
    assert found.loc["amat", "Epoch"] == 5


def test_the_margin_figure_is_the_table(runs: list[Run]) -> None:
    margins = training_frames(runs)["margins"]
    both = pd.concat([margins, margins.assign(run=3, p50=margins["p50"] + 1)])
    axes = margins_over_epochs(both).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [
        margins["p50"].tolist(),
        (margins["p50"] + 1).tolist(),
    ]
    assert len({line.get_color() for line in axes.lines}) == 1
    assert axes.get_legend_handles_labels()[1] == ["amat"]
    band = axes.collections[0].get_paths()[0].vertices
    edges = band[np.isclose(band[:, 0], 3), 1]
    assert (edges.min(), edges.max()) == pytest.approx(tuple(margins.loc[2, ["p10", "p90"]]))


def test_runs_without_training_tables_have_no_such_sections(tmp_path: Path) -> None:
    folder = write_segmentation_run(tmp_path / "std")
    (folder / "epoch_times.csv").unlink()
    found = [read_run(folder)]
    assert training_frames(found) == {}
    assert training_sections(found, {}) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,secs\n1,2\n", "no column 'seconds'"),
        ("epoch,seconds\n1,soon\n", "seconds must be a finite number"),
        ("epoch,seconds\n1,\n", "seconds must be a finite number"),
        ("", "cannot be read"),
    ],
)
def test_a_damaged_training_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "epoch_times.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        read_training_table(path)


def test_an_epoch_that_was_trained_again_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "epoch_times.csv"
    path.write_text("epoch,seconds\n1,2\n2,9\n2,3\n")
    assert read_training_table(path)["seconds"].tolist() == [2, 3]


def test_the_headline_and_the_figures_words_are_in_dice(runs: list[Run], report: Path) -> None:
    page = report.read_text()
    clean = np.mean([adi(run, "clean", 0.0) for run in runs[:2]])
    assert f"“std” reaches {clean:.2f}" in page
    assert "PGD (L2) attacks halve the ADI of “std” at radius" in page
    assert "accuracy" not in page
    assert "secretcase" not in page
    assert "Dice 0.31" in page


@pytest.mark.parametrize(
    ("recipe", "clean", "expected"), [("std", 0.6, True), ("erm", 0.6, True), ("amat", 0.6, False), ("std", 0.9, False)]
)
def test_an_undertrained_standard_network_makes_a_pilot(
    tmp_path: Path, recipe: str, clean: float, expected: bool
) -> None:
    run = read_run(write_segmentation_run(tmp_path / "run", "some", clean=clean, info={"recipe": recipe}))
    found = REPORT.pilot([run], REPORT.frames([run]))
    assert ("less than 0.80" in found) == expected


def test_a_report_without_attacks_or_corruptions_is_written(tmp_path: Path) -> None:
    folder = write_segmentation_run(tmp_path / "std", corruptions=False)
    whole = pd.read_csv(folder / "outcomes.csv", dtype=str, keep_default_na=False)
    whole[whole["perturbation"] == "clean"].to_csv(folder / "outcomes.csv", index=False)
    run = read_run_with(
        folder, perturbations=read_run(write_segmentation_run(tmp_path / "x")).info["perturbations"][:1]
    )
    assert [section.title for section in REPORT.sections([run], REPORT.frames([run]))] == ["Dice", "Volumes"]


def read_run_with(folder: Path, **changes: object) -> Run:
    import json

    info = json.loads((folder / "run.json").read_text()) | changes
    (folder / "run.json").write_text(json.dumps(info))
    return read_run(folder)


def test_adi_is_told_within_groups(tmp_path: Path) -> None:
    folder = write_segmentation_run(tmp_path / "std")
    text = (folder / "outcomes.csv").read_text().splitlines()
    sites = [f"{line},{'site' if place == 0 else 'ab'[place % 2]}" for place, line in enumerate(text)]
    (folder / "outcomes.csv").write_text("\n".join(sites) + "\n")
    run = read_run_with(folder, groups=["site"])
    sections = REPORT.sections([run], REPORT.frames([run]))
    within = next(section for section in sections if section.title == "Within site")
    assert [stub[0] for stub, _ in within.tables[0].rows] == ["a", "b"]
    rows = rows_of(run, "pgd_l2", 6.0)
    own = rows[rows["site"] == "a"]
    expected = average_dice_index(*(own[[f"{part}_1", f"{part}_2"]].to_numpy() for part in ("tp", "fp", "fn"))).mean
    assert within.tables[0].rows[0][1][2].mean == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.drop(columns="fn_2"), "must have the columns"),
        (lambda found: found.assign(tp_3=1), "must have the columns"),
        (lambda found: found.assign(fp_1=-1), "fp_1 must be a number of pixels"),
        (lambda found: found.assign(fp_1=0.5), "fp_1 must be a number of pixels"),
        (lambda found: found.assign(score=0.5), "contradicts itself"),
        (lambda found: found.assign(score=found["score"].fillna(0.0)), "contradicts itself"),
    ],
)
def test_a_table_that_is_no_segmentations_is_refused(runs: list[Run], change, message: str) -> None:
    run = runs[0]
    REPORT.check(run)
    with pytest.raises(BadInputError, match=message):
        REPORT.check(Run(run.folder, run.info, change(run.outcomes), run.perturbations))


def change_row(folder: Path, perturbation: str, severity: float, **cells: str) -> None:
    """Change the second matching row of ``outcomes.csv``, which holds one class only."""
    path = folder / "outcomes.csv"
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    places = [header.index("perturbation"), header.index("severity")]
    row = [row for row in rows if [row[place] for place in places] == [perturbation, repr(severity)]][1]
    for name, value in cells.items():
        row[header.index(name)] = value
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def line_data(run: Run) -> np.ndarray:
    axes = score_versus_radius(REPORT.frames([run])["summary"], "pgd_l2", score="ADI", percent=False).axes[0]
    return np.array(axes.lines[0].get_ydata())


def paper_row(run: Run) -> np.ndarray:
    section = next(s for s in REPORT.sections([run], REPORT.frames([run])) if s.title == "Attacks")
    return np.array([value.mean for value in section.tables[0].rows[0][1]])


GOOD = {"tp_1": "50", "fp_1": "0", "fn_1": "0", "fp_2": "0", "score": "1.0"}
BAD = {"tp_1": "0", "fp_1": "50", "fn_1": "50", "fp_2": "0", "score": "0.0"}


@pytest.mark.parametrize(("data", "changed"), [(line_data, {2: 0.05}), (paper_row, {2: 1 / 24, 4: 1 / 72})])
def test_a_figure_and_a_table_follow_a_change_of_one_row(
    tmp_path: Path, data: Callable[[Run], np.ndarray], changed: dict[int, float]
) -> None:
    folder = write_segmentation_run(tmp_path / "std")
    change_row(folder, "pgd_l2", 6.0, **BAD)
    before = data(read_run(folder))
    change_row(folder, "pgd_l2", 6.0, **GOOD)
    run = read_run(folder)
    REPORT.check(run)
    difference = data(run) - before
    expected = np.zeros(len(difference))
    expected[list(changed)] = list(changed.values())
    assert difference == pytest.approx(expected)


def test_the_gallery_keeps_label_maps_and_draws_their_outlines(runs: list[Run]) -> None:
    gallery = runs[2].gallery
    assert gallery is not None
    assert gallery.truth is not None
    assert set(gallery.masks) == set(gallery.pictures) == {"clean", "pgd_l2@6.0", "ifgsm_l2@6.0"}
    figure = gallery_figure(gallery, "pgd_l2@6.0", classes=["head"])
    (legend,) = figure.legends
    assert [one.get_text() for one in legend.get_texts()] == ["predicted", "true", "head", "class 2"]
    clean, change, attacked, _ = figure.axes[:4]
    # predicted and true outline of two classes
    assert [len(axes.collections) for axes in (clean, change, attacked)] == [4, 0, 4]
    predicted, true = attacked.collections[0], attacked.collections[2]
    middle = [
        outline.get_paths()[0].vertices[:, 0].max() + outline.get_paths()[0].vertices[:, 0].min()
        for outline in (predicted, true)
    ]
    assert middle[0] - middle[1] == pytest.approx(2 * 8)  # the attack moved it by 8 pixels
    assert attacked.get_xlabel() == "Dice 0.31"
    assert clean.get_xlabel() == "true head: 110, tail:\n190 pixels\nDice 1.00"
    assert clean.get_xlim() == (-0.5, 39.5)


def test_pictures_of_different_sizes_are_padded_and_label_maps_with_them(tmp_path: Path) -> None:
    images = [np.full((4, 6), 2.0), np.full((5, 3), 3.0)]
    maps = [np.ones((4, 6)), np.full((5, 3), 2)]
    caption = [{"label": "a", "prediction": "b"}] * 2
    keys = [("clean", 0.0), ("pgd_l2", 1.0)]
    attacked = [image + 1 for image in images]
    pictures = dict(zip(keys, [images, attacked], strict=True))
    write_gallery(tmp_path / "g.npz", pictures, dict.fromkeys(keys, caption), dict.fromkeys(keys, maps), maps)
    gallery = read_gallery(tmp_path / "g.npz")
    assert gallery.truth is not None
    assert gallery.pictures["clean"].shape == gallery.truth.shape == (2, 5, 6)
    assert (gallery.pictures["clean"][0] == 2).all()
    assert (gallery.pictures["pgd_l2@1.0"][0, :4] == 3).all()
    assert (gallery.pictures["pgd_l2@1.0"][0, 4] == 2).all()  # no change where there is no image
    assert gallery.masks["pgd_l2@1.0"][1].sum() == 2 * 15


def test_label_maps_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    images, caption = {("clean", 0.0): np.zeros((1, 4, 4))}, {("clean", 0.0): [{"label": "a", "prediction": "a"}]}
    with pytest.raises(BadInputError, match="for every key, or not at all"):
        write_gallery(tmp_path / "g.npz", images, caption, None, np.zeros((1, 4, 4)))
    with pytest.raises(BadInputError, match="has shape"):
        write_gallery(tmp_path / "g.npz", images, caption, {("clean", 0.0): np.zeros((1, 4, 5))}, np.zeros((1, 4, 5)))
