"""How many times a training shows a batch to its network, by which the hours of a study are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_robust.recipes import RECIPES

__all__ = ["passes_of"]


def passes_of(settings: Mapping[str, Any], configuration: Mapping[str, Any]) -> float:
    """Passes of the whole training: for each epoch one a view of its recipe, and one a step of the attack.

    Args:
        settings: ids of the training, and their values.
        configuration: of the bundle and its presets, which says what the settings do not.
    """
    robust = configuration.get("robust", {})
    epochs = _number(settings.get("epochs", configuration.get("epochs")))
    recipe = RECIPES.get(str(settings.get("recipe", configuration.get("recipe"))))
    if recipe is None:
        return epochs
    steps = _number(settings.get("robust#attack#steps", robust.get("attack", {}).get("steps")))
    return epochs * (len(recipe.views) + (steps if "adv" in recipe.views else 0.0))


def _number(value: Any) -> float:
    """A number that is written down; 1 for one that is not, such as an expression."""
    return float(value) if isinstance(value, int | float) and value > 0 else 1.0
