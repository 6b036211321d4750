"""The cephalometric bundle, by MONAI's own commands, on a few phantom cephalograms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from conftest import REPOSITORY, environment
from ignite.engine import Events
from monai.bundle import ConfigParser, ckpt_export, run, verify_metadata, verify_net_in_out
from warm_python import WarmPython

from monai_robust.data import landmark_datalist, write_cephalogram_phantoms
from monai_robust.errors import user_error
from monai_robust.evaluation import AttackSweep
from monai_robust.evaluation.report.page import write_report
from monai_robust.handlers import read_thresholds
from monai_robust.losses import LandmarkLoss
from monai_robust.recipes import RECIPES

BUNDLE = REPOSITORY / "bundles" / "cephalometric_landmarks"
CONFIGS = BUNDLE / "configs"
TRAIN = str(CONFIGS / "train.yaml")
ATTACK = str(REPOSITORY / "monai_robust" / "overlays" / "attack.yaml")
NAMES = ["sella", "nasion", "porion", "ANS", "menton", "gonion"]
ERRORS = [f"error_{number}" for number in range(1, 7)]
TERMS = {"heatmap", "offset_x", "offset_y"}
SMALL: dict[str, Any] = {
    "bundle_root": str(BUNDLE),
    "image_size": [32, 48],
    "features": [8, 8, 16, 16, 16, 8],
    "radius": 4.0,
    "epochs": 1,
    "batch_size": 4,
    "robust#attack#steps": 2,
}


def config(name: str) -> str:
    return str(CONFIGS / f"{name}.yaml")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cephalogram_phantoms(tmp_path_factory.mktemp("data") / "films", patients=12)


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, "epochs": 40}  # enough to find most landmarks of the films it was trained on
    run(config_file=TRAIN, dataset_dir=str(films), output_dir=str(folder), recipe="erm", **settings)
    return folder


@pytest.fixture(scope="module")
def amat(films: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amat")
    settings = {**SMALL, "epochs": 2, "checkpoint": str(trained / "model.pt")}
    settings["robust#thresholds"] = str(trained / "model.pt")
    run(config_file=TRAIN, dataset_dir=str(films), output_dir=str(folder), recipe="amat", **settings)
    return folder


@pytest.fixture(scope="module")
def measured(films: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    measure(films, trained, folder)
    return folder


def measure(films: Path, model: Path, folder: Path, **changes: Any) -> None:
    settings = {**SMALL, "radii": [0.5, 4.0], "attack_steps": 3, "measurement#batch_size": 2}
    settings |= {"measurement#sanity_samples": 4, **changes}
    run(
        config_file=[TRAIN, config("robustness")],
        dataset_dir=str(films),
        output_dir=str(model),
        evaluation_dir=str(folder),
        **settings,
    )


def infer(source: Path, model: Path, folder: Path, **changes: Any) -> pd.DataFrame:
    settings = {"bundle_root": str(BUNDLE), "checkpoint": str(model / "model.pt"), **changes}
    run(config_file=config("inference"), dataset_dir=str(source), output_dir=str(folder), **settings)
    return pd.read_csv(folder / "landmarks.csv").set_index("file")


@pytest.mark.parametrize("heatmap", ["bce", "dice"])
@pytest.mark.parametrize("recipe", ["erm", "sat", "amat"])
def test_first_loss_of_each_recipe_is_its_equation(recipe: str, heatmap: str, films: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.update({**SMALL, "dataset_dir": str(films), "output_dir": str(tmp_path), "recipe": recipe})
    parser.update({"heatmap": heatmap, "robust#attack#precision": None})
    # Margins begin at their step, here the radius that the recipe `sat` has throughout.
    parser.update({"robust#thresholds": dict.fromkeys(TERMS, 100.0), "robust#step": 1.0})
    parser.parse()
    parser.get_parsed_content("initialize")
    network = parser.get_parsed_content("network")
    state = {name: value.clone() for name, value in network.state_dict().items()}
    trainer = parser.get_parsed_content("train#trainer")
    seen: dict[str, torch.Tensor] = {}

    def note(engine: Any) -> None:
        if engine.state.iteration == 1:
            seen.update({key: engine.state.output[key].detach().clone() for key in ("image", "label", "loss")})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()

    network.load_state_dict(state)
    images, labels = seen["image"], seen["label"]
    adversarial = parser.get_parsed_content("robust#attack")(network, images, labels)
    loss = LandmarkLoss(radius=SMALL["radius"], heatmap=heatmap)
    network.train()
    clean, attacked = loss(network(images), labels).item(), loss(network(adversarial), labels).item()
    assert attacked > clean
    assert seen["loss"].item() == pytest.approx(clean if recipe == "erm" else (clean + attacked) / 2, rel=1e-3)


def test_training_leaves_what_the_documentation_says(trained: Path, amat: Path) -> None:
    checkpoint = torch.load(trained / "model.pt", weights_only=True)
    assert set(checkpoint) == {"network", "optimizer", "lr_scheduler", "trainer"}
    record = json.loads((trained / "training.json").read_text())
    assert (record["recipe"], record["classes"], record["image_size"]) == ("erm", NAMES, SMALL["image_size"])
    assert len(pd.read_csv(trained / "epoch_times.csv")) == 40
    margins = torch.load(amat / "checkpoint_epoch=2.pt", weights_only=True)["margins"]
    assert len(set(margins["ids"])) == len(margins["margins"]) == 8
    assert not any(name.encode() in (amat / "model.pt").read_bytes() for name in margins["ids"])
    assert list(pd.read_csv(amat / "margins.csv")["epoch"]) == [1, 2]
    assert json.loads((amat / "training.json").read_text())["step"] == 0.25


def test_thresholds_are_mean_and_two_deviations_of_each_of_the_three_terms(trained: Path, amat: Path) -> None:
    thresholds = read_thresholds(trained / "model.thresholds.json")
    assert set(thresholds) == TERMS
    statistics = json.loads((trained / "model.thresholds.json").read_text())["statistics"]
    for term, threshold in thresholds.items():
        assert statistics[term]["samples"] == 8
        assert threshold == pytest.approx(statistics[term]["mean"] + 2 * statistics[term]["std"])
    assert dict(thresholds) == torch.load(amat / "model.pt", weights_only=True)["margins"]["thresholds"]


def test_an_interrupted_amat_training_goes_on_with_its_margins(films: Path, amat: Path, tmp_path: Path) -> None:
    before = torch.load(amat / "model.pt", weights_only=True)["margins"]
    settings = {**SMALL, "epochs": 3, "robust#thresholds": dict(before["thresholds"])}
    resume = {"resume": str(amat / "model.pt"), "output_dir": str(tmp_path)}
    run(config_file=TRAIN, dataset_dir=str(films), recipe="amat", **resume, **settings)
    after = torch.load(tmp_path / "model.pt", weights_only=True)["margins"]
    assert after["epoch"] == 3
    assert int(after["visited"].sum()) >= int(before["visited"].sum()) > 0
    assert list(pd.read_csv(tmp_path / "margins.csv")["epoch"]) == [3]


def test_evaluation_with_and_without_the_attack_overlay(films: Path, trained: Path, tmp_path: Path) -> None:
    attack = {"robust_eval#attack#eps": 4.0, "robust_eval#attack#steps": 5, "robust_eval#loss": "@loss"}
    items = {"validate#items": "$@data.items['train']"}
    clean = evaluated(films, trained, tmp_path / "clean", **items)
    assert evaluated(films, trained, tmp_path / "attack", ATTACK, **items, **attack) > 1.5 * clean


def evaluated(films: Path, model: Path, folder: Path, *overlays: str, **changes: Any) -> float:
    settings = {**SMALL, "checkpoint": str(model / "model.pt"), **changes}
    files = [TRAIN, config("evaluate"), *overlays]
    run(config_file=files, dataset_dir=str(films), output_dir=str(folder), **settings)
    name, value = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert name == "test_mre"
    return float(value)


def test_robustness_measures_every_film_and_landmark_and_the_report_reads_it(measured: Path, tmp_path: Path) -> None:
    table = pd.read_csv(measured / "outcomes.csv")
    assert set(table["perturbation"]) == {"clean", "pgd_l2", "ifgsm_l2", "contrast_low", "gaussian"}
    assert set(table.groupby(["perturbation", "severity"]).size()) == {3}
    assert table[ERRORS].mean(axis=1).to_numpy() == pytest.approx(table["score"].to_numpy())
    distances = table.groupby(["perturbation", "severity"])["distance"].max()
    assert distances["clean", 0.0] == 0
    assert 3.5 < distances["pgd_l2", 4.0] < 4.001  # a little less than the radius: intensities end at 0 and 1
    errors = table.groupby(["perturbation", "severity"])["score"].mean()
    assert errors["pgd_l2", 4.0] > errors["clean", 0.0]
    about = json.loads((measured / "run.json").read_text())
    assert (about["name"], about["classes"], bool(about["finished"])) == ("erm", NAMES, True)
    page = write_report([measured], tmp_path / "report.html").read_text()
    assert all(word in page for word in ("MRE", *NAMES))


def test_a_measurement_that_was_interrupted_ends_with_the_same_table(
    films: Path, trained: Path, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, calls = AttackSweep.apply, iter(range(3))

    def stop(self: AttackSweep, *arguments: Any) -> torch.Tensor:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return apply(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(AttackSweep, "apply", stop)
        with pytest.raises(KeyboardInterrupt):
            measure(films, trained, tmp_path)
    whole, part = (measured / "outcomes.csv").read_bytes(), (tmp_path / "outcomes.csv").read_bytes()
    assert whole.startswith(part)
    assert len(part) < len(whole)
    measure(films, trained, tmp_path)
    assert (tmp_path / "outcomes.csv").read_bytes() == whole


def test_evaluation_and_measurement_find_the_same_mean_radial_error(
    films: Path, trained: Path, measured: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(measured / "outcomes.csv").query("perturbation == 'clean'")
    assert evaluated(films, trained, tmp_path) == pytest.approx(np.nanmean(table[ERRORS]), rel=1e-4)


def test_inferred_points_are_as_far_from_the_annotated_ones_as_was_measured(
    films: Path, trained: Path, measured: Path, tmp_path: Path
) -> None:
    found = infer(films, trained, tmp_path, pictures=False)
    table = pd.read_csv(measured / "outcomes.csv").query("perturbation == 'clean'").set_index("sample_id")
    data = landmark_datalist(films)
    assert list(data.classes) == NAMES
    assert len(table) == len(data.items["test"]) == 3
    for item in data.items["test"]:
        points = found.loc[item["sample_id"]].to_numpy(dtype=float).reshape(-1, 2)
        spacing = item["spacing"] if item.get("spacing") is not None else spacing_of(item["image"])
        distances = np.linalg.norm((points - np.array(item["points"])) * spacing, axis=1)
        assert distances == pytest.approx(
            table.loc[item["sample_id"], ERRORS].to_numpy(dtype=float), abs=0.01, nan_ok=True
        )


def spacing_of(path: str) -> tuple[float, float]:
    return sitk.ReadImage(path).GetSpacing()[:2]


def test_inference_writes_points_and_pictures_of_every_dicom_file(films: Path, trained: Path, tmp_path: Path) -> None:
    folder = films / "RawImage" / "Test1Data"
    found = infer(folder, trained, tmp_path)
    assert sorted(found.index) == sorted(path.name for path in folder.iterdir())
    assert list(found.columns) == [f"{name}_{axis}" for name in NAMES for axis in "xy"]
    assert np.isfinite(found.to_numpy()).all()
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == len(found)


def test_two_processes_train_together_and_hold_the_same_margins(
    films: Path, trained: Path, tmp_path: Path, warm_python: WarmPython
) -> None:
    thresholds = shutil.copy(trained / "model.pt", tmp_path / "erm.pt")  # they are written beside it
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29537"]
    command += ["-m", "monai.bundle", "run", "--config_file", str([TRAIN, config("multi_gpu_train")])]
    command += ["--dataset_dir", str(films), "--output_dir", str(tmp_path), "--recipe", "amat", "--device", "cpu"]
    command += ["--robust#thresholds", str(thresholds)]
    for name, value in {**SMALL, "batch_size": 2, "val_interval": 1}.items():
        command += [f"--{name}", str(value)]
    done = warm_python.run(*command, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    margins = torch.load(tmp_path / "model.pt", weights_only=True)["margins"]
    assert int(margins["visited"].sum()) == pd.read_csv(tmp_path / "margins.csv")["visited"].iloc[-1] == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--recipe", "rtda"], "the recipe 'rtda' asks views to agree"),
        (["--recipe", "amat"], "need thresholds"),
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_dir": "nowhere"}, "nowhere"),
        ({"recipe": "amad"}, "there is no recipe 'amad'"),
        ({"heatmap": "gauss"}, "the heatmap loss is 'gauss'"),
        ({"annotator": "chief"}, "'chief'"),
        ({"recipe": "amat", "robust#thresholds": {"dice": 1.0}}, "dice"),
        *(
            ({"recipe": name}, f"the recipe {name!r} asks views to agree")
            for name in RECIPES
            if RECIPES[name].consistent
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    changes: dict[str, Any], message: str, films: Path, tmp_path: Path
) -> None:
    assert message in refused(films, tmp_path, **changes)


def test_an_evaluation_that_contradicts_the_training_is_refused(films: Path, trained: Path, tmp_path: Path) -> None:
    for change in ({"heatmap": "dice"}, {"annotator": "junior"}, {"image_size": [48, 32]}):
        (name,) = change
        files = [TRAIN, config("evaluate")]
        assert name in refused(films, tmp_path, files, checkpoint=str(trained / "model.pt"), **change)


def test_a_text_file_with_fewer_points_is_named_or_left_out(films: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(films, tmp_path / "films")
    text = folder / "AnnotationsByMD" / "400_senior" / "001.txt"
    text.write_text("\n".join(text.read_text().splitlines()[:3]))
    assert "001.txt" in refused(folder, tmp_path / "fail")
    run(config_file=TRAIN, dataset_dir=str(folder), output_dir=str(tmp_path), on_bad_sample="skip", **SMALL)
    assert (tmp_path / "model.pt").is_file()


def refused(films: Path, folder: Path, files: str | list[str] = TRAIN, **changes: Any) -> str:
    """The one sentence that a run ends with."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps what a configuration raises
        run(config_file=files, **{**SMALL, "dataset_dir": str(films), "output_dir": str(folder), **changes})
    error = user_error(caught.value)
    assert error is not None, caught.value
    assert "\n" not in str(error)
    return str(error)


def test_metadata_follows_a_schema_offline_and_the_network_its_metadata(tmp_path: Path) -> None:
    keys = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"]
    keys += ["task", "description", "authors", "copyright", "network_data_format"]
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "required": keys}))
    metadata = str(CONFIGS / "metadata.json")
    verify_metadata(meta_file=metadata, filepath=str(schema))
    arguments = {"net_id": "network_def", "meta_file": metadata, "config_file": config("inference")}
    verify_net_in_out(**arguments, bundle_root=str(BUNDLE), checkpoint=str(tmp_path / "none.pt"))


def test_checkpoint_exports_to_torchscript(trained: Path, tmp_path: Path) -> None:
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "model.pt"),
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=config("inference"),
        bundle_root=str(BUNDLE),
        checkpoint=str(trained / "model.pt"),
        key_in_ckpt="network",
    )
    exported = torch.jit.load(str(tmp_path / "model.ts"))
    assert exported(torch.zeros(2, 1, 32, 48)).shape == (2, 18, 32, 48)


def test_the_preset_of_the_paper_builds_what_it_says(films: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config([TRAIN, str(CONFIGS / "presets" / "amat_cephalometric.yaml")])
    parser.update({"bundle_root": str(BUNDLE), "dataset_dir": str(films), "recipe": "amat"})
    parser.update({"output_dir": str(tmp_path), "robust#thresholds": dict.fromkeys(TERMS, 1.0)})
    parser.parse()
    attack, margins = parser.get_parsed_content("robust#attack"), parser.get_parsed_content("robust#margins")
    assert (attack.steps, attack.relative_step, attack.random_start) == (20, 5.0, "sphere")
    assert attack.task is parser.get_parsed_content("task")
    assert (margins.mode, margins.step) == ("paper", 0.5)
    loss = parser.get_parsed_content("loss")
    assert (loss.heatmap, loss.radius) == ("dice", 10.0)
    item = parser.get_parsed_content("train#dataset")[0]
    assert (tuple(item["image"].shape), tuple(item["label"].shape)) == ((1, 160, 200), (6, 4))


@pytest.mark.real_data
def test_the_bundle_trains_on_real_cephalograms(public_data: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "limit": 4, "recipe": "sat", "output_dir": str(tmp_path)}
    run(config_file=TRAIN, dataset_dir=str(public_data / "cephalometric19"), **settings)
    assert len(json.loads((tmp_path / "training.json").read_text())["classes"]) == 19
