"""Which part of outputs and targets belongs to which sample, however a pipeline nests them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TinyNet
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.tasks import Classification, LossTask, Segmentation
from monai_robust.tasks.loss import batch_length, sample_slice
from monai_robust.tasks.tensors import select_rows

LOGITS, HIDDEN = torch.arange(6.0).reshape(2, 3), torch.arange(16.0).reshape(2, 8)


def same(first, second):
    if isinstance(first, (list, tuple)):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return np.array_equal(first, second) if isinstance(first, (torch.Tensor, np.ndarray)) else first == second


BOXES = [torch.zeros(1, 4), torch.ones(3, 4)]
NESTINGS = {
    "logits and hidden states": ((LOGITS, [HIDDEN, HIDDEN]), (LOGITS[1:], [HIDDEN[1:], HIDDEN[1:]])),
    "hidden states first": (([HIDDEN], LOGITS), ([HIDDEN[1:]], LOGITS[1:])),
    "nested heads": ([[HIDDEN, HIDDEN], [LOGITS]], [[HIDDEN[1:], HIDDEN[1:]], [LOGITS[1:]]]),
    "logits and a dictionary": ((LOGITS, {"aux": HIDDEN}), (LOGITS[1:], {"aux": HIDDEN[1:]})),
    "logits and a term of the batch": ((LOGITS, torch.tensor(0.5)), (LOGITS[1:], torch.tensor(0.5))),
    "logits and nothing": ((LOGITS, None), (LOGITS[1:], None)),
    "boxes of each sample": (BOXES, BOXES[1:]),
    "labels of each sample": ([torch.tensor(0), torch.tensor(2)], [torch.tensor(2)]),
    "names of each sample": (["a", "b"], ["b"]),
    "lists of numbers": ([[0, 1], [2]], [[2]]),
    "dictionaries of each sample": ([{"boxes": BOXES[0]}, {"boxes": BOXES[1]}], [{"boxes": BOXES[1]}]),
    "an array": (LOGITS.numpy(), LOGITS.numpy()[1:]),
    "arrays by name": ({"label": LOGITS.numpy()}, {"label": LOGITS.numpy()[1:]}),
}


@pytest.mark.parametrize("name", list(NESTINGS))
def test_a_sample_is_cut_out_of_every_nesting_alike(name):
    value, second = NESTINGS[name]
    assert same(sample_slice(value, 1), second)
    assert same(select_rows(value, torch.tensor([1])), second)
    if name not in ("an array", "arrays by name", "names of each sample", "lists of numbers"):
        assert batch_length(value) == 2


class WithHidden(nn.Module):
    """Answers as MONAI's ViT does: logits, and a list of hidden states."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.network = TinyNet()

    def forward(self, x):
        return self.network(x), [x.flatten(1), x.flatten(1)]


def test_networks_that_also_hand_out_hidden_states_are_attacked_by_their_loss(batch):
    inputs, labels = batch
    network, loss = WithHidden().eval(), nn.CrossEntropyLoss()
    attack = PGD(eps=0.5, steps=2)
    found = attack(network, inputs, labels, task=LossTask(lambda outputs, targets: loss(outputs[0], targets)))
    torch.testing.assert_close(found, attack(network.network, inputs, labels, task=LossTask(loss)))


def test_labels_of_numpy_are_those_of_torch(batch):
    inputs, labels = batch
    network = TinyNet().eval()
    hot = nn.functional.one_hot(labels, 3).float()
    dense = TinyNet(dense=True).eval()
    masks = (inputs > 0.5).long()
    cases = [
        (network, Classification(), labels),
        (network, LossTask(nn.CrossEntropyLoss()), labels),
        (network, LossTask(nn.CrossEntropyLoss(label_smoothing=0.1)), labels),
        (network, LossTask(nn.BCEWithLogitsLoss()), hot),
        (dense, Segmentation(), masks),
    ]
    for own, task, targets in cases:
        with torch.no_grad():
            outputs = own(inputs)
        for name, value in task.terms(outputs, targets).items():
            torch.testing.assert_close(task.terms(outputs, targets.numpy())[name], value)
    assert torch.equal(
        LossTask(nn.BCEWithLogitsLoss()).aim(network(inputs), hot.numpy(), 1),
        LossTask(nn.BCEWithLogitsLoss()).aim(network(inputs), hot, 1),
    )
