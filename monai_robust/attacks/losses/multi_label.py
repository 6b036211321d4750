"""Several labels in one image, as something to attack."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import plain

__all__ = ["MultiLabel", "MultiLabelMargin"]


class MultiLabel(Task):
    """Any number of classes in an image: logits (B, C) and targets (B, C) of 0 and 1.

    The loss term is the sum over classes of the binary cross-entropies. An attack on it has succeeded when any class
    is predicted wrongly (a logit above 0 predicts the class).
    """

    name = "multi_label"
    agreement = "bernoulli"

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

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        labels = self.labels(outputs, targets)
        logits = self.logits(outputs).float()
        each = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
        return {"binary_cross_entropy": each.sum(dim=1)}

    def wrong(self, outputs: Any, targets: Any) -> Tensor:
        """Whether any class of a sample is predicted wrongly, (B,) bool."""
        return ((self.logits(outputs) > 0) != self.labels(outputs, targets)).any(dim=1)


class MultiLabelMargin(MultiLabel):
    """Several labels whose loss term is the margin of the class nearest to a change of its prediction.

    ``max_c (1 - 2 y_c) z_c``: positive where a class is predicted wrongly.
    """

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        labels = self.labels(outputs, targets)
        logits = self.logits(outputs).float()
        return {"margin": torch.where(labels, -logits, logits).amax(dim=1)}
