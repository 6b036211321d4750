"""The hippocampus bundle, by MONAI's own commands, on a few phantom volumes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, environment
from ignite.engine import Events
from monai.bundle import ConfigParser, run, verify_metadata, verify_net_in_out
from monai.losses import DiceCELoss
from scipy import ndimage
from warm_python import WarmPython

from monai_robust.data import load_weights, write_hippocampus_phantoms
from monai_robust.evaluation.report.page import write_report
from monai_robust.handlers import read_thresholds
from monai_robust.losses import DeepSupervised
from monai_robust.planning import planned_network, read_plan

BUNDLE = REPOSITORY / "bundles" / "hippocampus_mri_segmentation"
CONFIGS = BUNDLE / "configs"
TRAIN = str(CONFIGS / "train.yaml")
SMALL: dict[str, Any] = {
    "bundle_root": str(BUNDLE),
    "features": 4,
    "epochs": 1,
    "batches_per_epoch": 3,
    "batch_size": 6,
    "robust#attack#steps": 2,
}


def config(name: str) -> str:
    return str(CONFIGS / f"{name}.yaml")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hippocampus_phantoms(tmp_path_factory.mktemp("data") / "volumes", cases=12)


@pytest.fixture(scope="module")
def trained(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    settings = {**SMALL, "epochs": 3, "batches_per_epoch": 40, "batch_size": 12, "learning_rate": 0.005}
    run(config_file=TRAIN, dataset_dir=str(volumes), output_dir=str(folder), recipe="erm", **settings)
    return folder


@pytest.fixture(scope="module")
def amat(volumes: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amat")
    thresholds = {"robust#thresholds": str(trained / "model.pt"), "robust#step": 0.5}
    settings = {**SMALL, **thresholds, "epochs": 2, "checkpoint": str(trained / "model.pt")}
    run(config_file=TRAIN, dataset_dir=str(volumes), output_dir=str(folder), recipe="amat", **settings)
    return folder


def prepared(volumes: Path, folder: Path, **changes: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.update({**SMALL, "dataset_dir": str(volumes), "output_dir": str(folder), **changes})
    parser.parse()
    return parser


@pytest.mark.parametrize("recipe", ["erm", "sat", "amat"])
def test_first_loss_of_each_recipe_is_its_equation(recipe: str, volumes: Path, tmp_path: Path) -> None:
    changes = {"robust#thresholds": {"dice": 5.0, "cross_entropy": 5.0}, "robust#step": 2.0}
    changes |= {"robust#attack#precision": None}
    parser = prepared(volumes, tmp_path, recipe=recipe, **changes)
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
    loss = DeepSupervised(DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False))
    network.train()
    clean, attacked = loss(network(images), labels).item(), loss(network(adversarial), labels).item()
    assert attacked > clean
    assert seen["loss"].item() == pytest.approx(clean if recipe == "erm" else (clean + attacked) / 2, rel=1e-3)


def test_training_leaves_what_the_documentation_says(trained: Path, amat: Path) -> None:
    checkpoint = torch.load(trained / "model.pt", weights_only=True)
    assert set(checkpoint) == {"network", "optimizer", "lr_scheduler", "sampler", "trainer"}
    record = json.loads((trained / "training.json").read_text())
    assert record["recipe"] == "erm"
    assert record["classes"] == ["Anterior", "Posterior"]
    assert len(pd.read_csv(trained / "epoch_times.csv")) == 3
    assert (trained / "plan.yaml").is_file()
    margins = torch.load(amat / "checkpoint_epoch=2.pt", weights_only=True)["margins"]
    assert not any(name.encode() in (amat / "model.pt").read_bytes() for name in margins["ids"])
    assert len(margins["ids"]) == len(set(margins["ids"])) == len(margins["margins"])
    assert list(pd.read_csv(amat / "margins.csv")["epoch"]) == [1, 2]


def test_thresholds_are_fitted_from_the_checkpoint_and_kept_beside_it(trained: Path, amat: Path) -> None:
    thresholds = read_thresholds(trained / "model.thresholds.json")
    assert set(thresholds) == {"dice", "cross_entropy"}
    assert dict(thresholds) == torch.load(amat / "model.pt", weights_only=True)["margins"]["thresholds"]


def test_amat_refuses_to_start_without_thresholds(volumes: Path, tmp_path: Path, warm_python: WarmPython) -> None:
    done = started(["--recipe", "amat"], volumes, tmp_path, warm_python)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert "need thresholds" in done.stderr


def test_an_interrupted_amat_training_goes_on_with_its_margins(volumes: Path, amat: Path, tmp_path: Path) -> None:
    before = torch.load(amat / "model.pt", weights_only=True)["margins"]
    settings = {**SMALL, "robust#thresholds": dict(before["thresholds"]), "robust#step": 0.5, "epochs": 3}
    resume = {"resume": str(amat / "model.pt"), "output_dir": str(tmp_path)}
    run(config_file=TRAIN, dataset_dir=str(volumes), recipe="amat", **resume, **settings)
    after = torch.load(tmp_path / "model.pt", weights_only=True)
    assert after["margins"]["epoch"] == 3
    assert int(after["margins"]["visited"].sum()) >= int(before["visited"].sum())
    assert list(pd.read_csv(tmp_path / "margins.csv")["epoch"]) == [3]


def test_evaluation_with_and_without_the_attack_overlay(volumes: Path, trained: Path, tmp_path: Path) -> None:
    scores = {}
    overlay = str(REPOSITORY / "monai_robust" / "overlays" / "attack.yaml")
    attacked = {"robust_eval#attack#eps": 8.0, "robust_eval#attack#steps": 5, "robust_eval#attack#bounds": None}
    for name, files, extra in (("clean", [], {}), ("attack", [overlay], {**attacked, "robust_eval#loss": "@loss"})):
        run(
            config_file=[TRAIN, config("evaluate"), *files],
            dataset_dir=str(volumes),
            output_dir=str(tmp_path / name),
            checkpoint=str(trained / "model.pt"),
            plan_file=str(trained / "plan.yaml"),
            **SMALL,
            **extra,
        )
        scores[name] = float((tmp_path / name / "metrics.csv").read_text().splitlines()[0].split(",")[1])
    assert scores["attack"] < scores["clean"]


@pytest.mark.parametrize("attack_on", ["image", "windows"])
def test_robustness_measures_every_slice_and_the_report_reads_it(
    attack_on: str, volumes: Path, amat: Path, tmp_path: Path
) -> None:
    run(
        config_file=[TRAIN, config("robustness")],
        dataset_dir=str(volumes),
        output_dir=str(amat),
        evaluation_dir=str(tmp_path / "run"),
        radii=[1.0, 30.0],
        attack_steps=3,
        attack_on=attack_on,
        limit=2,
        **SMALL,
        **{"measurement#sanity_samples": 4},
    )
    table = pd.read_csv(tmp_path / "run" / "outcomes.csv")
    assert set(table["perturbation"]) == {"clean", "pgd_l2", "ifgsm_l2"}
    assert table.groupby(["perturbation", "severity"]).size().nunique() == 1
    distances = table.groupby(["perturbation", "severity"])["distance"].max()
    assert distances["clean", 0.0] == 0
    assert distances["ifgsm_l2", 1.0] <= (1.001 if attack_on == "image" else 10.0)
    assert (tmp_path / "run" / "margins.csv").is_file()
    page = write_report([tmp_path / "run"], tmp_path / "report.html").read_text()
    assert "ADI" in page
    assert "TVDI" in page


def test_inference_writes_label_maps_with_the_geometry_of_their_volumes(
    volumes: Path, trained: Path, tmp_path: Path
) -> None:
    infer(volumes / "imagesTr", trained, tmp_path)
    images = sorted((volumes / "imagesTr").glob("*.nii.gz"))
    assert len(list(tmp_path.glob("*_seg.nii.gz"))) == len(images)
    for path in images:
        image, found = nib.load(path), nib.load(tmp_path / path.name.replace(".nii.gz", "_seg.nii.gz"))
        assert found.shape == image.shape
        assert np.allclose(found.affine, image.affine)


def test_inference_is_the_network_slice_by_slice(volumes: Path, trained: Path, tmp_path: Path) -> None:
    path = next(p for p in sorted((volumes / "imagesTr").glob("*.nii.gz")) if fits(nib.load(p)))
    infer(path, trained, tmp_path, mirror=False)
    found = np.asarray(nib.load(tmp_path / path.name.replace(".nii.gz", "_seg.nii.gz")).dataobj)
    plan = read_plan(trained / "plan.yaml")
    network = load_weights(planned_network(plan, features=SMALL["features"]), trained / "model.pt").eval()
    image = torch.tensor(nib.load(path).get_fdata(dtype=np.float32))
    image = (image - image.mean()) / image.std(correction=0)
    (height, width), (rows, columns) = plan.patch, image.shape[:2]
    top, left = (height - rows) // 2, (width - columns) // 2
    padded = torch.zeros(image.shape[2], 1, height, width)
    padded[:, 0, top : top + rows, left : left + columns] = image.permute(2, 0, 1)
    with torch.no_grad():
        expected = network(padded).argmax(dim=1)[:, top : top + rows, left : left + columns].permute(1, 2, 0)
    assert (expected.numpy() == found).mean() > 0.999
    assert (found > 0).any()


def test_postprocessing_is_chosen_on_validation_and_applied(volumes: Path, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    run(config_file=[TRAIN, config("postprocess")], dataset_dir=str(volumes), output_dir=str(folder), **SMALL)
    choice = json.loads((folder / "postprocessing.json").read_text())
    assert set(choice) == {"Anterior", "Posterior"}
    (folder / "postprocessing.json").write_text(json.dumps({"Anterior": True, "Posterior": True}))
    path = sorted((volumes / "imagesTr").glob("*.nii.gz"))[0]
    infer(path, folder, tmp_path / "maps")
    found = np.asarray(nib.load(next((tmp_path / "maps").glob("*_seg.nii.gz"))).dataobj)
    for label in (1, 2):
        assert ndimage.label(found == label, structure=np.ones((3, 3, 3)))[1] <= 1


def fits(image: Any) -> bool:
    rows, columns, _ = image.shape
    return rows <= 40 and columns <= 56 and np.allclose(image.header.get_zooms(), 1)


def infer(source: Path, model: Path, output: Path, **changes: Any) -> None:
    run(
        config_file=config("inference"),
        bundle_root=str(BUNDLE),
        dataset_dir=str(source),
        checkpoint=str(model / "model.pt"),
        output_dir=str(output),
        **changes,
    )


def test_two_processes_train_together_and_hold_the_same_margins(
    volumes: Path, trained: Path, tmp_path: Path, warm_python: WarmPython
) -> None:
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29527"]
    command += ["-m", "monai.bundle", "run", "--config_file", str([TRAIN, config("multi_gpu_train")])]
    command += ["--dataset_dir", str(volumes), "--output_dir", str(tmp_path), "--recipe", "amat", "--device", "cpu"]
    command += ["--robust#thresholds", str(trained / "model.pt")]
    # Two epochs, each with a validation: metrics are gathered from all processes, so all must validate.
    for name, value in {**SMALL, "batch_size": 3, "epochs": 2, "val_interval": 1, "limit": 2}.items():
        command += [f"--{name}", str(value)]
    done = warm_python.run(*command, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    margins = torch.load(tmp_path / "model.pt", weights_only=True)["margins"]
    assert int(margins["visited"].sum()) >= pd.read_csv(tmp_path / "margins.csv")["visited"].iloc[-1] > 3 * 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--dataset_dir", "nowhere"], "nowhere"),
        (["--recipe", "amad"], "there is no recipe 'amad'"),
        (["--plan_file", "no_plan.yaml"], "no_plan.yaml"),
        (["--recipe", "amat", "--robust#thresholds", "none.json"], "none.json"),
        (["--recipe", "amat", "--robust#thresholds", "{'brier': 1.0}"], "brier"),
    ],
)
def test_bad_input_ends_in_one_line_and_status_2(
    overrides: list[str], message: str, volumes: Path, tmp_path: Path, warm_python: WarmPython
) -> None:
    done = started(overrides, volumes, tmp_path, warm_python)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ") and message in line]


def started(
    overrides: list[str], volumes: Path, folder: Path, warm_python: WarmPython
) -> subprocess.CompletedProcess[str]:
    command = ["-W", "ignore", "-m", "monai.bundle", "run", "--config_file", TRAIN]
    command += ["--output_dir", str(folder), "--dataset_dir", str(volumes)]
    for name, value in SMALL.items():
        command += [f"--{name}", str(value)]
    return warm_python.run(*command, *overrides, env=environment())


def test_metadata_follows_a_schema_offline_and_the_network_its_metadata(tmp_path: Path) -> None:
    keys = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"]
    keys += ["task", "description", "authors", "copyright", "network_data_format"]
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "required": keys}))
    metadata = str(CONFIGS / "metadata.json")
    verify_metadata(meta_file=metadata, filepath=str(schema))
    arguments = {"net_id": "network_def", "meta_file": metadata, "config_file": config("inference")}
    verify_net_in_out(**arguments, bundle_root=str(BUNDLE))


def test_checkpoint_exports_to_torchscript(volumes: Path, tmp_path: Path) -> None:
    from monai.bundle import ckpt_export

    settings = {**SMALL, "features": 8}
    run(config_file=TRAIN, dataset_dir=str(volumes), output_dir=str(tmp_path), **settings)
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=config("inference"),
        bundle_root=str(BUNDLE),
        key_in_ckpt="network",
        use_trace=True,
        input_shape=[1, 1, 40, 56],
    )
    exported = torch.jit.load(str(tmp_path / "model.ts"))
    assert exported(torch.zeros(2, 1, 40, 56)).shape == (2, 3, 40, 56)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (CONFIGS / "presets").glob("*.yaml")))
def test_presets_of_the_paper_build_what_they_say(preset: str, volumes: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config([TRAIN, str(CONFIGS / "presets" / f"{preset}.yaml")])
    parser.update({"bundle_root": str(BUNDLE), "dataset_dir": str(volumes), "recipe": "amat"})
    parser.update({"output_dir": str(tmp_path), "robust#thresholds": {"loss": 1.0}})
    parser.parse()
    attack = parser.get_parsed_content("robust#attack")
    assert (attack.steps, attack.relative_step, attack.random_start) == (20, 4.0, "sphere")
    margins = parser.get_parsed_content("robust#margins")
    steps = {"amat_heart": 5.0, "amat_hippocampus": 0.5, "amat_prostate": 3.0}
    assert margins.step == steps[preset]
    assert margins.mode == "paper"
    assert parser.get_parsed_content("optimizer").defaults["momentum"] == 0.99
    assert parser.get_parsed_content("network_def").filters[0] == 32


@pytest.mark.real_data
def test_the_bundle_trains_on_real_volumes(public_data: Path, tmp_path: Path) -> None:
    run(
        config_file=TRAIN,
        dataset_dir=str(public_data / "msd_hippocampus"),
        output_dir=str(tmp_path),
        recipe="sat",
        limit=4,
        **SMALL,
    )
    assert json.loads((tmp_path / "training.json").read_text())["classes"] == ["Anterior", "Posterior"]
