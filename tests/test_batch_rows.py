"""Which part of outputs and targets belongs to which sample, however a pipeline nests them."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TinyNet
from torch import nn

from monai_robust.attacks import PGD, WindowAttack
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, LossTask, Segmentation
from monai_robust.tasks.loss import batch_length, sample_slice
from monai_robust.tasks.tensors import select_rows

LOGITS, HIDDEN = torch.arange(6.0).reshape(2, 3), torch.arange(16.0).reshape(2, 8)

Heads = namedtuple("Heads", "logits hidden")


class Named(OrderedDict):
    """Entries that are attributes, too, as in the outputs of several libraries of networks."""

    def __getattr__(self, name):
        return self[name]


def same(first, second):
    if isinstance(first, (list, tuple)):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return (
            type(first) is type(second)
            and first.keys() == second.keys()
            and all(same(first[key], second[key]) for key in first)
        )
    return np.array_equal(first, second) if isinstance(first, (torch.Tensor, np.ndarray)) else first == second


BOXES = [torch.zeros(1, 4), torch.ones(3, 4)]
NESTINGS = {
    "logits and hidden states": ((LOGITS, [HIDDEN, HIDDEN]), (LOGITS[1:], [HIDDEN[1:], HIDDEN[1:]])),
    "hidden states first": (([HIDDEN], LOGITS), ([HIDDEN[1:]], LOGITS[1:])),
    "nested heads": ([[HIDDEN, HIDDEN], [LOGITS]], [[HIDDEN[1:], HIDDEN[1:]], [LOGITS[1:]]]),
    "logits and a dictionary": ((LOGITS, {"aux": HIDDEN}), (LOGITS[1:], {"aux": HIDDEN[1:]})),
    "logits and a term of the batch": ((LOGITS, torch.tensor(0.5)), (LOGITS[1:], torch.tensor(0.5))),
    "a named tuple": (Heads(LOGITS, [HIDDEN]), Heads(LOGITS[1:], [HIDDEN[1:]])),
    "a named tuple of other lengths": (Heads(LOGITS, HIDDEN.T), Heads(LOGITS[1:], HIDDEN.T[1:2])),
    "entries that are attributes": (Named(logits=LOGITS), Named(logits=LOGITS[1:])),
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


@pytest.mark.parametrize("kind", [lambda logits: Heads(logits, [logits]), lambda logits: Named(logits=logits)])
def test_outputs_with_names_reach_the_loss_by_these(batch, kind):
    inputs, labels = batch
    network, loss = TinyNet().eval(), nn.CrossEntropyLoss()
    attack = PGD(eps=0.5, steps=2)
    found = attack(lambda x: kind(network(x)), inputs, labels, task=LossTask(lambda o, y: loss(o.logits, y)))
    torch.testing.assert_close(found, attack(network, inputs, labels, task=LossTask(loss)))


def test_outputs_and_batches_without_samples_are_refused_in_a_sentence(batch):
    inputs, labels = batch
    task = LossTask(lambda outputs, targets: outputs.logits.sum())
    with pytest.raises(BadInputError, match="outputs hold a SimpleNamespace, of which no samples are known"):
        PGD(eps=0.5, steps=2)(lambda x: SimpleNamespace(logits=x), inputs, labels, task=task)
    with pytest.raises(BadInputError, match="no samples in the batch"):
        LossTask(nn.CrossEntropyLoss(label_smoothing=0.1, weight=torch.ones(3))).terms(LOGITS[:0], labels[:0].float())


def test_windows_take_labels_of_numpy(batch):
    inputs, _ = batch
    attack = WindowAttack(PGD(eps=0.5, steps=2, task=Segmentation()), (4, 4))
    network, masks = TinyNet(dense=True).eval(), (inputs[:, :1] > 0.5).long()
    torch.testing.assert_close(attack(network, inputs, masks.numpy()), attack(network, inputs, masks))
