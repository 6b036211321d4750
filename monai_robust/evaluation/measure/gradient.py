"""Whether the network of a measurement has the gradient that some of its perturbations follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.failures import attempt
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, Sweep
from monai_robust.networks.gradients import missing_gradient
from monai_robust.networks.stored import StoredModel

__all__ = ["refuse_without_gradient"]


def refuse_without_gradient(sweeps: Sequence[Sweep], evaluated_batches: Iterable[EvaluatedBatch]) -> None:
    """Refuse perturbations that follow gradients where the network has none, by one backward pass.

    The first batch on which nothing fails decides; what fails on the others is listed where it is measured.

    Raises:
        BadInputError: naming the perturbations, and what would do.
    """
    following = [sweep.name for sweep in sweeps if sweep.follows_gradients]
    if not following:
        return
    found = map(_missing, evaluated_batches)
    reason = attempt(found)
    while isinstance(reason, Exception) and not isinstance(reason, StopIteration):
        reason = attempt(found)
    if isinstance(reason, str):
        raise BadInputError(
            f"the network has no gradient ({reason}), and {', '.join(following)} "
            f"follow{'s' * (len(following) == 1)} it; attack it by Square, which asks only for answers "
            "(AttackSweep(Square(), radii), NearestSweep(Square(), method='bisection')), or by corruptions"
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
