"""What an attack raises: losses by name, and what a pass through a network says of success and score."""

from __future__ import annotations

from monai_robust.attacks.losses.multi_label import MultiLabel

__all__ = ["MultiLabel"]
