"""At which radius a sample breaks: among given radii, and the smallest there is."""

from __future__ import annotations

from monai_robust.attacks.radius.curve import attack_curve
from monai_robust.attacks.radius.smallest import minimal_radius

__all__ = ["attack_curve", "minimal_radius"]
