"""Whether the network of a measurement has the gradient that some of its perturbations follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.failures import attempt
from monai_robust.evaluation.measure.perturbations import Sweep, Victim
from monai_robust.networks.gradients import missing_gradient
from monai_robust.networks.stored import StoredModel

__all__ = ["refuse_without_gradient"]


def refuse_without_gradient(sweeps: Sequence[Sweep], victims: Iterable[Victim]) -> None:
    """Refuse perturbations that follow gradients where the network has none, by one backward pass.

    The first victim on which nothing fails decides; what fails on the others is found and listed where it is measured.

    Raises:
        BadInputError: naming the perturbations, and what would do.
    """
    following = [sweep.name for sweep in sweeps if sweep.follows_gradients]
    if not following:
        return
    found = map(_missing, victims)
    reason = attempt(found)
    while isinstance(reason, Exception) and not isinstance(reason, StopIteration):
        reason = attempt(found)
    if isinstance(reason, str):
        raise BadInputError(
            f"the network has no gradient ({reason}), and {', '.join(following)} "
            f"follow{'s' * (len(following) == 1)} it; attack it by Square, which asks only for answers "
            "(AttackSweep(Square(), radii), NearestSweep(Square(), method='bisection')), or by corruptions"
        )


def _missing(victim: Victim) -> str | None:
    reason = missing_gradient(
        victim.network, victim.inputs, lambda network, inputs: victim.task.forward(network, inputs, victim.targets)
    )
    if isinstance(victim.network, StoredModel):
        victim.network.differentiable = reason is None
    return reason
