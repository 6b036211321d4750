"""What all bundles do alike, by MONAI's own commands; what is one bundle's own stands in the files beside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from bundle_runs import ATTACK, BUNDLES, EACH_BUNDLE, Runs, first_iteration, of_bundle, of_each, record, weights
from conftest import environment
from monai.bundle import ConfigParser, ckpt_export, onnx_export, run, verify_metadata, verify_net_in_out
from monai.losses import DiceCELoss
from synthetic_runs import measured_lines
from warm_python import WarmPython

from monai_robust.commands.bundles import measure_bundle
from monai_robust.data import detection_datalist, landmark_datalist, write_landmark_datalist
from monai_robust.evaluation import AttackSweep, CorruptionSweep, read_run
from monai_robust.evaluation.report.page import write_report
from monai_robust.handlers import read_thresholds
from monai_robust.losses import DeepSupervised, DetectionLoss, LandmarkLoss
from monai_robust.recipes import RECIPES

Shared = Callable[[str], Runs]

# Ids that mean the same in every bundle, of train.yaml alone and with robustness.yaml after it.
TRAINING_IDS = {
    *(
        "bundle_root",
        "dataset_dir",
        "output_dir",
        "checkpoint",
        "resume",
        "recipe",
        "epochs",
        "batch_size",
        "image_size",
    ),
    *("learning_rate", "num_workers", "seed", "device", "amp", "val_interval", "limit", "split_seed", "fold"),
    *("groups", "labels", "classes_of_training"),
    *(
        "radii",
        "on_bad_sample",
        "data",
        "classes",
        "network_def",
        "network",
        "loss",
        "optimizer",
        "lr_scheduler",
        "metric",
    ),
    *("preprocessing", "augmentation", "robust", "train", "validate", "trained_with", "training_record"),
    "processes",
}
MEASURING_IDS = {
    "evaluation_dir",
    "split",
    "validation_limit",
    "explain",
    "validation",
    "attack_steps",
    "corruptions",
    "shift",
    "shift_dir",
    "shift_name",
    "smallest_radius",
    "name",
    "record",
    "test",
    "measurement",
}
# What stands in every bundle in the same words: nothing but a bundle's own may differ.
ALIKE = {
    "train": [
        *("output_dir", "network", "robust#update", "train#inferer", "train#trainer", "processes"),
        *("train#first_rank", "train#handlers", "validate#handlers", "checkpoint", "resume", "device", "run"),
    ],
    "evaluate": ["checkpoint", "validate#items", "validate#dataset#name", "validate#handlers", "initialize", "run"],
    "robustness": [
        "checkpoint",
        "evaluation_dir",
        "split",
        "name",
        "record",
        "test#items",
        "validation#items",
        "shift_dir",
        "shift_name",
        "shift#items",
        "smallest_radius",
        "run",
    ],
    "inference": ["network", "train_config", "output_dir", "checkpoint", "evaluator", "initialize", "run"],
    "multi_gpu_train": ["device", "processes", "network", "validate#evaluator#network", "finalize"],
}
OWN = {"task"}  # of the chest bundle, whose loss says all that a task would


def read(name: str, config: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(Path(BUNDLES[name].config(config)).read_text())
    return content


def at(content: dict[str, Any], name: str) -> Any:
    if name in content:
        return content[name]
    node: Any = content
    for part in name.split("#"):
        node = node[part]
    return {key: value for key, value in node.items() if key not in OWN} if isinstance(node, dict) else node


@pytest.mark.parametrize("name", list(BUNDLES))
def test_the_same_ids_are_in_every_bundle(name: str) -> None:
    assert set(read(name, "train")) >= TRAINING_IDS
    assert set(read(name, "robustness")) >= MEASURING_IDS


@pytest.mark.parametrize(("config", "part"), [(config, part) for config, parts in ALIKE.items() for part in parts])
def test_what_bundles_share_is_in_the_same_words(config: str, part: str) -> None:
    first, *others = (at(read(name, config), part) for name in BUNDLES)
    assert others == [first] * len(others)


@EACH_BUNDLE
def test_training_leaves_what_the_documentation_says(name: str, runs: Shared) -> None:
    shared = runs(name)
    bundle, erm, amat = shared.bundle, shared.erm, shared.amat
    assert set(weights(erm / "model.pt")) == {"network", "optimizer", "lr_scheduler", "trainer", *bundle.state}
    assert (record(erm)["recipe"], record(erm)["started_from"]) == ("erm", None)
    assert (record(amat)["recipe"], record(amat)["started_from"]) == ("amat", "a checkpoint")
    assert record(erm)["classes"] == bundle.classes
    assert record(amat)["step"] == bundle.step
    assert {key: record(amat)[key] for key in bundle.small} == bundle.small
    assert len(pd.read_csv(erm / "epoch_times.csv")) == bundle.learnt["epochs"]
    margins = weights(amat / "checkpoint_epoch=2.pt")["margins"]
    assert len(margins["ids"]) == len(set(margins["ids"])) == len(margins["margins"])
    assert bundle.samples in (None, len(margins["ids"]))
    assert not any(one.encode() in (amat / "model.pt").read_bytes() for one in margins["ids"])
    assert list(pd.read_csv(amat / "margins.csv")["epoch"]) == [1, 2]
    assert len(pd.read_csv(amat / "margins_by_sample.csv")) >= len(margins["ids"])


@EACH_BUNDLE
def test_thresholds_are_fitted_from_the_checkpoint_and_kept_beside_it(name: str, runs: Shared) -> None:
    shared = runs(name)
    fitted = weights(shared.amat / "model.pt")["margins"]["thresholds"]
    thresholds = read_thresholds(shared.erm / "model.thresholds.json")
    assert set(thresholds) == shared.bundle.loss_terms
    assert dict(thresholds) == fitted
    if "mean_std" not in str(read(name, "train")["robust"]["margins"].get("fit")):
        return
    statistics = record(shared.erm, "model.thresholds.json")["statistics"]
    for term, threshold in thresholds.items():
        assert statistics[term]["samples"] == shared.bundle.samples
        assert threshold == pytest.approx(statistics[term]["mean"] + 2 * statistics[term]["std"])


@EACH_BUNDLE
def test_an_interrupted_amat_training_goes_on_with_its_margins(name: str, runs: Shared, tmp_path: Path) -> None:
    model = runs(name).amat / "model.pt"
    before = weights(model)["margins"]
    thresholds = {"robust#thresholds": dict(before["thresholds"])}
    runs(name).trained(tmp_path, recipe="amat", resume=str(model), epochs=3, **thresholds)
    after = weights(tmp_path / "model.pt")["margins"]
    assert after["epoch"] == 3
    assert int(after["visited"].sum()) >= int(before["visited"].sum()) > 0
    assert list(pd.read_csv(tmp_path / "margins.csv")["epoch"]) == [3]


@EACH_BUNDLE
def test_evaluation_with_and_without_the_attack_overlay(name: str, runs: Shared, tmp_path: Path) -> None:
    bundle = runs(name).bundle
    attack = {"robust_eval#attack#steps": 5, **bundle.attack}
    items = {"validate#items": "$@data.items['train']"}
    clean = runs(name).evaluated(tmp_path / "clean", **items)
    attacked = runs(name).evaluated(tmp_path / "attack", ATTACK, **items, **attack)
    assert clean > 0
    assert attacked > bundle.hurt * clean if bundle.lower else attacked < bundle.hurt * clean


@EACH_BUNDLE
def test_robustness_measures_every_sample_and_the_report_reads_it(name: str, runs: Shared, tmp_path: Path) -> None:
    bundle, folder = runs(name).bundle, runs(name).measured
    table = pd.read_csv(folder / "outcomes.csv")
    assert set(table["perturbation"]) == bundle.perturbations
    settings = table.groupby(["perturbation", "severity"])
    assert set(settings.size()) == {table["sample_id"].nunique()}
    distances, scores, (small, large) = settings["distance"].max(), settings["score"].mean(), bundle.radii
    assert distances["clean", 0.0] == 0
    for attack in bundle.perturbations & {"pgd_l2", "ifgsm_l2"}:
        assert distances[attack, small] <= 1.001 * small
        assert bundle.reached <= distances[attack, large] <= 1.001 * large
    falls = [
        (-1 if bundle.lower else 1) * scores[one] for one in (("clean", 0.0), ("pgd_l2", small), ("pgd_l2", large))
    ]
    assert falls == sorted(falls, reverse=True)
    assert falls[2] < falls[0]
    about = record(folder, "run.json")
    assert (about["name"], about["recipe"], about["classes"]) == ("erm", "erm", bundle.classes)
    assert about["finished"]
    assert (folder / "epoch_times.csv").is_file()
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert [word for word in bundle.said if word not in page] == []


def with_sources(root: Path, bundle: str) -> Path:
    """A data set whose list has a column ``source``, as any of our tasks reads it."""
    if bundle == "cephalometric":
        write_landmark_datalist(landmark_datalist(root), root, root / "landmarks.csv")
        shutil.rmtree(root / "AnnotationsByMD")
    if bundle == "blood":
        items = [item for items in detection_datalist(root).items.values() for item in items]
        names = [Path(item["image"]).relative_to(root).as_posix() for item in items]
        xml = [f"Annotations/{Path(name).stem}.xml" for name in names]
        splits = [split for split, items in detection_datalist(root).items.items() for _ in items]
        pd.DataFrame({"image": names, "annotation": xml, "split": splits}).to_csv(root / "index.csv", index=False)
    path = root / ("landmarks.csv" if bundle == "cephalometric" else "index.csv")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["source"] = ["north", "south"] * (len(table) // 2) + ["north"] * (len(table) % 2)
    table.to_csv(path, index=False)
    return root


@EACH_BUNDLE
@pytest.mark.full
def test_images_without_labels_are_compared_with_the_networks_own_answers(
    name: str, runs: Shared, tmp_path: Path
) -> None:
    shared = runs(name)
    images = shutil.copytree(shared.data / shared.bundle.images, tmp_path / "images")
    settings = {**shared.bundle.settings, "radii": list(shared.bundle.radii), "dataset_dir": str(images)}
    settings |= {"attack_steps": 3, "labels": False, "limit": 3, "smallest_radius": shared.bundle.radii[1], "cases": 2}
    settings["measurement#sanity_samples"] = 2
    settings.pop("bundle_root", None)
    folder = measure_bundle(shared.bundle.folder, shared.erm / "model.pt", tmp_path / "measured", settings)
    run = read_run(folder)
    assert not run.labelled
    clean, perfect = run.clean["score"].dropna(), 0.0 if shared.bundle.lower else 1.0
    assert clean.to_numpy() == pytest.approx(perfect, abs=1e-4)
    largest = run.outcomes[run.outcomes["severity"] == shared.bundle.radii[1]]
    assert abs(largest.loc[largest["perturbation"] == "pgd_l2", "score"].mean() - perfect) > 0.01
    text = write_report([folder], tmp_path / "report.html").read_text()
    assert "Without labels these could not be computed" in text


@EACH_BUNDLE
def test_another_site_is_measured_beside_within_the_same_groups(name: str, runs: Shared, tmp_path: Path) -> None:
    shared = runs(name)
    other, own = (with_sources(shared.bundle.phantoms(tmp_path / site), name) for site in ("b", "a"))
    quick = {"perturbations": [{"_target_": "monai_robust.evaluation.CleanSweep"}], "validation_limit": 0, "cases": 0}
    given = {**quick, "shift_dir": str(other), "shift_name": "site_b", "groups": ["source"]}
    given["measurement#sanity_samples"] = 0
    found = read_run(shared.measure(tmp_path / "measured", dataset_dir=str(own), **given))
    there = found.shifts["site_b"].clean
    assert there["sample_id"].str.startswith("site_b/").all()
    assert there["patient_id"].nunique() > found.clean["patient_id"].nunique()
    assert set(there["source"]) == set(found.clean["source"]) == {"north", "south"}
    write_report([found.folder], tmp_path / "report.html")
    summary = pd.read_csv(tmp_path / "report_tables" / "summary.csv")
    assert set(summary.loc[summary["value"] == "north", "perturbation"]) == {"clean", "site_b"}
    assert set(pd.read_csv(tmp_path / "report_tables" / "subgroup_gaps.csv")["perturbation"]) == {"clean", "site_b"}
    files = [shared.bundle.train, shared.bundle.config("robustness")]
    same = {"dataset_dir": str(own), "output_dir": str(shared.erm), "shift_dir": str(own), "groups": []}
    told = shared.refused(tmp_path, files, **{**quick, **same, "evaluation_dir": str(tmp_path / "same")})
    assert "are those of the data set that the network was trained and tested on" in told


@EACH_BUNDLE
def test_a_measurement_that_was_interrupted_ends_with_the_same_tables(
    name: str, runs: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = runs(name)
    assert shared.measured.is_dir()
    # the chest bundle's radii are searched, not attacked one by one
    sweep = CorruptionSweep if name == "chest" else AttackSweep
    apply, calls = sweep.apply, iter(range(3))

    def stop(self: Any, *arguments: Any) -> torch.Tensor:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return apply(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(sweep, "apply", stop)
        with pytest.raises(KeyboardInterrupt):
            shared.measure(tmp_path)
    whole = pd.read_csv(shared.measured / "outcomes.csv")
    assert 0 < len(measured_lines(tmp_path)) < len(whole)
    shared.measure(tmp_path)
    for table in shared.bundle.tables:
        assert (tmp_path / table).read_bytes() == (shared.measured / table).read_bytes()


@EACH_BUNDLE
def test_two_processes_train_together_and_hold_the_same_margins(
    name: str, runs: Shared, tmp_path: Path, warm_python: WarmPython
) -> None:
    shared, bundle = runs(name), runs(name).bundle
    thresholds = shutil.copy(shared.erm / "model.pt", tmp_path / "erm.pt")  # they are written beside it
    port = 29517 + 10 * list(BUNDLES).index(name)
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command += ["-m", "monai.bundle", "run", "--config_file", str([bundle.train, bundle.config("multi_gpu_train")])]
    command += ["--dataset_dir", str(shared.data), "--output_dir", str(tmp_path), "--recipe", "amat"]
    command += ["--device", "cpu", "--robust#thresholds", str(thresholds)]
    settings = {**bundle.settings, **bundle.processes}
    for key, value in settings.items():
        command += [f"--{key}", str(value)]
    done = warm_python.run(*command, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(pd.read_csv(tmp_path / "epoch_times.csv")) == settings["epochs"]  # one of them writes
    margins = weights(tmp_path / "model.pt")["margins"]
    visited = pd.read_csv(tmp_path / "margins.csv")["visited"].iloc[-1]
    # More than one of them has seen alone; where each sample is seen once in an epoch, all.
    assert int(margins["visited"].sum()) >= visited > settings["batch_size"]
    assert bundle.samples in (None, visited)


@pytest.mark.parametrize("name", list(BUNDLES))
def test_a_configuration_for_several_processes_says_so_to_a_single_one(name: str, tmp_path: Path) -> None:
    bundle = BUNDLES[name]
    sentence = Runs(bundle, tmp_path).refused(
        tmp_path, [bundle.train, bundle.config("multi_gpu_train")], dataset_dir="."
    )
    assert "start it by torchrun" in sentence


def on(name: str, *values: Any) -> Any:
    return pytest.param(name, *values, marks=of_bundle(name))


LOSSES: dict[str, Callable[[ConfigParser], Callable[..., torch.Tensor]]] = {
    "hippocampus": lambda parser: DeepSupervised(
        DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False)
    ),
    "blood": lambda parser: DetectionLoss(parser.get_parsed_content("anchors"), strides=[4, 8, 16]),
    "cephalometric": lambda parser: LandmarkLoss(radius=parser["radius"], heatmap=parser["heatmap"]),
}


@pytest.mark.parametrize("recipe", ["erm", "sat", "amat"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [on("hippocampus", {}), on("blood", {}), *(on("cephalometric", {"heatmap": one}) for one in ("bce", "dice"))],
)
def test_first_loss_of_each_recipe_is_its_equation(
    name: str, changes: dict[str, Any], recipe: str, runs: Shared, tmp_path: Path
) -> None:
    # Margins begin at their step, here the radius that the recipe `sat` has throughout.
    eps = read(name, "train")["robust"]["attack"]["eps"]
    margins = {"robust#thresholds": dict.fromkeys(BUNDLES[name].loss_terms, 100.0), "robust#step": eps}
    precise = {"robust#attack#precision": None}
    parser = runs(name).prepared(tmp_path, recipe=recipe, **precise, **margins, **changes)
    network, seen = first_iteration(parser)
    images, labels = seen["image"], seen["label"]
    adversarial = parser.get_parsed_content("robust#attack")(network, images, labels)
    loss = LOSSES[name](parser)
    network.eval()  # as the attack saw it
    assert loss(network(adversarial), labels) > loss(network(images), labels)
    network.train()  # one pass over all views, as the bundles' default has it
    views = [images] if recipe == "erm" else [images, adversarial]
    outputs = network(torch.cat(views))
    losses = [loss(rows(outputs, len(images), view), labels).item() for view in range(len(views))]
    assert seen["loss"].item() == pytest.approx(sum(losses) / len(losses), rel=1e-3)


def rows(outputs: Any, count: int, view: int) -> Any:
    """The outputs of one of several views of ``count`` samples."""
    if isinstance(outputs, torch.Tensor):
        return outputs[view * count : (view + 1) * count]
    if isinstance(outputs, dict):
        return {key: rows(one, count, view) for key, one in outputs.items()}
    return [rows(one, count, view) for one in outputs]


@EACH_BUNDLE
def test_checkpoint_exports_to_torchscript(name: str, runs: Shared, tmp_path: Path) -> None:
    bundle, checkpoint = runs(name).bundle, str(runs(name).erm / "model.pt")
    inputs, expected = bundle.inputs
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=checkpoint,
        meta_file=str(bundle.folder / "configs" / "metadata.json"),
        config_file=bundle.config("inference"),
        bundle_root=str(bundle.folder),
        checkpoint=checkpoint,
        key_in_ckpt="network",
        **bundle.exporting,
    )
    outputs = torch.jit.load(str(tmp_path / "model.ts"))(torch.zeros(inputs))
    first = outputs if isinstance(outputs, torch.Tensor) else outputs["classification"][0]
    assert tuple(first.shape) == expected


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in BUNDLES if name != "blood"])  # whose network has several outputs
def test_checkpoint_exports_to_onnx(name: str, runs: Shared, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    bundle, checkpoint = runs(name).bundle, str(runs(name).erm / "model.pt")
    (_, *inputs), (_, *expected) = bundle.inputs
    onnx_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.onnx"),
        ckpt_file=checkpoint,
        meta_file=str(bundle.folder / "configs" / "metadata.json"),
        config_file=bundle.config("inference"),
        bundle_root=str(bundle.folder),
        checkpoint=checkpoint,
        key_in_ckpt="network",
        use_trace=True,
        input_shape=[1, *inputs],
        converter_kwargs={"dynamo": False},  # the newer exporter needs another package
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    outputs = session.run(None, {session.get_inputs()[0].name: np.zeros((1, *inputs), np.float32)})
    assert outputs[0].shape == (1, *expected)


@pytest.mark.parametrize("name", [name for name in BUNDLES if name != "blood"])  # whose network has several outputs
def test_the_network_is_what_its_metadata_says(name: str, tmp_path: Path) -> None:
    bundle = BUNDLES[name]
    arguments = {
        "meta_file": str(bundle.folder / "configs" / "metadata.json"),
        "config_file": bundle.config("inference"),
    }
    root = {"bundle_root": str(bundle.folder), "checkpoint": str(tmp_path / "none.pt")}
    verify_net_in_out(net_id="network_def", **arguments, **root)


def test_a_network_with_several_outputs_is_what_its_metadata_says(tmp_path: Path) -> None:
    """MONAI's own check asks for one tensor and ends at a dictionary, as the bundle's page says."""
    bundle = BUNDLES["blood"]
    meta = json.loads((bundle.folder / "configs" / "metadata.json").read_text())["network_data_format"]
    image, found = meta["inputs"]["image"], meta["outputs"]["pred"]
    files = {"meta_file": str(bundle.folder / "configs" / "metadata.json"), "config_file": bundle.config("inference")}
    root = {"bundle_root": str(bundle.folder), "checkpoint": str(tmp_path / "none.pt")}
    with pytest.raises(AttributeError, match="'dict' object has no attribute 'shape'"):
        verify_net_in_out(net_id="network_def", **files, **root)
    parser = ConfigParser()
    parser.read_config(files["config_file"])
    for name, value in root.items():
        parser[name] = value
    network = parser.get_parsed_content("network_def").eval()
    inputs = torch.rand(1, image["num_channels"], *image["spatial_shape"], dtype=getattr(torch, image["dtype"]))
    with torch.no_grad():
        outputs = network(inputs)
    assert set(outputs) == {"classification", "box_regression"}
    anchors = {maps.shape[1] // 4 for maps in outputs["box_regression"]}
    assert len(anchors) == 1
    for maps in outputs["classification"]:
        assert maps.shape[1] == found["num_channels"] * min(anchors) == len(found["channel_def"]) * min(anchors)
        assert maps.dtype == getattr(torch, found["dtype"])


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        on("chest", ["--dataset_dir", "nowhere"], "nowhere"),
        on("chest", ["--recipe", "rdta"], "there is no recipe 'rdta'"),
        on("chest", ["--robust#attack#eps", "-1", "--recipe", "at"], "eps"),
        on("chest", ["--robust#attack#norm", "l7", "--recipe", "at"], "norm"),
        on("hippocampus", ["--dataset_dir", "nowhere"], "nowhere"),
        on("hippocampus", ["--recipe", "amad"], "there is no recipe 'amad'"),
        on("hippocampus", ["--plan_file", "no_plan.yaml"], "no_plan.yaml"),
        on("hippocampus", ["--recipe", "amat", "--robust#thresholds", "none.json"], "none.json"),
        on("hippocampus", ["--recipe", "amat", "--robust#thresholds", "{'brier': 1.0}"], "brier"),
        on("blood", ["--recipe", "rtda"], "the recipe 'rtda' asks views to agree"),
        on("cephalometric", ["--recipe", "rtda"], "the recipe 'rtda' asks views to agree"),
        *(on(name, ["--recipe", "amat"], "need thresholds") for name in BUNDLES),
        *(on(name, ["--epoch", "3"], "did you mean --epochs") for name in BUNDLES),
    ],
)
def test_bad_input_ends_in_one_line_and_status_2(
    name: str, overrides: list[str], message: str, runs: Shared, tmp_path: Path, warm_python: WarmPython
) -> None:
    command = ["-W", "ignore", "-m", "monai.bundle", "run", "--config_file", runs(name).bundle.train]
    command += ["--output_dir", str(tmp_path), "--dataset_dir", str(runs(name).data)]
    for key, value in runs(name).bundle.settings.items():
        command += [f"--{key}", str(value)]
    done = warm_python.run(*command, *overrides, env=environment())
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ") and message in line]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        *(on(name, {"dataset_dir": "nowhere"}, "nowhere") for name in BUNDLES),
        *(on(name, {"recipe": "amad"}, "there is no recipe 'amad'") for name in BUNDLES),
        *(on(name, {"recipe": "amat", "robust#thresholds": {"objectness": 1.0}}, "objectness") for name in BUNDLES),
        on("blood", {"class_names": ["RBC", "WBC"], "on_bad_sample": "fail"}, "Platelets"),
        on("blood", {"backbone": "resnet9"}, "resnet9"),
        on("blood", {"image_size": [100, 60]}, "must be multiples of all strides"),
        on("cephalometric", {"heatmap": "gauss"}, "the heatmap loss is 'gauss'"),
        on("cephalometric", {"annotator": "chief"}, "'chief'"),
        *(
            on(name, {"recipe": recipe}, f"the recipe {recipe!r} asks views to agree")
            for name in ("blood", "cephalometric")
            for recipe in RECIPES
            if RECIPES[recipe].consistent
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    name: str, changes: dict[str, Any], message: str, runs: Shared, tmp_path: Path
) -> None:
    assert message in runs(name).refused(tmp_path, **changes)


@pytest.mark.parametrize(
    ("name", "change"),
    [of_each(name, {key: value}) for name in BUNDLES for key, value in BUNDLES[name].wrong.items()],
)
@pytest.mark.parametrize("config", ["evaluate", "robustness"])
def test_an_evaluation_that_contradicts_the_training_is_refused(
    name: str, change: dict[str, Any], config: str, runs: Shared, tmp_path: Path
) -> None:
    shared, (key,) = runs(name), change
    files = [shared.bundle.train, shared.bundle.config(config)]
    assert key in shared.refused(tmp_path, files, checkpoint=str(shared.erm / "model.pt"), **change)


@EACH_BUNDLE
def test_inference_needs_the_bundles_training_configuration(name: str, runs: Shared, tmp_path: Path) -> None:
    files, checkpoint = [runs(name).bundle.config("inference")], str(runs(name).erm / "model.pt")
    given = {"bundle_root": str(tmp_path), "checkpoint": checkpoint, "dataset_dir": str(runs(name).data)}
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps what a configuration raises
        run(config_file=files, output_dir=str(tmp_path), **given)
    assert "name the bundle's folder with --bundle_root" in repr(chain(caught.value))


def chain(error: BaseException | None) -> list[str]:
    """What an error and its causes say."""
    return [] if error is None else [str(error), *chain(error.__cause__ or error.__context__)]


@EACH_BUNDLE
def test_a_copied_bundle_trains_wherever_it_lies(name: str, runs: Shared, tmp_path: Path) -> None:
    shared = runs(name)
    copy = shutil.copytree(shared.bundle.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("output", "phantoms"))
    settings = {**shared.bundle.settings, "bundle_root": str(copy), "dataset_dir": str(shared.data)}
    run(config_file=str(copy / "configs" / "train.yaml"), **settings)
    assert (copy / "output" / "erm" / "model.pt").is_file()


@pytest.mark.parametrize("name", list(BUNDLES))
def test_metadata_follows_a_schema_offline(name: str, tmp_path: Path) -> None:
    keys = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"]
    keys += ["task", "description", "authors", "copyright", "network_data_format"]
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "required": keys}))
    metadata = str(BUNDLES[name].folder / "configs" / "metadata.json")
    verify_metadata(meta_file=metadata, filepath=str(schema))


@pytest.mark.full
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "data", "settings", "classes"),
    [
        ("chest", "covid_cxr3", {"recipe": "rtda", "limit": 12}, ["covid", "normal", "pneumonia"]),
        ("hippocampus", "msd_hippocampus", {"recipe": "sat", "limit": 4}, ["Anterior", "Posterior"]),
        ("blood", "bccd", {"recipe": "sat", "limit": 4}, ["Platelets", "RBC", "WBC"]),
        ("cephalometric", "cephalometric19", {"recipe": "sat", "limit": 4}, 19),
    ],
)
def test_bundles_train_on_real_data(
    name: str, data: str, settings: dict[str, Any], classes: list[str] | int, public_data: Path, tmp_path: Path
) -> None:
    Runs(BUNDLES[name], tmp_path).trained(tmp_path, dataset_dir=str(public_data / data), **settings)
    found = record(tmp_path)["classes"]
    assert classes == (len(found) if isinstance(classes, int) else found)
