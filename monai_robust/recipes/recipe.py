"""A recipe says on which views of a batch a network is trained, and which views must agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses import JensenShannonLoss, jensen_shannon, kullback_leibler
from monai_robust.scalars import is_number
from monai_robust.tasks import Task

__all__ = ["LAMBDA", "Recipe"]

LAMBDA = "lambda"
"""Stands for the recipe's ``weight`` among the weights of its supervised views."""


@dataclass(frozen=True)
class Recipe:
    """Supervised views with weights, and optionally views whose predictions must agree.

    The training loss is ``sum_v w_v * loss(f(x_v), y) + weight * consistency(f(x_v) for v in consistent)``. With
    ``boost`` each ``loss`` has one more term, and with ``sample_weight`` the samples' consistency counts unequally.

    Args:
        supervised: weight of the task loss on each view; the string ``"lambda"`` stands for ``weight``.
        consistent: two or more views whose predictions must agree; none for no such term.
        weight: the lambda of the papers' equations, 12 by default; None in a recipe whose equation has none, whatever
            is given.
        consistency: ``[outputs, ...] -> (B,)``, the outputs in the order of ``consistent``; the Jensen-Shannon
            divergence by default (rtda eq. 8). It and ``kullback_leibler`` compare class distributions, and what the
            outputs are must then be known; a measure of your own takes any outputs.
        name: what the recipe is called in tables.
        margins: whether the radii of the adversarial view must come from margins, one for each sample.
        objective: ``task -> task``, what the attack raises in place of the task's own loss; none for that loss. At
            the clean input its gradient may be 0: the attack then starts elsewhere.
        boost: ``(outputs, targets) -> (B,)``, added to the task loss of each supervised view.
        sample_weight: ``([outputs, ...], targets) -> (B,)``, a factor of each sample's consistency.

    A view is ``"clean"``, ``"adv"`` (what the attack makes of the clean inputs), or any other name: an augmented view
    that the training step finds in the batch or makes by a transform.

    Raises:
        BadInputError: for a recipe without supervised views, with a negative weight or none above 0, one view to agree
            or one twice, or a part that would have no effect.
    """

    supervised: Mapping[str, float | str]
    consistent: Sequence[str] = ()
    weight: float | None = None
    consistency: Callable[[Sequence[Tensor]], Tensor] = field(default=jensen_shannon, repr=False)
    name: str = "custom"
    margins: bool = False
    objective: Callable[[Task], Task] | None = field(default=None, repr=False)
    boost: Callable[[Any, Any], Tensor] | None = field(default=None, repr=False)
    sample_weight: Callable[[Sequence[Tensor], Any], Tensor] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.supervised, Mapping):
            raise BadInputError(
                f"the recipe {self.name!r} has a {type(self.supervised).__name__} as its supervised views; give the "
                "weight of each by its name, such as {'adv': 1}"
            )
        if not self.supervised:
            raise BadInputError(f"the recipe {self.name!r} supervises no view; name at least one, such as {{'adv': 1}}")
        if isinstance(self.consistent, str) or isinstance(self.weight, str):
            raise BadInputError(f"the recipe {self.name!r} needs a list of view names and a number as its weight")
        if len(self.consistent) == 1:
            raise BadInputError(f"the recipe {self.name!r} asks one view, {self.consistent[0]!r}, to agree; name two")
        twice = next((view for view in self.consistent if list(self.consistent).count(view) > 1), None)
        if twice is not None:
            raise BadInputError(
                f"the recipe {self.name!r} asks the view {twice!r} to agree with itself; name each view once (aug1 and "
                "aug2 are two draws of aug)"
            )
        if self.objective is not None and "adv" not in self.views:
            raise BadInputError(f"the recipe {self.name!r} has an objective for an attack, and no view 'adv' to attack")
        if self.sample_weight is not None and not self.consistent:
            raise BadInputError(f"the recipe {self.name!r} weighs the agreement of no views; name them in `consistent`")
        given = {} if self.weight is None else {LAMBDA: self.weight}
        for view, weight in {**self.supervised, **given}.items():
            if not is_number(weight, 0) and weight != LAMBDA:
                raise BadInputError(
                    f"the recipe {self.name!r} has the weight {weight!r} for {view!r}; "
                    "it must be a number of at least 0"
                )
        # What is written down as lambda is what the loss is weighed with: nothing where there is nothing to weigh.
        settled = (12.0 if self.weight is None else self.weight) if self.has_weight else None
        object.__setattr__(self, "weight", settled)
        if not settled and all(weight in (0, LAMBDA) for weight in self.supervised.values()):
            raise BadInputError(
                f"the recipe {self.name!r} weighs all that it names with 0, so that nothing would be trained; give a "
                "view a weight above 0"
            )

    @property
    def has_weight(self) -> bool:
        """Whether the recipe's equation has a lambda."""
        return bool(self.consistent) or LAMBDA in self.supervised.values()

    @property
    def augmented(self) -> tuple[str, ...]:
        """Augmented views that must agree with others."""
        return tuple(view for view in self.consistent if view not in ("clean", "adv"))

    @property
    def compares_classes(self) -> bool:
        """Whether views must agree as class distributions, and not by a measure of the recipe's own."""
        known = self.consistency in (jensen_shannon, kullback_leibler) or isinstance(
            self.consistency, JensenShannonLoss
        )
        return bool(self.consistent) and known

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
            prediction: ``(outputs, targets) -> `` the logits in which views must agree (``Task.agreeing``).
        """
        terms = []
        lam = self.weight or 0.0
        for view, weight in self.supervised.items():
            factor = lam if isinstance(weight, str) else weight
            value = _scalar(loss_function(outputs[view], targets))
            if self.boost is not None:
                value = value + self.boost(prediction(outputs[view], targets), targets).mean()
            terms.append(value if factor == 1 else factor * value)
        if self.consistent:
            views = [prediction(outputs[view], targets) for view in self.consistent]
            apart = self.consistency(views)
            if self.sample_weight is not None:
                apart = self.sample_weight(views, targets) * apart
            terms.append(lam * apart.mean())
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


def _scalar(loss: Any) -> Tensor:
    """A loss as MONAI's trainer takes it; the named terms of a dictionary are added up."""
    if isinstance(loss, Mapping):
        return torch.stack([value.mean() for value in loss.values()]).sum()
    return loss.mean()
