from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.losses import DiceCELoss, DiceLoss
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.errors import BadInputError
from monai_robust.evaluation import TaskOutcomes, outcomes_of, register_task
from monai_robust.evaluation.tasks import registry
from monai_robust.evaluation.tasks.registry import report_of
from monai_robust.tasks import Classification, Inferred, LossTask, Task
from monai_robust.tasks.base import total

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [0.0, 0.1, 0.2], [-3.0, 1.0, 4.0]])
LABELS = torch.tensor([0, 2, 2, 1])


def expected_cross_entropy() -> torch.Tensor:
    rows = [
        -math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True)
    ]
    return torch.tensor(rows)


@pytest.mark.parametrize(
    "targets",
    [
        LABELS,
        LABELS[:, None],
        LABELS.float(),
        LABELS.to(torch.uint16),
        LABELS.tolist(),
        F.one_hot(LABELS, 3),
        F.one_hot(LABELS, 3).float(),
        MetaTensor(LABELS),
    ],
    ids=["(B,)", "(B,1)", "float", "uint16", "list", "one-hot", "float one-hot", "MetaTensor"],
)
def test_classification_takes_labels_in_every_usual_form(targets):
    terms = Classification().terms(LOGITS, targets)
    assert list(terms) == ["cross_entropy"]
    assert torch.allclose(terms["cross_entropy"], expected_cross_entropy())
    outcomes = outcomes_of(Classification()).values(LOGITS, targets)
    assert outcomes["label"].tolist() == LABELS.tolist()
    assert outcomes["prediction"].tolist() == [0, 1, 2, 2]
    assert outcomes["score"].tolist() == [1, 0, 1, 0]


def test_probabilities_of_all_classes_are_written_down_in_the_order_of_the_outputs():
    outcomes = outcomes_of(Classification()).values(LOGITS, LABELS)
    columns = [name for name in outcomes if name.startswith("probability_")]
    assert columns == ["probability_0", "probability_1", "probability_2"]
    table = torch.stack([outcomes[name] for name in columns], dim=1)
    assert torch.allclose(table.sum(dim=1), torch.ones(4, dtype=table.dtype))
    assert table[0, 0].item() == pytest.approx(math.exp(2) / (math.exp(2) + 1 + math.exp(-1)))
    assert list(outcomes)[-1] == "score"


def test_one_logit_stands_for_two_classes():
    logits, labels = torch.tensor([[1.2], [-0.7], [0.3]]), torch.tensor([1, 0, 0])
    terms = Classification().terms(logits, labels)["cross_entropy"]
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], labels.float(), reduction="none")
    assert torch.allclose(terms, expected)
    outcomes = outcomes_of(Classification()).values(logits, labels[:, None])
    assert torch.allclose(outcomes["probability_1"].float(), logits[:, 0].sigmoid())
    assert outcomes["prediction"].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("outputs", "targets", "match"),
    [
        (LOGITS, torch.tensor([0, 1, 2, 3]), "a label is 3.*classes 0 to 2"),
        (LOGITS, torch.tensor([0, 1, 2, -1]), "a label is -1"),
        (LOGITS, torch.zeros(4, 2), r"labels have shape \(4, 2\)"),
        (torch.zeros(4, 3, 5, 5), LABELS, r"shape \(4, 3, 5, 5\).*UnderAttack a loss"),
        ([LOGITS], LABELS, "type list"),
    ],
)
def test_classification_refuses_what_is_none(outputs, targets, match):
    with pytest.raises(BadInputError, match=match):
        Classification().terms(outputs, targets)


def test_goals_are_the_least_likely_class_or_a_given_one():
    assert Classification().aim(LOGITS, LABELS, "least_likely").tolist() == [2, 2, 0, 0]
    assert Classification().aim(LOGITS, LABELS, 1).tolist() == [1, 1, 1, 1]
    for goal in (3, True, "most_likely"):
        with pytest.raises(BadInputError, match="the attack's goal"):
            Classification().aim(LOGITS, LABELS, goal)


DENSE = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(0))
MASKS = (torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.6).float()
MANY = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
CLASSES = torch.tensor([0, 1, 2, 0, 2])
WEIGHTS = torch.tensor([0.2, 1.0, 3.0])


def named_parts(outputs, targets):
    return {"dice": DiceLoss(to_onehot_y=True, softmax=True, batch=True)(outputs, targets), "size": outputs.square()}


LOSSES = {
    "cross entropy": (nn.CrossEntropyLoss(), MANY, CLASSES),
    "label smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), MANY, CLASSES),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHTS), MANY, CLASSES),
    "summed": (nn.CrossEntropyLoss(reduction="sum"), MANY, CLASSES),
    "unreduced": (nn.CrossEntropyLoss(reduction="none"), MANY, CLASSES),
    "function": (F.cross_entropy, MANY, CLASSES),
    "batch dice": (DiceCELoss(to_onehot_y=True, softmax=True, batch=True), DENSE, MASKS),
    "dictionary": (named_parts, DENSE, MASKS),
}


def alone(loss, outputs, targets, index) -> dict[str, float]:
    value = loss(outputs[index : index + 1], targets[index : index + 1])
    return {name: part.mean().item() for name, part in (value if isinstance(value, dict) else {"loss": value}).items()}


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_samples_loss_is_the_loss_of_that_sample_alone(name):
    loss, outputs, targets = LOSSES[name]
    terms = LossTask(loss).terms(outputs, targets)
    for index in range(len(outputs)):
        expected = alone(loss, outputs, targets, index)
        assert {key: value[index].item() for key, value in terms.items()} == pytest.approx(expected, rel=1e-5)
    assert all(value.shape == (len(outputs),) for value in terms.values())


@pytest.mark.parametrize("name", [*LOSSES, "classification"])
def test_a_samples_loss_does_not_depend_on_the_rest_of_its_batch(name):
    loss, outputs, targets = LOSSES.get(name, (None, MANY, CLASSES))
    task = Classification() if loss is None else LossTask(loss)
    together = task.terms(outputs, targets)
    order = [3, 0, 4]
    others = task.terms(torch.cat([outputs[order], 100 * outputs[1:2]]), targets[[*order, 1]])
    for key, value in together.items():
        assert torch.allclose(value[order], others[key][:3], rtol=1e-5), key


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_of_a_batch_are_those_of_its_samples(name):
    loss, outputs, targets = LOSSES[name]
    leaf = outputs.clone().requires_grad_(True)
    (together,) = torch.autograd.grad(total(LossTask(loss).terms(leaf, targets)).sum(), leaf)
    single = outputs[2:3].clone().requires_grad_(True)
    value = loss(single, targets[2:3])
    parts = value.values() if isinstance(value, dict) else [value]
    (expected,) = torch.autograd.grad(sum(part.mean() for part in parts), single)
    assert torch.allclose(together[2:3], expected, atol=1e-6)


def test_class_weights_cancel_where_a_sample_is_alone():
    weighted = LossTask(nn.CrossEntropyLoss(weight=WEIGHTS)).terms(MANY, CLASSES)["loss"]
    assert torch.allclose(weighted, F.cross_entropy(MANY, CLASSES, reduction="none"))
    assert weighted.mean().item() != pytest.approx(F.cross_entropy(MANY, CLASSES, weight=WEIGHTS).item(), rel=0.01)


def test_the_users_loss_object_is_left_as_it_was():
    loss = nn.CrossEntropyLoss()
    LossTask(loss).terms(MANY, CLASSES)
    assert loss.reduction == "mean"
    assert loss(MANY, CLASSES).ndim == 0


def test_outputs_in_lists_and_dictionaries_are_taken_apart_sample_by_sample():
    def deep(outputs, targets):
        return sum(F.cross_entropy(one, targets["class"]) for one in outputs["heads"])

    heads = {"heads": [MANY, 2 * MANY]}
    terms = LossTask(deep).terms(heads, {"class": CLASSES})["loss"]
    expected = sum(F.cross_entropy(one, CLASSES, reduction="none") for one in heads["heads"])
    assert torch.allclose(terms, expected)


@pytest.mark.parametrize("targets", [LABELS[:3], torch.cat([LABELS, LABELS])])
@pytest.mark.parametrize("task", [Classification(), LossTask(nn.CrossEntropyLoss()), LossTask(F.cross_entropy)])
def test_another_number_of_labels_than_samples_is_refused(task, targets):
    with pytest.raises(BadInputError, match=f"there are {len(targets)} labels for 4 samples"):
        task.terms(LOGITS, targets)


@pytest.mark.parametrize("targets", [None, ["a", "b", "c", "d"]])
def test_labels_that_are_no_numbers_are_refused(targets):
    with pytest.raises(BadInputError, match="classification takes numbers"):
        Classification().score(LOGITS, targets)


@pytest.mark.parametrize("targets", [None, "covid", torch.tensor([0, 1, 2, 7]), LABELS + 0.5])
@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(torch.ones(3), label_smoothing=0.1)])
def test_labels_that_cross_entropy_refuses_are_refused_in_a_sentence(loss, targets):
    with pytest.raises(BadInputError, match="the loss CrossEntropyLoss refuses what it gets"):
        LossTask(loss).terms(LOGITS, targets)


@pytest.mark.parametrize("value", [0.5, (torch.tensor(0.5), 1)])
def test_a_loss_that_returns_no_tensor_is_refused(value):
    with pytest.raises(BadInputError, match=f"the loss returns a {type(value).__name__} as 'loss'; it"):
        LossTask(lambda outputs, targets: value).terms(LOGITS, LABELS)


def test_a_loss_that_cannot_be_called_is_refused():
    with pytest.raises(BadInputError, match=r"the class CrossEntropyLoss; make one: CrossEntropyLoss\(\)"):
        LossTask(nn.CrossEntropyLoss)
    with pytest.raises(BadInputError, match="the loss is 'dice'"):
        LossTask("dice")


def test_a_task_without_outcomes_or_goals_says_so():
    with pytest.raises(BadInputError, match="'loss' has no outcomes"):
        outcomes_of(LossTask(nn.CrossEntropyLoss()))

    class Bare(Task):
        name = "bare"

        def terms(self, outputs, targets):
            return {}

    with pytest.raises(BadInputError, match="no attack goal 'least_likely'"):
        Bare().aim(MANY, CLASSES, "least_likely")


@pytest.mark.parametrize("targets", [CLASSES, CLASSES[:, None].float(), F.one_hot(CLASSES, 3).float()])
def test_a_loss_is_aimed_at_targets_of_the_form_it_takes(targets):
    aimed = LossTask(nn.CrossEntropyLoss()).aim(MANY, targets, 1)
    assert aimed.shape == targets.shape
    assert aimed.dtype == targets.dtype
    assert (aimed.argmax(1) if aimed.ndim == 2 and aimed.shape[1] == 3 else aimed.flatten()).tolist() == [1] * 5


def test_inferred_runs_the_network_through_the_inferer_and_hands_the_rest_on(network, batch):
    inputs, labels = batch
    calls = []

    def infer(x, inner):
        calls.append(len(x))
        return inner(x) + 1

    task = Inferred(Classification(), infer)
    network.eval()
    assert torch.equal(task.forward(network, inputs, labels), network(inputs) + 1)
    assert calls == [6]
    assert (task.name, task.score_name, task.higher_is_better) == ("classification", "accuracy", True)
    tasks = (task, Classification())
    handed_on = [(one.terms(LOGITS, LABELS), outcomes_of(one).values(LOGITS, LABELS)) for one in tasks]
    for actual, expected in zip(*handed_on, strict=True):
        assert list(actual) == list(expected)
        assert all(torch.equal(actual[key], expected[key]) for key in expected)
    assert torch.equal(task.score(LOGITS, LABELS), Classification().score(LOGITS, LABELS))
    assert task.aim(LOGITS, LABELS, 2).tolist() == [2] * 4


def test_an_attack_through_an_inferer_attacks_what_the_inferer_makes(network, batch):
    inputs, labels = batch
    mirrored = Inferred(Classification(), lambda x, inner: inner(x.flip(-1)))
    plainly = PGD(eps=0.5, steps=2)(network, inputs.flip(-1), labels)
    through = PGD(eps=0.5, steps=2, task=mirrored)(network, inputs, labels)
    assert torch.allclose(through, plainly.flip(-1), atol=1e-6)


class Counting(Task):
    """A task that nobody described to us."""

    name = "counting"
    higher_is_better = False

    def terms(self, outputs, targets):
        return {"loss": (outputs - targets).square()}

    def score(self, outputs, targets):
        return (outputs - targets).abs()


class CountingOutcomes(TaskOutcomes):
    def columns(self, classes):
        return {"count": float, "score": float}

    def values(self, outputs, targets):
        return {"count": outputs, "score": self.task.score(outputs, targets)}

    def caption(self, values, index, classes):
        return {"label": "", "prediction": f"{float(values['count'][index]):g}"}

    def class_counts(self, items, classes):
        return {}


def test_a_task_of_ones_own_is_written_down_once_it_is_registered(monkeypatch):
    monkeypatch.setattr(registry, "TASKS", dict(registry.TASKS))
    with pytest.raises(BadInputError, match="'counting' has no outcomes"):
        outcomes_of(Counting())
    register_task("counting", CountingOutcomes)
    register_task("counting", CountingOutcomes)  # as when its module is imported again
    values = outcomes_of(Counting()).values(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 5.0]))
    assert values["score"].tolist() == [1.0, 0.0]
    with pytest.raises(BadInputError, match="no report for the task 'counting'; there is one for classification, "):
        report_of("counting")


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(BadInputError, match="'segmentation' has outcomes already"):
        register_task("segmentation", CountingOutcomes)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5, 5)])
def test_labels_in_another_form_than_the_losss_are_turned_into_it(shape):
    """A map of classes where a loss takes a channel for each class, and the other way: the value is the same."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(shape, generator=generator)
    indices = torch.randint(0, 3, (4, 1, *shape[2:]), generator=generator)
    one_hot = torch.nn.functional.one_hot(indices[:, 0], 3).movedim(-1, 1).float()
    of_indices, of_channels = DiceLoss(to_onehot_y=True, softmax=True), DiceLoss(softmax=True)
    expected = LossTask(of_channels).terms(outputs, one_hot)["loss"]
    assert torch.equal(LossTask(of_channels).terms(outputs, indices)["loss"], expected)
    assert torch.equal(LossTask(of_indices).terms(outputs, one_hot)["loss"], expected)
    with pytest.raises(BadInputError, match=r"the loss DiceLoss refuses .*AssertionError"):
        LossTask(of_channels).terms(outputs, indices + 1)  # of a class that there is not


def test_a_loss_that_refuses_labels_in_every_form_says_so_itself():
    def refuses(outputs, targets):
        raise ValueError("no such labels")

    shapes = r"a tensor of shape \(1, 3, 4, 4\) and as label a tensor of shape \(1, 1, 4, 4\)"
    with pytest.raises(BadInputError, match=f"the loss refuses refuses .*{shapes} .*ValueError: no such labels"):
        LossTask(refuses).terms(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))
