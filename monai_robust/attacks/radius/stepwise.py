"""The steps of an attack on many samples at once, each within its own radius, each leaving when it is settled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from monai_robust.attacks.common.samples import Samples
from monai_robust.attacks.radius.engine import RadiusSearch, Strategy
from monai_robust.attacks.steps import GradientAttack
from monai_robust.errors import naming
from monai_robust.tasks.tensors import select_rows

__all__ = ["StepwiseSearch"]


class StepwiseSearch:
    """The steps of an attack for the open samples of a search, as many at a time as a batch holds.

    A place in the batch belongs to one sample until it is settled: after a failure within one radius the sample begins
    anew within the next, after a success it leaves. Then the place goes to the next sample. The gradient at the input
    itself, where every attempt without a random start begins, is computed once.

    Args:
        search: whose samples are attacked.
        attack: nothing but steps.
        strategy: says which radius is next.
    """

    def __init__(self, search: RadiusSearch, attack: GradientAttack, strategy: Strategy) -> None:
        self.search = search
        self.attack = attack
        self.strategy = strategy
        clean = search.samples.clean
        self.slopes = torch.empty_like(clean)  # the gradient at each input
        self.has_slope = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
        # The places of the batch: which sample, within which radius, at which step and point.
        self.rows = self.step = torch.empty(0, dtype=torch.long, device=clean.device)
        self.eps, self.points = search.failed[:0], clean[:0]

    def run(self) -> None:
        """Until every sample is settled."""
        waiting = self.strategy.open(self.search).nonzero().flatten()
        while len(waiting) or len(self.rows):
            free = self.search.batch_size - len(self.rows)
            self._enter(waiting[:free])
            waiting = waiting[free:]
            done = self.step >= self.attack.steps
            left = self._finish(done) if bool(done.any()) else self._advance()
            waiting = torch.cat([left[self.strategy.open(self.search)[left]], waiting])

    def _enter(self, rows: Tensor) -> None:
        """Begin with ``rows``, each within the radius that is its turn."""
        if not len(rows):
            return
        eps = self.strategy.radius(self.search, rows)
        samples = self._samples(rows, eps)
        if self.attack.random_start:
            samples = replace(samples, generator=self.strategy.generators(rows, eps))
        points = self.attack.begin(samples, self.attack.limits(samples))
        step = torch.zeros_like(rows)
        known = self.has_slope[rows]
        if bool(known.any()):
            points = points.clone()
            points[known] = self._stepped(rows[known], eps[known], points[known], self.slopes[rows[known]])
            step[known] = 1
        self.rows = torch.cat([self.rows, rows])
        self.eps = torch.cat([self.eps, eps])
        self.step = torch.cat([self.step, step])
        self.points = torch.cat([self.points, points])

    def _advance(self) -> Tensor:
        """One step of every sample in the batch; the rows of those that are broken, which leave it."""
        search, rows = self.search, self.rows
        targets = search.task.prepared(search.samples.clean[rows], select_rows(search.targets, rows))
        with torch.enable_grad(), naming(rows):
            slope, outputs = self.attack.gradient(self._run, self.points, targets, search.task)
        success = search.fulfilled(rows, outputs)
        success[success.clone()] = search.confirm(rows[success], self.points[success], self.eps[success])
        going = ~success
        if not self.attack.random_start:
            first = going & (self.step == 0)
            self.slopes[rows[first]], self.has_slope[rows[first]] = slope[first], True
        self.strategy.after(search, rows[success], self.eps[success], self.points[success], success[success])
        self.points = self._stepped(rows[going], self.eps[going], self.points[going], slope[going])
        self.rows, self.eps, self.step = rows[going], self.eps[going], self.step[going] + 1
        return rows[success]

    def _finish(self, done: Tensor) -> Tensor:
        """Judge those that have made all their steps, and take them out of the batch; their rows."""
        rows, eps, points = self.rows[done], self.eps[done], self.points[done]
        success = self.search.confirm(rows, points, eps)
        self.search.fail(rows[~success], eps[~success])
        self.strategy.after(self.search, rows, eps, points, success)
        self.rows, self.eps, self.step = self.rows[~done], self.eps[~done], self.step[~done]
        self.points = self.points[~done]
        return rows

    def _stepped(self, rows: Tensor, eps: Tensor, points: Tensor, slope: Tensor) -> Tensor:
        samples = self._samples(rows, eps)
        return self.attack.step(points, slope, samples, self.attack.limits(samples))

    def _samples(self, rows: Tensor, eps: Tensor) -> Samples:
        return replace(self.search.samples.take(rows), eps=eps)

    def _run(self, points: Tensor) -> Any:
        return self.search.network(self.search.as_given(points))
