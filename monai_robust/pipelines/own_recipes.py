"""Recipes that a bundle's training has of its own, and the ids by which they are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monai_robust.configuration.components import Component, components, referred
from monai_robust.engines import RobustUpdate

__all__ = ["OwnRecipes", "own_recipes"]


@dataclass(frozen=True)
class OwnRecipes:
    """How a training whose trainer runs :class:`RobustUpdate` is told what to do.

    Attributes:
        recipe: the id that chooses the recipe.
        radius: the id of the attack's radius, None without an attack.
        eps: the radius that stands there, where it is a number.
        bounds: of intensities under attack, as they stand there.
        step: the id of the step of margins, None without margins.
        thresholds: the id of their thresholds, None without margins.
    """

    recipe: str
    radius: str | None = None
    eps: float | None = None
    bounds: Any = None
    step: str | None = None
    thresholds: str | None = None


def own_recipes(config: Mapping[str, Any], trainer: Component) -> OwnRecipes | None:
    """The ids of a training's own recipes; None where an overlay has to bring one.

    Args:
        config: merged, unresolved.
        trainer: of the configuration.
    """
    place, update = _component(config, trainer, "iteration_update")
    if update is None or not update.is_a(RobustUpdate):
        return None
    update = Component(place, update.target, update.config)
    where, attack = _component(config, update, "attack")
    kept, margins = _component(config, update, "margins")
    eps = None if attack is None else referred(config, attack.config.get("eps"))[1]
    return OwnRecipes(
        recipe=_id(config, update, "recipe"),
        radius=None if attack is None else f"{where}#eps",
        eps=float(eps) if isinstance(eps, (int, float)) else None,
        bounds=None if attack is None else attack.config.get("bounds"),
        step=None if margins is None else _id(config, Component(kept, "", margins.config), "step"),
        thresholds=None if margins is None else _id(config, Component(kept, "", margins.config), "thresholds"),
    )


def _component(config: Mapping[str, Any], owner: Component, argument: str) -> tuple[str, Component | None]:
    """The component that an argument is or refers to, and its id."""
    identifier, node = referred(config, owner.config.get(argument))
    place = identifier or f"{owner.id}#{argument}"
    first = next(iter(components(node)), None)
    return place, first if first is not None and first.id == "" else None


def _id(config: Mapping[str, Any], owner: Component, argument: str) -> str:
    """The id whose value an argument has."""
    identifier, _ = referred(config, owner.config.get(argument))
    return identifier or f"{owner.id}#{argument}"
