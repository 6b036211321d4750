"""The recipes of the papers: one row each. A new recipe is one more row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from monai_robust.errors import BadInputError
from monai_robust.losses import kullback_leibler
from monai_robust.recipes.mart import likeliest_wrong_class, probability_of_error
from monai_robust.recipes.recipe import LAMBDA, Recipe
from monai_robust.tasks import PredictionDivergence

__all__ = ["RECIPES", "as_recipe", "make_recipe"]

_LOG = logging.getLogger(__name__)

# Up to amat, lambda is printed in no paper. For the agreement of views 12 is AugMix's own; where it weighs a second
# supervised view (advl, dataaug) 1 weighs both alike, since 12 would only multiply the learning rate.
_ROWS: tuple[Recipe, ...] = (
    Recipe({"clean": 1}, name="erm"),  # rtda eq. 1
    Recipe({"adv": 1}, name="at"),  # eq. 2
    Recipe({"clean": 1, "adv": LAMBDA}, weight=1.0, name="advl"),  # eq. 3 and 4
    Recipe({"clean": 0.5, "adv": 0.5}, name="sat"),  # amat, section 2.1; oncology-stability, "adversarial training"
    Recipe({"clean": 1, "aug": LAMBDA}, weight=1.0, name="dataaug"),  # eq. 5
    Recipe({"clean": 1}, consistent=("clean", "aug1", "aug2"), name="augmix"),  # eq. 6 to 8
    Recipe({"clean": 1}, consistent=("clean", "aug", "adv"), name="robustaugmix"),  # eq. 9
    Recipe({"adv": 1}, consistent=("clean", "aug", "adv"), name="rtda"),  # eq. 10
    Recipe({"clean": 0.5, "adv": 0.5}, name="amat", margins=True),  # amat, algorithm 1
    # Zhang et al. 2019, whose 1 / lambda is 1 or 6: the second, the more robust one
    Recipe(
        {"clean": 1},
        consistent=("clean", "adv"),
        consistency=kullback_leibler,
        objective=PredictionDivergence,
        weight=6.0,
        name="trades",
    ),
    # Wang et al. 2020; 5 is their program's lambda for ResNet-18 (6 for a wide one)
    Recipe(
        {"adv": 1},
        consistent=("clean", "adv"),
        consistency=kullback_leibler,
        boost=likeliest_wrong_class,
        sample_weight=probability_of_error,
        weight=5.0,
        name="mart",
    ),
)

RECIPES: dict[str, Recipe] = {row.name: row for row in _ROWS}
"""The presets by name, each as its paper has it."""


def make_recipe(name: str, *, weight: float | None = None, augmented: Sequence[str] | None = None) -> Recipe:
    """The recipe called ``name``.

    Args:
        name: one of ``RECIPES``.
        weight: the equation's lambda; the preset's by default. Where the equation has none, a warning is logged.
        augmented: names of the augmented views that must agree, in place of the preset's, where there are more
            domains than one: ``("aug", "aug_low")`` for high and low contrast (rtda section 5.3).

    Raises:
        BadInputError: for an unknown name, or ``augmented`` for a recipe in which no augmented view must agree.
    """
    if not isinstance(name, str):
        raise BadInputError(f"the recipe is {name!r:.80}; give Recipe({{'adv': 1}}), or one of {', '.join(RECIPES)}")
    if name not in RECIPES:
        raise BadInputError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    if weight is not None:
        recipe = replace(recipe, weight=weight)
        if not recipe.has_weight:
            _LOG.warning("the recipe %r has no lambda, so the weight %g changes nothing", name, weight)
    if augmented is None:
        return recipe
    if isinstance(augmented, str) or not all(isinstance(view, str) for view in augmented):
        raise BadInputError(f"augmented is {augmented!r:.80}; it must be a list of names of views, such as ['aug']")
    presets = recipe.augmented
    if not presets:
        raise BadInputError(f"the recipe {name!r} has no augmented views that must agree; leave out `augmented`")
    consistent: list[str] = []
    for view in recipe.consistent:
        consistent.extend(augmented if view == presets[0] else [] if view in presets else [view])
    return replace(recipe, consistent=tuple(consistent))


def as_recipe(recipe: Recipe | str) -> Recipe:
    """A recipe itself, or that of a name: what a configuration asks where it wants to know what a recipe needs.

    Raises:
        BadInputError: for an unknown name, and for what is neither.
    """
    return recipe if isinstance(recipe, Recipe) else make_recipe(recipe)
