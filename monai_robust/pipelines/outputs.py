"""What the outputs of a network are, as its loss, its labels and its postprocessing tell together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from monai.transforms import Activations, Activationsd, AsDiscrete, AsDiscreted, Compose
from torch import Tensor, nn

from monai_robust.tasks.agreement import agreement_of
from monai_robust.tasks.tensors import plain, whole_numbers

__all__ = ["Outputs", "detector_outputs", "flat_transforms", "outputs_of", "several_at_once"]

Kind = Literal["classes", "labels", "logit", "regions", "numbers", "boxes", "dictionary", "unknown"]


@dataclass(frozen=True)
class Outputs:
    """What a network answers.

    Attributes:
        kind: ``"classes"`` that exclude each other, independent ``"labels"`` or, in dense outputs, ``"regions"`` that
            may overlap, one ``"logit"``, ``"numbers"`` such as coordinates, distances or images, ``"boxes"``, a
            ``"dictionary"``, or ``"unknown"``.
        count: channels, classes, labels or numbers; 0 where that has no meaning.
        dense: whether there is an answer for every pixel.
        heads: outputs that the network gives while it trains, as of deep supervision; 1 without such heads.
        shape: of the first tensor, without the batch, while the network trains.
        why: what told it.
        keys: of a dictionary.
    """

    kind: Kind
    count: int
    dense: bool
    heads: int
    shape: tuple[int, ...]
    why: str
    keys: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """The task in the field's word."""
        if self.kind == "boxes":
            return "detection"
        if self.kind in ("dictionary", "unknown"):
            return "supervised training by a loss of the bundle's own"
        if self.kind == "numbers":
            return "regression"
        return "segmentation" if self.dense else "classification"

    @property
    def described(self) -> str:
        """What the outputs are, as a phrase."""
        n = self.count
        heads = f", from {self.heads} heads in training" if self.heads > 1 else ""
        return {
            "classes": f"logits of {n} classes that exclude each other (softmax)",
            "labels": f"logits of {n} independent labels (sigmoid)",
            "regions": f"logits of {n} regions that may overlap (sigmoid)",
            "logit": "one logit (sigmoid)",
            "numbers": f"{n} number{'s' if n > 1 else ''}" + (" for every pixel" if self.dense else ""),
            "boxes": "boxes with labels and scores",
            "dictionary": f"a dictionary of {', '.join(self.keys)}",
            "unknown": f"of shape {self.shape}, of which nothing tells whether classes exclude each other",
        }[self.kind] + heads

    @property
    def agreement(self) -> str | None:
        """How views of a sample can agree: ``softmax``, ``bernoulli``, or None where they cannot."""
        if self.heads > 1:
            return None
        return {"classes": "softmax", "labels": "bernoulli", "regions": "bernoulli", "logit": "bernoulli"}.get(
            self.kind
        )


def outputs_of(
    outputs: Any, targets: Any, loss: Any = None, postprocessing: Any = None, one_head: Any = None
) -> Outputs:
    """What outputs are.

    Args:
        outputs: of one batch, in training mode where there is a training.
        targets: the labels of the batch.
        loss: the trainer's loss, or None.
        postprocessing: the transforms of predictions, or None.
        one_head: outputs of the same network in evaluation mode, by which heads of deep supervision are told.
    """
    if isinstance(outputs, (list, tuple)) and outputs and all(isinstance(one, Mapping) for one in outputs):
        keys = tuple(map(str, outputs[0]))
        kind: Kind = "boxes" if any("box" in key for key in keys) else "dictionary"
        return Outputs(kind, 0, False, 1, (), "they are dictionaries, one for each sample", keys)
    if isinstance(outputs, Mapping):
        return Outputs("dictionary", 0, False, 1, (), "the network returns a dictionary", tuple(map(str, outputs)))
    first, heads = _first_head(outputs, one_head)
    if first is None:
        return Outputs("unknown", 0, False, 1, (), f"the network returns a {type(outputs).__name__}")
    shape = tuple(first.shape[1:])
    count = shape[0] if shape else 1
    dense = len(shape) > 1
    kind, why = _kind(count, dense, targets, loss, postprocessing)
    return Outputs(kind, count, dense, heads, shape, why)


def detector_outputs(detector: Any, found: Sequence[Mapping[str, Any]]) -> Outputs:
    """What a detector answers that gives its losses itself.

    Args:
        detector: whose classes are counted, if it says how many it knows.
        found: in the images of a batch.
    """
    count = int(getattr(detector, "num_classes", 0) or 0)
    why = f"{type(detector).__name__} is called with targets, too"
    return Outputs("boxes", count, False, 1, (), why, tuple(found[0]) if found else ())


def _first_head(outputs: Any, one_head: Any) -> tuple[Tensor | None, int]:
    """The output of full resolution, and how many there are."""
    if isinstance(outputs, (list, tuple)):
        tensors = [one for one in outputs if isinstance(one, Tensor)]
        return (tensors[0], len(tensors)) if tensors else (None, 1)
    if not isinstance(outputs, Tensor):
        return None, 1
    single = one_head[0] if isinstance(one_head, (list, tuple)) and one_head else one_head
    if isinstance(single, Tensor) and outputs.ndim == single.ndim + 1:  # stacked, (B, heads, C, *spatial)
        return outputs[:, 0], outputs.shape[1]
    return outputs, 1


def _kind(count: int, dense: bool, targets: Any, loss: Any, postprocessing: Any) -> tuple[Kind, str]:
    several: Kind = "logit" if count == 1 else "regions" if dense else "labels"
    said = None if loss is None else agreement_of(loss)
    name = getattr(loss, "__name__", type(loss).__name__)
    if said == "none":
        return "numbers", f"the loss is {name}"
    if said == "softmax":
        return ("logit" if count == 1 else "classes"), f"the loss is {name} of classes"
    if said == "bernoulli" or (loss is not None and _takes_sigmoid(loss)):
        return several, f"the loss is {name} of sigmoids"
    told = _told_by_postprocessing(postprocessing)
    if told is not None:
        return ("classes" if told[0] == "softmax" and count > 1 else several), told[1]
    labels = _told_by_labels(targets, count)
    return labels if labels is not None else ("unknown", "neither loss nor postprocessing nor labels tell")


def _takes_sigmoid(loss: Any) -> bool:
    parts = [loss, *loss.modules()] if isinstance(loss, nn.Module) else [loss]
    functions = (torch.nn.functional.binary_cross_entropy_with_logits,)
    return any(
        isinstance(one, nn.BCEWithLogitsLoss) or getattr(one, "sigmoid", None) is True or one in functions
        for one in parts
    )


def _told_by_postprocessing(postprocessing: Any) -> tuple[str, str] | None:
    for transform in flat_transforms(postprocessing):
        inner = getattr(transform, "converter", transform)
        name = type(transform).__name__
        if isinstance(transform, (Activations, Activationsd)):
            if any(_flags(transform, inner, "softmax")):
                return "softmax", f"{name} of the postprocessing takes softmax"
            if any(_flags(transform, inner, "sigmoid")):
                return "sigmoid", f"{name} of the postprocessing takes sigmoid"
        elif isinstance(transform, (AsDiscrete, AsDiscreted)):
            if any(_flags(transform, inner, "argmax")):
                return "softmax", f"{name} of the postprocessing takes argmax"
            if any(one is not None and one is not False for one in _flags(transform, inner, "threshold")):
                return "sigmoid", f"{name} of the postprocessing takes a threshold"
    return None


def _flags(transform: Any, inner: Any, name: str) -> list[Any]:
    """A setting of an array or dictionary transform, one for each key."""
    value = getattr(transform, name, getattr(inner, name, None))
    return list(value) if isinstance(value, (list, tuple)) else [value]


def flat_transforms(transform: Any) -> Iterator[Any]:
    """The transforms within compositions, in their order."""
    if isinstance(transform, Compose):
        for one in transform.transforms:
            yield from flat_transforms(one)
    elif isinstance(transform, (list, tuple)):
        for one in transform:
            yield from flat_transforms(one)
    elif transform is not None:
        yield transform


def _told_by_labels(targets: Any, count: int) -> tuple[Kind, str] | None:
    labels = plain(targets)
    if not isinstance(labels, Tensor) or not labels.numel():
        return None
    if several_at_once(labels, count):
        return "labels", "some labels name several classes at once, or none"
    whole = bool(whole_numbers(labels).all())
    if not whole:
        return "numbers", "the labels are no whole numbers"
    one_channel = labels.ndim == 1 or labels.shape[1] == 1
    if count > 1 and one_channel and float(labels.min()) >= 0 and float(labels.max()) < count:
        return "classes", "the labels are indices of classes"
    return None


def several_at_once(targets: Any, count: int | None = None) -> bool:
    """Whether labels (B, C) are 0, 1 and -1 or NaN (unknown), and not a single 1 in each row.

    Args:
        targets: of a batch.
        count: of outputs, each of which has a label; of as many as there are labels by default.
    """
    labels = plain(targets)
    if not isinstance(labels, Tensor) or labels.ndim != 2 or labels.shape[1] != (count or labels.shape[1]):
        return False
    if labels.shape[1] < 2:
        return False
    states = labels.nan_to_num(nan=-1.0) if labels.is_floating_point() else labels.long()
    binary = bool(((states == 0) | (states == 1) | (states == -1)).all())
    return binary and bool(((states == 1).sum(dim=1) != 1).any())
