"""Many samples on their way up a loss at once, each within its own radius, each leaving when it has arrived."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from monai_robust.attacks.radius.search import RadiusSearch
from monai_robust.attacks.samples import Samples
from monai_robust.attacks.steps import GradientAttack
from monai_robust.errors import naming
from monai_robust.tasks.tensors import select_rows

__all__ = ["Climb"]


class Climb:
    """The steps of an attack for the open samples of a search, as many at a time as a batch holds.

    A place in the batch belongs to one sample until it is settled: after a failure within one radius the sample begins
    anew within the next, after a success it leaves. Then the place goes to the next sample. The gradient at the input
    itself, where every attempt without a random start begins, is computed once.

    Args:
        search: whose samples are attacked.
        attack: nothing but steps.
    """

    def __init__(self, search: RadiusSearch, attack: GradientAttack) -> None:
        self.search = search
        self.attack = attack
        clean = search.samples.clean
        self.slopes = torch.empty_like(clean)  # the gradient at each input
        self.has_slope = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
        # The places of the batch: which sample, within which radius, at which step and point.
        self.rows = torch.empty(0, dtype=torch.long, device=clean.device)
        self.trial, self.step, self.points = self.rows, self.rows, clean[:0]

    def run(self) -> None:
        """Until every sample is settled."""
        ladder = self.search.ladder
        waiting = ladder.open.nonzero().flatten()
        while len(waiting) or len(self.rows):
            free = self.search.batch_size - len(self.rows)
            self._enter(waiting[:free])
            waiting = waiting[free:]
            done = self.step >= self.attack.steps
            left = self._finish(done) if bool(done.any()) else self._advance()
            waiting = torch.cat([left[ladder.open[left]], waiting])

    def _enter(self, rows: Tensor) -> None:
        """Begin with ``rows``, each within the radius that is its turn."""
        if not len(rows):
            return
        trial = self.search.ladder.trial(rows)
        samples = self._samples(rows, trial)
        if self.attack.random_start:
            samples = replace(samples, generator=self.search.draws.at(rows, trial))
        points = self.attack._begin(samples, self.attack._bounds_of(samples))
        step = torch.zeros_like(rows)
        known = self.has_slope[rows]
        if bool(known.any()):
            points = points.clone()
            points[known] = self._stepped(rows[known], trial[known], points[known], self.slopes[rows[known]])
            step[known] = 1
        self.rows = torch.cat([self.rows, rows])
        self.trial = torch.cat([self.trial, trial])
        self.step = torch.cat([self.step, step])
        self.points = torch.cat([self.points, points])

    def _advance(self) -> Tensor:
        """One step of every sample in the batch; the rows of those that are broken, which leave it."""
        search, rows = self.search, self.rows
        targets = select_rows(search.judged, rows)
        targets = search.task.prepared(search.samples.clean[rows], targets)
        with torch.enable_grad(), naming(rows):
            slope, outputs = self.attack._pass(self._run, self.points, targets, search.task)
        won = search.succeeded(outputs, select_rows(search.judged, rows))
        won[won.clone()] = search.confirmed(rows[won], self.points[won])
        going = ~won
        if not self.attack.random_start:
            first = going & (self.step == 0)
            self.slopes[rows[first]], self.has_slope[rows[first]] = slope[first], True
        self.points = self._stepped(rows[going], self.trial[going], self.points[going], slope[going])
        self.rows, self.trial, self.step = rows[going], self.trial[going], self.step[going] + 1
        return rows[won]

    def _finish(self, done: Tensor) -> Tensor:
        """Judge those that have made all their steps, and take them out of the batch; their rows."""
        rows, trial, points = self.rows[done], self.trial[done], self.points[done]
        won = self.search.confirmed(rows, points)
        self.search.ladder.lost(rows[~won], trial[~won], points[~won])
        self.rows, self.trial, self.step = self.rows[~done], self.trial[~done], self.step[~done]
        self.points = self.points[~done]
        return rows

    def _stepped(self, rows: Tensor, trial: Tensor, points: Tensor, slope: Tensor) -> Tensor:
        samples = self._samples(rows, trial)
        return self.attack._step(points, slope, samples, self.attack._bounds_of(samples))

    def _samples(self, rows: Tensor, trial: Tensor) -> Samples:
        return replace(self.search.samples.take(rows), eps=self.search.ladder.radii[trial])

    def _run(self, points: Tensor) -> Any:
        return self.search.network(self.search.own(points))
