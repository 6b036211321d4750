"""In what views agree: classes that exclude each other, independent labels, or nothing at all."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from conftest import TinyNet
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.losses import (
    DeepSupervisionLoss,
    DiceCELoss,
    DiceFocalLoss,
    DiceLoss,
    FocalLoss,
    MaskedDiceLoss,
    TverskyLoss,
)
from torch import nn
from torch.nn import functional as F

from monai_robust.attacks import PGD
from monai_robust.engines import RobustTrainer, RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.losses import DeepSupervised, JensenShannonLoss, independent_classes, jensen_shannon, kullback_leibler
from monai_robust.recipes import RECIPES, Recipe, make_recipe
from monai_robust.tasks import (
    Classification,
    Inferred,
    Landmarks,
    LossTask,
    MultiLabel,
    PredictionDivergence,
    Segmentation,
)
from monai_robust.tasks.agreement import agreement_of, with_agreement

AGREEING = [name for name, recipe in RECIPES.items() if recipe.consistent and name != "mart"]


def kl(p, q):
    """KL of Bernoulli distributions with the means p and q, by its definition."""
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def means(logits):
    return 1 / (1 + np.exp(-logits.double().numpy()))


@pytest.mark.parametrize("shape", [(4, 5), (4, 1), (2, 3, 6, 7), (2, 1, 3, 4, 5), (4,)])
def test_independent_labels_diverge_as_bernoulli_distributions_do(shape):
    generator = torch.Generator().manual_seed(0)
    a, b, c = (3 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    p, q, r = means(a), means(b), means(c)
    m = (p + q + r) / 3
    over = tuple(range(1, len(shape)))
    views = [independent_classes(one) for one in (a, b, c)]
    np.testing.assert_allclose(kullback_leibler(views[:2]).numpy(), kl(p, q).mean(axis=over), rtol=1e-9)
    np.testing.assert_allclose(
        jensen_shannon(views).numpy(), ((kl(p, m) + kl(q, m) + kl(r, m)) / 3).mean(axis=over), rtol=1e-9
    )


def test_labels_that_all_flip_are_far_apart_where_their_softmax_is_the_same():
    here, there = torch.full((2, 5), 4.0), torch.full((2, 5), -4.0)
    assert kullback_leibler([here, there]).abs().max() < 1e-6
    p = 1 / (1 + np.exp(-4.0))
    found = kullback_leibler([independent_classes(here), independent_classes(there)])
    np.testing.assert_allclose(found.numpy(), kl(p, 1 - p), rtol=1e-5)


def test_a_foreground_that_vanishes_is_far_from_what_it_was():
    clean = torch.full((1, 1, 4, 4), -5.0)
    clean[..., 1:3, 1:3] = 5.0
    gone = torch.full((1, 1, 4, 4), -5.0)
    labels = torch.zeros(1, 1, 4, 4)
    for task in (Segmentation(), with_agreement(LossTask(DiceLoss(sigmoid=True)), "bernoulli")):
        views = [task.agreeing(one, labels) for one in (clean, gone)]
        p = 1 / (1 + np.exp(-5.0))
        assert kullback_leibler(views).item() == pytest.approx(4 / 16 * kl(p, 1 - p), rel=1e-4)


def test_independent_labels_have_finite_gradients_however_certain():
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    kullback_leibler([independent_classes(logits), independent_classes(-logits)]).sum().backward()
    assert torch.isfinite(logits.grad).all()


class Combined(nn.Module):
    """Somebody's sum of losses."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.first, self.second = parts[0], parts[-1]
        self.activation = nn.Softmax(dim=1)


SAID = nn.BCEWithLogitsLoss()
SAID.agreement = "bernoulli"


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (nn.CrossEntropyLoss(), "softmax"),
        (F.cross_entropy, "softmax"),
        (partial(F.cross_entropy, label_smoothing=0.1), "softmax"),
        (nn.NLLLoss(), "softmax"),
        (DiceLoss(softmax=True), "softmax"),
        (DiceCELoss(softmax=True, to_onehot_y=True), "softmax"),
        (DiceFocalLoss(softmax=True), "softmax"),
        (MaskedDiceLoss(softmax=True), "softmax"),
        (TverskyLoss(softmax=True), "softmax"),
        (FocalLoss(use_softmax=True), "softmax"),
        (DeepSupervised(DiceCELoss(softmax=True)), "softmax"),
        (DeepSupervisionLoss(DiceCELoss(softmax=True)), "softmax"),
        (Combined(nn.CrossEntropyLoss(), DiceLoss(softmax=True)), "softmax"),
        (Combined(nn.CrossEntropyLoss(), DiceLoss(sigmoid=True)), None),
        (Combined(nn.MSELoss()), None),
        (nn.BCEWithLogitsLoss(), None),
        (F.binary_cross_entropy_with_logits, None),
        (nn.MultiLabelSoftMarginLoss(), None),
        (DiceLoss(sigmoid=True), None),
        (DiceCELoss(sigmoid=True), None),
        (FocalLoss(), None),
        (DiceLoss(), None),
        (DeepSupervised(DiceLoss(sigmoid=True)), None),
        (lambda outputs, targets: outputs.mean(), None),
        (SAID, "bernoulli"),
        (nn.MSELoss(), "none"),
        (F.l1_loss, "none"),
        (nn.SmoothL1Loss(), "none"),
        (nn.BCELoss(), "none"),
        (Landmarks().loss, "none"),
    ],
    ids=lambda value: str(getattr(value, "__name__", type(value).__name__)) if callable(value) else str(value),
)
def test_a_loss_tells_what_its_outputs_are_only_where_it_does(loss, expected):
    assert agreement_of(loss) == expected
    assert LossTask(loss).agreement == expected


def films(count: int = 4, labels: int = 3):
    generator = torch.Generator().manual_seed(7)
    return [
        {
            "image": torch.rand(1, 8, 8, generator=generator),
            "label": torch.randint(0, 2, (labels,), generator=generator).float(),
        }
        for _ in range(count)
    ]


def trained(recipe, loss, data, network=None, *, kind=SupervisedTrainer, **keywords):
    torch.manual_seed(1)
    network = network or TinyNet()
    views = {"aug": lambda image: image.flip(-1)}
    update = {"recipe": recipe, "attack": PGD(eps=0.5, steps=2, bounds=(0, 1)), "views": views, **keywords}
    trainer = kind(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(data, batch_size=4),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        loss_function=loss,
        decollate=False,
        **(update if kind is RobustTrainer else {"iteration_update": RobustUpdate(**update)}),
    )
    trainer.run()
    return trainer


@pytest.mark.parametrize("recipe", AGREEING)
@pytest.mark.parametrize(
    ("loss", "data", "dense"),
    [
        (nn.BCEWithLogitsLoss(), films(), False),
        (DiceLoss(sigmoid=True), [{**film, "label": (torch.rand(3, 8, 8) > 0.5).float()} for film in films()], True),
        (lambda outputs, targets: F.binary_cross_entropy_with_logits(outputs, targets), films(), False),
    ],
    ids=["labels", "regions", "unknown"],
)
def test_agreement_of_sigmoids_is_refused_until_it_is_asked_for_by_name(recipe, loss, data, dense):
    with pytest.raises(BadInputError, match=r"does not tell what its outputs are; say agreement='softmax' .*bernoulli"):
        trained(recipe, loss, data, TinyNet(dense=dense))
    outputs = trained(recipe, loss, data, TinyNet(dense=dense), agreement="bernoulli").state.output
    assert torch.isfinite(outputs["loss"])


def test_the_named_agreement_is_what_training_adds():
    network = TinyNet()
    network.dropout.p = 0.0
    engine = trained("trades", nn.BCEWithLogitsLoss(), films(), network, agreement="bernoulli", shared_forward=False)
    output = engine.state.output
    clean, adversarial = means(output["pred"].detach()), means(output["adv_pred"].detach())
    expected = output["clean_loss"].mean().item() + 6 * kl(clean, adversarial).mean()
    assert output["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_the_trainer_of_one_call_takes_the_agreement_too():
    trained("trades", nn.BCEWithLogitsLoss(), films(), agreement="bernoulli", kind=RobustTrainer)


@pytest.mark.parametrize("loss", [nn.MSELoss(), F.l1_loss, Landmarks().loss], ids=["mse", "l1", "landmarks"])
@pytest.mark.parametrize("agreement", [None, "softmax", "bernoulli"])
def test_coordinates_and_fields_agree_in_nothing_whatever_is_said(loss, agreement):
    with pytest.raises(BadInputError, match=r"the outputs of .* are not; use a|makes outputs that are no logits"):
        trained("trades", loss, films(), agreement=agreement)


def test_a_task_says_by_itself_what_its_outputs_are():
    logits, labels = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[1.0, 0.0, 1.0]])
    assert torch.equal(MultiLabel().agreeing(logits, labels), independent_classes(logits))
    assert torch.equal(Classification().agreeing(logits, [0]), logits)
    trained("rtda", nn.BCEWithLogitsLoss(), films(), task=MultiLabel())
    with pytest.raises(BadInputError, match="agreement is 'softmax', but multi_label makes outputs that are logits of"):
        RobustUpdate("rtda", PGD(eps=0.5), task=MultiLabel(), agreement="softmax")
    with pytest.raises(BadInputError, match="agreement is 'sigmoid'; it must be one of 'softmax', 'bernoulli'"):
        with_agreement(LossTask(nn.BCEWithLogitsLoss()), "sigmoid")


def test_what_is_said_of_a_task_reaches_through_the_way_it_is_run():
    logits, labels = torch.randn(2, 3), torch.ones(2, 3)
    inner = LossTask(nn.BCEWithLogitsLoss())
    said = with_agreement(Inferred(inner, lambda inputs, network: network(inputs)), "bernoulli")
    assert torch.equal(said.agreeing(logits, labels), independent_classes(logits))
    assert inner.agreement is None


def test_one_logit_is_two_classes_for_every_task():
    logit, label = torch.tensor([[0.3], [-2.0]]), torch.tensor([[1], [0]])
    two = torch.cat([torch.zeros_like(logit), logit], dim=1)
    said = with_agreement(LossTask(nn.BCEWithLogitsLoss()), "bernoulli")
    for task in (Classification(), said):
        assert torch.equal(task.agreeing(logit, label), two)
    dense = logit[:, :, None, None].expand(-1, -1, 4, 4)
    assert torch.equal(Segmentation().agreeing(dense, torch.zeros(2, 1, 4, 4))[:, :, 0, 0], two)
    mart = make_recipe("mart")
    outputs = {"clean": logit, "adv": logit + 1}
    by_logit = mart.loss(outputs, label.float(), nn.BCEWithLogitsLoss(), said.agreeing)
    by_classes = mart.loss({k: said.agreeing(v, label) for k, v in outputs.items()}, label[:, 0], nn.CrossEntropyLoss())
    assert by_logit.item() == pytest.approx(by_classes.item(), rel=1e-5)


def test_overlapping_regions_agree_region_by_region_and_heads_by_their_first():
    labels = (torch.rand(2, 3, 4, 4) > 0.5).float()
    heads = torch.randn(2, 2, 3, 4, 4)
    for task in (Segmentation(loss=DiceLoss(sigmoid=True)), LossTask(DeepSupervised(DiceLoss(sigmoid=True)))):
        said = with_agreement(task, "bernoulli")
        assert torch.equal(said.agreeing(heads, labels), independent_classes(heads[:, 0]))
        assert task.agreement is None  # the task that was given stays as it was
    by_classes = LossTask(DeepSupervised(DiceCELoss(softmax=True)))
    assert torch.equal(by_classes.agreeing(heads, labels), heads[:, 0])


def test_attacks_on_the_prediction_itself_take_what_is_said():
    logits = torch.randn(2, 3)
    with pytest.raises(BadInputError, match=r"an attack on the prediction itself .*BCEWithLogitsLoss does not tell"):
        PredictionDivergence(LossTask(nn.BCEWithLogitsLoss()))
    with pytest.raises(BadInputError, match="outputs of MSELoss are no class distributions"):
        PredictionDivergence(LossTask(nn.MSELoss()))
    task = PredictionDivergence(with_agreement(LossTask(nn.BCEWithLogitsLoss()), "bernoulli"))
    inputs = logits.clone()
    prepared = task.prepared(inputs, torch.ones(2, 3))
    outputs = task.forward(lambda x: 2 * x, inputs + 1, prepared)
    expected = kl(means(2 * inputs), means(2 * inputs + 2)).mean(axis=1)
    np.testing.assert_allclose(task.terms(outputs, prepared)["divergence"].numpy(), expected, rtol=1e-4)


def test_a_measure_of_ones_own_takes_any_outputs():
    recipe = Recipe(
        {"clean": 1}, consistent=("clean", "adv"), consistency=lambda views: (views[0] - views[1]).abs().mean(1)
    )
    assert torch.isfinite(trained(recipe, nn.MSELoss(), films()).state.output["loss"])
    for consistency in (kullback_leibler, JensenShannonLoss("none")):
        with pytest.raises(BadInputError, match="the outputs of MSELoss are not"):
            trained(Recipe({"clean": 1}, consistent=("clean", "adv"), consistency=consistency), nn.MSELoss(), films())
