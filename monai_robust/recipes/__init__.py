"""On which views of a batch a network is trained, and which must agree."""

from __future__ import annotations

from monai_robust.recipes.presets import RECIPES, as_recipe, make_recipe
from monai_robust.recipes.recipe import LAMBDA, Recipe

__all__ = ["LAMBDA", "RECIPES", "Recipe", "as_recipe", "make_recipe"]
