"""What a bundle is measured under, where other corruptions are asked for than its own."""

from __future__ import annotations

from collections.abc import Sequence

from monai_robust.attacks.threat import BoundsSpec
from monai_robust.evaluation import CorruptionSweep, corruptions
from monai_robust.evaluation.measure.perturbations import Sweep

__all__ = ["with_corruptions"]


def with_corruptions(
    perturbations: Sequence[Sweep], chosen: str | Sequence[str], *, task: str, bounds: BoundsSpec = (0.0, 1.0)
) -> list[Sweep]:
    """The perturbations of a configuration, its corruptions replaced by chosen ones.

    Args:
        perturbations: of the configuration.
        chosen: modalities and names of corruptions, see :func:`~monai_robust.evaluation.corruptions`; where there are
            none, the perturbations stay as they are.
        task: name of the bundle's task.
        bounds: the intensities that stand for 0 and 1.

    Raises:
        BadInputError: for a word that is neither, or a corruption that the task cannot take.
    """
    if not chosen:
        return list(perturbations)
    others = [sweep for sweep in perturbations if not isinstance(sweep, CorruptionSweep)]
    return [*others, *corruptions(chosen, task=task, bounds=bounds)]
