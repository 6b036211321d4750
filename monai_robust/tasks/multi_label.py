"""Several labels in one image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses.attack.classes import binary_cross_entropy
from monai_robust.tasks.base import Task
from monai_robust.tasks.tensors import plain

__all__ = ["MultiLabel"]


class MultiLabel(Task):
    """Any number of classes in an image: logits (B, C) and targets (B, C) of 0 and 1.

    The loss term is the sum over classes of the binary cross-entropies. An attack on it has succeeded when any class
    is predicted wrongly (a logit above 0 predicts the class).
    """

    name = "multi_label"
    score_name = "share of samples with every label right"
    agreement = "bernoulli"
    output_kinds = ("labels",)

    def logits(self, outputs: Any) -> Tensor:
        """Logits (B, C).

        Raises:
            BadInputError: for outputs of another shape.
        """
        outputs = plain(outputs)
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            what = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else f"type {type(outputs).__name__}"
            raise BadInputError(f"the network's outputs have {what}, but several labels of an image take (B, C)")
        return outputs

    def labels(self, outputs: Any, targets: Any) -> Tensor:
        """Targets as bool, (B, C), on the device of the outputs.

        Raises:
            BadInputError: for targets of another shape than the outputs, or other values than 0 and 1.
        """
        shape = self.logits(outputs).shape
        targets = torch.as_tensor(plain(targets)).to(self.logits(outputs).device)
        if targets.shape != shape or not bool(((targets == 0) | (targets == 1)).all()):
            raise BadInputError(
                f"labels have shape {tuple(targets.shape)}; several labels of an image are (B, C) = {tuple(shape)} "
                "of 0 and 1"
            )
        return targets.bool()

    def logits_and_labels(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Logits (B, C), in single precision, and labels (B, C) bool."""
        return self.logits(outputs).float(), self.labels(outputs, targets)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        logits, labels = self.logits_and_labels(outputs, targets)
        return {"binary_cross_entropy": binary_cross_entropy(logits, labels, 0.0)}

    def wrong(self, outputs: Any, targets: Any) -> Tensor:
        """Whether any class of a sample is predicted wrongly, (B,) bool."""
        return ((self.logits(outputs) > 0) != self.labels(outputs, targets)).any(dim=1)

    def predicted_targets(self, outputs: Any, targets: Any) -> Tensor:
        """(B, C) of 0 and 1."""
        return (self.logits(outputs) > 0).float()

    def score(self, outputs: Any, targets: Any) -> Tensor:
        """1 where every class of a sample is predicted rightly, else 0."""
        return (~self.wrong(outputs, targets)).double()
