"""What a training step accepts as an augmented view, and that the draws of views follow from the seed."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss
from monai.transforms import Compose, OneOf, RandAffine, RandFlip, RandGaussianNoise, RandSpatialCrop
from torch import Tensor, nn

from monai_robust.attacks import PGD
from monai_robust.engines import RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.tasks import Segmentation
from monai_robust.transforms import AugMix

SIZE = 8


def train(update: RobustUpdate, *, dense: bool = False, network: nn.Module | None = None, **more: Any) -> nn.Module:
    torch.manual_seed(3)
    data: list[dict[str, Any]] = []
    for number in range(8):
        image = torch.rand(1, SIZE, SIZE)
        label = (image > 0.5).long() if dense else number % 3
        extra = {key: make(image) for key, make in more.items() if key != "loss"}
        data.append({"image": image, "label": label, **extra})
    if network is None:
        network = nn.Conv2d(1, 2, 1) if dense else nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 3))
    loss = DiceCELoss(to_onehot_y=True, softmax=True) if dense else nn.CrossEntropyLoss()
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(data, batch_size=4),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=more.get("loss", loss),
        iteration_update=update,
    ).run()
    return network


MOVING = {
    "AugMix": AugMix(),
    "AugMix within": Compose([AugMix()]),
    "RandFlip": RandFlip(prob=1.0, spatial_axis=0),
    "RandAffine among others": OneOf([RandGaussianNoise(), RandAffine(prob=1.0)]),
    "RandSpatialCrop": RandSpatialCrop(4),
}


@pytest.mark.parametrize("view", MOVING.values(), ids=MOVING)
@pytest.mark.parametrize("task", [None, Segmentation()], ids=["the trainer's loss", "a task"])
@pytest.mark.parametrize("recipe", ["dataaug", "rtda"])
def test_a_view_that_moves_the_image_is_refused_where_labels_name_places(view, task, recipe):
    with pytest.raises(BadInputError, match="moves the image and not the places"):
        train(RobustUpdate(recipe, PGD(eps=0.1, steps=1), views={"aug": view}, task=task), dense=True)


def test_a_view_that_moves_the_image_is_one_where_labels_are_of_the_whole_image():
    train(RobustUpdate("dataaug", views={"aug": MOVING["AugMix within"]}))
    train(RobustUpdate("dataaug", views={"aug": AugMix(operations="intensity")}), dense=True)


def test_the_draws_of_views_follow_from_the_seed_in_every_training_of_an_update():
    update = RobustUpdate("dataaug", views={"aug": RandGaussianNoise(prob=1.0)})
    first, second = (train(update)[1].weight.detach().clone() for _ in range(2))
    assert torch.equal(first, second)


def test_a_view_of_the_batch_has_the_inputs_precision_and_shape():
    doubled = train(RobustUpdate("dataaug", views={"aug": "other"}), other=lambda image: image.double().flip(-1))
    single = train(RobustUpdate("dataaug", views={"aug": "other"}), other=lambda image: image.flip(-1))
    assert torch.equal(doubled[1].weight, single[1].weight)
    with pytest.raises(BadInputError, match=r"view 'other' of the batch is \(4, 1, 4, 4\), and the network's inputs"):
        train(RobustUpdate("dataaug", views={"aug": "other"}), other=lambda image: image[:, :4, :4])


class WithState(nn.Module):
    """Answers logits (B, 3) and a hidden state (1, B, 4), as recurrent networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Linear(SIZE * SIZE, 3)
        self.recurrent = nn.LSTM(SIZE, 4, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(x.flatten(1)), self.recurrent(x[:, 0])[1][0]


def first_alone(outputs: Any, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs[0], targets)


def test_outputs_that_are_not_by_sample_are_attacked_in_passes_of_their_own():
    recipe, attack = "sat", PGD(eps=0.3, steps=2)
    with pytest.raises(BadInputError, match=r"a tensor \(1, 8, 4\), .* use shared_forward=False"):
        train(RobustUpdate(recipe, attack), network=WithState(), loss=first_alone)
    torch.manual_seed(0)
    stateful = train(RobustUpdate(recipe, attack, shared_forward=False), network=WithState(), loss=first_alone)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), WithState().classes)
    train(RobustUpdate(recipe, attack, shared_forward=False), network=plain)
    assert torch.allclose(stateful.classes.weight, plain[1].weight)


class Counting(nn.Module):
    """A loss that counts what it is asked, in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.cross_entropy(outputs, targets)


def test_an_attack_leaves_the_state_of_a_loss_as_it_was():
    loss = Counting()
    train(RobustUpdate("at", PGD(eps=0.3, steps=3)), loss=loss)
    assert int(loss.calls) == 2  # of two batches


@pytest.mark.parametrize("recipe", ["erm", "rtda"])
def test_a_network_that_ends_in_softmax_is_told_of_where_the_loss_takes_logits(recipe, caplog):
    ends = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 3), nn.Softmax(dim=1))
    views = {"aug": AugMix(operations="intensity")}
    with caplog.at_level(logging.WARNING):
        train(RobustUpdate(recipe, PGD(eps=0.1, steps=1), views=views))
        assert "look like probabilities" not in caplog.text
        train(RobustUpdate(recipe, PGD(eps=0.1, steps=1), views=views), network=ends)
    assert caplog.text.count("look like probabilities") == 1
