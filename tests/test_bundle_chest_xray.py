"""The chest radiograph bundle, by MONAI's own commands, on a few phantom films."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, environment
from ignite.engine import Events
from monai.bundle import ConfigParser, run
from test_recipes import EQUATIONS
from torch import nn
from warm_python import WarmPython

from monai_robust.data import write_radiograph_phantoms
from monai_robust.recipes import RECIPES

BUNDLE = REPOSITORY / "bundles" / "chest_xray_classification"
CONFIGS = BUNDLE / "configs"
TRAIN = str(CONFIGS / "train.yaml")
SMALL = {"bundle_root": str(BUNDLE), "image_size": 32, "epochs": 1, "batch_size": 8, "robust#attack#steps": 2}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_radiograph_phantoms(tmp_path_factory.mktemp("data") / "films", patients=12, size=64)


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, "epochs": 25, "robust#attack#eps": 0.05}  # enough to know the films it was trained on
    run(config_file=TRAIN, dataset_dir=str(films), output_dir=str(folder), recipe="sat", **settings)
    return folder


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_first_loss_of_each_recipe_is_its_equation(recipe: str, films: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.update({**SMALL, "dataset_dir": str(films), "output_dir": str(tmp_path), "recipe": recipe})
    parser.update(
        {"robust#thresholds": {"loss": 10.0}, "robust#step": 0.5}
    )  # amat: all margins are the attack's radius
    parser["robust#views#aug"] = {"_target_": "monai_robust.transforms.ContrastShift", "factor": 2.0}
    parser.parse()
    for expression in ("initialize", "network"):
        parser.get_parsed_content(expression)
    network = parser.get_parsed_content("network")
    state = {name: value.clone() for name, value in network.state_dict().items()}
    trainer = parser.get_parsed_content("train#trainer")
    seen: dict[str, torch.Tensor] = {}

    def note(engine):  # type: ignore[no-untyped-def]
        if engine.state.iteration == 1:
            seen.update({key: value.detach().clone() for key, value in engine.state.output.items()})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()

    network.load_state_dict(state)
    images, labels = seen["image"], seen["label"]
    attack = parser.get_parsed_content("robust#attack")
    contrast = parser.get_parsed_content("robust#views#aug")
    high = torch.stack([contrast(image) for image in images])
    # an objective of the recipe's own starts its attack at random: see the tests of TRADES
    adversarial = attack(network, images, labels) if RECIPES[recipe].objective is None else seen["adv_image"]
    views = {"clean": images, "adv": adversarial, "aug": high, "aug1": high, "aug2": high}
    used = RECIPES[recipe].views
    network.train()  # one pass over all views, as the bundle's default has it
    outputs = dict(zip(used, network(torch.cat([views[name] for name in used])).chunk(len(used)), strict=True))
    expected = EQUATIONS[recipe](outputs, labels, RECIPES[recipe].weight)
    assert seen["loss"].item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-4)


def test_training_leaves_what_the_documentation_says(trained: Path) -> None:
    checkpoint = torch.load(trained / "model.pt", weights_only=True)
    assert set(checkpoint) == {"network", "optimizer", "lr_scheduler", "trainer"}
    record = json.loads((trained / "training.json").read_text())
    assert record["recipe"] == "sat"
    assert record["classes"] == ["diffuse", "lobar", "normal"]


def test_evaluation_with_and_without_the_attack_overlay(trained: Path, films: Path, tmp_path: Path) -> None:
    scores = {}
    for name, extra in (("clean", []), ("attack", [str(REPOSITORY / "monai_robust" / "overlays" / "attack.yaml")])):
        run(
            config_file=[TRAIN, str(CONFIGS / "evaluate.yaml"), *extra],
            dataset_dir=str(films),
            output_dir=str(tmp_path / name),
            checkpoint=str(trained / "model.pt"),
            **{
                **SMALL,
                "validate#items": "$@data.items['train']",
                **({"robust_eval#attack#eps": 20.0} if extra else {}),
            },
        )
        metrics = (tmp_path / name / "metrics.csv").read_text()
        scores[name] = float(metrics.splitlines()[0].split(",")[1])
    assert scores["clean"] > 0
    assert scores["attack"] < scores["clean"]


def test_robustness_measures_every_film_under_every_perturbation(trained: Path, films: Path, tmp_path: Path) -> None:
    run(
        config_file=[TRAIN, str(CONFIGS / "robustness.yaml")],
        dataset_dir=str(films),
        checkpoint=str(trained / "model.pt"),
        evaluation_dir=str(tmp_path),
        radii=[0.5, 20.0],
        groups=["source"],
        **SMALL,
    )
    table = pd.read_csv(tmp_path / "outcomes.csv")
    counts = table.groupby(["perturbation", "severity"]).size()
    assert counts.nunique() == 1
    assert {"clean", "pgd_l2", "gaussian", "speckle", "salt_and_pepper", "contrast_high", "contrast_low"} == set(
        table["perturbation"]
    )
    accuracy = table.groupby(["perturbation", "severity"])["score"].mean()
    assert accuracy["pgd_l2", 20.0] <= accuracy["pgd_l2", 0.5] <= accuracy["clean", 0.0]
    run_info = json.loads((tmp_path / "run.json").read_text())
    assert run_info["name"] == run_info["recipe"] == "sat"
    assert run_info["finished"]


def test_inference_writes_probabilities_of_every_dicom_file(trained: Path, films: Path, tmp_path: Path) -> None:
    run(
        config_file=str(CONFIGS / "inference.yaml"),
        bundle_root=str(BUNDLE),
        dataset_dir=str(films / "dicom"),
        checkpoint=str(trained / "model.pt"),
        output_dir=str(tmp_path),
    )
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert len(table) == len(list((films / "dicom").iterdir()))
    assert table.filter(like="probability_").sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert list(table.columns) == [
        "file",
        "prediction",
        "probability_diffuse",
        "probability_lobar",
        "probability_normal",
    ]


def test_an_interrupted_training_leaves_a_checkpoint_and_continues(films: Path, tmp_path: Path) -> None:
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
run(config_file={TRAIN!r}, dataset_dir={str(films)!r}, output_dir={str(tmp_path)!r}, recipe="erm",
    **{ {**SMALL, "epochs": 3}!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 130, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "model.pt") in done.stdout + done.stderr
    common = {"dataset_dir": str(films), "recipe": "erm", **SMALL, "epochs": 3}
    run(config_file=TRAIN, output_dir=str(tmp_path / "resumed"), resume=str(tmp_path / "model.pt"), **common)
    run(config_file=TRAIN, output_dir=str(tmp_path / "whole"), **common)
    resumed, whole = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("resumed", "whole"))
    assert resumed["trainer"] == whole["trainer"]
    assert all(torch.equal(value, resumed["network"][name]) for name, value in whole["network"].items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--dataset_dir", "nowhere"], "nowhere"),
        (["--recipe", "rdta"], "there is no recipe 'rdta'"),
        (["--robust#attack#eps", "-1", "--recipe", "at"], "eps"),
        (["--robust#attack#norm", "l7", "--recipe", "at"], "norm"),
    ],
)
def test_bad_input_ends_in_one_line_and_status_2(
    overrides: list[str], message: str, films: Path, tmp_path: Path, warm_python: WarmPython
) -> None:
    command = ["-W", "ignore", "-m", "monai.bundle", "run", "--config_file", TRAIN]
    command += ["--bundle_root", str(BUNDLE), "--output_dir", str(tmp_path), "--dataset_dir", str(films)]
    done = warm_python.run(*command, *overrides, env=environment())
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ") and message in line]


def test_two_processes_train_together_through_gloo(films: Path, tmp_path: Path, warm_python: WarmPython) -> None:
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517"]
    command += ["-m", "monai.bundle", "run", "--config_file", str([TRAIN, str(CONFIGS / "multi_gpu_train.yaml")])]
    command += ["--dataset_dir", str(films), "--output_dir", str(tmp_path), "--recipe", "sat", "--device", "cpu"]
    for name, value in SMALL.items():
        command += [f"--{name}", str(value)]
    done = warm_python.run(*command, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    assert "network" in torch.load(tmp_path / "model.pt", weights_only=True)


def test_metadata_follows_a_schema_offline_and_the_network_its_metadata(tmp_path: Path) -> None:
    from monai.bundle import verify_metadata, verify_net_in_out

    keys = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"]
    keys += ["task", "description", "authors", "copyright", "network_data_format"]
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "required": keys}))
    metadata = CONFIGS / "metadata.json"
    verify_metadata(meta_file=str(metadata), filepath=str(schema))
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(metadata),
        config_file=str(CONFIGS / "inference.yaml"),
        bundle_root=str(BUNDLE),
    )


def test_checkpoint_exports_to_torchscript(trained: Path, tmp_path: Path) -> None:
    from monai.bundle import ckpt_export

    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "model.pt"),
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.yaml"),
        bundle_root=str(BUNDLE),
        key_in_ckpt="network",
        input_shape=[1, 1, 64, 64],
    )
    exported = torch.jit.load(str(tmp_path / "model.ts"))
    assert exported(torch.zeros(2, 1, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (CONFIGS / "presets").glob("*.yaml")))
@pytest.mark.parametrize("recipe", ["erm", "rtda"])
def test_presets_of_the_papers_build_what_they_say(preset: str, recipe: str, films: Path) -> None:
    parser = ConfigParser()
    parser.read_config([TRAIN, str(CONFIGS / "robustness.yaml"), str(CONFIGS / "presets" / f"{preset}.yaml")])
    parser.update({"bundle_root": str(BUNDLE), "dataset_dir": str(films), "recipe": recipe})
    parser.parse()
    attack = parser.get_parsed_content("robust#attack")
    assert attack.steps == 7
    eps = {"rtda_xray": 2.0, "rtda_mammogram": 0.15, "rtda_pocus": 0.3, "robustaugmix_xray": 4.0}
    assert attack.eps == eps[preset]
    update = parser.get_parsed_content("robust#update")
    views = ("clean", "adv", "aug", "aug_low") if preset == "rtda_pocus" else ("clean", "adv", "aug")
    assert set(update.recipe.views) == (set(views) if recipe == "rtda" else {"clean"})
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, nn.Module)
    optimizer = parser.get_parsed_content("optimizer")
    assert optimizer.defaults["lr"] == 0.01


@pytest.mark.real_data
def test_the_bundle_trains_on_real_radiographs(public_data: Path, tmp_path: Path) -> None:
    run(
        config_file=TRAIN,
        dataset_dir=str(public_data / "covid_cxr3"),
        output_dir=str(tmp_path),
        recipe="rtda",
        limit=12,
        **SMALL,
    )
    assert json.loads((tmp_path / "training.json").read_text())["classes"] == ["covid", "normal", "pneumonia"]
