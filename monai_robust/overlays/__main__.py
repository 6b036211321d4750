"""Rewrite the shipped overlays: ``python -m monai_robust.overlays``, after a recipe was added."""

from __future__ import annotations

from pathlib import Path

from monai_robust.overlays.rendering import render_attack, render_recipe
from monai_robust.recipes import RECIPES

if __name__ == "__main__":
    folder = Path(__file__).parent
    for recipe in RECIPES:
        (folder / f"{recipe}.yaml").write_text(render_recipe(recipe))
    (folder / "attack.yaml").write_text(render_attack())
