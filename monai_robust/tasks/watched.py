"""A task that remembers what an attack saw of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.tasks.base import Goal, Task
from monai_robust.tasks.tensors import map_tensors, plain

if TYPE_CHECKING:  # the folder of attacks, which stands above this one, would be imported with it
    from monai_robust.attacks.threat import Norm

__all__ = ["Watched"]


class Watched(Task):
    """``task``, whose loss terms are kept for every iterate of an attack, without one more forward pass.

    Args:
        task: whose loss terms are kept.
        inputs: the clean inputs, (B, C, *spatial).
        targets: the true targets; terms are kept for these, also where an attack steers to others.
        norm: measures how far an iterate is from ``inputs``.
        objective: what the attack raises, by outputs of the same form; ``task`` by default.

    Attributes:
        sizes: for each iterate at which the attack asked for the loss, the norm of its perturbation, (B,).
        terms_seen: for each of them, the loss terms, ``{name: (B,)}``, detached, single precision.
    """

    def __init__(self, task: Task, inputs: Tensor, targets: Any, norm: Norm, objective: Task | None = None) -> None:
        self.task = task
        self.objective = objective or task
        self.inputs = plain(inputs).detach()
        self.targets = targets
        self.norm = norm
        self.sizes: list[Tensor] = []
        self.terms_seen: list[dict[str, Tensor]] = []
        self.shapes: Any = None
        self._size: Tensor | None = None
        self._true: Any = targets
        self.name = task.name  # type: ignore[misc]

    def forward(self, network: Callable[..., Any], inputs: Tensor, targets: Any) -> Any:
        if inputs.shape != self.inputs.shape:
            raise _not_whole()
        self._size = self.norm.size(plain(inputs).detach() - self.inputs)
        outputs = self.objective.forward(network, inputs, targets)
        self.shapes = self._shapes(outputs)
        return outputs

    def fits(self, outputs: Any) -> bool:
        """Whether ``outputs`` of another pass are of the form that the attack saw, and so have the same terms: a
        network with deep supervision returns more in training than in evaluation."""
        return self.shapes is not None and self._shapes(outputs) == self.shapes

    def _shapes(self, outputs: Any) -> Any:
        return map_tensors(lambda x: tuple(x.shape), self.task.prediction(outputs, self.targets))

    def prepared(self, inputs: Tensor, targets: Any) -> Any:
        prepared = self.objective.prepared(inputs, targets)
        own = self.objective is self.task and _same(targets, self.targets)
        self._true = prepared if own else self.task.prepared(inputs, self.targets)
        return prepared

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        terms = self.objective.terms(outputs, targets)
        with torch.no_grad():
            own = self.objective is self.task and _same(targets, self._true)
            true = terms if own else self.task.terms(outputs, self._true)
            seen = {name: value.detach().float() for name, value in true.items()}
        if self._size is None or any(len(value) != len(self._size) for value in seen.values()):
            raise _not_whole()
        self.sizes.append(self._size)
        self.terms_seen.append(seen)
        return terms

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Any:
        return self.objective.aim(outputs, targets, goal)


def _not_whole() -> BadInputError:
    return BadInputError("adaptive margins need an attack that runs the whole batch through the task it is given")


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(_same, first, second))
    return first is second
