"""Several labels in one image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses.attack.classes import binary_cross_entropy
from monai_robust.tasks.base import Task
from monai_robust.tasks.tensors import label_tensor, plain

__all__ = ["MultiLabel"]

_SURE = 1e4  # a logit whose cross-entropy is 0 in single precision, and whose margin no other is below


class MultiLabel(Task):
    """Any number of classes in an image: logits (B, C) and targets (B, C) of 0 and 1, and of -1 or NaN where nobody
    knows, such as the uncertain and missing findings of CheXpert.

    The loss term is the sum over the known classes of the binary cross-entropies. An attack on it has succeeded when
    any known class is predicted wrongly (a logit above 0 predicts the class).
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
        """Targets as bool, (B, C), on the device of the outputs; false where nobody knows.

        Raises:
            BadInputError: for targets of another shape than the outputs, or other values than 0, 1, -1 and NaN.
        """
        return self._states(outputs, targets) == 1

    def known(self, outputs: Any, targets: Any) -> Tensor:
        """Which targets are 0 or 1, (B, C) bool, on the device of the outputs.

        Raises:
            BadInputError: as :meth:`labels`.
        """
        return self._states(outputs, targets) >= 0

    def _states(self, outputs: Any, targets: Any) -> Tensor:
        shape = self.logits(outputs).shape
        targets = label_tensor(targets, f"several labels of an image are numbers of shape (B, C) = {tuple(shape)}")
        targets = targets.to(self.logits(outputs).device)
        states = targets.nan_to_num(nan=-1.0) if targets.is_floating_point() else targets
        if targets.shape != shape or not bool(((states == 0) | (states == 1) | (states == -1)).all()):
            raise BadInputError(
                f"labels have shape {tuple(targets.shape)}; several labels of an image are (B, C) = {tuple(shape)} "
                "of 0 and 1, and of -1 or NaN where it is not known"
            )
        return states

    def logits_and_labels(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Logits (B, C), in single precision, and labels (B, C) bool; an unknown label is a surely right "no"."""
        logits = self.logits(outputs).float()
        surely = torch.full_like(logits, -_SURE)
        return torch.where(self.known(outputs, targets), logits, surely), self.labels(outputs, targets)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        logits, labels = self.logits_and_labels(outputs, targets)
        return {"binary_cross_entropy": binary_cross_entropy(logits, labels, 0.0)}

    def wrong(self, outputs: Any, targets: Any) -> Tensor:
        """Whether any known class of a sample is predicted wrongly, (B,) bool."""
        wrong = (self.logits(outputs) > 0) != self.labels(outputs, targets)
        return (wrong & self.known(outputs, targets)).any(dim=1)

    def predicted_targets(self, outputs: Any, targets: Any) -> Tensor:
        """(B, C) of 0 and 1."""
        return (self.logits(outputs) > 0).float()

    def score(self, outputs: Any, targets: Any) -> Tensor:
        """1 where every known class of a sample is predicted rightly, else 0; NaN where none is known."""
        right = (~self.wrong(outputs, targets)).double()
        return right.where(self.known(outputs, targets).any(dim=1), torch.nan)
