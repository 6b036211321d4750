"""Rewrite the shipped overlays: ``python -m monai_robust.overlays``, after a recipe was added."""

from __future__ import annotations

from monai_robust.overlays import overlay_path, render_attack, render_recipe
from monai_robust.recipes import RECIPES

if __name__ == "__main__":
    for recipe in RECIPES:
        overlay_path(recipe).write_text(render_recipe(recipe))
    overlay_path("attack").write_text(render_attack())
