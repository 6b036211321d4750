"""What attacks share that judge every point on their way and hand back the worst of each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from monai_robust.attacks.attack import Attack
from monai_robust.attacks.common.arguments import one_of, positive
from monai_robust.attacks.common.objective import Objective, check_loss
from monai_robust.attacks.common.samples import Samples
from monai_robust.attacks.threat import expand
from monai_robust.errors import NotFiniteError, naming
from monai_robust.networks.fast_form import gradients_of
from monai_robust.tasks import Task

__all__ = ["PointValues", "WorstCase", "WorstCaseAttack"]


@dataclass(frozen=True, eq=False)
class PointValues:
    """What a pass through the network says of R points.

    Attributes:
        loss: (R,) what is raised.
        success: (R,) bool.
        harm: (R,) how bad the task's score is, the higher the worse; minus infinity where no score is asked for.
        gradient: (R, C, *spatial) of the loss, if asked for.
    """

    loss: Tensor
    success: Tensor
    harm: Tensor
    gradient: Tensor


class WorstCase:
    """The worst point seen of each sample of a batch: a success before any other, then the worst score where scores
    are asked for, then the highest loss.

    Args:
        clean: (B, C, *spatial).

    Attributes:
        points: (B, C, *spatial), the worst so far; the inputs themselves before any other was seen.
        success: (B,) bool, whether that is a success.
    """

    def __init__(self, clean: Tensor) -> None:
        self.points = clean.clone()
        self.success = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
        self._loss = torch.full((len(clean),), -torch.inf, dtype=torch.float64, device=clean.device)
        self._harm = self._loss.clone()

    def update(self, rows: Tensor, points: Tensor, values: PointValues) -> None:
        """Keep those of the points, (R, C, *spatial), for the samples ``rows`` that are worse than what there was."""
        loss, harm = values.loss.double(), values.harm
        higher = torch.where(harm == self._harm[rows], loss > self._loss[rows], harm > self._harm[rows])
        worse = torch.where(values.success == self.success[rows], higher, values.success)
        self.points[rows] = torch.where(expand(worse, points), points, self.points[rows])
        self._loss[rows] = torch.where(worse, loss, self._loss[rows])
        self._harm[rows] = torch.where(worse, harm, self._harm[rows])
        self.success[rows] |= values.success


class WorstCaseAttack(Attack):
    """An attack that judges every point it makes by loss and success.

    Args:
        loss: what is raised instead of the task's own loss, one of
            :data:`~monai_robust.losses.attack.ATTACK_LOSSES`.
        eot: forward passes over which losses and gradients are averaged, for networks that are random on purpose
            (expectation over transformation, Athalye et al. 2018); a success is one in more than half of them.
        stop_at_success: leave a sample at its first success, instead of looking for a worse point.
        keep: what makes a point the worst of a sample, after success: the highest ``"loss"``, or the worst ``"score"``
            of the task and of equal ones the highest loss, as where there is no score (NaN: nothing to find). The
            search follows the loss in either case.
        keywords: those of :class:`Attack`.
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
        self.eot = positive("eot", eot, int)
        self.stop_at_success = bool(stop_at_success)
        self.keep = one_of("keep", keep, ("loss", "score"))

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        kept = {"loss": self.loss, "eot": self.eot, "stop_at_success": self.stop_at_success, "keep": self.keep}
        return {**super().settings(), **kept}

    def _objective(self, task: Task, loss: str | None) -> Objective:
        return Objective(task, loss, self.goal, scored=self.keep == "score")

    def _aimed(self, network: Callable[..., Any], samples: Samples, task: Task) -> Samples:
        """``samples`` with a dictionary of targets: ``"aimed"``, to be left or approached, and the ``"true"`` ones."""
        aimed, _ = self._aim(network, samples, task)
        return replace(samples, targets={"aimed": aimed, "true": samples.targets})

    def _prepared(self, objective: Objective, samples: Samples) -> Any:
        """What ``objective`` takes as targets of aimed ``samples``."""
        targets = samples.targets
        true = targets["true"] if objective.scored and self.goal != "untargeted" else None
        return objective.prepared(samples.clean, targets["aimed"], true=true, toward=targets.get("toward"))

    def _judged(
        self,
        network: Callable[..., Any],
        samples: Samples,
        points: Tensor,
        objective: Objective,
        prepared: Any,
        *,
        gradient: bool = False,
    ) -> PointValues:
        """What a pass, or the mean of several, says of ``points`` (R, C, *spatial) of ``samples``.

        Raises:
            BadSamplesError: for samples whose loss is NaN or does not depend on them.
        """
        searched = gradients_of(network)
        loss = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        successes, harm, slope = torch.zeros_like(loss), torch.zeros_like(loss), points.new_zeros(())
        for _ in range(self.eot):
            if gradient:
                with naming(samples.rows):
                    slope = slope + self.gradient(network, points, prepared, objective)[0] / self.eot
            else:
                with torch.no_grad(), self.autocast(points):
                    objective.terms(objective.forward(searched, points, prepared), prepared)
            loss = loss + objective.values / self.eot
            successes = successes + objective.succeeded()
            harm = harm + objective.harm() / self.eot
        if bool(loss.isnan().any()):
            what = "the attack met a loss that is NaN; check loss and network"
            raise NotFiniteError(what, samples.rows[loss.isnan()].tolist())
        success = successes > self.eot / 2
        if (self.precision is not None or searched is not network) and bool(success.any()):
            success = success & self._confirmed(network, points, objective, prepared)
        return PointValues(loss, success, harm, slope)

    @torch.no_grad()
    def _confirmed(self, network: Callable[..., Any], points: Tensor, objective: Objective, prepared: Any) -> Tensor:
        """Success by the network itself in its own precision, (R,) bool."""
        successes = torch.zeros(len(points), device=points.device)
        for _ in range(self.eot):
            objective.forward(network, points, prepared)
            successes = successes + objective.succeeded()
        return successes > self.eot / 2
