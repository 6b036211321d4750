"""Attacks on any task, in any number of dimensions, with a radius for every sample."""

from __future__ import annotations

from monai_robust.attacks.gradient import BIM, FGSM, IFGSM, PGD, GradientAttack
from monai_robust.attacks.presets import PAPER_ATTACKS, paper_attack
from monai_robust.attacks.windowed import WindowAttack

__all__ = ["BIM", "FGSM", "IFGSM", "PAPER_ATTACKS", "PGD", "GradientAttack", "WindowAttack", "paper_attack"]
