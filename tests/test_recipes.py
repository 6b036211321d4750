from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, nll_loss, softmax

from monai_robust.errors import BadInputError
from monai_robust.recipes import RECIPES, Recipe, as_recipe, make_recipe
from monai_robust.recipes.mart import probability_of_error
from monai_robust.tasks import PredictionDivergence


def kl(p, q):
    return (p * (p.log() - q.log())).sum(dim=1)


def jsd(*logits):
    """Equations 7 and 8 of the RTDA paper, written out."""
    p = [softmax(value, dim=1) for value in logits]
    m = sum(p) / len(p)
    return (sum(kl(q, m) for q in p) / len(p)).mean()


def divergence(f):
    """KL(f(x) || f(x')) of each sample, the regularisation of TRADES and MART."""
    return kl_div(log_softmax(f["adv"], dim=1), softmax(f["clean"], dim=1), reduction="none").sum(dim=1)


def boosted_cross_entropy(logits, y):
    """MART's, as its paper prints it."""
    p = softmax(logits, dim=1)
    wrong = p.clone()
    wrong[torch.arange(len(y)), y] = 0
    return cross_entropy(logits, y) + nll_loss((1 - p).log(), wrong.argmax(dim=1))


def error(logits, y):
    return 1 - softmax(logits, dim=1)[torch.arange(len(y)), y]


# Equations 1 to 10 of the RTDA paper, and the half-and-half training of the AMAT and oncology papers; TRADES and MART.
EQUATIONS = {
    "erm": lambda f, y, lam: cross_entropy(f["clean"], y),
    "at": lambda f, y, lam: cross_entropy(f["adv"], y),
    "advl": lambda f, y, lam: cross_entropy(f["clean"], y) + lam * cross_entropy(f["adv"], y),
    "sat": lambda f, y, lam: cross_entropy(torch.cat([f["clean"], f["adv"]]), torch.cat([y, y])),
    "dataaug": lambda f, y, lam: cross_entropy(f["clean"], y) + lam * cross_entropy(f["aug"], y),
    "augmix": lambda f, y, lam: cross_entropy(f["clean"], y) + lam * jsd(f["clean"], f["aug1"], f["aug2"]),
    "robustaugmix": lambda f, y, lam: cross_entropy(f["clean"], y) + lam * jsd(f["clean"], f["aug"], f["adv"]),
    "rtda": lambda f, y, lam: cross_entropy(f["adv"], y) + lam * jsd(f["clean"], f["aug"], f["adv"]),
    "amat": lambda f, y, lam: (cross_entropy(f["clean"], y) + cross_entropy(f["adv"], y)) / 2,
    "trades": lambda f, y, lam: cross_entropy(f["clean"], y) + lam * divergence(f).mean(),
    "mart": lambda f, y, lam: boosted_cross_entropy(f["adv"], y) + lam * (divergence(f) * error(f["clean"], y)).mean(),
}

PAPERS = {"erm", "at", "advl", "sat", "dataaug", "augmix", "robustaugmix", "rtda", "amat", "trades", "mart"}


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(4, 3, generator=generator) for name in ("clean", "adv", "aug", "aug1", "aug2", "aug_low")}


def test_every_recipe_has_its_equation_here():
    assert set(EQUATIONS) == set(RECIPES)


@pytest.mark.parametrize("name", list(EQUATIONS))
@pytest.mark.parametrize("weight", [None, 0.0, 3.5])
def test_a_recipe_is_its_equation(name, weight, outputs):
    y = torch.tensor([0, 2, 1, 1])
    recipe = make_recipe(name, weight=weight)
    expected = EQUATIONS[name](outputs, y, recipe.weight)
    assert torch.allclose(recipe.loss(outputs, y, torch.nn.CrossEntropyLoss()), expected, atol=1e-6)


def test_default_weights():
    assert {name: recipe.weight for name, recipe in RECIPES.items() if recipe.consistent} == {
        "augmix": 12.0,
        "robustaugmix": 12.0,
        "rtda": 12.0,
        "trades": 6.0,
        "mart": 5.0,
    }
    assert RECIPES["advl"].weight == RECIPES["dataaug"].weight == 1.0


def test_a_recipe_without_a_lambda_has_no_weight_whatever_was_given(caplog):
    without = {"erm", "at", "sat", "amat"}
    assert {name for name in PAPERS if RECIPES[name].weight is None} == without
    for name in without:
        assert make_recipe(name, weight=3.5).weight is None
        assert f"the recipe {name!r} has no lambda, so the weight 3.5 changes nothing" in caplog.text
    assert Recipe({"clean": 0.5, "adv": 0.5}, weight=2.0).weight is None
    assert Recipe({"clean": 1}, consistent=("clean", "adv")).weight == 12.0
    assert Recipe({"clean": "lambda"}).weight == 12.0


def test_rtda_over_two_augmented_domains_agrees_over_four_views(outputs):
    y = torch.tensor([0, 2, 1, 1])
    recipe = make_recipe("rtda", augmented=("aug", "aug_low"))
    expected = cross_entropy(outputs["adv"], y) + 12 * jsd(*(outputs[v] for v in ("clean", "aug", "aug_low", "adv")))
    assert torch.allclose(recipe.loss(outputs, y, torch.nn.CrossEntropyLoss()), expected, atol=1e-5)
    assert set(recipe.views) == {"clean", "aug", "aug_low", "adv"}


def test_amat_takes_its_radii_from_margins_and_other_papers_recipes_do_not():
    papers = [name for name in RECIPES if name in PAPERS]
    assert [name for name in papers if RECIPES[name].margins] == ["amat"]
    assert make_recipe("amat", weight=2.0).margins


def test_what_a_recipe_needs_it_says_itself_whatever_it_is_called():
    assert {name for name in RECIPES if as_recipe(name).augmented} == {"augmix", "robustaugmix", "rtda"}
    own = Recipe({"adv": 1}, consistent=("adv", "dark"), margins=True, name="erm")
    assert as_recipe(own) is own
    assert as_recipe(own).augmented == ("dark",)
    with pytest.raises(BadInputError, match="there is no recipe 'rdta'"):
        as_recipe("rdta")


def test_views_are_listed_once_and_the_clean_one_first():
    assert make_recipe("rtda").views == ("clean", "adv", "aug")
    assert make_recipe("at").views == ("adv",)


def test_a_recipe_of_ones_own_is_a_few_words(outputs):
    y = torch.tensor([0, 2, 1, 1])
    recipe = Recipe({"clean": 0.25, "adv": "lambda"}, weight=2.0)
    expected = 0.25 * cross_entropy(outputs["clean"], y) + 2 * cross_entropy(outputs["adv"], y)
    assert torch.allclose(recipe.loss(outputs, y, torch.nn.CrossEntropyLoss()), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"supervised": {}}, "supervises no view"),
        ({"supervised": {"adv": -1}}, "at least 0"),
        ({"supervised": {"adv": "mu"}}, "'mu'"),
        ({"supervised": {"adv": 1}, "consistent": ("clean",)}, "name two"),
        ({"supervised": {"adv": 1}, "weight": float("nan")}, "weight"),
        ({"supervised": {"clean": 1}, "objective": PredictionDivergence}, "no view 'adv'"),
        ({"supervised": {"adv": 1}, "sample_weight": probability_of_error}, "agreement of no views"),
        ({"supervised": ["clean"]}, r"a list as its supervised views.*\{'adv': 1\}"),
        ({"supervised": {"clean": 0, "adv": 0}}, "nothing would be trained"),
        ({"supervised": {"clean": "lambda"}, "weight": 0}, "nothing would be trained"),
        ({"supervised": {"adv": 0}, "consistent": ("clean", "adv"), "weight": 0}, "nothing would be trained"),
        ({"supervised": {"clean": 1}, "consistent": ("clean", "clean")}, "view 'clean' to agree with itself"),
    ],
)
def test_recipes_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(BadInputError, match=message):
        Recipe(**arguments)


def test_unknown_recipes_are_refused_with_the_known_ones():
    with pytest.raises(BadInputError, match="robustaugmix, rtda"):
        make_recipe("rdta")
    with pytest.raises(BadInputError, match="no augmented views"):
        make_recipe("at", augmented=("aug",))
    for odd in ("aug", [1]):
        with pytest.raises(BadInputError, match="must be a list of names of views"):
            make_recipe("rtda", augmented=odd)
    for given in ({"adv": 1}, None, Recipe):
        with pytest.raises(BadInputError, match=r"the recipe is .*; give Recipe\(.*\), or one of erm, at"):
            as_recipe(given)


def test_a_recipe_may_train_for_agreement_alone():
    assert Recipe({"clean": 0}, consistent=("clean", "adv")).weight == 12.0
