"""Mirror test-time augmentation, and the choice of largest components."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import KeepLargestConnectedComponent
from torch import Tensor, nn

from monai_robust.errors import BadInputError
from monai_robust.inferers import MirrorInferer
from monai_robust.networks import (
    apply_postprocessing,
    choose_postprocessing,
    read_postprocessing,
    write_postprocessing,
)


def test_outputs_are_the_mean_of_all_mirrorings_mirrored_back() -> None:
    network = nn.Conv2d(1, 3, 3, padding=1)
    inputs = torch.randn(2, 1, 7, 9)
    views = [[], [2], [3], [2, 3]]
    expected = torch.stack([network(inputs.flip(dims)).flip(dims) for dims in views]).mean(0)
    torch.testing.assert_close(MirrorInferer()(inputs, network), expected)


@pytest.mark.parametrize(("axes", "calls"), [((), 1), ((1,), 2), ((0, 1), 4), ((0, 1, 2), 8)])
def test_the_network_runs_once_for_each_mirroring(axes: Sequence[int], calls: int) -> None:
    seen = []

    def network(inputs: Tensor, factor: float) -> Tensor:
        seen.append(inputs)
        return factor * inputs

    inputs = torch.randn(1, 2, 4, 5, 6)
    torch.testing.assert_close(MirrorInferer(axes=axes)(inputs, network, factor=3.0), 3 * inputs)
    assert len({tuple(view.flatten().tolist()) for view in seen}) == len(seen) == calls


def test_an_output_for_each_head_is_mirrored_in_space() -> None:
    def network(inputs: Tensor) -> Tensor:
        return torch.stack([inputs, 2 * inputs], dim=1)

    inputs = torch.randn(2, 1, 4, 6)
    torch.testing.assert_close(MirrorInferer()(inputs, network), network(inputs))


def test_windows_are_mirrored_as_a_whole_and_keep_the_images_geometry() -> None:
    network = nn.Conv2d(1, 2, 3, padding=1)
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    windows = SlidingWindowInferer((8, 8), mode="gaussian", overlap=0.5)
    inputs = MetaTensor(torch.randn(1, 1, 12, 16), affine=affine)
    result = MirrorInferer(windows)(inputs, network)
    views = [[], [2], [3], [2, 3]]
    plain = inputs.as_tensor()
    expected = torch.stack([windows(plain.flip(dims), network).flip(dims) for dims in views]).mean(0)
    torch.testing.assert_close(result.as_tensor(), expected)
    assert torch.equal(result.affine, inputs.affine)


def test_gradients_flow_to_the_inputs() -> None:
    inputs = torch.randn(1, 1, 6, 6, requires_grad=True)
    MirrorInferer()(inputs, nn.Conv2d(1, 2, 3, padding=1)).square().sum().backward()
    assert inputs.grad is not None
    assert (inputs.grad != 0).all()


def test_axes_and_outputs_that_cannot_be_mirrored_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"\[0, 0\]"):
        MirrorInferer(axes=(0, 0))
    with pytest.raises(BadInputError, match="0 or more"):
        MirrorInferer(axes=(-1,))
    with pytest.raises(BadInputError, match="the inputs have only 2"):
        MirrorInferer(axes=(2,))(torch.randn(1, 1, 4, 4), nn.Identity())
    with pytest.raises(BadInputError, match="not tuple"):
        MirrorInferer()(torch.randn(1, 1, 4, 4), lambda inputs: (inputs, inputs))


# Largest components


def cubes(*corners: tuple[int, int, int, int], label: int = 1) -> Tensor:
    """Cubes of (x, y, z, side) in a volume."""
    volume = torch.zeros(16, 16, 16, dtype=torch.uint8)
    for x, y, z, side in corners:
        volume[x : x + side, y : y + side, z : z + side] = label
    return volume


def test_components_are_dropped_for_the_classes_that_gain_by_it() -> None:
    truth = cubes((1, 1, 1, 4)) + cubes((9, 9, 9, 3), (9, 1, 9, 2), label=2)
    found = cubes((1, 1, 1, 4), (12, 1, 1, 2)) + cubes((9, 9, 9, 3), (9, 1, 9, 2), label=2)
    choice = choose_postprocessing(iter([found, truth]), iter([truth, truth]), ["one", "two", "never there"])
    assert choice == {"one": True, "two": False, "never there": False}


def test_the_mean_over_the_volumes_decides() -> None:
    twins, lone = cubes((1, 1, 1, 3), (9, 9, 9, 3)), cubes((1, 1, 1, 3))
    dust = cubes((1, 1, 1, 3), (9, 9, 9, 1))
    # dropping the twin costs 1/3 of Dice, the dust gains less than 0.02 a volume
    assert choose_postprocessing([twins, dust], [twins, lone], ["a"]) == {"a": False}
    assert choose_postprocessing([dust], [lone], ["a"]) == {"a": True}
    assert choose_postprocessing([lone], [lone], ["a"]) == {"a": False}


def test_only_the_largest_component_of_a_chosen_class_stays() -> None:
    label_map = cubes((1, 1, 1, 4), (12, 1, 1, 2)) + cubes((9, 9, 9, 3), (9, 1, 9, 2), label=2)
    result = apply_postprocessing(label_map[None], {"one": True, "two": False})
    assert torch.equal(result[0], cubes((1, 1, 1, 4)) + cubes((9, 9, 9, 3), (9, 1, 9, 2), label=2))
    assert result.dtype == torch.uint8
    assert int((label_map == 1).sum()) == 64 + 8, "the map that was given stays as it was"


@pytest.mark.parametrize("shape", [(14, 15), (9, 10, 8)])
def test_components_agree_with_monais(shape: tuple[int, ...]) -> None:
    pytest.importorskip("skimage")
    label_map = torch.randint(0, 6, (1, *shape), generator=torch.Generator().manual_seed(1)).clamp(max=2)
    label_map[label_map == 2] = torch.randint(0, 3, (int((label_map == 2).sum()),))
    expected = KeepLargestConnectedComponent(applied_labels=[1, 2], is_onehot=False, independent=True)(label_map)
    result = apply_postprocessing(label_map, {"a": True, "b": True})
    assert torch.equal(result, torch.as_tensor(expected).to(result.dtype))


def test_a_choice_comes_back_from_its_file(tmp_path: Path) -> None:
    path = write_postprocessing({"Anterior": True, "Posterior": False}, tmp_path / "deep" / "postprocessing.json")
    assert read_postprocessing(path, ["Anterior", "Posterior"]) == {"Anterior": True, "Posterior": False}
    assert list(read_postprocessing(path, ["Posterior", "Anterior"])) == ["Posterior", "Anterior"]
    with pytest.raises(BadInputError, match="is about Anterior, Posterior, but the classes are Liver"):
        read_postprocessing(path, ["Liver"])
    path.write_text('{"Anterior": 1}')
    with pytest.raises(BadInputError, match="true or false"):
        read_postprocessing(path, ["Anterior"])
    path.write_text("{")
    with pytest.raises(BadInputError, match="not valid JSON"):
        read_postprocessing(path, ["Anterior"])
    with pytest.raises(BadInputError, match="there is no"):
        read_postprocessing(tmp_path / "none.json", ["Anterior"])


def test_volumes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInputError, match="there are none"):
        choose_postprocessing([], [], ["a"])
    with pytest.raises(BadInputError, match="as many predictions as labels"):
        choose_postprocessing([cubes()], [], ["a"])
    with pytest.raises(BadInputError, match="volume 1: prediction of shape"):
        choose_postprocessing([cubes()[:5]], [cubes()], ["a"])
