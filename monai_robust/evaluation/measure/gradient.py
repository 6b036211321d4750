"""Whether the network of a measurement has the gradient that some of its perturbations follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.failures import first_whole
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, Sweep
from monai_robust.networks.gradients import missing_gradient
from monai_robust.networks.stored import StoredModel

__all__ = ["refuse_without_gradient", "why_no_gradient"]


def why_no_gradient(evaluated_batches: Iterable[EvaluatedBatch]) -> str | None:
    """Why a network has no gradient, by one backward pass; None where it has one, or nothing can be run.

    The first batch on which nothing fails decides; what fails on the others is listed where it is measured.
    """
    return cast("str | None", first_whole(map(_missing, evaluated_batches)))


def refuse_without_gradient(sweeps: Sequence[Sweep], reason: str) -> None:
    """Refuse perturbations that follow gradients, for a network that has none because of ``reason``.

    Raises:
        BadInputError: naming them, and what would do.
    """
    following = [sweep.name for sweep in sweeps if sweep.follows_gradients]
    if following:
        raise BadInputError(
            f"the network has no gradient ({reason}), and {', '.join(following)} "
            f"follow{'s' * (len(following) == 1)} it; attack it by Square, which asks only for answers "
            "(--attack square; AttackSweep(Square(), radii), NearestSweep(Square(), method='bisection')) or by "
            "corruptions"
        )


def _missing(evaluated: EvaluatedBatch) -> str | None:
    reason = missing_gradient(
        evaluated.network,
        evaluated.inputs,
        lambda net, inputs: evaluated.task.forward(net, inputs, evaluated.targets),
    )
    if isinstance(evaluated.network, StoredModel):
        evaluated.network.differentiable = reason is None
    return reason
