"""The deep-supervision loss against MONAI's and against sums done by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses import DeepSupervised, deep_supervision_weights
from monai_robust.tasks import LossTask

DICE_CE = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)


@pytest.fixture
def targets() -> Tensor:
    return torch.randint(0, 3, (2, 1, 8, 8))


def test_weights_halve_and_leave_the_coarsest_output_out() -> None:
    assert deep_supervision_weights(4) == pytest.approx((4 / 7, 2 / 7, 1 / 7, 0))
    assert deep_supervision_weights(2) == (1.0, 0.0)
    assert deep_supervision_weights(1) == (1.0,)
    with pytest.raises(BadInputError, match="got 0"):
        deep_supervision_weights(0)


def test_heads_are_summed_with_their_weights(targets: Tensor) -> None:
    heads = torch.randn(2, 3, 3, 8, 8)
    by_hand = (2 * DICE_CE(heads[:, 0], targets) + DICE_CE(heads[:, 1], targets)) / 3
    torch.testing.assert_close(DeepSupervised(DICE_CE)(heads, targets), by_hand)


def test_given_weights_agree_with_monais_loss(targets: Tensor) -> None:
    heads = torch.randn(2, 3, 3, 8, 8)
    weights = [0.5, 0.3, 0.2]
    expected = DeepSupervisionLoss(DICE_CE, weights=weights)(list(heads.unbind(1)), targets)
    torch.testing.assert_close(DeepSupervised(DICE_CE, weights)(heads, targets), expected)
    torch.testing.assert_close(DeepSupervised(DICE_CE, weights)(list(heads.unbind(1)), targets), expected)


def test_a_plain_output_gives_the_loss_itself(targets: Tensor) -> None:
    outputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(DeepSupervised(DICE_CE, [0.7, 0.3])(outputs, targets), DICE_CE(outputs, targets))


def test_volumes_have_heads_too() -> None:
    heads, targets = torch.randn(2, 2, 3, 4, 4, 4), torch.randint(0, 3, (2, 1, 4, 4, 4))
    torch.testing.assert_close(DeepSupervised(DICE_CE)(heads, targets), DICE_CE(heads[:, 0], targets))


def test_losses_of_each_sample_and_of_several_names_are_summed_alike(targets: Tensor) -> None:
    def loss(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"squares": outputs.square().flatten(1).mean(1), "mean": outputs.mean()}

    heads = torch.randn(2, 3, 3, 8, 8)
    result = DeepSupervised(loss)(heads, targets)
    squares = heads.square().flatten(2).mean(2)
    torch.testing.assert_close(result["squares"], (2 * squares[:, 0] + squares[:, 1]) / 3)
    torch.testing.assert_close(result["mean"], (2 * heads[:, 0].mean() + heads[:, 1].mean()) / 3)


def test_a_head_without_weight_gets_a_gradient_of_zero(targets: Tensor) -> None:
    heads = torch.randn(2, 3, 3, 8, 8, requires_grad=True)
    DeepSupervised(DICE_CE)(heads, targets).backward()
    assert heads.grad is not None
    assert (heads.grad[:, 2] == 0).all()
    assert (heads.grad[:, :2].abs().sum(dim=(0, 2, 3, 4)) > 0).all()


def test_heads_that_do_not_fit_are_refused(targets: Tensor) -> None:
    with pytest.raises(BadInputError, match="3 outputs, but 2 have a weight"):
        DeepSupervised(DICE_CE, [1, 0.5])(torch.randn(2, 3, 3, 8, 8), targets)
    with pytest.raises(BadInputError, match=r"outputs have shape \(2, 3, 8\)"):
        DeepSupervised(DICE_CE)(torch.randn(2, 3, 8), targets)
    with pytest.raises(BadInputError, match=r"shape \(2, 3, 4, 4\)"):
        DeepSupervised(DICE_CE)([torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4)], targets)


@pytest.mark.parametrize("weights", [[0, 0], [1, -0.5], [], [float("nan")]])
def test_weights_without_a_positive_sum_are_refused(weights: list[float]) -> None:
    with pytest.raises(BadInputError, match="positive sum"):
        DeepSupervised(DICE_CE, weights)


BASE = DiceCELoss(to_onehot_y=True, softmax=True)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda heads, y: DeepSupervisionLoss(BASE)(list(torch.unbind(heads, dim=1)), y), id="unbound"),
        pytest.param(lambda heads, y: sum(w * BASE(h, y) for w, h in zip((1.0, 0.5), heads, strict=False)), id="list"),
        pytest.param(DeepSupervisionLoss(BASE), id="monai"),
        pytest.param(DeepSupervised(BASE), id="ours"),
    ],
)
def test_a_loss_of_heads_takes_the_single_output_of_an_evaluation(loss: Any) -> None:
    """An attack runs the network in evaluation mode, where it has one output: its loss is that of the first head."""
    outputs, targets = torch.randn(3, 2, 8, 8), (torch.rand(3, 1, 8, 8) > 0.5).float()
    expected = torch.stack([BASE(outputs[i : i + 1], targets[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(LossTask(loss).terms(outputs, targets)["loss"], expected)


def test_a_loss_that_takes_outputs_in_no_form_says_why_itself() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise ValueError("these are no outputs of mine")

    with pytest.raises(ValueError, match="no outputs of mine"):
        LossTask(loss).terms(torch.randn(2, 2, 8, 8), torch.zeros(2, 1, 8, 8))
