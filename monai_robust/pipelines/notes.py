"""Why a bundle gets fewer command lines than others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import IterableDataset

__all__ = ["NO_WEIGHTS", "can_be_measured", "last_channels", "missing_lines", "single_images"]

NO_WEIGHTS = (
    "nothing is trained here, and no file of weights is there that the evaluation would load, so there is no line that "
    "measures: monai-robust evaluate . --checkpoint FILE, or --model FILE of TorchScript or ONNX"
)


def can_be_measured(targets: Any) -> bool:
    """Whether labels of an evaluation are a tensor, or boxes, a dictionary for each image."""
    boxes = isinstance(targets, (list, tuple)) and bool(targets) and all(isinstance(one, Mapping) for one in targets)
    return isinstance(targets, Tensor) or boxes


def last_channels(shape: tuple[int, ...], declared: Any) -> str | None:
    """A sentence on images whose channels stand last.

    Args:
        shape: of one image as the network takes it.
        declared: how many channels the metadata says that it has.
    """
    if not isinstance(declared, int) or shape[0] == declared or shape[-1] != declared:
        return None
    sizes = " x ".join(map(str, shape))
    return (
        f"images are {sizes} and the metadata says that they have {declared} channel{'s' if declared > 1 else ''}, so "
        "these stand last: attacks are as they should be, but pictures, corruptions and settings of channels take the "
        "first axis for them; let prepare_batch give images whose channels come first, and the network turn them"
    )


def single_images(engine: Any, images: int) -> str | None:
    """Why an engine's data cannot be asked for one image after the other; None where it can.

    Args:
        engine: of an evaluation.
        images: in its first batch.
    """
    loader = engine.data_loader
    dataset, size = getattr(loader, "dataset", None), getattr(loader, "batch_size", None)
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        return (
            f"the evaluation's {type(dataset).__name__} gives its images one after the other, so there is no line that "
            "measures, which asks for each of them again; a data set that can be indexed, and windows by an inferer, "
            "can be measured"
        )
    if isinstance(size, int) and images > size:
        return (
            "an image of the evaluation becomes several crops, so there is no line that measures; evaluate whole "
            "images, or windows of them by an inferer"
        )
    return None


def missing_lines(*, trains: bool, saves: bool, evaluates: bool, targets: Any, more: bool = False) -> list[str]:
    """A sentence for each reason that a line is missing.

    Args:
        trains: whether there is a training.
        saves: whether it is known where its checkpoints go.
        evaluates: whether an evaluation runs.
        targets: labels of its batch.
        more: whether its network takes more than an image.
    """
    notes = []
    if trains and not saves:
        notes.append(
            "no CheckpointSaver stands in its configuration, so it is not known where checkpoints go, if any are kept; "
            "there is no line for margins (amat), nor one that measures: monai-robust evaluate . --checkpoint FILE"
        )
    if evaluates and targets is None:
        notes.append("the evaluation's batches have no label, so there is no line that attacks or measures there")
    elif evaluates and not can_be_measured(targets):
        notes.append(
            f"the evaluation's labels are a {type(targets).__name__} of no boxes, so there is no line that measures; "
            "monai_robust.evaluation.Measurement does so with a task of your own"
        )
    elif evaluates and more:
        notes.append(
            "the network takes more than an image (by prepare_batch), so there is no line that measures, in which one "
            "image is perturbed; put what is an image into its channels, and name it by --channels"
        )
    return notes
