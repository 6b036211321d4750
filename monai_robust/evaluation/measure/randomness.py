"""Networks that answer at random: named before they are measured, and measured with draws from a fixed seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch

from monai_robust.evaluation.measure.failures import first_whole
from monai_robust.evaluation.measure.perturbations import AttackSweep, EvaluatedBatch, Sweep, seeded
from monai_robust.networks.repeatable import AT_RANDOM, Repeated, answered_twice
from monai_robust.tasks.tensors import select_rows

__all__ = ["drawing_from", "warn_of_answers_by_batch", "warn_of_random_answers"]


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


def warn_of_random_answers(sweeps: Sequence[Sweep], evaluated_batches: Iterable[EvaluatedBatch]) -> bool:
    """Warn of a network whose two passes over the same images differ, by the first batch on which nothing fails.

    Returns:
        Whether there was something to warn of.
    """
    repeated = _of_first_whole(_repeated, evaluated_batches)
    if repeated is None or not repeated.at_random:
        return False
    told = f"{AT_RANDOM[0].upper()}{AT_RANDOM[1:]}; it is measured with draws from a fixed seed"
    single = [one.name for one in sweeps if isinstance(one, AttackSweep) and getattr(one.attack, "eot", 1) == 1]
    if single:
        told += f", and {', '.join(single)} should average over several answers, such as APGD(eot=10)"
    warnings.warn(f"{told}.", stacklevel=4)
    return True


def warn_of_answers_by_batch(evaluated_batches: Iterable[EvaluatedBatch], batch_size: int) -> None:
    """Warn of a network that answers to an image otherwise when it is alone than among others.

    Args:
        evaluated_batches: batches of the samples, of which the first that can be loaded is asked about.
        batch_size: of the measurement, for the sentence.
    """
    found = _of_first_whole(_alone, evaluated_batches)
    if found is not None and found.by_batch:
        warnings.warn(
            "The network's answer to an image depends on the other images of its batch (normalisation by the batch's "
            f"own statistics?): what is measured is of batches of {batch_size} in the order of the data, and an attack "
            "on one image changes the answers to others.",
            stacklevel=4,
        )


def _repeated(evaluated: EvaluatedBatch) -> Repeated:
    return answered_twice(evaluated.answer)


def _alone(evaluated: EvaluatedBatch) -> Repeated:
    """The answer to the first image among the others of its batch, and alone."""
    first = slice(0, 1)
    return answered_twice(lambda: select_rows(evaluated.answer(), first), lambda: evaluated.answer(first))


def _of_first_whole(
    ask: Callable[[EvaluatedBatch], Repeated], evaluated_batches: Iterable[EvaluatedBatch]
) -> Repeated | None:
    """What a network answers to the first batch on which nothing fails; None where there is none."""
    return cast("Repeated | None", first_whole(map(ask, evaluated_batches)))
