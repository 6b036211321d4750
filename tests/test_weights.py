from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.handlers import MetricLogger
from torch import nn

from monai_robust.commands.bundles import measure_bundle
from monai_robust.data import check_record, load_weights, read_record
from monai_robust.data.files.weights import UnreadableCheckpointError, read_checkpoint
from monai_robust.errors import BadInputError


class Harm:
    """What runs something when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def refused(checkpoint: Path, *words: str, network: nn.Module | None = None) -> None:
    """Whether a checkpoint is refused in one line that names it, has words, and gives no advice to allow it."""
    network = network or nn.Linear(3, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(BadInputError) as caught:
        load_weights(network, checkpoint)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 500
    assert "weights_only" not in text
    assert "safe_globals" not in text
    for word in (str(checkpoint), *words):
        assert word in text
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_checkpoint_that_would_run_code_is_refused_without_advice_to_allow_it(tmp_path: Path) -> None:
    path, mark = tmp_path / "model.pt", tmp_path / "ran"
    for content, words in ((Harm(mark), ["mkdir"]), (nn.Linear(3, 2), ["Linear"]), ({"w": np.zeros(3)}, ["numpy"])):
        torch.save(content, path)
        refused(path, "Python objects", *words)
    path.write_bytes(pickle.dumps(Harm(mark)))
    refused(path)
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), path)
    refused(path, "TorchScript")
    assert not mark.exists()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    trained = nn.Linear(3, 2)
    torch.save(trained.state_dict(), path)
    whole = path.read_bytes()
    place = whole.index(trained.weight.detach().numpy().tobytes())
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        refused(path)
    flipped = bytearray(whole)
    flipped[place] ^= 0xFF
    path.write_bytes(bytes(flipped))
    refused(path, "damaged")
    refused(tmp_path / "none.pt", "no checkpoint")
    refused(tmp_path, "folder")
    os.mkfifo(tmp_path / "pipe.pt")
    refused(tmp_path / "pipe.pt", "pipe")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "NoneType"),
        ([torch.zeros(2)], "a list"),
        (torch.zeros(2), "a tensor"),
        ({1: torch.zeros(2)}, "names"),
        ({}, "{}"),
        ({"network": None}, "null"),
        ({"model": 3}, "3"),
        ({"weight": torch.zeros(2, 3), "bias": [0.0, 0.0]}, "a list under 'bias'"),
        ({"weight": torch.zeros(2, 3)}, "lacks 'bias'"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)}, "has 'more'"),
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "(2, 4)"),
        ({"weight": torch.zeros(2, 3, dtype=torch.int64), "bias": torch.zeros(2)}, "int64"),
        ({"weight": torch.full((2, 3), torch.nan), "bias": torch.zeros(2)}, "6 of 6 values of 'weight' are NaN"),
        ({"network": {"weight": torch.zeros(2, 3), "bias": torch.full((2,), -torch.inf)}}, "infinite"),
    ],
)
def test_what_is_no_state_of_the_network_is_refused_by_its_name(tmp_path: Path, content: Any, word: str) -> None:
    torch.save(content, tmp_path / "model.pt")
    refused(tmp_path / "model.pt", word)


def test_weights_are_found_under_the_usual_names(tmp_path: Path) -> None:
    trained = nn.Linear(3, 2)
    for content in (
        trained.state_dict(),
        {"network": trained.state_dict(), "epoch": 3},
        {"model": trained.state_dict()},
    ):
        torch.save(content, tmp_path / "model.pt")
        assert torch.equal(load_weights(nn.Linear(3, 2), tmp_path / "model.pt").weight, trained.weight)


def test_a_mask_of_infinities_is_no_damage(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    network.register_buffer("mask", torch.full((2, 2), -torch.inf))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    load_weights(network, tmp_path / "model.pt")


GOOD = {"classes": ["a", "$b"], "image_size": [96, 128], "split_seed": 0, "fold": None, "recipe": "erm", "seed": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, "$__import__('os')") for name in ("image_size", "split_seed", "fold", "seed", "features", "radius")),
        *((name, "@network") for name in ("image_size", "split_seed", "fold", "anchor_shapes", "backbone", "heatmap")),
        *((name, {"_target_": "os.getcwd"}) for name in ("image_size", "split_seed", "fold", "recipe", "classes")),
        *((name, True) for name in ("image_size", "split_seed", "fold")),
        *((name, 0.5) for name in ("image_size", "split_seed", "fold")),
        ("image_size", ["$1", 2]),
        ("image_size", 0),
        ("image_size", 10**9),
        ("split_seed", None.__class__),
        ("classes", []),
        ("classes", ["a", "a"]),
        ("classes", ["a", 1]),
        ("classes", "ab"),
        ("classes", ["a\nb"]),
        ("recipe", ["erm"]),
    ],
)
def test_a_setting_of_another_kind_is_refused_by_its_name(tmp_path: Path, field: str, value: Any) -> None:
    (tmp_path / "training.json").write_text(json.dumps({**GOOD, field: value}, default=str))
    with pytest.raises(BadInputError) as caught:
        read_record(tmp_path / "model.pt")
    assert f"training.json: field '{field}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_record_must_say_what_is_asked_of_it(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    path.write_text("{}")
    with pytest.raises(BadInputError, match="field 'features' is missing"):
        read_record(tmp_path / "model.pt", default={"features": 8})
    (tmp_path / "model.pt").touch()
    with pytest.raises(BadInputError, match="field 'classes' is missing"):
        check_record(tmp_path / "model.pt", classes=["a"])
    path.write_text(json.dumps({"classes": ["a"]}))
    with pytest.raises(BadInputError, match="field 'image_size' is missing"):
        check_record(tmp_path / "model.pt", classes=["a"], image_size=8)


def test_no_text_of_a_record_reaches_a_bundles_configuration(tmp_path: Path) -> None:
    """Also where the bundle's code reads the record anew or not at all."""
    configs = tmp_path / "bundle" / "configs"
    configs.mkdir(parents=True)
    mark = tmp_path / "ran"
    (configs / "train.yaml").write_text("fold: null\nimage_size: 8\nsplit_seed: 0\n")
    (configs / "robustness.yaml").write_text("run:\n  - $@fold\n  - $@image_size\n  - $@split_seed\n")
    torch.save({}, tmp_path / "model.pt")
    for name in ("fold", "image_size", "split_seed"):
        (tmp_path / "training.json").write_text(json.dumps({name: f"$__import__('os').mkdir({str(mark)!r})"}))
        with pytest.raises(BadInputError, match=f"training.json: field '{name}'"):
            measure_bundle(tmp_path / "bundle", tmp_path / "model.pt", tmp_path / "out")
    assert not mark.exists()


def engine_checkpoint(path, trained, **more):
    """What MONAI's CheckpointSaver writes for a trainer with a MetricLogger."""
    logger = MetricLogger()
    logger.loss.append((1, 0.5))
    logger.metrics["val_dice"].append((1, torch.tensor(0.25)))
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    trained(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    torch.save({**more, "optimizer": optimizer.state_dict(), "metric_logger": logger.state_dict()}, path)
    return path


@pytest.mark.parametrize("name", ["model", "net", "network", "student"])
def test_the_weights_are_found_among_all_that_monai_saves(tmp_path, name):
    saved, loaded = nn.Linear(2, 3), nn.Linear(2, 3)
    path = engine_checkpoint(tmp_path / "key_metric.pt", saved, **{name: saved.state_dict()})
    load_weights(loaded, path)
    assert torch.equal(loaded.weight, torch.load(path, weights_only=False)[name]["weight"])


def test_of_several_networks_the_one_that_fits_is_taken(tmp_path):
    wanted, other, loaded = nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 3)), nn.Linear(2, 3)
    torch.save({"teacher": other.state_dict(), "student": wanted.state_dict()}, tmp_path / "two.pt")
    load_weights(loaded, tmp_path / "two.pt")
    assert torch.equal(loaded.weight, wanted.weight)


@pytest.mark.parametrize("below", [None, "model"])
def test_the_prefix_of_a_data_parallel_wrapper_is_left_out(tmp_path, below):
    saved, loaded = nn.Linear(2, 3), nn.Linear(2, 3)
    state = nn.DataParallel(saved).state_dict()
    assert all(key.startswith("module.") for key in state)
    torch.save(state if below is None else {below: state}, tmp_path / "parallel.pt")
    load_weights(loaded, tmp_path / "parallel.pt")
    assert torch.equal(loaded.weight, saved.weight)


@pytest.mark.parametrize("saved", ["bare", "parallel", "compiled", "compiled in parallel"])
@pytest.mark.parametrize("loaded", ["bare", "parallel", "compiled"])
def test_a_network_is_the_same_one_compiled_or_not_and_in_parallel_or_not(tmp_path, saved, loaded):
    def wrapped(network, how):
        network = torch.compile(network, backend="eager") if "compiled" in how else network
        return nn.DataParallel(network) if "parallel" in how else network

    of, into = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3))
    torch.save({"model": wrapped(of, saved).state_dict(), "optimizer": {}}, tmp_path / "saved.pt")
    load_weights(wrapped(into, loaded), tmp_path / "saved.pt")
    assert torch.equal(into[0].weight, of[0].weight)


def test_a_network_with_a_part_called_module_keeps_its_names(tmp_path):
    class Wrapping(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 3)

    saved, loaded = Wrapping(), Wrapping()
    torch.save(saved.state_dict(), tmp_path / "wrapping.pt")
    load_weights(loaded, tmp_path / "wrapping.pt")
    assert torch.equal(loaded.module.weight, saved.module.weight)


def test_what_monai_writes_is_allowed_and_nothing_else(tmp_path):
    torch.save({"model": {}, "callback": print}, tmp_path / "runs.pt")
    with pytest.raises(UnreadableCheckpointError, match="Python objects"):
        read_checkpoint(tmp_path / "runs.pt")
    torch.load(engine_checkpoint(tmp_path / "own.pt", nn.Linear(2, 3)), weights_only=False)
    with pytest.raises(pickle.UnpicklingError):  # elsewhere in the process it is as strict as ever
        torch.load(tmp_path / "own.pt", weights_only=True)
