"""One class for every pixel or voxel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.metrics import sample_dice
from monai_robust.scalars import is_whole
from monai_robust.tasks.base import Goal, Task
from monai_robust.tasks.loss import LossTask
from monai_robust.tasks.tensors import label_tensor, plain

__all__ = ["Segmentation", "pixel_indices"]

_SMOOTH = 1e-5
_TAKES = "segmentation takes numbers, of shape (B, 1, *spatial) or one-hot (B, C, *spatial)"


class Segmentation(Task):
    """Segmentation into exclusive classes, of which class 0 is the background; 2-D or 3-D.

    Outputs are logits (B, C, *spatial), where one channel stands for two classes; of a network with deep supervision,
    (B, heads, C, *spatial) or a list of heads, the first head counts. Targets are class indices (B, 1, *spatial) or
    one-hot (B, C, *spatial).

    The loss terms are ``dice``, 1 less the mean soft Dice of the foreground classes that the sample holds, and
    ``cross_entropy``, the mean over its pixels. A class that a sample does not hold is left out: counted as a Dice
    loss of 1 it would double the mean loss of clean data, which is AMAT's threshold. A sample without foreground has
    no ``dice``, which is then 0.

    The score is the mean Dice of the foreground classes that the sample holds, NaN for a sample that holds none.

    Args:
        loss: in place of the two terms, any loss ``(outputs, targets)``, such as ``monai.losses.DiceCELoss``; it is
            evaluated sample by sample on the first head, and named ``loss`` unless it returns names.
        single_term: one term, ``loss``, the sum of the two: with it AMAT has one threshold, as in the paper's nnU-Net.
            A sample without foreground has only the second of them, no loss that compares with that of others.
        levels: two more terms, which attacks do not raise and margins can be judged by: 1 less the Dice of the
            predicted labels, as ``mean_class`` over the foreground classes that the sample holds, and as ``best_class``
            of the best of them (what AMAT's authors' program looks at).
    """

    name = "segmentation"
    spatial_targets = True
    output_kinds = ("pixels",)
    score_name = "mean foreground Dice"

    def __init__(
        self, loss: Callable[..., Any] | None = None, *, single_term: bool = False, levels: bool = False
    ) -> None:
        if levels and loss is not None:
            raise BadInputError("a segmentation with a loss of its own has the terms of that loss; leave out levels")
        self.single_term = single_term
        self.levels = levels
        self.loss = None if loss is None else LossTask(loss)
        self.agreement = "softmax" if self.loss is None else self.loss.agreement

    def head(self, outputs: Any, targets: Any) -> Tensor:
        """The output that counts, (B, C, *spatial), from one or several heads.

        Of heads that are stacked, only the targets tell; without any (``None``), a tensor is one head.

        Raises:
            BadInputError: for outputs that do not fit the targets.
        """
        outputs = plain(outputs[0] if isinstance(outputs, (list, tuple)) else outputs)
        if targets is None:
            return outputs
        targets = label_tensor(targets, _TAKES)
        if outputs.ndim == targets.ndim + 1:
            if _has_no_channel(targets, outputs, regions=self.loss is not None):
                raise BadInputError(
                    f"the labels have shape {tuple(targets.shape)}, without a channel; segmentation takes "
                    "(B, 1, *spatial) or one-hot (B, C, *spatial), such as labels[:, None]"
                )
            outputs = outputs[:, 0]
        if outputs.ndim != targets.ndim or outputs.shape[2:] != targets.shape[2:] or outputs.ndim < 3:
            raise BadInputError(
                f"the network's outputs have shape {tuple(outputs.shape)}, the labels {tuple(targets.shape)}; "
                "segmentation takes (B, C, *spatial) and (B, 1, *spatial) or one-hot (B, C, *spatial)"
            )
        if len(outputs) != len(targets):
            raise BadInputError(f"there are {len(targets)} labels for {len(outputs)} samples; give one for each")
        return outputs

    def prediction(self, outputs: Any, targets: Any) -> Tensor:
        return self.head(outputs, targets)

    def agreeing(self, outputs: Any, targets: Any) -> Tensor:
        return super().agreeing(outputs, targets) if self.agreement == "bernoulli" else self.logits(outputs, targets)

    def logits(self, outputs: Any, targets: Any) -> Tensor:
        """Logits (B, C, *spatial), C at least 2, of the head that counts."""
        head = self.head(outputs, targets)
        return torch.cat([torch.zeros_like(head), head], dim=1) if head.shape[1] == 1 else head

    def logits_and_labels(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Logits (B, C, *spatial), C at least 2, in single precision, and class indices (B, *spatial)."""
        logits = self.logits(outputs, targets).float()
        return logits, pixel_indices(targets, logits.shape[1]).to(logits.device)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        if self.loss is not None:
            return self.loss.terms(self.head(outputs, targets), targets)
        logits = self.logits(outputs, targets).float()
        labels = pixel_indices(targets, logits.shape[1])
        log_probabilities = logits.log_softmax(dim=1)
        cross_entropy = F.nll_loss(log_probabilities, labels, reduction="none").flatten(1).mean(dim=1)
        truth = _foreground(labels, logits.shape[1])
        found = log_probabilities[:, 1:].exp().flatten(2)
        dice = (2 * (found * truth).sum(dim=2) + _SMOOTH) / (found.sum(dim=2) + truth.sum(dim=2) + _SMOOTH)
        present = truth.sum(dim=2) > 0
        missing = ((1 - dice) * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        levels = self._levels(outputs, targets, present) if self.levels else {}
        if self.single_term:
            return {"loss": missing + cross_entropy, **levels}
        return {"dice": missing, "cross_entropy": cross_entropy, **levels}

    def _levels(self, outputs: Any, targets: Any, present: Tensor) -> dict[str, Tensor]:
        """1 less the Dice of predicted labels, of the mean and of the best class, (B,); 0 without foreground."""
        with torch.no_grad():
            true, false, missed = self.counts(outputs, targets)
            dice = 2 * true / (2 * true + false + missed).clamp(min=1) * present
            mean = dice.sum(dim=1) / present.sum(dim=1).clamp(min=1)
            known = present.any(dim=1)
            return {"mean_class": (1 - mean) * known, "best_class": (1 - dice.amax(dim=1)) * known}

    def defined(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        if self.loss is not None:
            return {}
        names = ["loss" if self.single_term else "dice", *(["mean_class", "best_class"] if self.levels else [])]
        logits = self.logits(outputs, targets)
        return dict.fromkeys(names, (pixel_indices(targets, logits.shape[1]) > 0).flatten(1).any(dim=1))

    def counts(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor, Tensor]:
        """True positive, false positive and false negative pixels of each foreground class, (B, C - 1) each."""
        logits = self.logits(outputs, targets)
        classes = logits.shape[1]
        truth = _foreground(pixel_indices(targets, classes), classes)
        found = _foreground(logits.argmax(dim=1), classes)
        true, false, missed = found * truth, found * (1 - truth), (1 - found) * truth
        return true.sum(dim=2), false.sum(dim=2), missed.sum(dim=2)

    def score(self, outputs: Any, targets: Any) -> Tensor:
        """Mean Dice of the foreground classes that a sample holds, NaN where it holds none."""
        return sample_dice(*self.counts(outputs, targets))

    def predicted_targets(self, outputs: Any, targets: Any) -> Tensor:
        """Class indices (B, 1, *spatial)."""
        return self.logits(outputs, targets).argmax(dim=1, keepdim=True)

    def label_maps(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Class indices (B, *spatial) of the prediction and of the truth."""
        logits = self.logits(outputs, targets)
        return logits.argmax(dim=1), pixel_indices(targets, logits.shape[1])

    def aim(self, outputs: Any, targets: Any, goal: Goal) -> Tensor:
        logits = self.logits(outputs, targets)
        if goal == "least_likely":
            return logits.argmin(dim=1, keepdim=True)
        if not is_whole(goal, 0) or goal >= logits.shape[1]:
            raise BadInputError(
                f"the attack's goal is {goal!r}; for {logits.shape[1]} classes it must be 'untargeted', "
                f"'least_likely' or a class from 0 to {logits.shape[1] - 1}"
            )
        return torch.full_like(logits[:, :1], goal, dtype=torch.long)


def pixel_indices(targets: Any, classes: int) -> Tensor:
    """Class indices (B, *spatial) from indices (B, 1, *spatial) or one-hot (B, C, *spatial).

    Raises:
        BadInputError: for labels that are neither, or an index that is not a class.
    """
    targets = label_tensor(targets, _TAKES)
    if targets.shape[1] == classes:
        if bool((targets.sum(dim=1) != 1).any()) or bool(((targets != 0) & (targets != 1)).any()):
            raise BadInputError("the labels are not one-hot; overlapping classes need a loss: Segmentation(loss=...)")
        return targets.argmax(dim=1)
    if targets.shape[1] != 1:
        raise BadInputError(f"the labels have {targets.shape[1]} channels; they need 1, or {classes} one-hot ones")
    indices = targets[:, 0].long()
    if bool(((indices != targets[:, 0]) | (indices < 0) | (indices >= classes)).any()):
        values = targets.unique().tolist()
        wrong = next(value for value in values if not (0 <= value < classes and value == int(value)))
        raise BadInputError(f"a label is {wrong:g}, but the network has outputs for classes 0 to {classes - 1}")
    return indices


def _has_no_channel(targets: Tensor, outputs: Tensor, *, regions: bool) -> bool:
    """Whether labels are (B, *spatial) beside outputs (B, C, *spatial), and not those of stacked heads.

    Args:
        targets: of as many dimensions as ``outputs`` less one.
        outputs: of the network.
        regions: whether labels of several channels may overlap, and need not be one-hot.
    """
    if targets.ndim < 3 or targets.shape[1:] != outputs.shape[2:] or targets.shape[1] == 1:
        return False
    binary = bool(((targets == 0) | (targets == 1)).all())
    return not binary or (not regions and not bool((targets.sum(dim=1) == 1).all()))


def _foreground(labels: Tensor, classes: int) -> Tensor:
    """(B, C - 1, N) float: 1 where a pixel has the class."""
    flat = labels.flatten(1)
    return torch.stack([flat == index for index in range(1, classes)], dim=1).float()
