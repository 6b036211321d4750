"""How views of a sample can agree: what the outputs of a network are distributions of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from monai.losses import GeneralizedWassersteinDiceLoss, NACLLoss
from torch import nn

from monai_robust.errors import BadInputError, require_choice
from monai_robust.tasks.base import Agreement, Task

__all__ = ["SAID", "agreement_of", "named", "require_agreement", "with_agreement"]

_ACTIVATIONS = ("softmax", "pre_softmax", "use_softmax")  # of MONAI's losses, of its masked Dice, of its focal loss
SAID = ("softmax", "bernoulli")
"""What outputs in which views can agree may be said to be."""
_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss, NACLLoss, GeneralizedWassersteinDiceLoss)
_CLASS_FUNCTIONS = (F.cross_entropy, F.nll_loss, F.multi_margin_loss)
_NO_LOGITS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.GaussianNLLLoss, nn.PoissonNLLLoss, nn.BCELoss)
_NO_LOGIT_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy)


def agreement_of(loss: Callable[..., Any]) -> Agreement | None:
    """What a loss function tells of the outputs it takes; None where it does not tell, or tells of sigmoids.

    A loss with an attribute ``agreement`` says it itself. Cross-entropy, and MONAI's losses with ``softmax=True``, take
    logits of classes, and so does a module all of whose losses do, such as one for deep supervision. Losses of sigmoids
    (``BCEWithLogitsLoss``, ``DiceLoss(sigmoid=True)``) tell nothing: they train independent labels, overlapping regions
    and one-hot classes alike, and the papers on agreement know classes alone.
    """
    while isinstance(loss, partial):
        loss = loss.func
    said = getattr(loss, "agreement", None)
    if said is not None:
        require_choice(f"agreement of {_name(loss)}", said, [*SAID, "none"])
        return said
    if isinstance(loss, _CLASSES) or loss in _CLASS_FUNCTIONS:
        return "softmax"
    if isinstance(loss, _NO_LOGITS) or loss in _NO_LOGIT_FUNCTIONS:
        return "none"
    if not isinstance(loss, nn.Module):
        return None
    activations = [getattr(loss, name, None) for name in _ACTIVATIONS]
    if any(isinstance(one, bool) for one in activations):
        return "softmax" if True in activations else None
    if type(loss).__module__.startswith("monai.losses"):  # of several terms, the first says what becomes of the logits
        leading = next((part for part in loss.children() if _is_loss(part)), None)
        return None if leading is None else agreement_of(leading)
    parts = {agreement_of(part) for part in loss.children() if _is_loss(part)}
    return "softmax" if parts == {"softmax"} else None


def _is_loss(part: nn.Module) -> bool:
    """Whether a part of a loss is one itself, as those of torch and MONAI, which all have a reduction."""
    return hasattr(part, "reduction")


def with_agreement(task: Task, agreement: str | None) -> Task:
    """``task``, or a copy that says what its outputs are, where nobody has said it.

    Raises:
        BadInputError: for an unknown agreement, or where the task says otherwise.
    """
    if agreement is None or task.agreement == agreement:
        return task
    require_choice("agreement", agreement, SAID)
    if task.agreement is not None:
        raise BadInputError(
            f"agreement is {agreement!r}, but {named(task)} makes outputs that {_WHAT[task.agreement]}; leave it out"
        )
    return task.saying(agreement)  # type: ignore[arg-type]


def require_agreement(task: Task, what: str) -> None:
    """Refuse a task in whose outputs no views can agree, or nobody has said how; ``what`` begins the sentence.

    Raises:
        BadInputError: names what would do.
    """
    if task.agreement in SAID:
        return
    if task.agreement == "none":
        raise BadInputError(
            f"{what} asks views to agree as class distributions, which the outputs of {named(task)} are not; use a "
            "recipe without agreement, such as 'sat', 'advl', 'dataaug' or 'amat'"
        )
    raise BadInputError(
        f"{what} asks views to agree as class distributions, and {named(task)} does not tell what its outputs are; say "
        "agreement='softmax' for classes that exclude each other, agreement='bernoulli' for independent labels or "
        "overlapping regions (in a bundle, --robust#agreement), or use a recipe without agreement, such as 'sat'"
    )


def named(task: Task) -> str:
    """What a message calls a task: its loss, where it is nothing else."""
    loss = getattr(task, "loss", None)
    return _name(loss) if task.name == "loss" and loss is not None else task.name


_WHAT = {
    "softmax": "are logits of classes that exclude each other",
    "bernoulli": "are logits of independent labels",
    "none": "are no logits of classes",
}


def _name(loss: Any) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))
