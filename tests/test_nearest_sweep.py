"""The smallest flipping radius of each image: measured, read from the table, and told in the report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from monai.bundle import ConfigParser, run
from synthetic_runs import measured_lines, task_columns
from test_measure import Films, Killed, Stopping, measurement, network, slices_measurement
from test_minimal_radius import Linear, images, true_distance

from monai_robust.attacks import FMN, PGD, Criterion, DiceBelow, ScoreBeyond, WindowAttack
from monai_robust.data import write_radiograph_phantoms
from monai_robust.errors import BadInputError
from monai_robust.evaluation import (
    AttackSweep,
    CleanSweep,
    CorruptionSweep,
    NearestSweep,
    OutcomesWriter,
    outcome_columns,
    read_gallery,
    read_outcomes,
    read_run,
    write_report,
    write_run_info,
)
from monai_robust.evaluation.measure.nearest import radii_found
from monai_robust.evaluation.report.nearest import TITLE, nearest_frames
from monai_robust.evaluation.report.nearest_figure import share_over_radius
from monai_robust.evaluation.sections.figures import gallery_figure
from monai_robust.tasks import Classification, Segmentation

CONFIGS = REPOSITORY / "bundles" / "chest_xray_classification" / "configs"


class Points(Films):
    """Images of 16 pixels for a linear network; every other label is what it predicts."""

    def __init__(self) -> None:
        super().__init__(8)
        self.images = list(images())
        predicted = Linear(3)(torch.stack(self.images)).argmax(dim=1).tolist()
        for place, item in enumerate(self.items):
            item["label"] = (predicted[place] + place % 2) % 3
        self.right = torch.arange(8) % 2 == 0


def linear(folder: Path, *sweeps: NearestSweep, **changes: Any) -> Path:
    arguments = {"network": Linear(3), "dataset": Points(), "perturbations": [CleanSweep(), *sweeps]}
    return measurement(folder, **(arguments | changes)).run()


def nearest_rows(folder: Path, name: str = "nearest_l2") -> pd.DataFrame:
    table = read_outcomes(folder / "outcomes.csv")
    return table[table["perturbation"] == name].reset_index(drop=True)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An attack, a corruption and a search of two kinds."""
    bounded = {"bounds": (0.0, 1.0)}
    perturbations = [
        CleanSweep(),
        AttackSweep(PGD(steps=3, **bounded), [0.25, 0.5]),
        NearestSweep(FMN(steps=20, **bounded), 1.0),
        NearestSweep(FMN(steps=20, norm="linf", **bounded), 0.2, criterion="incorrect"),
        CorruptionSweep("gaussian", [0.1]),
    ]
    return measurement(tmp_path_factory.mktemp("mixed"), perturbations=perturbations).run()


@pytest.fixture(scope="module")
def report(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([mixed], tmp_path_factory.mktemp("report") / "report.html")


def tables(report: Path) -> dict[str, pd.DataFrame]:
    folder = report.with_name(f"{report.stem}_tables")
    return {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("method", ["minimum_norm", "bisection"])
def test_the_radius_is_the_distance_to_the_boundary_of_a_linear_network(tmp_path, norm, method):
    sweep = NearestSweep(PGD(norm=norm), 4.0, tolerance=0.002, method=method)
    folder = linear(tmp_path / "run", sweep)
    expected = true_distance(Linear(3), torch.stack(Points().images), norm)
    rows = nearest_rows(folder, f"nearest_{norm}")
    assert (rows["severity"] == 4.0).all()
    assert (rows["norm"] == norm).all()
    np.testing.assert_allclose(rows["distance"], expected, atol=0.004, rtol=0.01)
    found = tables(write_report([folder], tmp_path / "report.html"))["smallest_radius"]
    rows = rows.assign(clean=Points().right.double().numpy()).sort_values("distance", kind="stable")
    np.testing.assert_array_equal(found["radius"], rows["distance"])
    assert found["source"].tolist() == rows["source"].tolist()
    assert found["score"].tolist() == rows["clean"].tolist()


def test_what_is_not_found_is_infinite_and_counted(tmp_path):
    least = float(true_distance(Linear(3), torch.stack(Points().images), "l2").min())
    folder = linear(tmp_path / "run", NearestSweep(PGD(), least / 2))
    assert (nearest_rows(folder)["distance"] == 0).all()
    found = tables(write_report([folder], tmp_path / "report.html"))
    assert np.isinf(found["smallest_radius"]["radius"]).all()
    assert found["smallest_radius_of_runs"]["not_found"].tolist() == [1.0]
    shown = found["table_nearest_l2"]
    assert shown["Median radius"].iloc[0].startswith("beyond ")
    assert shown.filter(like="None found").iloc[0, 0] == 100.0
    assert shown["In percent of the mean image norm"].tolist() == ["–"]


def test_an_image_that_is_wrong_already_needs_no_change_to_be_wrong_but_one_to_change(tmp_path):
    sweeps = [NearestSweep(PGD(), 4.0), NearestSweep(PGD(), 4.0, criterion="incorrect", name="to_error")]
    found = nearest_frames([read_run(linear(tmp_path, *sweeps))])
    frame = found["smallest_radius"]
    error, change = (frame[frame["perturbation"] == name] for name in ("to_error", "nearest_l2"))
    assert ((error["radius"] == 0) == (error["score"] == 0)).all()
    assert (change["radius"] > 0).all()
    of_runs = found["smallest_radius_of_runs"].set_index("perturbation")
    assert of_runs.loc["to_error", "already"] == 0.5


@pytest.mark.parametrize(
    ("criterion", "higher_is_better", "expected"),
    [
        ({"criterion": "score_beyond", "level": 0.7}, True, [0.0, math.inf, math.inf, 0.3, math.inf]),
        ({"criterion": "dice_below", "level": 0.7}, True, [0.0, math.inf, math.inf, 0.3, math.inf]),
        ({"criterion": "score_beyond", "level": 0.7}, False, [math.inf, math.inf, 0.0, 0.3, math.inf]),
        ({"criterion": "prediction_changed"}, True, [math.inf, math.inf, math.inf, 0.3, math.inf]),
    ],
)
def test_radii_are_read_from_the_table_alone(criterion, higher_is_better, expected):
    # the second score is exactly the level, as a network's single precision has it; the last image has none
    clean = pd.Series([0.4, float(np.float32(0.7)), 0.9, 0.8, math.nan])
    rows = pd.DataFrame({"distance": [0.0, 0.0, 0.0, 0.3, 0.0]})
    assert radii_found(rows, clean, criterion, higher_is_better).tolist() == expected


@pytest.mark.parametrize("settings", [{}, {"criterion": "odd"}, {"criterion": "score_beyond"}])
def test_a_record_without_a_known_criterion_is_refused(tmp_path, settings):
    folder = written(tmp_path, [0.1, 0.2], [False, True], 0)
    info = json.loads((folder / "run.json").read_text())
    info["perturbations"][1]["settings"] = settings
    write_run_info(folder, info)
    with pytest.raises(BadInputError, match=r"run\.json, nearest_l2: the criterion of a nearest change"):
        write_report([folder], tmp_path / "report.html")


@pytest.mark.parametrize("after", [3, 6, 20, 40])
def test_a_killed_search_continues_and_gives_the_identical_table(tmp_path, after):
    def searching(folder: Path, **changes: Any) -> Path:
        sweep = NearestSweep(FMN(steps=10, bounds=(0.0, 1.0)), 1.0)
        return measurement(folder, perturbations=[CleanSweep(), sweep], **changes).run()

    whole = (searching(tmp_path / "whole") / "outcomes.csv").read_bytes()
    with pytest.raises(Killed):
        searching(tmp_path / "killed", task=Stopping(after))
    assert set(measured_lines(tmp_path / "killed")) < set(whole.decode().splitlines())
    assert (searching(tmp_path / "killed") / "outcomes.csv").read_bytes() == whole


def test_what_a_sample_gets_does_not_depend_on_its_batch(tmp_path):
    sweep = NearestSweep(PGD(random_start="ball", steps=10), 4.0, method="bisection")
    radii = [nearest_rows(linear(tmp_path / str(size), sweep, batch_size=size))["distance"] for size in (8, 3)]
    np.testing.assert_allclose(*radii, atol=1e-4)


def written(folder: Path, radii: list[float], right: list[bool], seed: int, ids: str = "secret") -> Path:
    """A finished run of two classes with these smallest radii; 0 where none was found."""
    count = len(radii)
    task = task_columns(["a", "b"])
    names = [f"{ids}{place}" for place in range(count)]
    score = [float(one) for one in right]
    common = {"sample_id": names, "patient_id": names, "contrast": [1.0] * count, "input_norm": [10.0] * count}
    common |= {"label": [1] * count, "probability_0": [0.5] * count, "probability_1": [0.5] * count}
    flipped = [int(not one) if radius else int(one) for one, radius in zip(right, radii, strict=True)]
    clean = {"norm": [""] * count, "distance": [0.0] * count, "prediction": [int(one) for one in right], "score": score}
    moved = {"norm": ["l2"] * count, "distance": radii, "prediction": flipped, "score": [float(one) for one in flipped]}
    with OutcomesWriter(folder, outcome_columns(task), names, [("clean", 0.0), ("nearest_l2", 2.0)]) as writer:
        writer.append("clean", 0.0, common | clean)
        writer.append("nearest_l2", 2.0, common | moved)
        writer.commit()
    writer.finish()
    settings = {"criterion": "prediction_changed", "tolerance": 0.02, "method": "minimum_norm"}
    perturbations = [
        {"name": "clean", "kind": "clean", "norm": "", "severities": [0.0], "settings": {}},
        {"name": "nearest_l2", "kind": "nearest", "norm": "l2", "severities": [2.0], "settings": settings},
    ]
    info = {"name": "erm", "task": "classification", "seed": seed, "classes": ["a", "b"], "recipe": "erm"}
    write_run_info(folder, info | {"perturbations": perturbations, "settings": {"seed": seed}})
    return folder


def test_the_tables_of_a_report_by_hand(tmp_path):
    first = written(tmp_path / "first", [0.1, 0.2, 0.3, 0.4, 0.0], [False, True, False, True, True], 0)
    other = written(tmp_path / "other", [0.5, 0.2, 0.3, 0.8, 1.2], [False, True, False, True, True], 1)
    found = tables(write_report([first, other], tmp_path / "report.html"))
    radii = found["table_nearest_l2"].iloc[0]
    assert radii["Median radius"] == pytest.approx((0.3 + 0.5) / 2)
    assert radii["In percent of the mean image norm"] == pytest.approx((3 + 5) / 2)
    assert radii["Median, rightly classified"] == pytest.approx((0.4 + 0.8) / 2)
    assert radii["Median, wrongly classified"] == pytest.approx((0.2 + 0.4) / 2)
    assert radii["None found up to 2 [%]"] == pytest.approx(10)


def test_a_median_that_was_not_found_stands_beside_one_that_was(tmp_path):
    near = written(tmp_path / "near", [0.1, 0.2, 0.3], [False, True, True], 0)
    far = written(tmp_path / "far", [0.0, 0.0, 0.3], [True, True, True], 0)
    write_run_info(far, json.loads((far / "run.json").read_text()) | {"name": "rtda", "recipe": "rtda"})
    report = write_report([near, far], tmp_path / "report.html")
    found = tables(report)
    assert found["table_nearest_l2"]["Median radius"].tolist() == ["0.2", "beyond 2"]
    assert "<td>0.200</td>" in report.read_text()
    assert "<td>beyond 2</td>" in report.read_text()


def test_the_figure_is_the_distribution_of_the_radii():
    radii = pd.DataFrame({"name": ["erm"] * 4, "radius": [0.0, 0.5, 0.25, math.inf]})
    axes = share_over_radius(radii, 1.0, "l2", label="share", percent=10.0).axes[0]
    places, shares = axes.lines[0].get_data()
    for radius, share in ((0.1, 0.25), (0.3, 0.5), (0.6, 0.75), (1.0, 0.75)):
        assert shares[np.searchsorted(places, radius, side="right") - 1] == share
    assert axes.get_xlim() == (0, 1)


def test_the_report_tells_it_and_names_nobody(report):
    page = report.read_text()
    assert TITLE in page
    assert "upper bound" in page
    assert "up to 0.2" in page  # among the perturbations
    for name, table in tables(report).items():
        if name not in ("skipped", "worklist", "case_ids"):  # files that are there to find a sample again
            assert "sample_id" not in table
            assert not table.astype(str).stack().str.contains(r"film\d|patient\d").any(), name
    assert "film1" not in page
    for _, radii in tables(report)["smallest_radius"].groupby("perturbation")["radius"]:
        assert radii.is_monotonic_increasing  # and not in the order of samples


def test_a_report_without_a_search_has_no_section_on_it(tmp_path):
    folder = measurement(tmp_path / "run", perturbations=[CleanSweep(), CorruptionSweep("gaussian", [0.1])]).run()
    report = write_report([folder], tmp_path / "report.html")
    assert TITLE not in report.read_text()
    assert not [name for name in tables(report) if "nearest" in name or "smallest" in name]


def test_a_success_is_not_shown_as_accuracy_under_attack(report):
    found = tables(report)
    for name in ("summary", "summary_of_runs", "means_over_severities", "breaking_radii", "table_accuracy"):
        assert "nearest" not in found[name].to_csv().lower()
    assert [name for name in found if "nearest" in name] == sorted(
        ["table_nearest_l2", "table_nearest_l2_triage", "table_nearest_linf"], key=list(found).index
    )
    assert set(found["summary"]["perturbation"]) == {"clean", "pgd_l2", "gaussian"}


def test_pictures_say_how_far_was_looked(mixed):
    gallery = read_gallery(mixed / "gallery.npz")
    assert {"nearest_l2@1.0", "nearest_linf@0.2"} <= set(gallery.pictures)
    figure = gallery_figure(gallery, "pgd_l2@0.5", ["nearest_l2", "nearest_linf"])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert "Nearest change (L2)\nwithin radius 1" in titles
    assert "PGD (L2)\nradius 0.5" in titles


def test_a_search_alone_has_no_sanity_checks(tmp_path):
    folder = linear(tmp_path / "run", NearestSweep(PGD(), 4.0), sanity_samples=4)
    assert json.loads((folder / "sanity.json").read_text())["findings"] == []
    assert "Can these numbers be trusted?" not in write_report([folder], tmp_path / "report.html").read_text()


def test_the_record_says_how_it_was_searched():
    direct = NearestSweep(PGD(norm="linf", bounds=(0, 1)), 0.5).settings()
    assert direct["attack"] == "FMN"
    assert (direct["method"], direct["criterion"], direct["tolerance"]) == ("minimum_norm", "prediction_changed", 0.005)
    assert (direct["norm"], direct["bounds"]) == ("linf", [0, 1])
    assert "level" not in direct
    halved = NearestSweep(PGD(steps=7), 0.5, method="bisection", criterion=DiceBelow(0.4), tolerance=0.1).settings()
    assert (halved["attack"], halved["steps"], halved["tolerance"]) == ("PGD", 7, 0.1)
    assert (halved["criterion"], halved["level"]) == ("dice_below", 0.4)


def test_numbers_may_be_numpys():
    sweep = NearestSweep(PGD(), np.float32(2), criterion=ScoreBeyond(np.float32(0.5)))
    assert json.loads(json.dumps(sweep.describe(Segmentation())))["settings"]["level"] == 0.5


@pytest.mark.parametrize("criterion", ["prediction_changed", "incorrect", DiceBelow(0.5)])
def test_a_criterion_that_the_task_has_not_is_refused_before_anything_is_measured(criterion):
    task = Classification() if isinstance(criterion, DiceBelow) else Segmentation()
    with pytest.raises(BadInputError, match=r"use ScoreBeyond\(level\)"):
        NearestSweep(PGD(), 1.0, criterion=criterion).describe(task)


def test_slices_are_searched_for_the_radius_at_which_their_dice_falls(tmp_path):
    sweep = NearestSweep(FMN(steps=20), 5.0, criterion=ScoreBeyond(0.3))
    folder = slices_measurement(tmp_path / "run", perturbations=[CleanSweep(), sweep]).run()
    rows, clean = nearest_rows(folder), read_run(folder).clean.reset_index(drop=True)
    moved = rows["distance"] > 0
    assert moved.any()
    assert (rows.loc[moved, "score"] < 0.3).all()
    assert (clean.loc[moved, "score"] >= 0.3).all()
    report = write_report([folder], tmp_path / "report.html")
    found = tables(report)
    assert "the mean foreground Dice is below 0.3" in report.read_text()
    assert list(found["smallest_radius_of_runs"]["images"]) == [7]  # one of eight slices has no foreground
    assert "table_nearest_l2_triage" not in found
    scored = clean["score"].notna()
    assert found["table_nearest_l2"]["No change needed [%]"].iloc[0] == pytest.approx(
        100 * (clean["score"][scored] < 0.3).mean()
    )


class Odd(Criterion):
    name = "odd"

    def __call__(self, task, outputs, targets, clean_outputs):
        return torch.zeros(len(outputs), dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"high": 0.0}, "high is 0.0"),
        ({"high": -1.0}, "high is -1.0"),
        ({"high": math.inf}, "high is inf"),
        ({"high": "2"}, "high is '2'"),
        ({"method": "newton"}, "method is 'newton'"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"criterion": "flipped"}, "criterion is 'flipped'"),
        ({"criterion": Odd()}, "Odd cannot be read from a table"),
        ({"attack": WindowAttack(PGD(), (4, 4))}, "WindowAttack"),
        ({"attack": PGD(mode="train")}, "eval"),
        ({"attack": FMN(), "method": "bisection"}, "minimum_norm"),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(arguments, message):
    with pytest.raises(BadInputError, match=message):
        NearestSweep(**({"high": 1.0} | arguments))


def test_the_network_is_left_as_it_was_found(tmp_path):
    model = network()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    measurement(tmp_path, network=model, perturbations=[CleanSweep(), NearestSweep(FMN(steps=3), 1.0)]).run()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a chest radiograph bundle that was trained for an epoch."""
    folder = tmp_path_factory.mktemp("bundle")
    films = write_radiograph_phantoms(folder / "films", patients=12, size=64)
    settings = {"bundle_root": str(CONFIGS.parent), "dataset_dir": str(films), "output_dir": str(folder / "out")}
    settings |= {"image_size": 32, "epochs": 1, "batch_size": 8, "recipe": "erm"}
    run(config_file=str(CONFIGS / "train.yaml"), **settings)
    return settings


@pytest.mark.parametrize("high", [0, pytest.param(1.0, marks=pytest.mark.full)])
def test_the_chest_bundle_searches_when_it_is_told_to(tmp_path, trained, high):
    quick = {"radii": [0.5], "measurement#sanity_samples": 0, "evaluation_dir": str(tmp_path)}
    configs = [str(CONFIGS / "train.yaml"), str(CONFIGS / "robustness.yaml")]
    run(config_file=configs, **trained, **quick, smallest_radius=high)
    counts = pd.read_csv(tmp_path / "outcomes.csv").groupby(["perturbation", "severity"]).size()
    assert counts["clean", 0.0] > 0
    assert counts.get(("nearest_l2", 1.0), 0) == (counts["clean", 0.0] if high else 0)
    assert any(one.kind == "nearest" for one in read_run(tmp_path).perturbations) == bool(high)


@pytest.mark.parametrize(
    ("bundle", "criterion"),
    [
        ("blood_cell_detection", ScoreBeyond(0.5, "prediction")),
        ("cephalometric_landmarks", ScoreBeyond(4.0, "prediction")),
    ],
)
@pytest.mark.parametrize("high", [0, 2.0])
def test_other_bundles_search_for_a_score(bundle, criterion, high):
    configs = REPOSITORY / "bundles" / bundle / "configs"
    parser = ConfigParser()
    parser.read_config([configs / "train.yaml", configs / "robustness.yaml"])
    parser.update({"smallest_radius": high, "attack_steps": 3})
    searches = [one for one in parser.get_parsed_content("perturbations") if one.kind == "nearest"]
    assert [one.criterion for one in searches] == ([criterion] if high else [])
    assert [one.settings()["steps"] for one in searches] == ([3] if high else [])
