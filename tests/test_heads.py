"""Recipes with the heads of deep supervision as MONAI's networks and tutorials have them: stacked, lists, tuples."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import BasicUNetPlusPlus, DynUNet
from torch import Tensor, nn

from monai_robust.attacks import PGD
from monai_robust.engines import RobustUpdate
from monai_robust.handlers import AdaptiveMargins
from monai_robust.losses.jensen_shannon import jensen_shannon

BASE = DiceCELoss(to_onehot_y=True, softmax=True)


def unbound(heads: Tensor, targets: Tensor) -> Any:
    """As in MONAI's tutorials on DynUNet."""
    return sum(0.5**i * BASE(head, targets) for i, head in enumerate(torch.unbind(heads, dim=1)))


def listed(heads: list[Tensor], targets: Tensor) -> Any:
    return sum(BASE(head, targets) for head in heads)


def stacking() -> nn.Module:
    return DynUNet(
        2,
        1,
        2,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[4, 8, 8],
        deep_supervision=True,
        deep_supr_num=1,
    )


def listing() -> nn.Module:
    """One list in training and in evaluation."""
    return BasicUNetPlusPlus(2, 1, 2, features=(4, 4, 4, 4, 4, 4), deep_supervision=True, norm="instance")


class Tupled(nn.Module):
    """A tuple in training, a tensor in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = stacking()

    def forward(self, inputs: Tensor) -> Any:
        found = self.inner(inputs)
        return tuple(found.unbind(1)) if self.training else found


FORMS = [
    pytest.param(stacking, unbound, id="stacked"),
    pytest.param(listing, listed, id="list"),
    pytest.param(listing, DeepSupervisionLoss(BASE), id="list, MONAI's loss"),
    pytest.param(Tupled, listed, id="tuple"),
    pytest.param(Tupled, DeepSupervisionLoss(BASE), id="tuple, MONAI's loss"),
]


def trained(network: nn.Module, loss: Any, update: Any = None, handlers: Any = ()) -> dict[str, Any]:
    """The output of the last iteration."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(4, 1, 32, 32, generator=draw)
    items: Any = [
        {"image": image, "label": (image > 0.5).float(), "sample_id": f"slice{i}"} for i, image in enumerate(images)
    ]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(items, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=loss,
        iteration_update=update,
        train_handlers=[*handlers],
        decollate=False,
    )
    last: dict[str, Any] = {}
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: last.update(engine.state.output))
    trainer.run()
    return last


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("made", "loss"), FORMS)
def test_erm_ends_with_the_weights_of_the_stock_trainer(made: Any, loss: Any) -> None:
    stock = made()
    robust = copy.deepcopy(stock)
    trained(stock, loss)
    trained(robust, loss, RobustUpdate("erm"))
    for own, other in zip(robust.parameters(), stock.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize(("made", "loss"), FORMS)
def test_sat_trains_on_the_losses_of_all_heads(made: Any, loss: Any) -> None:
    found = trained(made(), loss, RobustUpdate("sat", PGD(eps=0.5, steps=2, bounds=(0, 1))))
    assert (found["adv_norm"] <= 0.5 * (1 + 1e-5)).all()
    assert (found["adv_loss"] > found["clean_loss"]).all()
    expected = (loss(found["pred"], found["label"]) + loss(found["adv_pred"], found["label"])) / 2
    torch.testing.assert_close(found["loss"], expected)


@pytest.mark.parametrize(("made", "loss"), FORMS)
def test_views_agree_in_the_first_head(made: Any, loss: Any) -> None:
    update = RobustUpdate(
        "rtda", PGD(eps=0.5, steps=2), views={"aug": lambda x: x}, agreement="softmax", weight=2.0, shared_forward=False
    )
    found = trained(made(), loss, update)
    first, adversarial = (_heads(found[name])[0] for name in ("pred", "adv_pred"))
    expected = loss(found["adv_pred"], found["label"]) + 2 * jensen_shannon([first, first, adversarial]).mean()
    torch.testing.assert_close(found["loss"], expected)


def _heads(outputs: Any) -> Any:
    return outputs.unbind(1) if isinstance(outputs, Tensor) else outputs


@pytest.mark.parametrize(("made", "loss"), FORMS)
def test_margins_grow_by_the_loss_of_an_evaluation(made: Any, loss: Any, tmp_path: Path) -> None:
    margins = AdaptiveMargins(step=0.1, thresholds={"loss": 99.0}, output_dir=tmp_path)
    trained(made(), loss, RobustUpdate("amat", PGD(steps=2), margins=margins), [margins])
    assert list(margins.margins.values()) == pytest.approx([0.2] * 4)
