"""TRADES and MART: their terms, their attacks, and what they do to a training step."""

from __future__ import annotations

import pytest
import torch
from conftest import TinyNet
from monai.data import MetaTensor
from monai.engines import IterationEvents
from monai.losses import DiceCELoss
from test_recipes import boosted_cross_entropy, divergence, error
from test_robust_update import assert_equal_weights, fresh, trainer, weights
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from monai_robust.attacks import BIM, PGD, WindowAttack
from monai_robust.attacks.threat import as_norm
from monai_robust.engines import RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.handlers import AdaptiveMargins, WarmupRadius
from monai_robust.losses import kullback_leibler
from monai_robust.recipes import Recipe
from monai_robust.recipes.mart import likeliest_wrong_class, probability_of_error
from monai_robust.tasks import Classification, Landmarks, PredictionDivergence, Segmentation
from monai_robust.tasks.tensors import select_rows

# --- the terms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 2), (5, 3), (2, 4, 3, 5), (2, 3, 2, 3, 4)], ids=str)
def test_divergence_is_torchs_per_sample_and_averaged_over_positions(shape):
    clean, adversarial = (2 * torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    reference = kl_div(log_softmax(adversarial, dim=1), softmax(clean, dim=1), reduction="none").sum(dim=1)
    expected = reference.reshape(shape[0], -1).mean(dim=1)
    found = kullback_leibler([clean, adversarial])
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        *(torch.autograd.grad(v.sum(), (clean, adversarial)) for v in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other)  # through both views: TRADES trains the clean prediction, too


def test_divergence_is_taken_from_the_first_view_and_has_no_gradient_where_both_agree():
    first, second = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]], requires_grad=True)
    assert kullback_leibler([first, second]) != kullback_leibler([second, first])
    same = first.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(kullback_leibler([first, same]).sum(), same)
    assert kullback_leibler([first, same]).item() == 0.0
    assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_keep_all_terms_and_gradients_finite(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    other = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, -1e4], [0.0, 0.0, 0.0]], dtype=dtype)
    y = torch.tensor([1, 0, 2])
    for value in (
        kullback_leibler([logits, other]),
        kullback_leibler([other, logits]),
        likeliest_wrong_class(logits, y),
        probability_of_error([logits, other], y),
    ):
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert value.isfinite().all()
        assert gradient.isfinite().all()
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("form", ["indices", "column", "one-hot"])
def test_the_boost_and_the_error_are_those_of_the_publication(classes, form):
    logits = 2 * torch.randn(6, classes, dtype=torch.float64)
    y = torch.arange(6) % classes
    targets = {"indices": y, "column": y[:, None], "one-hot": torch.nn.functional.one_hot(y, classes)}[form]
    boost = likeliest_wrong_class(MetaTensor(logits), MetaTensor(targets))
    assert type(boost) is torch.Tensor
    torch.testing.assert_close(cross_entropy(logits, y) + boost.mean(), boosted_cross_entropy(logits, y))
    torch.testing.assert_close(probability_of_error([logits, torch.zeros_like(logits)], targets), error(logits, y))


def test_views_that_have_no_divergence_and_outputs_without_one_class_are_refused():
    with pytest.raises(BadInputError, match="compares 2 views, got 3"):
        kullback_leibler([torch.zeros(2, 3)] * 3)
    with pytest.raises(BadInputError, match=r"Kullback-Leibler.*two or more classes"):
        kullback_leibler([torch.zeros(2, 1)] * 2)
    for outputs in (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1), {"heads": torch.zeros(2, 3)}):
        with pytest.raises(BadInputError, match=r"'mart' take logits \(B, C\).*train dense outputs by 'trades'"):
            likeliest_wrong_class(outputs, torch.zeros(2))


# --- the attack of TRADES ---------------------------------------------------------------------------------------------


def attacked(network, inputs, **keywords):
    attack = PGD(
        **{"eps": 0.3, "steps": 4, "random_start": "ball", "task": PredictionDivergence(Classification())} | keywords
    )
    return attack(
        network, inputs, torch.zeros(len(inputs), dtype=torch.long), generator=torch.Generator().manual_seed(9)
    )


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_attack_is_the_ascent_of_the_divergence_written_out(network, batch, norm):
    # in double precision: the divergence of this untrained network is within single precision's rounding
    network, clean, eps, steps = network.double(), batch[0].double(), 0.3, 4
    found = attacked(network, clean, norm=norm)
    network.eval()
    radius = torch.full((len(clean),), eps)
    size = as_norm(norm)
    expected = clean + size.sample(clean, radius, torch.Generator().manual_seed(9), surface=False)
    for _ in range(steps):
        expected = expected.detach().requires_grad_(True)
        log_q = log_softmax(network(expected), dim=1)
        kl_div(log_q, softmax(network(clean), dim=1).detach(), reduction="sum").backward()
        direction = (
            expected.grad.sign() if norm == "linf" else expected.grad / size.size(expected.grad)[:, None, None, None]
        )
        expected = clean + size.project(expected.detach() + 2.5 * eps / steps * direction - clean, radius)
    torch.testing.assert_close(found, expected)


def test_the_attack_asks_no_label_and_leads_the_prediction_away_within_each_samples_radius(network, batch):
    network, inputs, labels = network.double(), batch[0].double(), batch[1]
    radii = torch.linspace(0.1, 1.0, len(inputs))
    attack = PGD(steps=5, random_start="ball", bounds=(0, 1), task=PredictionDivergence(Classification()))
    results = [
        attack(network, inputs, y, radii, generator=torch.Generator().manual_seed(1))
        for y in (labels, (labels + 1) % 3)
    ]
    assert torch.equal(*results)
    assert ((results[0] - inputs).flatten(1).norm(dim=1) <= radii * (1 + 1e-5)).all()
    network.eval()
    start = inputs + as_norm("l2").sample(inputs, radii, torch.Generator().manual_seed(1), surface=False)
    moved = [kullback_leibler([network(inputs), network(x.clamp(0, 1))]) for x in (start, results[0])]
    assert (moved[1] > 2 * moved[0]).all()


def test_a_samples_attack_does_not_depend_on_its_batch(network, batch):
    # in double precision: the divergence is nearly flat at its start, where single precision decides the direction
    network, inputs, labels = network.double(), batch[0].double(), batch[1]
    attack = PGD(eps=0.3, steps=3, random_start="ball", task=PredictionDivergence(Classification()))
    generators = [torch.Generator().manual_seed(index) for index in range(len(inputs))]
    whole = attack(network, inputs, labels, generator=generators)
    alone = attack(network, inputs[2:3], labels[2:3], generator=[torch.Generator().manual_seed(2)])
    torch.testing.assert_close(whole[2:3], alone)


def test_the_clean_prediction_is_made_once_without_gradient_and_in_evaluation_mode(network, batch):
    calls = []
    network.train().register_forward_hook(
        lambda module, args, out: calls.append((torch.is_grad_enabled(), module.training))
    )
    attacked(network, batch[0])
    assert calls == [(False, False)] + [(True, False)] * 4
    assert network.training


def test_rows_of_what_was_prepared_are_attacked_like_the_whole(network, batch):
    inputs, labels = batch
    task, rows = PredictionDivergence(Classification()), torch.tensor([4, 1])
    network.eval()
    prepared = task.prepared(inputs, labels)
    moved = inputs + 0.1 * torch.randn_like(inputs)
    whole = task.terms(task.forward(network, moved, prepared), prepared)["divergence"]
    for own in (select_rows(prepared, rows), select_rows(task.prepared(inputs, labels), rows)):
        part = task.terms(task.forward(network, moved[rows], own), own)["divergence"]
        torch.testing.assert_close(part, whole[rows])


def test_what_the_divergence_cannot_do_is_refused(network, batch):
    with pytest.raises(BadInputError, match="outputs of landmarks are no class distributions"):
        PredictionDivergence(Landmarks())
    with pytest.raises(BadInputError, match=r"no attack goal 'least_likely'"):
        attacked(network, batch[0], goal="least_likely")
    with pytest.raises(BadInputError, match="needs the clean prediction; call prepared"):
        PredictionDivergence(Classification()).terms(torch.zeros(2, 3), torch.zeros(2))


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("name", ["trades", "mart"])
def test_a_short_training_makes_predictions_harder_to_move(name):
    moved = {}
    for recipe in ("erm", name):
        network = fresh()
        engine = trainer(network, RobustUpdate(recipe, PGD(eps=0.5, steps=3)), epochs=30)
        engine.run()
        inputs = torch.stack([item["image"].as_tensor() for item in engine.data_loader.dataset])
        adversarial = attacked(network, inputs, eps=0.5)
        network.eval()
        moved[recipe] = kullback_leibler([network(inputs), network(adversarial)]).mean().item()
    assert moved[name] < 0.7 * moved["erm"]


def test_a_trades_step_is_the_publications_loss_on_its_adversarial_inputs():
    seen = {}

    def compare(engine):
        if seen:
            return
        output, twin = engine.state.output, fresh()
        twin.dropout.p = 0.0
        clean, adversarial = (output[key].as_tensor() for key in ("image", "adv_image"))
        f = dict(zip(("clean", "adv"), twin(torch.cat([clean, adversarial])).chunk(2), strict=True))
        seen["expected"] = (cross_entropy(f["clean"], output["label"]) + 6 * divergence(f).mean()).item()
        seen["actual"] = output["loss"].item()

    network = fresh()
    network.dropout.p = 0.0
    engine = trainer(network, RobustUpdate("trades", PGD(eps=0.5, steps=2)))
    engine.add_event_handler(IterationEvents.LOSS_COMPLETED, compare)
    engine.run()
    assert seen["actual"] == pytest.approx(seen["expected"], rel=1e-5)


def test_trades_starts_an_attack_in_the_ball_that_would_start_where_there_is_no_gradient():
    plain_start, chosen = PGD(eps=0.5, steps=2), BIM(eps=0.5, random_start="sphere")
    assert RobustUpdate("trades", plain_start).attack.random_start == "ball"
    assert plain_start.random_start is False
    assert RobustUpdate("trades", chosen).attack is chosen
    assert RobustUpdate("mart", plain_start).attack is plain_start
    windows = WindowAttack(plain_start, (4, 4))
    assert RobustUpdate("trades", windows).attack.attack.random_start == "ball"
    assert windows.attack is plain_start
    networks = fresh(), fresh()
    trainer(networks[0], RobustUpdate("trades", plain_start)).run()
    trainer(networks[1], RobustUpdate("trades", PGD(eps=0.5, steps=2, random_start="ball"))).run()
    assert_equal_weights(*map(weights, networks))


def test_an_attack_that_does_not_leave_the_clean_inputs_is_refused():
    def still(network, inputs, targets, eps=None, *, task=None):
        return inputs.clone()

    with pytest.raises(BadInputError, match=r"'trades' has not left the clean inputs.*random_start='ball'"):
        trainer(fresh(), RobustUpdate("trades", still)).run()


@pytest.mark.parametrize("task", [None, Segmentation()])
def test_trades_trains_dense_outputs_and_mart_refuses_them(task):
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    engine = trainer(
        fresh(classes=2, dense=True),
        RobustUpdate("trades", PGD(eps=0.5, steps=2), task=task),
        loss,
        True,
        decollate=False,
    )
    engine.run()
    assert engine.state.output["loss"].isfinite()
    assert engine.state.output["adv_norm"].min() > 0
    with pytest.raises(BadInputError, match=r"'mart' take logits \(B, C\).*not outputs of shape"):
        trainer(fresh(classes=2, dense=True), RobustUpdate("mart", PGD(eps=0.5, steps=2), task=task), loss, True).run()


def test_trades_attacks_dense_outputs_window_by_window():
    attack = WindowAttack(PGD(eps=0.5, steps=2), (4, 4))
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    engine = trainer(fresh(classes=2, dense=True), RobustUpdate("trades", attack), loss, True, decollate=False)
    engine.run()
    assert engine.state.output["adv_norm"].min() > 0.5


def test_margins_of_trades_follow_the_terms_of_the_loss_and_bound_its_attack():
    # No attack reaches a loss of 99, and every one reaches a loss of 0: the margins grow in the first case only.
    grown = {}
    for threshold in (99.0, 0.0):
        margins = AdaptiveMargins(0.25, {"loss": threshold}, initial=0.5, key="filename_or_obj")
        update = RobustUpdate("trades", PGD(steps=2), margins=margins)
        engine = trainer(fresh(), update, train_handlers=[margins], epochs=2, decollate=False)
        engine.run()
        assert (engine.state.output["adv_norm"] <= engine.state.output["eps"] * (1 + 1e-5)).all()
        grown[threshold] = set(margins.margins.values())
    assert grown[99.0] == {1.0}
    assert max(grown[0.0]) < 0.5


def test_margins_leave_the_attack_of_trades_its_objective():
    margins = AdaptiveMargins(0.25, {"loss": 99.0}, initial=0.5, key="filename_or_obj")
    networks = fresh(), fresh()
    update = RobustUpdate("trades", PGD(steps=2), margins=margins)
    trainer(networks[0], update, train_handlers=[margins]).run()  # one epoch: every margin is still the first one
    trainer(networks[1], RobustUpdate("trades", PGD(eps=0.5, steps=2))).run()
    assert_equal_weights(*map(weights, networks))


def test_radii_from_a_warm_up_reach_the_attack_of_trades():
    radii = WarmupRadius(0.5, 1e-6)
    engine = trainer(
        fresh(), RobustUpdate("trades", PGD(steps=2), margins=radii), train_handlers=[radii], decollate=False
    )
    engine.run()
    assert engine.state.output["adv_norm"].min() > 0


def test_a_recipe_of_ones_own_may_have_the_objective_of_trades():
    recipe = Recipe({"adv": 1}, objective=PredictionDivergence)
    engine = trainer(TinyNet(), RobustUpdate(recipe, PGD(eps=0.5, steps=2)), decollate=False)
    engine.run()
    assert engine.state.output["adv_loss"].shape == (4,)
