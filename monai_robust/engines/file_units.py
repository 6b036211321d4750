"""The radius of an attack in units of the file, such as 20 HU, for the batches of a trainer or an evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from monai_robust.data.intensity import (
    UNITS,
    SampleScales,
    Scaling,
    checked_radius,
    dataset_scaling,
    radii_by_unit,
)
from monai_robust.data.sample_ids import WithSampleIds, batch_ids, first_row, image_folder, known_samples
from monai_robust.engines.common import Batch
from monai_robust.errors import BadInputError, BadSamplesError
from monai_robust.tasks.tensors import plain

__all__ = ["FileRadius"]


class FileRadius:
    """A radius in units of the file as that of each sample of a batch, in units of the network's input.

    Where an engine's pipeline scales all images alike, all samples have one; else each sample, which must be known
    again by its id, is loaded once more the first time that it is met.

    Args:
        attack: whose ``eps`` may be text with a unit.
    """

    def __init__(self, attack: Any) -> None:
        self.attack = attack
        self._engine: Any = None

    def of(self, engine: Any, batchdata: Any, batch: Batch) -> Tensor | None:
        """(B,) radii; None where the attack's own has no unit.

        Raises:
            BadInputError: for a unit that is not known of these samples, which says why.
        """
        word = getattr(self.attack, "eps", None)
        if not isinstance(word, str):
            return None
        if self._engine is not engine:
            self._begin(engine, batchdata, batch, word)
            self._engine = engine
        size, device = len(batch.inputs), batch.inputs.device
        if self._constant is not None:
            return torch.full((size,), self._constant, device=device)
        ids = batch_ids(batchdata, self._key, size, self._folder)
        unknown = [one for one in ids if one not in self._places]
        if unknown:
            raise BadInputError(
                f"the radius {word} is of each image, and the sample {unknown[0]!r} of a batch is none that the data "
                "set lists; wrap it in monai_robust.data.WithSampleIds (an overlay does by --sample_ids of "
                "monai-robust overlay), or give a number"
            )
        scales = torch.tensor([self._scale(self._places[one]) for one in ids], dtype=torch.float64)
        without = scales.isnan().nonzero().flatten().tolist()
        if without:
            what = f"the image has one intensity, so that no radius in {UNITS[self._unit].label} is known of it"
            raise BadSamplesError(what, without).among(ids)
        return (self._number * scales).to(device, torch.float32)

    def _begin(self, engine: Any, batchdata: Any, batch: Batch, word: str) -> None:
        self._number, self._unit = checked_radius(word)
        self._constant: float | None = None
        dataset = getattr(engine.data_loader, "dataset", None)
        key = _image_key(batchdata, batch)
        if dataset is None or key is None:
            why = "which of the batch's entries is the network's input" if dataset is not None else "the data set"
            scaling = Scaling(None, None, f"{why} is not known")
        else:
            scaling = dataset_scaling(dataset, key)
        (unit, radii), *_ = radii_by_unit([word], scaling).items()
        if not unit:
            self._constant = radii[0]
            return
        found = SampleScales(dataset, str(key), self._unit)
        self._scale = cache(found)
        self._key = dataset.key if isinstance(dataset, WithSampleIds) else "sample_id"
        self._folder = image_folder(dataset)
        self._places = {one: place for place, one in enumerate(known_samples(dataset, self._key).ids)}


def _image_key(batchdata: Any, batch: Batch) -> str | None:
    """The key of a batch that the network's input comes from; "" where it begins with it, None where none is it."""
    given = plain(batch.inputs)

    def same(value: Any) -> bool:
        return isinstance(value, Tensor) and value.shape == given.shape and torch.equal(plain(value).to(given), given)

    row = first_row(batchdata)
    if row is not batchdata:  # of a batch that nobody collated, whose images may have been padded
        whole = given[0]
        own = {
            str(key): whole[tuple(slice(side) for side in value.shape)]
            for key, value in row.items()
            if isinstance(value, Tensor) and value.ndim == whole.ndim
        }
        keys = [key for key, part in own.items() if torch.equal(plain(row[key]).to(part), part)]
        return keys[0] if len(keys) == 1 else None
    if isinstance(batchdata, Mapping):
        keys = [str(key) for key, value in batchdata.items() if same(value)]
        return keys[0] if len(keys) == 1 else None
    return "" if same(batchdata[0] if isinstance(batchdata, (list, tuple)) else batchdata) else None
