"""Intervals of every statistic of a run: one draw of patients serves all perturbations, severities and statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.evaluation.statistics.blocks import Block, blocks
from monai_robust.evaluation.statistics.bootstrap import (
    DRAWS,
    MINIMUM_PATIENTS,
    Drawable,
    Floats,
    Sums,
    Weighted,
    drawn,
    means,
    patient_draws,
    patient_sums,
    percentile_ends,
)
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["DrawableOf", "Ends", "RunDraws", "redraws"]

DrawableOf = Callable[[Run, pd.DataFrame], Sequence[Drawable]]
"""A run and some of its rows -> the forms in which statistics about them can be drawn anew."""

Draws = Mapping[str, Floats]
Ends = Mapping[tuple[str, float | None], Mapping[str, tuple[float, float]]]
"""By perturbation and severity (None: the mean over its severities), the ends of each statistic's interval."""

_LEAST = 200
_MOST_CELLS = 1_000_000  # sums over patients that are in memory at once, about
_MOST_ROWS = 100_000_000  # rows that statistics which look at all samples at once see in all draws


def redraws(rows: int) -> int:
    """How many draws statistics get that look at all samples at once: 1000, down to 200 for tables of many rows, and 0
    where that would take too long; the clean images then have them all the same."""
    draws = min(_MOST_ROWS // max(rows, 1), DRAWS)
    return draws if draws >= _LEAST else 0


@dataclass(frozen=True, eq=False)
class _Ready:
    """A block, its statistics, and the patients of its rows."""

    block: Block
    statistics: list[Drawable]
    member: NDArray[np.intp]
    patients: int


class RunDraws:
    """Draws of a run's statistics.

    Args:
        run: a finished evaluation.
        drawable: how the statistics of its task are drawn anew; by default only the mean score is.
    """

    def __init__(self, run: Run, drawable: DrawableOf | None = None) -> None:
        self.run = run
        self.drawable = drawable
        self._all: dict[tuple[str, float], Draws] | None = None

    def everything(self) -> dict[tuple[str, float], Draws]:
        """By perturbation and severity, the draws (D,) of every statistic over all samples; empty where there are fewer
        than :data:`~monai_robust.evaluation.statistics.bootstrap.MINIMUM_PATIENTS` patients."""
        if self._all is None:
            self._all = self._draws(np.ones(len(self.run.outcomes), dtype=bool), redraw=True)
        return self._all

    def ends(self, inside: NDArray[np.bool_] | None = None) -> Ends:
        """Intervals of the statistics of each perturbation and severity, and of their means over severities.

        Args:
            inside: (N,) which rows of the table to look at; by default all. Within some, statistics that look at all
                samples at once (:class:`~monai_robust.evaluation.statistics.bootstrap.Weighted`) have no interval.
        """
        found = self.everything() if inside is None else self._draws(inside, redraw=False)
        columns: dict[tuple[str, float | None], Draws] = {}
        for name in dict.fromkeys(name for name, _ in found):
            own = {key: draws for key, draws in found.items() if key[0] == name}
            columns |= {(name, severity): draws for (name, severity), draws in own.items()}
            first = next(iter(own.values()))
            columns[name, None] = {
                statistic: np.mean([draws[statistic] for draws in own.values()], axis=0)
                for statistic in first
                if all(statistic in draws for draws in own.values())
            }
        return {key: dict(_ends_of(draws)) for key, draws in columns.items()}

    def _draws(self, inside: NDArray[np.bool_], redraw: bool) -> dict[tuple[str, float], Draws]:
        found: dict[tuple[str, float], Draws] = {}
        times = redraws(len(self.run.outcomes))
        for alike in _batches(self._ready(inside, redraw)):
            draws = patient_draws(alike[0].patients)
            for key, sums in _of_sums(alike, draws):
                found[key] = {**found.get(key, {}), **sums}
            for one in alike:
                for statistics in one.statistics:
                    if isinstance(statistics, Weighted):
                        again = drawn(statistics, one.member, draws[: times or _LEAST])
                        found[one.block.key] = {**found.get(one.block.key, {}), **again}
        return found

    def _ready(self, inside: NDArray[np.bool_], redraw: bool) -> Iterator[_Ready]:
        for block in blocks(self.run, inside):
            if not len(block.places):
                continue
            rows = self.run.outcomes.iloc[block.places]
            known, member = np.unique(self.run.patients[block.places], return_inverse=True)
            if len(known) < MINIMUM_PATIENTS:
                continue
            statistics: list[Drawable] = [means({"score": rows["score"].to_numpy(dtype=np.float64)})]
            statistics += self.drawable(self.run, rows) if self.drawable is not None else []
            again = redraw and (block.perturbation.kind == CLEAN or redraws(len(self.run.outcomes)) > 0)
            kept = [one for one in statistics if again or isinstance(one, Sums)]
            summed: list[Drawable] = [
                Sums(patient_sums(one.values, member, len(known)), one.of) if isinstance(one, Sums) else one
                for one in kept
            ]
            yield _Ready(block, summed, member, len(known))


def _batches(ready: Iterable[_Ready]) -> Iterator[list[_Ready]]:
    """Blocks of as many patients, one after another, as many as one product of matrices takes."""
    batch: list[_Ready] = []
    for one in ready:
        cells = sum(part.values.size for each in batch for part in each.statistics if isinstance(part, Sums))
        if batch and (one.patients != batch[0].patients or cells > _MOST_CELLS):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _of_sums(alike: Sequence[_Ready], draws: Floats) -> Iterator[tuple[tuple[str, float], Draws]]:
    """Statistics that follow from sums over patients, by one product for all blocks."""
    own = [(one.block.key, part) for one in alike for part in one.statistics if isinstance(part, Sums)]
    totals = draws @ np.concatenate([part.values for _, part in own], axis=1)
    start = 0
    for key, part in own:
        stop = start + part.values.shape[1]
        yield key, part.of(totals[:, start:stop])
        start = stop


def _ends_of(draws: Draws) -> Iterator[tuple[str, tuple[float, float]]]:
    for count in sorted({len(one) for one in draws.values()}):
        names = [name for name, one in draws.items() if len(one) == count]
        ends = percentile_ends(np.stack([draws[name] for name in names], axis=1))
        yield from ((name, (float(low), float(high))) for name, (low, high) in zip(names, ends, strict=True))
