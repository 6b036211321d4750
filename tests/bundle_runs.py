"""Small runs of the four bundles, by MONAI's own commands on a few phantoms; each is done once for all tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from ignite.engine import Events
from monai.bundle import ConfigParser, run

from monai_robust.data import (
    write_blood_smear_phantoms,
    write_cephalogram_phantoms,
    write_hippocampus_phantoms,
    write_radiograph_phantoms,
)
from monai_robust.errors import user_error

ATTACK = str(REPOSITORY / "monai_robust" / "overlays" / "attack.yaml")


@dataclass(frozen=True)
class Bundle:
    """A bundle, and what is its own in tests that are the same for all.

    Args:
        name: of its folder.
        phantoms: writes a small data set.
        images: where inference finds images in it.
        classes: of the data set.
        small: settings of runs that take seconds.
        learnt: further ones of a training that learns something of its few samples.
        loss_terms: what thresholds are for.
        metric: of an evaluation; ``lower`` if a smaller one is better.
        hurt: an attack makes of the metric less than this multiple of it (more, where a smaller one is better).
        radii: to measure at; the second hurts.
        reached: the attack's changes at the second radius are at least as large; intensities end at 0 and 1.
        samples: for training, where each is one of the data list.
        processes: settings of a training in two processes.
        measuring: further settings of a measurement.
        perturbations: in its table.
        tables: that a measurement writes.
        said: words of its report.
        state: of a checkpoint besides network, optimizer, schedule and trainer.
        step: the default of margins.
        inputs: shape of a batch, and of what an exported network makes of it (of the first level's classes).
        exporting: what MONAI's export must be told.
        wrong: settings that contradict a training.
    """

    name: str
    phantoms: Callable[[Path], Path]
    images: str
    classes: list[str]
    small: Mapping[str, Any]
    learnt: Mapping[str, Any]
    loss_terms: set[str]
    metric: str
    radii: tuple[float, float]
    perturbations: set[str]
    said: tuple[str, ...]
    wrong: Mapping[str, Any]
    step: float
    inputs: tuple[tuple[int, ...], tuple[int, ...]]
    exporting: Mapping[str, Any] = field(default_factory=dict)
    lower: bool = False
    hurt: float = 1.0
    reached: float = 0.0
    samples: int | None = None
    processes: Mapping[str, Any] = field(default_factory=lambda: {"batch_size": 2, "val_interval": 1})
    attack: Mapping[str, Any] = field(default_factory=dict)
    measuring: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[str, ...] = ("outcomes.csv",)
    state: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return REPOSITORY / "bundles" / self.name

    @property
    def train(self) -> str:
        return self.config("train")

    def config(self, name: str) -> str:
        return str(self.folder / "configs" / f"{name}.yaml")

    @property
    def settings(self) -> dict[str, Any]:
        return {"bundle_root": str(self.folder), "epochs": 1, "robust#attack#steps": 2, **self.small}


BUNDLES = {
    bundle.name.split("_")[0]: bundle
    for bundle in (
        Bundle(
            "chest_xray_classification",
            lambda path: write_radiograph_phantoms(path, patients=12, size=64),
            images="dicom",
            classes=["diffuse", "lobar", "normal"],
            small={"image_size": 32, "batch_size": 8},
            learnt={"epochs": 25},
            loss_terms={"loss"},
            metric="test_accuracy",
            radii=(0.5, 20.0),
            perturbations={
                *("clean", "pgd_l2", "gaussian", "speckle", "salt_and_pepper", "contrast_high", "contrast_low")
            },
            said=("ccuracy",),
            wrong={"image_size": 64, "split_seed": 3, "fold": 1},
            step=0.1,
            inputs=((2, 1, 64, 64), (2, 3)),
            exporting={"input_shape": [1, 1, 64, 64]},
            attack={"robust_eval#attack#eps": 20.0},
            measuring={"groups": ["source"]},
        ),
        Bundle(
            "hippocampus_mri_segmentation",
            lambda path: write_hippocampus_phantoms(path, cases=12),
            images="imagesTr",
            classes=["Anterior", "Posterior"],
            small={"features": 4, "batches_per_epoch": 3, "batch_size": 6},
            learnt={"epochs": 3, "batches_per_epoch": 40, "batch_size": 12, "learning_rate": 0.005},
            loss_terms={"dice", "cross_entropy"},
            metric="test_dice",
            radii=(1.0, 30.0),
            perturbations={"clean", "pgd_l2", "ifgsm_l2"},
            said=("ADI", "TVDI"),
            wrong={"features": 8, "split_seed": 3, "fold": 1},
            step=2.0,
            inputs=((2, 1, 40, 56), (2, 3, 40, 56)),
            exporting={"use_trace": True, "input_shape": [1, 1, 40, 56]},
            attack={"robust_eval#attack#eps": 8.0, "robust_eval#attack#bounds": None, "robust_eval#loss": "@loss"},
            # Two epochs, each with a validation: metrics are gathered from all processes, so all must validate.
            processes={"batch_size": 3, "epochs": 2, "val_interval": 1, "limit": 2},
            measuring={"limit": 2},
            state=("sampler",),
        ),
        Bundle(
            "blood_cell_detection",
            lambda path: write_blood_smear_phantoms(path, images=13),
            images="JPEGImages",
            classes=["Platelets", "RBC", "WBC"],
            small={
                "image_size": [96, 64],
                "backbone": "resnet10",
                "features": 16,
                "learning_rate": 0.003,
                "batch_size": 4,
            },
            learnt={"epochs": 30},
            loss_terms={"classification", "box_regression"},
            metric="test_map",
            radii=(0.5, 8.0),
            perturbations={"clean", "pgd_l2", "ifgsm_l2", "contrast_low", "gaussian"},
            said=("mAP", "IoU"),
            wrong={"backbone": "resnet18", "anchor_shapes": [[8, 8]], "image_size": [64, 96]},
            step=0.5,
            inputs=((2, 3, 96, 64), (2, 9, 24, 16)),
            attack={"robust_eval#attack#eps": 8.0, "robust_eval#loss": "@loss"},
            hurt=0.5,
            reached=7.5,
            samples=8,
            measuring={"measurement#batch_size": 2},
            tables=("outcomes.csv", "detections.csv", "boxes.csv"),
        ),
        Bundle(
            "cephalometric_landmarks",
            lambda path: write_cephalogram_phantoms(path, patients=12),
            images="RawImage/Test1Data",
            classes=["sella", "nasion", "porion", "ANS", "menton", "gonion"],
            small={"image_size": [32, 48], "features": [8, 8, 16, 16, 16, 8], "radius": 4.0, "batch_size": 4},
            learnt={"epochs": 40},
            loss_terms={"heatmap", "offset_x", "offset_y"},
            metric="test_mre",
            lower=True,
            radii=(0.5, 4.0),
            perturbations={"clean", "pgd_l2", "ifgsm_l2", "contrast_low", "gaussian"},
            said=("MRE",),
            wrong={"heatmap": "dice", "annotator": "junior", "image_size": [48, 32]},
            step=0.25,
            inputs=((2, 1, 32, 48), (2, 18, 32, 48)),
            attack={"robust_eval#attack#eps": 4.0, "robust_eval#loss": "@loss"},
            hurt=1.5,
            reached=3.5,
            samples=8,
            measuring={"measurement#batch_size": 2},
        ),
    )
}


def of_bundle(name: str) -> pytest.MarkDecorator:
    """A test of one bundle, in the process that has the runs of that bundle."""
    return pytest.mark.xdist_group(BUNDLES[name].name)


def of_each(name: str, *values: Any) -> Any:
    """Values of a test of every bundle: by one in make test, which runs the pages of the others, by all where there is
    time."""
    return pytest.param(name, *values, marks=[of_bundle(name), *([] if name == "chest" else [pytest.mark.full])])


EACH_BUNDLE = pytest.mark.parametrize("name", [of_each(name) for name in BUNDLES])


class Runs:
    """The runs of one bundle that tests share.

    Args:
        bundle: whose.
        folder: where they go.
    """

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        self.bundle, self.folder = bundle, folder

    @cached_property
    def data(self) -> Path:
        return self.bundle.phantoms(self.folder / "data")

    @cached_property
    def erm(self) -> Path:
        return self.trained(self.folder / "erm", recipe="erm", **self.bundle.learnt)

    @cached_property
    def amat(self) -> Path:
        """Two epochs with margins, from the weights and with the thresholds of ``erm``."""
        model = str(self.erm / "model.pt")
        settings = {"recipe": "amat", "epochs": 2, "checkpoint": model, "robust#thresholds": model}
        return self.trained(self.folder / "amat", **settings)

    @cached_property
    def measured(self) -> Path:
        return self.measure(self.folder / "measured")

    def settings(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        data = {} if "dataset_dir" in changes else {"dataset_dir": str(self.data)}
        return {**self.bundle.settings, **data, **changes}

    def trained(self, folder: Path, **changes: Any) -> Path:
        run(config_file=self.bundle.train, output_dir=str(folder), **self.settings(changes))
        return folder

    def measure(self, folder: Path, model: Path | None = None, **changes: Any) -> Path:
        settings = {**self.bundle.settings, "dataset_dir": str(self.data), "radii": list(self.bundle.radii)}
        settings |= {"attack_steps": 3, "measurement#sanity_samples": 4, **self.bundle.measuring, **changes}
        run(
            config_file=[self.bundle.train, self.bundle.config("robustness")],
            output_dir=str(model or self.erm),
            evaluation_dir=str(folder),
            **settings,
        )
        return folder

    def evaluated(self, folder: Path, *overlays: str, **changes: Any) -> float:
        """The key metric."""
        settings = {**self.bundle.settings, "checkpoint": str(self.erm / "model.pt"), **changes}
        run(
            config_file=[self.bundle.train, self.bundle.config("evaluate"), *overlays],
            dataset_dir=str(self.data),
            output_dir=str(folder),
            **settings,
        )
        name, value = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
        assert name == self.bundle.metric
        return float(value)

    def inferred(self, folder: Path, source: Path | None = None, model: Path | None = None, **changes: Any) -> Path:
        run(
            config_file=self.bundle.config("inference"),
            bundle_root=str(self.bundle.folder),
            dataset_dir=str(source or self.data / self.bundle.images),
            checkpoint=str((model or self.erm) / "model.pt"),
            output_dir=str(folder),
            **changes,
        )
        return folder

    def refused(self, folder: Path, files: str | list[str] | None = None, **changes: Any) -> str:
        """The one sentence that a run ends with."""
        settings = {"output_dir": str(folder), **self.settings(changes)}
        with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps what a configuration raises
            run(config_file=files or self.bundle.train, **settings)
        error = user_error(caught.value)
        assert error is not None, caught.value
        assert "\n" not in str(error)
        return str(error)

    def prepared(self, folder: Path, *presets: str, **changes: Any) -> ConfigParser:
        """The training's configuration, read and not run."""
        parser = ConfigParser()
        parser.read_config([self.bundle.train, *(self.bundle.config(f"presets/{name}") for name in presets)])
        small = {} if presets else self.bundle.settings
        given = {"bundle_root": str(self.bundle.folder), "dataset_dir": str(self.data), "output_dir": str(folder)}
        parser.update({**small, **given, **changes})
        parser.parse()
        return parser


def first_iteration(parser: ConfigParser) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A network as it was before a training, and what the training's first iteration put out."""
    parser.get_parsed_content("initialize")
    network = parser.get_parsed_content("network")
    state = {name: value.clone() for name, value in network.state_dict().items()}
    trainer = parser.get_parsed_content("train#trainer")
    seen: dict[str, torch.Tensor] = {}

    def note(engine: Any) -> None:
        if engine.state.iteration == 1:
            output = engine.state.output
            seen.update({key: one.detach().clone() for key, one in output.items() if torch.is_tensor(one)})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    network.load_state_dict(state)
    return network, seen


def record(folder: Path, name: str = "training.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text())
    return content


def weights(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content
