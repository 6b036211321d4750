"""The blood cell bundle, by MONAI's own commands, on a few phantom smears."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, environment
from ignite.engine import Events
from monai.bundle import ConfigParser, ckpt_export, run, verify_metadata
from warm_python import WarmPython

from monai_robust.data import write_blood_smear_phantoms
from monai_robust.errors import user_error
from monai_robust.evaluation import AttackSweep
from monai_robust.evaluation.report.page import write_report
from monai_robust.evaluation.tables.detections import read_detections
from monai_robust.handlers import read_thresholds
from monai_robust.losses import DetectionLoss
from monai_robust.metrics import mean_average_precision
from monai_robust.recipes import RECIPES

BUNDLE = REPOSITORY / "bundles" / "blood_cell_detection"
CONFIGS = BUNDLE / "configs"
TRAIN = str(CONFIGS / "train.yaml")
ATTACK = str(REPOSITORY / "monai_robust" / "overlays" / "attack.yaml")
CLASSES = ["Platelets", "RBC", "WBC"]
TERMS = {"classification", "box_regression"}
SMALL: dict[str, Any] = {
    "bundle_root": str(BUNDLE),
    "image_size": [96, 64],
    "backbone": "resnet10",
    "features": 16,
    "learning_rate": 0.003,
    "epochs": 1,
    "batch_size": 4,
    "robust#attack#steps": 2,
}


def config(name: str) -> str:
    return str(CONFIGS / f"{name}.yaml")


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blood_smear_phantoms(tmp_path_factory.mktemp("data") / "smears", images=13)


@pytest.fixture(scope="module")
def trained(smears: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, "epochs": 30}  # enough to find some of the cells of the smears it was trained on
    run(config_file=TRAIN, dataset_dir=str(smears), output_dir=str(folder), recipe="erm", **settings)
    return folder


@pytest.fixture(scope="module")
def amat(smears: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amat")
    settings = {**SMALL, "epochs": 2, "checkpoint": str(trained / "model.pt")}
    settings["robust#thresholds"] = str(trained / "model.pt")
    run(config_file=TRAIN, dataset_dir=str(smears), output_dir=str(folder), recipe="amat", **settings)
    return folder


@pytest.fixture(scope="module")
def measured(smears: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    measure(smears, trained, folder)
    return folder


def measure(smears: Path, model: Path, folder: Path, **changes: Any) -> None:
    settings = {**SMALL, "radii": [0.5, 8.0], "attack_steps": 3, "measurement#batch_size": 2}
    settings |= {"measurement#sanity_samples": 4, **changes}
    run(
        config_file=[TRAIN, config("robustness")],
        dataset_dir=str(smears),
        output_dir=str(model),
        evaluation_dir=str(folder),
        **settings,
    )


def infer(source: Path, model: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    settings = {"bundle_root": str(BUNDLE), "checkpoint": str(model / "model.pt"), **changes}
    run(config_file=config("inference"), dataset_dir=str(source), output_dir=str(folder), **settings)
    return {entry["file"]: entry for entry in json.loads((folder / "detections.json").read_text())}


@pytest.mark.parametrize("recipe", ["erm", "sat", "amat"])
def test_first_loss_of_each_recipe_is_its_equation(recipe: str, smears: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.update({**SMALL, "dataset_dir": str(smears), "output_dir": str(tmp_path), "recipe": recipe})
    # Margins begin at their step, here the radius that the recipe `sat` has throughout.
    parser.update({"robust#thresholds": dict.fromkeys(TERMS, 100.0), "robust#step": 1.0})
    parser["robust#attack#precision"] = None
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
    loss = DetectionLoss(parser.get_parsed_content("anchors"), strides=[4, 8, 16])
    network.eval()  # as the attack saw it
    assert loss(network(adversarial), labels) > loss(network(images), labels)
    network.train()  # one pass over all views, as the bundle's default has it; the loss is a mean over images
    views, repeats = (images, 1) if recipe == "erm" else (torch.cat([images, adversarial]), 2)
    expected = loss(network(views), labels.repeat(repeats, 1, 1)).item()
    assert seen["loss"].item() == pytest.approx(expected, rel=1e-3)


def test_training_leaves_what_the_documentation_says(trained: Path, amat: Path) -> None:
    checkpoint = torch.load(trained / "model.pt", weights_only=True)
    assert set(checkpoint) == {"network", "optimizer", "lr_scheduler", "trainer"}
    record = json.loads((trained / "training.json").read_text())
    assert (record["recipe"], record["classes"], record["backbone"]) == ("erm", CLASSES, "resnet10")
    assert len(pd.read_csv(trained / "epoch_times.csv")) == 30
    margins = torch.load(amat / "checkpoint_epoch=2.pt", weights_only=True)["margins"]
    assert len(set(margins["ids"])) == len(margins["margins"]) == 8
    assert not any(name.encode() in (amat / "model.pt").read_bytes() for name in margins["ids"])
    assert list(pd.read_csv(amat / "margins.csv")["epoch"]) == [1, 2]
    assert json.loads((amat / "training.json").read_text())["step"] == 0.5


def test_thresholds_are_mean_and_two_deviations_of_both_terms(trained: Path, amat: Path) -> None:
    thresholds = read_thresholds(trained / "model.thresholds.json")
    assert set(thresholds) == TERMS
    statistics = json.loads((trained / "model.thresholds.json").read_text())["statistics"]
    for term, threshold in thresholds.items():
        assert statistics[term]["samples"] == 8
        assert threshold == pytest.approx(statistics[term]["mean"] + 2 * statistics[term]["std"])
    assert dict(thresholds) == torch.load(amat / "model.pt", weights_only=True)["margins"]["thresholds"]


def test_an_interrupted_amat_training_goes_on_with_its_margins(smears: Path, amat: Path, tmp_path: Path) -> None:
    before = torch.load(amat / "model.pt", weights_only=True)["margins"]
    settings = {**SMALL, "epochs": 3, "robust#thresholds": dict(before["thresholds"])}
    resume = {"resume": str(amat / "model.pt"), "output_dir": str(tmp_path)}
    run(config_file=TRAIN, dataset_dir=str(smears), recipe="amat", **resume, **settings)
    after = torch.load(tmp_path / "model.pt", weights_only=True)["margins"]
    assert after["epoch"] == 3
    assert int(after["visited"].sum()) >= int(before["visited"].sum()) > 0
    assert list(pd.read_csv(tmp_path / "margins.csv")["epoch"]) == [3]


def test_evaluation_with_and_without_the_attack_overlay(smears: Path, trained: Path, tmp_path: Path) -> None:
    attack = {"robust_eval#attack#eps": 8.0, "robust_eval#attack#steps": 5, "robust_eval#loss": "@loss"}
    items = {"validate#items": "$@data.items['train']"}
    clean = evaluated(smears, trained, tmp_path / "clean", **items)
    assert evaluated(smears, trained, tmp_path / "attack", ATTACK, **items, **attack) < 0.5 * clean


def evaluated(smears: Path, model: Path, folder: Path, *overlays: str, **changes: Any) -> float:
    settings = {**SMALL, "checkpoint": str(model / "model.pt"), **changes}
    files = [TRAIN, config("evaluate"), *overlays]
    run(config_file=files, dataset_dir=str(smears), output_dir=str(folder), **settings)
    name, value = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert name == "test_map"
    return float(value)


def test_robustness_measures_every_smear_and_the_report_reads_it(measured: Path, tmp_path: Path) -> None:
    table = pd.read_csv(measured / "outcomes.csv")
    assert set(table["perturbation"]) == {"clean", "pgd_l2", "ifgsm_l2", "contrast_low", "gaussian"}
    assert set(table.groupby(["perturbation", "severity"]).size()) == {3}
    distances = table.groupby(["perturbation", "severity"])["distance"].max()
    assert distances["clean", 0.0] == 0
    assert 7.5 < distances["pgd_l2", 8.0] < 8.001  # a little less than the radius: intensities end at 0 and 1
    truth = pd.read_csv(measured / "boxes.csv").groupby("sample_id").size()
    assert (table["sample_id"].map(truth) == table["boxes"]).all()
    scores = table.groupby(["perturbation", "severity"])["score"].mean()
    assert scores["pgd_l2", 8.0] < scores["clean", 0.0]
    about = json.loads((measured / "run.json").read_text())
    assert (about["name"], about["classes"], bool(about["finished"])) == ("erm", CLASSES, True)
    page = write_report([measured], tmp_path / "report.html").read_text()
    assert all(word in page for word in ("mAP", "IoU", *CLASSES))


def test_a_measurement_that_was_interrupted_ends_with_the_same_tables(
    smears: Path, trained: Path, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, calls = AttackSweep.apply, iter(range(3))

    def stop(self: AttackSweep, *arguments: Any) -> torch.Tensor:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return apply(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(AttackSweep, "apply", stop)
        with pytest.raises(KeyboardInterrupt):
            measure(smears, trained, tmp_path)
    assert 0 < len(pd.read_csv(tmp_path / "outcomes.csv")) < len(pd.read_csv(measured / "outcomes.csv"))
    measure(smears, trained, tmp_path)
    for name in ("outcomes.csv", "detections.csv", "boxes.csv"):
        assert (tmp_path / name).read_bytes() == (measured / name).read_bytes()


def test_an_attack_that_lets_cells_vanish_leaves_fewer_detections(
    smears: Path, trained: Path, measured: Path, tmp_path: Path
) -> None:
    measure(smears, trained, tmp_path, attack_goal="vanishing", radii=[8.0])
    clean, untargeted = detected(measured, "clean", 0.0), detected(measured, "ifgsm_l2", 8.0)
    assert detected(tmp_path, "clean", 0.0) == clean
    assert detected(tmp_path, "ifgsm_l2", 8.0) < 0.8 * min(clean, untargeted)


def detected(folder: Path, perturbation: str, severity: float) -> int:
    table = pd.read_csv(folder / "outcomes.csv")
    chosen = (table["perturbation"] == perturbation) & (table["severity"] == severity)
    return int(table.loc[chosen, "detections"].sum())


def test_evaluation_and_tables_have_the_same_mean_average_precision(
    smears: Path, trained: Path, measured: Path, tmp_path: Path
) -> None:
    samples = sorted(set(pd.read_csv(measured / "outcomes.csv")["sample_id"]))
    tables = read_detections(measured).images("clean", 0.0, samples)
    expected = mean_average_precision(*tables, CLASSES)["map"]
    assert expected > 0
    assert evaluated(smears, trained, tmp_path) == pytest.approx(expected, rel=0.02)


def test_inferred_boxes_are_those_that_were_measured(
    smears: Path, trained: Path, measured: Path, tmp_path: Path
) -> None:
    found = infer(smears, trained, tmp_path, pictures=False, score_threshold=0.2)
    table = pd.read_csv(measured / "detections.csv").query("perturbation == 'clean' and score >= 0.2")
    assert len(table) > 0
    for sample in set(pd.read_csv(measured / "boxes.csv")["sample_id"]):
        own = table[table["sample_id"] == sample].sort_values("score", ascending=False)
        entry = found[sample]
        scale = np.array([entry["width"], entry["height"]] * 2) / np.array(SMALL["image_size"] * 2)
        boxes = own[["xmin", "ymin", "xmax", "ymax"]].to_numpy() * scale
        listed = entry["detections"]
        assert [one["class"] for one in listed] == [CLASSES[index] for index in own["class"]]
        assert np.array([one["box"] for one in listed]).reshape(-1, 4) == pytest.approx(boxes, abs=0.05)


def test_inference_writes_boxes_and_pictures_of_every_smear(smears: Path, trained: Path, tmp_path: Path) -> None:
    found = infer(smears / "JPEGImages", trained, tmp_path)
    assert sorted(found) == sorted(path.name for path in (smears / "JPEGImages").iterdir())
    assert {(entry["width"], entry["height"]) for entry in found.values()} == {(128, 96)}
    assert all(one["score"] >= 0.3 for entry in found.values() for one in entry["detections"])
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == len(found)


def test_two_processes_train_together_and_hold_the_same_margins(
    smears: Path, trained: Path, tmp_path: Path, warm_python: WarmPython
) -> None:
    thresholds = shutil.copy(trained / "model.pt", tmp_path / "erm.pt")  # they are written beside it
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29547"]
    command += ["-m", "monai.bundle", "run", "--config_file", str([TRAIN, config("multi_gpu_train")])]
    command += ["--dataset_dir", str(smears), "--output_dir", str(tmp_path), "--recipe", "amat", "--device", "cpu"]
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
    overrides: list[str], message: str, smears: Path, tmp_path: Path, warm_python: WarmPython
) -> None:
    command = ["-W", "ignore", "-m", "monai.bundle", "run", "--config_file", TRAIN]
    command += ["--bundle_root", str(BUNDLE), "--output_dir", str(tmp_path), "--dataset_dir", str(smears)]
    done = warm_python.run(*command, *overrides, env=environment())
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ") and message in line]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_dir": "nowhere"}, "nowhere"),
        ({"recipe": "amad"}, "there is no recipe 'amad'"),
        ({"class_names": ["RBC", "WBC"], "on_bad_sample": "fail"}, "Platelets"),
        ({"backbone": "resnet9"}, "resnet9"),
        ({"image_size": [100, 60]}, "must be multiples of all strides"),
        ({"recipe": "amat", "robust#thresholds": {"objectness": 1.0}}, "objectness"),
        *(({"recipe": name}, f"{name!r} asks views to agree") for name in RECIPES if RECIPES[name].consistent),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    changes: dict[str, Any], message: str, smears: Path, tmp_path: Path
) -> None:
    assert message in refused(smears, tmp_path, **changes)


def test_an_evaluation_that_contradicts_the_training_is_refused(smears: Path, trained: Path, tmp_path: Path) -> None:
    for change in ({"backbone": "resnet18"}, {"anchor_shapes": [[8, 8]]}, {"image_size": [64, 96]}):
        (name,) = change
        files = [TRAIN, config("evaluate")]
        assert name in refused(smears, tmp_path, files, checkpoint=str(trained / "model.pt"), **change)


def test_an_inverted_box_is_named_or_left_out(smears: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(smears, tmp_path / "smears")
    name = (folder / "ImageSets" / "Main" / "train.txt").read_text().split()[0]
    text = folder / "Annotations" / f"{name}.xml"
    text.write_text(text.read_text().replace("<xmax>", "<xmax>-", 1))
    assert f"{name}.xml" in refused(folder, tmp_path, on_bad_sample="fail")
    for choice in ("drop_boxes", "skip"):
        output = tmp_path / choice
        run(config_file=TRAIN, dataset_dir=str(folder), output_dir=str(output), on_bad_sample=choice, **SMALL)
        assert (output / "model.pt").is_file()


def refused(smears: Path, folder: Path, files: str | list[str] = TRAIN, **changes: Any) -> str:
    """The one sentence that a run ends with."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps what a configuration raises
        run(config_file=files, **{**SMALL, "dataset_dir": str(smears), "output_dir": str(folder), **changes})
    error = user_error(caught.value)
    assert error is not None, caught.value
    assert "\n" not in str(error)
    return str(error)


def test_metadata_follows_a_schema_offline_and_the_network_its_metadata(tmp_path: Path) -> None:
    keys = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"]
    keys += ["task", "description", "authors", "copyright", "network_data_format"]
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "required": keys}))
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=str(schema))
    # MONAI's own check takes networks with one tensor for an output.
    parser = ConfigParser()
    parser.read_config(config("inference"))
    parser.read_meta(str(CONFIGS / "metadata.json"))
    parser.update({"bundle_root": str(BUNDLE), "checkpoint": str(tmp_path / "none.pt")})
    taken = parser["_meta_#network_data_format#inputs#image"]
    told = parser["_meta_#network_data_format#outputs#pred"]
    outputs = parser.get_parsed_content("network_def")(torch.rand(1, taken["num_channels"], *taken["spatial_shape"]))
    anchors, sides = 3, [[size // stride for size in taken["spatial_shape"]] for stride in (4, 8, 16)]
    for key, channels in (("classification", told["num_channels"] * anchors), ("box_regression", 4 * anchors)):
        assert [list(level.shape) for level in outputs[key]] == [[1, channels, *side] for side in sides]
    assert list(told["channel_def"].values()) == parser.get_parsed_content("classes") == CLASSES


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
    outputs = exported(torch.zeros(2, 3, 96, 64))
    assert [tuple(level.shape) for level in outputs["classification"]] == [
        (2, 9, 24, 16),
        (2, 9, 12, 8),
        (2, 9, 6, 4),
    ]


def test_the_preset_of_the_paper_builds_what_it_says(smears: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config([TRAIN, str(CONFIGS / "presets" / "amat_bccd.yaml")])
    parser.update({"bundle_root": str(BUNDLE), "dataset_dir": str(smears), "recipe": "amat"})
    parser.update({"output_dir": str(tmp_path), "robust#thresholds": dict.fromkeys(TERMS, 1.0)})
    parser.parse()
    attack, margins = parser.get_parsed_content("robust#attack"), parser.get_parsed_content("robust#margins")
    assert (attack.steps, attack.relative_step, attack.random_start) == (20, 5.0, "sphere")
    assert attack.task is parser.get_parsed_content("task")
    assert (margins.mode, margins.step) == ("paper", 3.5)
    item = parser.get_parsed_content("train#dataset")[0]
    assert tuple(item["image"].shape) == (3, 320, 320)


@pytest.mark.real_data
def test_the_bundle_trains_on_real_smears(public_data: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "limit": 4, "recipe": "sat", "output_dir": str(tmp_path)}
    run(config_file=TRAIN, dataset_dir=str(public_data / "bccd"), **settings)
    assert json.loads((tmp_path / "training.json").read_text())["classes"] == CLASSES
