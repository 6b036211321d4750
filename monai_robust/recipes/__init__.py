"""On which views of a batch a network is trained, and which must agree."""

from __future__ import annotations

from monai_robust.recipes.presets import RECIPES, make_recipe
from monai_robust.recipes.recipe import LAMBDA, Recipe

__all__ = ["LAMBDA", "RECIPES", "Recipe", "make_recipe"]
