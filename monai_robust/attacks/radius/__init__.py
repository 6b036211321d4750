"""At which radius a sample breaks: two questions to one search (:class:`~.engine.RadiusSearch`).

:func:`attack_curve` asks at which of several radii an attack breaks each sample, the smallest first;
:func:`minimal_radius` looks for the smallest radius there is, by halving an interval. What counts as a success is a
:class:`~monai_robust.attacks.Criterion`, and its default follows from what is asked:

- a curve is robust accuracy, which compares with labels: ``"incorrect"``, so that what is wrong already is at radius 0;
- the smallest radius is a property of a network and an image, which needs no label: ``"prediction_changed"``, so that
  no sample is at radius 0.
"""

from __future__ import annotations

from monai_robust.attacks.radius.curve import AttackCurve, attack_curve
from monai_robust.attacks.radius.smallest import MinimalRadius, minimal_radius

__all__ = ["AttackCurve", "MinimalRadius", "attack_curve", "minimal_radius"]
