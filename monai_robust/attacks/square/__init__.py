"""The Square attack: random squares and cubes, kept where they raise the loss."""

from __future__ import annotations

from monai_robust.attacks.square.square import Square

__all__ = ["Square"]
