"""What is known of an attack: its rows in the outcomes table, and what it does when it is tried in other ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
from scipy.stats import binom

from monai_robust.data.intensity import UNITS
from monai_robust.evaluation.sanity.probes import Harm, Probe, limited, unmoved
from monai_robust.evaluation.sections.parts import number

__all__ = ["CHANCE", "ROUNDING", "ProbedAttack", "chance", "falls", "slack"]

CHANCE = 0.05
"""Level of the one-sided exact sign test (McNemar's, of paired successes), divided by the number of comparisons."""
ROUNDING = 1e-6
_SLACK = 0.01  # what does not count, as a share of the whole change


class ProbedAttack:
    """What is known of an attack: its rows in the outcomes table, and what probes of a few samples do.

    Args:
        probe: the attack on a few samples.
        scores: by severity, 0 (clean) first and then ascending, the scores of all samples, (N,) each in one order.
    """

    def __init__(self, probe: Probe, scores: Mapping[float, np.ndarray]) -> None:
        self.probe = probe
        self.scores = scores
        self.task = probe.task
        self.unit = f" {UNITS[probe.sweep.unit].label}" if probe.sweep.unit else ""
        self.radius = f"{number(probe.radius)}{self.unit}"
        self.name = self.task.score_name if probe.by_score else "loss"
        self.images = f"{probe.samples} image{'s' * (probe.samples != 1)}"

    @cached_property
    def clean(self) -> Harm:
        return self.probe.harm(self.probe.clean)

    @cached_property
    def full(self) -> Harm:
        return self.probe.harm(self.probe.points())

    @cached_property
    def nearest(self) -> Harm:
        """At the smallest radius."""
        smallest = min(self.probe.sweep.severities)
        return self.full if smallest == self.probe.radius else self.probe.harm(self.probe.points(radius=smallest))

    @cached_property
    def farthest(self) -> Harm:
        return self.probe.harm(self.probe.farthest())

    @cached_property
    def start(self) -> Harm:
        return self.probe.harm(self.probe.points(unmoved(self.probe.attack)))

    def shortened(self, steps: Callable[[int], int]) -> Harm:
        """With ``steps`` of all the steps there are."""
        return self.probe.harm(self.probe.points(limited(self.probe.attack, steps)))

    def reported(self, found: Harm) -> float:
        """The mean harm as it is told: a merit as the merit itself."""
        mean = float(np.nanmean(found.harm))
        return -mean if self.probe.by_score and self.task.higher_is_better else mean

    def merit(self, scores: np.ndarray) -> np.ndarray:
        """Scores of which more is better."""
        return scores if self.task.higher_is_better else -scores


def chance(wins: int, losses: int) -> float:
    """The chance of at least so many wins in ``wins + losses`` fair tosses."""
    return float(binom.sf(wins - 1, wins + losses, 0.5))


def falls(less: np.ndarray, more: np.ndarray, least: float, comparisons: int) -> bool:
    """Whether what should be at least as harmful is less so, on average and for more samples than chance explains."""
    # a sample counts where it differs by more than ``least``
    worse, better = int((more < less - least).sum()), int((more > less + least).sum())
    return bool(np.nanmean(more) < np.nanmean(less)) and chance(worse, better) < CHANCE / comparisons


def slack(clean: float, worst: float) -> float:
    """What does not count as a difference, of harm that an attack takes from ``clean`` to ``worst``."""
    return max(_SLACK * (worst - clean), ROUNDING * (1 + abs(clean)))
