"""What a network was shown of a batch, and the pictures of it that a report's gallery holds."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_robust.data.files.whole import write_whole
from monai_robust.errors import NotFiniteError
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, Sweep
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.evaluation.tables.gallery import write_gallery
from monai_robust.evaluation.tables.parts import FOLDER as PARTS
from monai_robust.tasks.tensors import holds_nan

__all__ = ["GalleryKeeper", "Picture", "Predictions", "middle", "pictures_of", "write_pictures"]

Key = tuple[str, float]


@dataclass(frozen=True)
class Predictions:
    """A batch, what the network was shown of it, and what it made of that."""

    inputs: Tensor
    perturbed: Tensor
    targets: Tensor
    outputs: Any
    values: dict[str, Tensor]
    mask: Tensor | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, batch: EvaluatedBatch, perturbed: Tensor, outcomes: TaskOutcomes) -> Predictions:
        """Show the batch's network ``perturbed`` inputs, and take down ``outcomes``.

        Raises:
            NotFiniteError: for samples to which the network answers NaN.
        """
        outputs = batch.task.forward(batch.network, perturbed, batch.targets)
        missing = holds_nan(outputs, len(perturbed)).nonzero().flatten().tolist()
        if missing:
            raise NotFiniteError("the network's outputs hold NaN", missing).among(batch.sample_ids)
        values = outcomes.values_in_space(outputs, batch.targets, batch.spacing)
        return cls(batch.inputs, perturbed, batch.targets, outputs, values, batch.mask)


@dataclass(frozen=True)
class Picture:
    """A sample as a gallery shows it.

    Attributes:
        image: (H, W), upright with rows first, where medical readers order axes as (x, y).
        caption: what it shows and what the network made of it.
        mask: (H, W), a label map of what the network found; None where the task has none.
        truth: (H, W), of what is true.
    """

    image: Tensor
    caption: dict[str, Any]
    mask: Tensor | None = None
    truth: Tensor | None = None


def pictures_of(
    predictions: Predictions, outcomes: TaskOutcomes, classes: Sequence[str], places: Sequence[int] | None = None
) -> list[Picture]:
    """Pictures of a batch of images (B, C, X, Y), or of the samples at some places of it."""
    places = range(len(predictions.inputs)) if places is None else places
    found = outcomes.picture_masks(predictions.outputs, predictions.targets)
    images = predictions.perturbed.mean(dim=1).mT.cpu()
    masks, truths = (None, None) if found is None else (one.mT.cpu() for one in found)
    return [
        Picture(
            images[place].clone(),
            outcomes.caption(predictions.values, place, classes),
            None if masks is None else masks[place].clone(),
            None if truths is None else truths[place].clone(),
        )
        for place in places
    ]


def write_pictures(path: Path, pictures: Mapping[Key, Sequence[Picture]]) -> None:
    """Write a gallery: by perturbation and severity, pictures of the same samples."""

    def maps(own: Sequence[Picture], name: str) -> list[Any]:
        return [getattr(one, name).numpy() for one in own if getattr(one, name) is not None]

    masks = {key: maps(own, "mask") for key, own in pictures.items()}
    write_gallery(
        path,
        {key: [one.image.numpy() for one in own] for key, own in pictures.items()},
        {key: [one.caption for one in own] for key, own in pictures.items()},
        {key: own for key, own in masks.items() if own},
        maps(next(iter(pictures.values())), "truth") or None,
    )


def middle(sweep: Sweep) -> float:
    """The severity that a gallery shows."""
    return sweep.severities[len(sweep.severities) // 2]


class GalleryKeeper:
    """Keeps a gallery's pictures while a measurement runs, so that nothing is attacked or searched again for it.

    Each picture is a file beside the parts of the table, whichever process measured it, and goes with them; a unit that
    is measured again writes it again.

    Args:
        folder: of the run.
        chosen: places of the samples in the gallery, by their ids.
        sweeps: the perturbations.
        outcomes: what is written down of the task.
        classes: names of the classes.
    """

    def __init__(
        self,
        folder: str | Path,
        chosen: Mapping[str, int],
        sweeps: Sequence[Sweep],
        outcomes: TaskOutcomes,
        classes: Sequence[str],
    ) -> None:
        self.folder = Path(folder) / PARTS / "pictures"
        self.chosen = dict(chosen)
        self.numbers = {(sweep.name, middle(sweep)): number for number, sweep in enumerate(sweeps)}
        self.outcomes = outcomes
        self.classes = list(classes)

    def see(self, perturbation: str, severity: float, sample_ids: Sequence[str], predictions: Predictions) -> None:
        """Take what the network was shown of a batch, and what it made of that; of volumes there are no pictures."""
        number = self.numbers.get((perturbation, severity))
        places = [place for place, sample in enumerate(sample_ids) if sample in self.chosen]
        if number is None or not places or predictions.inputs.ndim != 4:
            return
        for place, own in zip(places, pictures_of(predictions, self.outcomes, self.classes, places), strict=True):
            kept = {"image": own.image, "caption": json.dumps(own.caption), "mask": own.mask, "truth": own.truth}
            buffer = io.BytesIO()
            torch.save(kept, buffer)
            write_whole(self._path(number, self.chosen[sample_ids[place]]), buffer.getvalue())

    def kept(self) -> dict[tuple[Key, int], Picture]:
        """What was kept, by perturbation, severity and place; a file that is damaged is as good as none."""
        found = {}
        for key, number in self.numbers.items():
            for place in self.chosen.values():
                try:
                    own = torch.load(self._path(number, place), weights_only=True)
                    caption = json.loads(own["caption"])
                    found[key, place] = Picture(own["image"], caption, own["mask"], own["truth"])
                except Exception:  # torch and zipfile raise many kinds for damaged files
                    continue
        return found

    def _path(self, number: int, place: int) -> Path:
        return self.folder / f"{number:04d}-{place:08d}.pt"
