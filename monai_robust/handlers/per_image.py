"""What handlers share that write, for every image an evaluator sees, what was found in it."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pandas as pd
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_robust.data.files.csv_cells import csv_text
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.tasks.tensors import holds_nan, select_rows

__all__ = ["PerImage", "image_sizes", "require_answers", "unanswered_row", "whole_batch", "write_skipped"]

_NOT_FINITE = "the network's answer is not finite"


class PerImage(ABC):
    """Collect a row for every image of an evaluation and write one file when it has ended.

    An image for which the network's answer is not finite has no row and is listed as skipped.

    Args:
        path: the file; it is written whole or not at all.
        key: what the batch calls its samples.
        skipped: samples that could not be used, with ``file`` and ``reason``; written to ``skipped.csv`` beside it.

    Raises:
        BadInputError: at the end, where no image at all has an answer.
    """

    things: ClassVar[str]
    """What a row is, in the plural, for the message at the end."""

    def __init__(self, path: str | Path, key: str = "sample_id", skipped: Sequence[Mapping[str, str]] = ()) -> None:
        self.path = Path(path)
        self.key = key
        self.skipped = list(skipped)
        self.unanswered: list[dict[str, str]] = []
        self.rows: list[dict[str, Any]] = []
        self._drawn: set[str] = set()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        self.rows = []
        self.unanswered = []
        self._drawn = set()

    def answered(self, engine: Any, outputs: Any) -> tuple[Tensor, Any]:
        """Of the current batch the samples whose outputs are finite; the others are skipped.

        Args:
            engine: of the batch.
            outputs: what must be finite, a tensor (B, ...), or tensors in dictionaries and lists.

        Returns:
            Their places, (R,), and their outputs.
        """
        names = whole_batch(engine)[0][self.key]
        odd = holds_nan(outputs, len(names), infinite=True).cpu()
        self.unanswered += [unanswered_row(names[place]) for place in odd.nonzero().flatten().tolist()]
        places = (~odd).nonzero().flatten()
        return places, select_rows(outputs, places) if bool(odd.any()) else outputs

    @abstractmethod
    def collect(self, engine: Engine) -> None:
        """Add the rows of the current batch."""

    @abstractmethod
    def content(self) -> str:
        """The file's text, made from the rows."""

    def write(self, engine: Engine) -> None:
        require_answers(len(self.rows), len(self.unanswered))
        write_whole(self.path, self.content().encode())
        write_skipped(self.path.parent, [*self.skipped, *self.unanswered])
        print(f"{len(self.rows)} {self.things} in {self.path}")

    def picture_path(self, name: str) -> Path:
        """Where the picture of a sample goes: ``pictures/<name>.png``, one that no other sample of this run has.

        The name keeps its own suffix, so that ``film.dcm`` and ``film.png`` have two pictures; where a name comes
        again, also in other letter case, which some file systems do not tell apart, a number is added.

        Raises:
            BadInputError: for a name that leads out of the folder.
        """
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BadInputError(
                f"{self.key} {name!r} leads out of the folder of pictures; give names relative to the data set's folder"
            )
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        free = next(one for one in names if one.casefold() not in self._drawn)
        self._drawn.add(free.casefold())
        return self.path.parent / "pictures" / f"{free}.png"


def whole_batch(engine: Any) -> tuple[Any, Any]:
    """The current batch of an evaluator and what it found in it.

    Raises:
        BadInputError: for an evaluator that takes batches apart, as MONAI's do by default.
    """
    batch, output = engine.state.batch, engine.state.output
    if not isinstance(batch, Mapping) or not isinstance(output, Mapping):
        raise BadInputError(
            "the evaluator takes its batches apart before handlers see them, and files are written from whole ones; "
            "give it decollate=False"
        )
    return batch, output


def unanswered_row(name: Any) -> dict[str, str]:
    """Of ``skipped.csv``: an image for which the network's answer is not finite, which an argmax takes for a class."""
    return {"sample_id": str(name), "file": str(name), "reason": _NOT_FINITE}


def write_skipped(folder: Path, skipped: Sequence[Mapping[str, str]]) -> None:
    """List in ``skipped.csv`` of a folder what could not be used, and say so; a list of an earlier run goes."""
    listed = folder / "skipped.csv"
    if not skipped:
        listed.unlink(missing_ok=True)
        return
    write_whole(listed, csv_text(pd.DataFrame(skipped)).encode())
    print(f"{len(skipped)} files could not be used: {listed}")


def require_answers(answered: int, unanswered: int) -> None:
    """Refuse a network that answers no image at all.

    Args:
        answered: number of images with an answer.
        unanswered: number of those without.

    Raises:
        BadInputError: where there are only such.
    """
    if unanswered and not answered:
        raise BadInputError(
            f"{_NOT_FINITE} for any of {unanswered} images; its weights are damaged, or its inputs are not scaled as "
            "in its training"
        )


def image_sizes(images: Tensor, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """How large the images of a batch are for the network, and how large they are in their files.

    Args:
        images: the network's inputs, (B, C, *spatial), each a whole image, resized and perhaps padded at the end of
            its axes; where it is padded, the batch holds ``image_mask``, (B, 1, *spatial), true where there is image.
        batch: holds ``original_size``, (B, D), or an ``image`` that kept its metadata (``spatial_shape``).

    Returns:
        Two tensors (B, D), float64, in pixels, in the order of the array's axes.

    Raises:
        BadInputError: when the batch does not tell the size in the file.
    """
    dims = images.ndim - 2
    inputs = torch.tensor(images.shape[2:]).expand(len(images), -1)
    mask = batch.get("image_mask")
    if mask is not None:
        inside = torch.as_tensor(mask)[:, 0].cpu()
        sides = [tuple(axis for axis in range(1, dims + 1) if axis != own) for own in range(1, dims + 1)]
        inputs = torch.stack([inside.any(dim=others).sum(dim=1) for others in sides], dim=1)
    found = batch.get("original_size")
    if found is None:
        found = getattr(batch["image"], "meta", {}).get("spatial_shape")
    if found is None:
        raise BadInputError(
            "the batch does not tell how large its images are in their files (original_size); "
            "add monai_robust.transforms.OriginalSized right after the transform that loads them"
        )
    originals = torch.as_tensor(found).cpu()
    if originals.ndim != 2 or len(originals) != len(images) or originals.shape[1] < dims:
        raise BadInputError(
            f"the sizes of the images in their files have shape {tuple(originals.shape)}; "
            f"{len(images)} images with {dims} axes need ({len(images)}, {dims})"
        )
    return inputs.double(), originals[:, :dims].double()
