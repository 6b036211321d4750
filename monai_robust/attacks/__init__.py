"""Attacks on any task, in any number of dimensions, with a radius for every sample."""

from __future__ import annotations

from monai_robust.attacks.apgd import APGD
from monai_robust.attacks.attack import Attack
from monai_robust.attacks.criteria import Criterion, DiceBelow, ScoreBeyond
from monai_robust.attacks.ensemble import AttackEnsemble
from monai_robust.attacks.fmn import FMN
from monai_robust.attacks.presets import PAPER_ATTACKS, paper_attack
from monai_robust.attacks.radius.curve import AttackCurve, attack_curve
from monai_robust.attacks.radius.smallest import MinimalRadius, minimal_radius
from monai_robust.attacks.square import Square
from monai_robust.attacks.steps import BIM, FGSM, IFGSM, PGD, GradientAttack
from monai_robust.attacks.strong import strong_attack
from monai_robust.attacks.windows import WindowAttack
from monai_robust.tasks import MultiLabel

__all__ = [
    "APGD",
    "BIM",
    "FGSM",
    "FMN",
    "IFGSM",
    "PAPER_ATTACKS",
    "PGD",
    "Attack",
    "AttackCurve",
    "AttackEnsemble",
    "Criterion",
    "DiceBelow",
    "GradientAttack",
    "MinimalRadius",
    "MultiLabel",
    "ScoreBeyond",
    "Square",
    "WindowAttack",
    "attack_curve",
    "minimal_radius",
    "paper_attack",
    "strong_attack",
]
