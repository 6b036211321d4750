"""What an attack may raise instead of a task's own loss, by name."""

from __future__ import annotations

from monai_robust.losses.attack.registry import ATTACK_LOSSES, AttackLoss, OutputKind, Raised, attack_loss

__all__ = ["ATTACK_LOSSES", "AttackLoss", "OutputKind", "Raised", "attack_loss"]
