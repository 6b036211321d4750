"""What attacks share that look at every point on their way and hand back the worst of each sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monai_robust.attacks.gradient import GradientAttack, _positive
from monai_robust.attacks.objectives import Objective, check_loss
from monai_robust.attacks.threat import expand

__all__ = ["Worst", "WorstSearch"]


class Worst:
    """The worst point seen of each sample of a batch: a success before any other, then the highest loss."""

    def __init__(self, clean: Tensor) -> None:
        self.adversarial = clean.clone()
        self.loss = torch.full((len(clean),), -torch.inf, dtype=torch.float64, device=clean.device)
        self.won = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)

    def offer(self, rows: Tensor, points: Tensor, loss: Tensor, won: Tensor) -> None:
        """Keep those of the points, (R, C, *spatial), for the samples ``rows`` that are worse than what there was."""
        loss = loss.double()
        better = torch.where(won == self.won[rows], loss > self.loss[rows], won)
        self.adversarial[rows] = torch.where(expand(better, points), points, self.adversarial[rows])
        self.loss[rows] = torch.where(better, loss, self.loss[rows])
        self.won[rows] |= won


class WorstSearch(GradientAttack):
    """An attack that looks at the loss and at success of every point it makes.

    Args:
        loss: what is raised instead of the task's own loss, one of ``LOSSES``.
        eot: forward passes over which losses and gradients are averaged, for networks that are random on purpose
            (expectation over transformation, Athalye et al. 2018); a success is one in more than half of them.
        stop_at_success: leave a sample at its first success, instead of looking for a worse point.
        keywords: those of :class:`GradientAttack`.
    """

    def __init__(
        self, *, loss: str | None = None, eot: int = 1, stop_at_success: bool = False, **keywords: Any
    ) -> None:
        super().__init__(**keywords)
        check_loss(loss, self.goal)
        self.loss = loss
        self.eot = _positive("eot", eot, int)
        self.stop_at_success = bool(stop_at_success)

    def __repr__(self) -> str:
        numbers = {name: value for name, value in {**self.settings(), "eps": self.eps}.items() if name != "attack"}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in numbers.items())})"

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        own = {"loss": self.loss, "eot": self.eot, "stop_at_success": self.stop_at_success}
        return {**super().settings(), **own}

    def _look(
        self,
        network: Callable[..., Any],
        points: Tensor,
        objective: Objective,
        prepared: Any,
        *,
        gradient: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """At ``points`` (R, C, *spatial) what is raised, (R,), success, (R,) bool, and (if asked) the gradient."""
        loss = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        wins, slope = torch.zeros_like(loss), points.new_zeros(())
        for _ in range(self.eot):
            if gradient:
                slope = slope + self._gradient(network, points, prepared, objective) / self.eot
            else:
                with torch.no_grad(), self._autocast(points):
                    objective.terms(objective.forward(network, points, prepared), prepared)
            loss = loss + objective.values / self.eot
            wins = wins + objective.succeeded()
        won = wins > self.eot / 2
        if self.precision is not None and bool(won.any()):
            won = won & self._succeeds(network, points, objective, prepared)
        return loss, won, slope

    @torch.no_grad()
    def _succeeds(self, network: Callable[..., Any], points: Tensor, objective: Objective, prepared: Any) -> Tensor:
        """Success in the network's own precision, (R,) bool."""
        wins = torch.zeros(len(points), device=points.device)
        for _ in range(self.eot):
            objective.forward(network, points, prepared)
            wins = wins + objective.succeeded()
        return wins > self.eot / 2
