"""A recipe says on which views of a batch a network is trained, and which views must agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses import jensen_shannon

__all__ = ["LAMBDA", "Recipe"]

LAMBDA = "lambda"
"""Stands for the recipe's ``weight`` among the weights of its supervised views."""


@dataclass(frozen=True)
class Recipe:
    """Supervised views with weights, and optionally views whose predictions must agree.

    The training loss is ``sum_v w_v * loss(f(x_v), y) + weight * consistency(f(x_v) for v in consistent)``.

    Args:
        supervised: weight of the task loss on each view; the string ``"lambda"`` stands for ``weight``.
        consistent: two or more views whose predictions must agree; none for no such term.
        weight: the lambda of the papers' equations.
        consistency: ``[outputs, ...] -> (B,)``; the Jensen-Shannon divergence by default (rtda eq. 8).
        name: what the recipe is called in tables.
        margins: whether the radii of the adversarial view must come from margins, one for each sample.

    A view is ``"clean"``, ``"adv"`` (what the attack makes of the clean inputs), or any other name: an augmented view
    that the training step finds in the batch or makes by a transform.

    Raises:
        BadInputError: for a recipe without supervised views, with a negative weight, or one view to agree.
    """

    supervised: Mapping[str, float | str]
    consistent: Sequence[str] = ()
    weight: float = 12.0
    consistency: Callable[[Sequence[Tensor]], Tensor] = field(default=jensen_shannon, repr=False)
    name: str = "custom"
    margins: bool = False

    def __post_init__(self) -> None:
        if not self.supervised:
            raise BadInputError(f"the recipe {self.name!r} supervises no view; name at least one, such as {{'adv': 1}}")
        if isinstance(self.consistent, str) or isinstance(self.weight, str):
            raise BadInputError(f"the recipe {self.name!r} needs a list of view names and a number as its weight")
        if len(self.consistent) == 1:
            raise BadInputError(f"the recipe {self.name!r} asks one view, {self.consistent[0]!r}, to agree; name two")
        for view, weight in {**self.supervised, "lambda": self.weight}.items():
            number = isinstance(weight, (int, float)) and not isinstance(weight, bool) and 0 <= weight < float("inf")
            if not number and weight != LAMBDA:
                raise BadInputError(
                    f"the recipe {self.name!r} has the weight {weight!r} for {view!r}; "
                    "it must be a number of at least 0"
                )

    @property
    def views(self) -> tuple[str, ...]:
        """All views of the recipe, each once, the clean one first."""
        names = dict.fromkeys((*self.supervised, *self.consistent))
        return tuple(sorted(names, key=lambda name: name != "clean"))

    def loss(
        self,
        outputs: Mapping[str, Any],
        targets: Any,
        loss_function: Callable[..., Any],
        prediction: Callable[[Any, Any], Any] = lambda outputs, targets: outputs,
    ) -> Tensor:
        """The training loss for the outputs of each view; ``loss_function`` is called once per supervised view.

        Args:
            outputs: of the network, by view.
            targets: the labels.
            loss_function: the pipeline's own.
            prediction: ``(outputs, targets) -> `` the part of them in which views must agree.
        """
        terms = []
        for view, weight in self.supervised.items():
            factor = self.weight if isinstance(weight, str) else weight
            value = _scalar(loss_function(outputs[view], targets))
            terms.append(value if factor == 1 else factor * value)
        if self.consistent:
            terms.append(
                self.weight * self.consistency([prediction(outputs[view], targets) for view in self.consistent]).mean()
            )
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


def _scalar(loss: Any) -> Tensor:
    """A loss as MONAI's trainer takes it; the named terms of a dictionary are added up."""
    if isinstance(loss, Mapping):
        return torch.stack([value.mean() for value in loss.values()]).sum()
    return loss.mean()
