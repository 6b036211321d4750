"""A few samples on which a network is tried before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from monai_robust.evaluation.measure.failures import first_whole
from monai_robust.evaluation.measure.gradient import why_no_gradient
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, Sweep
from monai_robust.evaluation.measure.randomness import warn_of_answers_by_batch, warn_of_random_answers
from monai_robust.evaluation.measure.samples import Samples
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes

__all__ = ["Probe"]

_PROBED = 16  # samples that may fail before the probe of the network is left out


@dataclass(frozen=True)
class Probe:
    """The first samples of a measurement. Random numbers are as before whatever a probe does.

    Attributes:
        samples: of the measurement.
        perturbations: what is going to be done to them.
    """

    samples: Samples
    perturbations: Sequence[Sweep]

    def check(self, outcomes: TaskOutcomes, classes: Sequence[str]) -> None:
        """Refuse inputs, a task or outputs that perturbations or names of classes are not made for.

        Raises:
            BadInputError: with what they are made for.
        """
        with torch.random.fork_rng():
            first = first_whole(self._one_by_one())
            for sweep in self.perturbations if first is not None else ():
                sweep.check(first)
            with torch.no_grad():
                answer = first_whole(map(EvaluatedBatch.answer, self._one_by_one()))
            if answer is not None:
                outcomes.check(answer, classes)

    def warn(self) -> None:
        """Warn of a network that answers at random, or to an image by the others of its batch."""
        with torch.random.fork_rng():
            if not warn_of_random_answers(self.perturbations, self._one_by_one()):
                batches = self.samples.loader(self.samples.batches()[:_PROBED])
                warn_of_answers_by_batch(map(self.samples.evaluated, batches), self.samples.batch_size)

    def why_no_gradient(self) -> str | None:
        """Why the network has no gradient, by one backward pass; None where it has one, or nothing can be run."""
        with torch.random.fork_rng():
            return why_no_gradient(self._one_by_one())

    def _one_by_one(self) -> Iterator[EvaluatedBatch]:
        """Each sample as a batch of its own."""
        few = range(min(len(self.samples.items), _PROBED))
        return map(self.samples.evaluated, self.samples.loader([[place] for place in few]))
