"""What attacks share that look at every point on their way and hand back the worst of each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from monai_robust.attacks.losses.named import check_loss
from monai_robust.attacks.losses.objective import Objective
from monai_robust.attacks.samples import Samples
from monai_robust.attacks.steps import GradientAttack, _one_of, _positive
from monai_robust.attacks.threat import expand
from monai_robust.errors import NotFiniteError, naming
from monai_robust.networks.fast_form import exact
from monai_robust.tasks import Task

__all__ = ["Look", "Worst", "WorstSearch"]


@dataclass(frozen=True, eq=False)
class Look:
    """What a pass through the network says of R points.

    Attributes:
        loss: (R,) what is raised.
        won: (R,) bool, success.
        harm: (R,) how bad the task's score is, the higher the worse; minus infinity where no score is asked for.
        gradient: (R, C, *spatial) of the loss, if asked for.
    """

    loss: Tensor
    won: Tensor
    harm: Tensor
    gradient: Tensor


class Worst:
    """The worst point seen of each sample of a batch: a success before any other, then the worst score where scores
    are asked for, then the highest loss."""

    def __init__(self, clean: Tensor) -> None:
        self.adversarial = clean.clone()
        self.loss = torch.full((len(clean),), -torch.inf, dtype=torch.float64, device=clean.device)
        self.harm = self.loss.clone()
        self.won = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)

    def offer(self, rows: Tensor, points: Tensor, look: Look) -> None:
        """Keep those of the points, (R, C, *spatial), for the samples ``rows`` that are worse than what there was."""
        loss, harm = look.loss.double(), look.harm
        higher = torch.where(harm == self.harm[rows], loss > self.loss[rows], harm > self.harm[rows])
        better = torch.where(look.won == self.won[rows], higher, look.won)
        self.adversarial[rows] = torch.where(expand(better, points), points, self.adversarial[rows])
        self.loss[rows] = torch.where(better, loss, self.loss[rows])
        self.harm[rows] = torch.where(better, harm, self.harm[rows])
        self.won[rows] |= look.won


class WorstSearch(GradientAttack):
    """An attack that looks at the loss and at success of every point it makes.

    Args:
        loss: what is raised instead of the task's own loss, one of ``LOSSES``.
        eot: forward passes over which losses and gradients are averaged, for networks that are random on purpose
            (expectation over transformation, Athalye et al. 2018); a success is one in more than half of them.
        stop_at_success: leave a sample at its first success, instead of looking for a worse point.
        keep: what makes a point the worst of a sample, after success: the highest ``"loss"``, or the worst ``"score"``
            of the task and of equal ones the highest loss, as where there is no score (NaN: nothing to find). The
            search climbs by the loss in either case.
        keywords: those of :class:`GradientAttack`.
    """

    def __init__(
        self,
        *,
        loss: str | None = None,
        eot: int = 1,
        stop_at_success: bool = False,
        keep: Literal["loss", "score"] = "loss",
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        check_loss(loss, self.goal)
        self.loss = loss
        self.eot = _positive("eot", eot, int)
        self.stop_at_success = bool(stop_at_success)
        self.keep = _one_of("keep", keep, ("loss", "score"))

    def __repr__(self) -> str:
        numbers = {name: value for name, value in {**self.settings(), "eps": self.eps}.items() if name != "attack"}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in numbers.items())})"

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        own = {"loss": self.loss, "eot": self.eot, "stop_at_success": self.stop_at_success, "keep": self.keep}
        return {**super().settings(), **own}

    def _objective(self, task: Task, loss: str | None) -> Objective:
        return Objective(task, loss, self.goal, scored=self.keep == "score")

    def _aimed(self, network: Callable[..., Any], samples: Samples, task: Task) -> Samples:
        """``samples`` with a dictionary of targets: ``"aimed"``, to be left or approached, and the ``"true"`` ones."""
        aimed, _ = self._aim(network, samples.clean, samples.targets, task)
        return replace(samples, targets={"aimed": aimed, "true": samples.targets})

    def _prepared(self, objective: Objective, samples: Samples) -> Any:
        """What ``objective`` takes as targets of aimed ``samples``."""
        if objective.scored and self.goal != "untargeted":
            prepared = objective.prepared(samples.clean, samples.targets["aimed"])
            objective.score_by(samples.clean, samples.targets["true"])
            return prepared
        return objective.prepared(samples.clean, samples.targets["aimed"])

    def _look(
        self,
        network: Callable[..., Any],
        samples: Samples,
        points: Tensor,
        objective: Objective,
        prepared: Any,
        *,
        gradient: bool = False,
    ) -> Look:
        """What a pass, or the mean of several, says of ``points`` (R, C, *spatial) of ``samples``.

        Raises:
            BadSamplesError: for samples whose loss is NaN or does not depend on them.
        """
        loss = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        wins, harm, slope = torch.zeros_like(loss), torch.zeros_like(loss), points.new_zeros(())
        for _ in range(self.eot):
            if gradient:
                with naming(samples.rows):
                    slope = slope + self._gradient(network, points, prepared, objective) / self.eot
            else:
                with torch.no_grad(), self._autocast(points):
                    objective.terms(objective.forward(network, points, prepared), prepared)
            loss = loss + objective.values / self.eot
            wins = wins + objective.succeeded()
            harm = harm + objective.harm() / self.eot
        if bool(loss.isnan().any()):
            what = "the attack met a loss that is NaN; check loss and network"
            raise NotFiniteError(what, samples.rows[loss.isnan()].tolist())
        won = wins > self.eot / 2
        own = exact(network)
        if (self.precision is not None or own is not network) and bool(won.any()):
            won = won & self._succeeds(own, points, objective, prepared)
        return Look(loss, won, harm, slope)

    @torch.no_grad()
    def _succeeds(self, network: Callable[..., Any], points: Tensor, objective: Objective, prepared: Any) -> Tensor:
        """Success by the network itself in its own precision, (R,) bool."""
        wins = torch.zeros(len(points), device=points.device)
        for _ in range(self.eot):
            objective.forward(network, points, prepared)
            wins = wins + objective.succeeded()
        return wins > self.eot / 2
