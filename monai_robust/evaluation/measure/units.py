"""What a measurement is made of: units of work, each measured as a whole, by one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from monai_robust.evaluation.measure.perturbations import Sweep
from monai_robust.tasks import Task

__all__ = ["Unit", "units"]

# Batches whose radii are searched together: enough that the places of a batch stay taken.
_BLOCK = 4


@dataclass(frozen=True)
class Unit:
    """Some batches under a perturbation, at severities that are worked out together.

    What a sample gets may depend on its unit, by rounding: whoever measures it again measures the whole unit.

    Attributes:
        sweep: the perturbation.
        severities: of it.
        batches: places of samples, batch by batch, with images of one size.
    """

    sweep: Sweep
    severities: tuple[float, ...]
    batches: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> int:
        """Of the outcomes table."""
        return len(self.severities) * sum(map(len, self.batches))

    def keys(self) -> Iterator[tuple[str, float, int]]:
        """Perturbation, severity and place of each of its rows."""
        for severity in self.severities:
            for places in self.batches:
                yield from ((self.sweep.name, severity, place) for place in places)


def units(
    sweeps: Sequence[Sweep], task: Task, batches: Sequence[Sequence[int]], sizes: Sequence[Any]
) -> Iterator[Unit]:
    """All units of a measurement, in the order in which one process measures them.

    Args:
        sweeps: the perturbations.
        task: of the network, on which it depends whether severities are worked out together.
        batches: places of samples, batch by batch.
        sizes: of the image at each place.
    """
    for sweep in sweeps:
        together = sweep.together(task)
        blocks = list(_blocks(batches, sizes, _BLOCK if together else 1))
        for severities in [tuple(sweep.severities)] if together else [(one,) for one in sweep]:
            yield from (Unit(sweep, severities, block) for block in blocks)


def _blocks(batches: Sequence[Sequence[int]], sizes: Sequence[Any], size: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Batches that follow one another, at most ``size`` of them, with images of one size."""
    for _, alike in groupby(batches, lambda batch: sizes[batch[0]]):
        own = [tuple(batch) for batch in alike]
        yield from (tuple(own[start : start + size]) for start in range(0, len(own), size))
