from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from monai_robust.commands.bundles import measure_bundle
from monai_robust.data import check_record, load_weights, read_record
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
