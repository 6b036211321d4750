"""Networks that answer at random: named before they are measured, and measured with draws from a fixed seed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from monai_robust.evaluation.measure.failures import attempt
from monai_robust.evaluation.measure.perturbations import AttackSweep, EvaluatedBatch, Sweep, seeded
from monai_robust.networks.repeatable import AT_RANDOM, Repeated, answered_twice

__all__ = ["drawing_from", "warn_of_random_answers"]


@contextmanager
def drawing_from(*parts: object, device: torch.device) -> Iterator[None]:
    """Let torch's random numbers follow from ``parts`` until the block ends, and leave its state as it was.

    Args:
        parts: what they follow from.
        device: where the network runs.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seeded(*parts).initial_seed())
        yield


def warn_of_random_answers(sweeps: Sequence[Sweep], evaluated_batches: Iterable[EvaluatedBatch]) -> None:
    """Warn of a network whose two passes over the same images differ, by the first batch on which nothing fails."""
    found = map(_repeated, evaluated_batches)
    repeated = attempt(found)
    while isinstance(repeated, Exception) and not isinstance(repeated, StopIteration):
        repeated = attempt(found)
    if not isinstance(repeated, Repeated) or not repeated.at_random:
        return
    told = f"{AT_RANDOM[0].upper()}{AT_RANDOM[1:]}; it is measured with draws from a fixed seed"
    single = [one.name for one in sweeps if isinstance(one, AttackSweep) and getattr(one.attack, "eot", 1) == 1]
    if single:
        told += f", and {', '.join(single)} should average over several answers, such as APGD(eot=10)"
    warnings.warn(f"{told}.", stacklevel=4)


def _repeated(evaluated: EvaluatedBatch) -> Repeated:
    return answered_twice(lambda: evaluated.task.forward(evaluated.network, evaluated.inputs, evaluated.targets))
