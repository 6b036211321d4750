"""What of the bundles is the chest radiograph bundle's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from bundle_runs import BUNDLES, Runs, first_iteration, of_bundle, weights
from conftest import environment
from monai.bundle import ConfigParser
from test_recipes import EQUATIONS
from torch import nn
from warm_python import WarmPython

from monai_robust.commands.bundles import measure_bundle
from monai_robust.data import write_radiograph_phantoms
from monai_robust.evaluation import read_run, write_report
from monai_robust.handlers import BestWeights
from monai_robust.recipes import RECIPES

BUNDLE = BUNDLES["chest"]
pytestmark = of_bundle("chest")

# Presets of whole experiments, with the radius of training, and parts of others, with what they measure.
WHOLE = {"rtda_xray": 2.0, "rtda_mammogram": 0.15, "rtda_pocus": 0.3, "robustaugmix_xray": 4.0}
PARTS: dict[str, list[str]] = {
    "augmix_published": [],
    "best_weights": [],
    "complexity": [],
    "complexity_attacks": ["clean", "pgd_linf", "fgsm_linf"],
    "oncology": [],
    "oncology_attacks": ["clean", "fgsm_linf", "pgd_linf", "bim_linf", "nearest_pgd_linf", "nearest_direct_linf"],
    "ten_severities": ["clean", "pgd_l2", "gaussian", "speckle", "salt_and_pepper"],
}


@pytest.fixture
def chest(runs: Callable[[str], Runs]) -> Runs:
    return runs("chest")


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_first_loss_of_each_recipe_is_its_equation(recipe: str, chest: Runs, tmp_path: Path) -> None:
    # amat: all margins are the attack's radius
    margins = {"robust#thresholds": {"loss": 10.0}, "robust#step": 0.5}
    high = {"_target_": "monai_robust.transforms.ContrastShift", "factor": 2.0}
    parser = chest.prepared(tmp_path, recipe=recipe, **margins, **{"robust#views#aug": high})
    network, seen = first_iteration(parser)
    images, labels = seen["image"], seen["label"]
    attack = parser.get_parsed_content("robust#attack")
    contrast = parser.get_parsed_content("robust#views#aug")
    augmented = torch.stack([contrast(image) for image in images])
    # an objective of the recipe's own starts its attack at random: see the tests of TRADES
    adversarial = attack(network, images, labels) if RECIPES[recipe].objective is None else seen["adv_image"]
    views = {"clean": images, "adv": adversarial, "aug": augmented, "aug1": augmented, "aug2": augmented}
    used = RECIPES[recipe].views
    network.train()  # one pass over all views, as the bundle's default has it
    outputs = dict(zip(used, network(torch.cat([views[name] for name in used])).chunk(len(used)), strict=True))
    expected = EQUATIONS[recipe](outputs, labels, RECIPES[recipe].weight)
    assert seen["loss"].item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-4)


@pytest.mark.full
def test_evaluation_and_measurement_find_the_same_accuracy(chest: Runs, tmp_path: Path) -> None:
    table = pd.read_csv(chest.measured / "outcomes.csv").query("perturbation == 'clean'")
    assert chest.evaluated(tmp_path) == pytest.approx(table["score"].mean())


@pytest.mark.full
def test_two_processes_measure_what_one_does(chest: Runs, tmp_path: Path, warm_python: WarmPython) -> None:
    one = chest.measure(tmp_path / "one", **{"measurement#batch_size": 2})
    settings = {**BUNDLE.settings, "dataset_dir": str(chest.data), "radii": list(BUNDLE.radii), "attack_steps": 3}
    settings |= {"measurement#sanity_samples": 4, **BUNDLE.measuring, "measurement#batch_size": 2}
    settings |= {"output_dir": str(chest.erm), "evaluation_dir": str(tmp_path / "two")}
    files = str([BUNDLE.train, BUNDLE.config("robustness")])
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [str(warm_python.folder / "torchrun"), "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run"]
    done = subprocess.run(
        [*command, "--config_file", files, *words], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "first of 2 processes" in done.stderr
    for name in ("outcomes.csv", "outcomes.parquet", "sanity.json", "validation/outcomes.parquet"):
        assert (tmp_path / "two" / name).read_bytes() == (one / name).read_bytes(), name


def test_inference_writes_probabilities_of_every_dicom_file(chest: Runs, tmp_path: Path) -> None:
    table = pd.read_csv(chest.inferred(tmp_path) / "predictions.csv")
    assert len(table) == len(list((chest.data / "dicom").iterdir()))
    assert table.filter(like="probability_").sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert list(table.columns) == ["file", "prediction", *(f"probability_{name}" for name in BUNDLE.classes)]


def test_inferred_probabilities_are_those_that_were_measured(chest: Runs, tmp_path: Path) -> None:
    found = pd.read_csv(chest.inferred(tmp_path) / "predictions.csv")
    found.index = [Path(file).stem for file in found["file"]]
    table = pd.read_csv(chest.measured / "outcomes.csv").query("perturbation == 'clean'")
    table.index = [Path(name).stem for name in table["sample_id"]]
    for index, name in enumerate(BUNDLE.classes):
        own = found.loc[table.index, f"probability_{name}"].to_numpy()
        assert own == pytest.approx(table[f"probability_{index}"].to_numpy(), abs=1e-4)


@pytest.mark.full
def test_an_interrupted_training_leaves_a_checkpoint_and_continues(chest: Runs, tmp_path: Path) -> None:
    settings = {**BUNDLE.settings, "epochs": 3}
    script = f"""
import sys
from monai_robust.engines import RobustUpdate
original = RobustUpdate.__call__
def stop(self, engine, batch):
    if engine.state.epoch == 2:
        raise KeyboardInterrupt
    return original(self, engine, batch)
RobustUpdate.__call__ = stop
from monai.bundle import run
run(config_file={BUNDLE.train!r}, dataset_dir={str(chest.data)!r}, output_dir={str(tmp_path)!r}, recipe="erm",
    **{settings!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "model.pt") in done.stdout + done.stderr
    chest.trained(tmp_path / "resumed", recipe="erm", epochs=3, resume=str(tmp_path / "model.pt"))
    chest.trained(tmp_path / "whole", recipe="erm", epochs=3)
    resumed, whole = (weights(tmp_path / name / "model.pt") for name in ("resumed", "whole"))
    assert resumed["trainer"] == whole["trainer"]
    assert all(torch.equal(value, resumed["network"][name]) for name, value in whole["network"].items())


@pytest.mark.parametrize("preset", sorted(WHOLE))
@pytest.mark.parametrize("recipe", ["erm", "rtda"])
def test_presets_of_the_papers_build_what_they_say(preset: str, recipe: str, chest: Runs, tmp_path: Path) -> None:
    parser = chest.prepared(tmp_path, preset, recipe=recipe)
    attack = parser.get_parsed_content("robust#attack")
    assert attack.steps == 7
    assert attack.eps == WHOLE[preset]
    update = parser.get_parsed_content("robust#update")
    views = ("clean", "adv", "aug", "aug_low") if preset == "rtda_pocus" else ("clean", "adv", "aug")
    assert set(update.recipe.views) == (set(views) if recipe == "rtda" else {"clean"})
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, nn.Module)
    optimizer = parser.get_parsed_content("optimizer")
    assert optimizer.defaults["lr"] == 0.01


def test_of_two_domains_augmix_keeps_its_two_views_and_adds_one(chest: Runs, tmp_path: Path) -> None:
    update = chest.prepared(tmp_path, "rtda_pocus", recipe="augmix").get_parsed_content("robust#update")
    assert update.recipe.consistent == ("clean", "aug1", "aug2", "aug_low")


def test_every_preset_is_one_of_a_paper_or_a_part_of_one() -> None:
    assert {path.stem for path in (BUNDLE.folder / "configs" / "presets").iterdir()} == {*WHOLE, *PARTS}


@pytest.mark.parametrize("preset", sorted(set(PARTS) - {"oncology", "best_weights"}))
def test_parts_of_presets_build_the_attacks_and_views_they_say(preset: str, chest: Runs, tmp_path: Path) -> None:
    parser = chest.prepared(tmp_path, preset, recipe="rtda")
    parser.update({"attack_steps": 20, "faithful": True})
    if preset == "augmix_published":
        assert len(parser.get_parsed_content("robust#views#aug").operations) == 9
    elif preset == "complexity":
        attack = parser.get_parsed_content("robust#attack")
        assert (attack.norm.name, attack.steps, attack.relative_step) == (
            "linf",
            7,
            pytest.approx(0.7),
        )  # 7 of eps / 10
    else:
        sweeps = parser.get_parsed_content("perturbations")
        assert [sweep.name for sweep in sweeps] == PARTS[preset]
        goals = {getattr(getattr(sweep, "attack", None), "goal", None) for sweep in sweeps} - {None}
        assert goals == ({"least_likely"} if preset == "complexity_attacks" else {"untargeted"})
        assert preset != "ten_severities" or all(len(sweep.severities) == 10 for sweep in sweeps[2:])


def test_the_preset_of_oncology_trains_a_network_of_three_channels_and_keeps_the_best(
    chest: Runs, tmp_path: Path
) -> None:
    parser = chest.prepared(tmp_path, "oncology", "best_weights", recipe="sat", image_size=32, patience=3)
    assert len(parser.get_parsed_content("preprocessing")(parser.get_parsed_content("train#items")[0])["image"]) == 3
    assert next(parser.get_parsed_content("network_def").parameters()).shape[1] == 3
    handlers = parser.get_parsed_content("train#every_rank")
    assert [one.patience for one in handlers if isinstance(one, BestWeights)] == [3]
    assert parser.get_parsed_content("train#state")["best"] is parser.get_parsed_content("best")


def test_several_findings_go_from_data_list_to_report(chest: Runs, tmp_path: Path) -> None:
    films = write_radiograph_phantoms(tmp_path / "films", patients=24, size=32, several=True, contrast=0.5)
    settings = {"dataset_dir": str(films), "task": "multi_label"}
    trained = chest.trained(tmp_path / "rtda", recipe="rtda", **settings)
    assert json.loads((trained / "training.json").read_text())["task"] == "multi_label"
    words = {"dataset_dir": str(films), "radii": "1.0,4.0", "attack_steps": "2", "measurement#sanity_samples": "0"}
    folder = measure_bundle(BUNDLE.folder, trained / "model.pt", tmp_path / "run", {**words, "cases": "0"})
    run = read_run(folder)
    assert (run.task, run.classes) == ("multi_label", ["lobar", "diffuse", "cardiomegaly"])
    assert run.validation is not None
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert all(word in page for word in ("cardiomegaly", "Operating points fitted on validation"))
    chest.inferred(tmp_path / "inferred", source=films / "dicom", model=trained)
    table = pd.read_csv(tmp_path / "inferred" / "predictions.csv")
    table.index = [Path(file).stem for file in table["file"]]
    clean = run.clean.set_axis([Path(name).stem for name in run.clean["sample_id"]])
    own = table.loc[clean.index, "probability_diffuse"].to_numpy()
    assert own == pytest.approx(clean["probability_1"].to_numpy(), abs=1e-4)
    sentence = chest.refused(tmp_path / "no", balance="sampler", **settings)
    assert "balance" in sentence


def test_inference_takes_the_network_of_a_preset(tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(BUNDLE.config("inference"))
    files = [BUNDLE.train, BUNDLE.config("presets/rtda_mammogram")]
    parser.update({"bundle_root": str(BUNDLE.folder), "checkpoint": str(tmp_path / "none.pt"), "train_config": files})
    network = parser.get_parsed_content("network_def")
    assert [len(layer) for layer in (network.layer1, network.layer2, network.layer3)] == [3, 4, 6]  # a ResNet-50
