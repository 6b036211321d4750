"""One class per image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole
from monai_robust.tasks.base import Goal, Task
from monai_robust.tasks.tensors import label_tensor, plain

__all__ = ["Classification", "class_indices"]


def class_indices(targets: Any, classes: int) -> Tensor:
    """Class indices, shape (B,), from indices (B,) or (B, 1) or from one-hot rows (B, C).

    Raises:
        BadInputError: for another shape, or an index that is not a class.
    """
    targets = label_tensor(targets, f"classification takes numbers, of shape (B,), (B, 1) or one-hot (B, {classes})")
    targets = targets if targets.is_floating_point() else targets.long()  # of unsigned ones little is implemented
    if targets.ndim == 2 and targets.shape[1] == classes and classes > 1:
        if not bool(((targets == 0) | (targets == 1)).all() and (targets.sum(dim=1) == 1).all()):
            raise BadInputError(
                "a row of the labels is not one-hot, so that classes do not exclude each other (several labels at "
                "once, or soft ones), and cross-entropy needs one class; give the loss of the training: "
                "UnderAttack(loss=...), Measurement.of(..., loss=...), in a bundle --robust_eval#loss @loss"
            )
        return targets.argmax(dim=1)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise BadInputError(
            f"labels have shape {tuple(targets.shape)}; classification takes (B,), (B, 1) or one-hot (B, {classes})"
        )
    indices = targets.long()
    if bool((indices != targets).any()):
        raise BadInputError(f"a label is {float(targets[indices != targets][0])}; it must be a whole number")
    if bool((indices < 0).any()) or bool((indices >= classes).any()):
        wrong = int(indices[(indices < 0) | (indices >= classes)][0])
        raise BadInputError(f"a label is {wrong}, but the network has outputs for classes 0 to {classes - 1}")
    return indices


class Classification(Task):
    """Single-label classification by cross-entropy.

    Outputs are logits (B, C); one logit (B, 1) stands for two classes. Targets are indices (B,), (B, 1) or one-hot
    (B, C). The only loss term is ``cross_entropy``, without class weights: a weight would only rescale a sample's
    own gradient.
    """

    name = "classification"
    score_name = "accuracy"
    agreement = "softmax"
    output_kinds = ("classes", "labels")

    def logits(self, outputs: Any) -> Tensor:
        """Logits (B, C) with C at least 2.

        Raises:
            BadInputError: for dense outputs, which need a loss or another task.
        """
        outputs = plain(outputs)
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            what = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else f"type {type(outputs).__name__}"
            raise BadInputError(
                f"the network's outputs have {what}, but cross-entropy over classes takes (B, C); "
                "give the attack a task, or UnderAttack a loss (in a bundle, --robust_eval#loss @loss)"
            )
        return torch.cat([torch.zeros_like(outputs), outputs], dim=1) if outputs.shape[1] == 1 else outputs

    def logits_and_labels(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Logits (B, C), C at least 2, in single precision, and class indices (B,)."""
        logits = self.logits(outputs).float()
        labels = class_indices(targets, logits.shape[1]).to(logits.device)
        if len(labels) != len(logits):
            raise BadInputError(f"there are {len(labels)} labels for {len(logits)} samples; give one for each")
        return logits, labels

    def agreeing(self, outputs: Any, targets: Any) -> Tensor:
        return self.logits(outputs)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        logits, labels = self.logits_and_labels(outputs, targets)
        return {"cross_entropy": F.cross_entropy(logits, labels, reduction="none")}

    def wrong(self, outputs: Any, targets: Any) -> Tensor:
        """Whether the predicted class is not the label, (B,) bool."""
        logits, labels = self.logits_and_labels(outputs, targets)
        return logits.argmax(dim=1) != labels

    def score(self, outputs: Any, targets: Any) -> Tensor:
        """1 where the prediction is the label, else 0."""
        logits, labels = self.logits_and_labels(outputs, targets)
        return (logits.argmax(dim=1) == labels).double()

    def predicted_targets(self, outputs: Any, targets: Any) -> Tensor:
        """Class indices (B,)."""
        return self.logits(outputs).argmax(dim=1)

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Tensor:
        logits = self.logits(outputs)
        if goal == "least_likely":
            return logits.argmin(dim=1)
        if not is_whole(goal, 0) or goal >= logits.shape[1]:
            raise BadInputError(
                f"the attack's goal is {goal!r}; for {logits.shape[1]} classes it must be 'untargeted', "
                f"'least_likely' or a class from 0 to {logits.shape[1] - 1}"
            )
        return torch.full((len(logits),), goal, dtype=torch.long, device=logits.device)
