"""The samples of a data set, loaded batch by batch and made ready to be perturbed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, MetaTensor, list_data_collate
from torch import Tensor
from torch.utils.data import Dataset

from monai_robust.data import same_size_batches
from monai_robust.data.lists.patients import patient_text
from monai_robust.data.lists.spellings import refuse_spellings
from monai_robust.data.spacing import known_spacing
from monai_robust.engines.common import MASK_KEY
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import plain

__all__ = [
    "Batch",
    "Samples",
    "alone",
    "check_apart",
    "check_elsewhere",
    "group_name",
    "items_of",
    "patient_name",
    "texts",
]

_LOG = logging.getLogger(__name__)

Batch = Mapping[str, Any]


def items_of(dataset: Dataset[Any]) -> Sequence[Mapping[str, Any]]:
    """What a data set says of its samples: its ``items``, or the samples themselves.

    Raises:
        BadSampleError: for a sample that cannot be read.
    """
    known = getattr(dataset, "items", None)
    return known or [_sample(dataset, place) for place in range(len(dataset))]  # type: ignore[arg-type]


def check_apart(items: Sequence[Mapping[str, Any]], validation: Dataset[Any] | None) -> None:
    """Refuse validation samples that are among those that are measured: what is fitted on them would flatter.

    Raises:
        BadInputError: with how many they are.
    """
    if validation is None:
        return
    own, measured = _ids(items_of(validation)), _ids(items)
    both = own & measured
    if both:
        raise BadInputError(
            f"{len(both)} of {len(own)} validation samples are among those that are measured, and thresholds must not "
            "be fitted on the samples that they are applied to; give other samples, or no validation"
        )
    _tell_shared_patients(items_of(validation), items, "of the validation", "what is fitted on them flatters")


def check_elsewhere(
    name: str, shift: Dataset[Any], items: Sequence[Mapping[str, Any]], validation: Dataset[Any] | None
) -> None:
    """Refuse samples of another site that are also measured here, or that thresholds are fitted on.

    Raises:
        BadInputError: with how many they are.
    """
    own = _ids(items_of(shift))
    others = {"are measured": items, "validate": [] if validation is None else items_of(validation)}
    for what, some in others.items():
        both = own & _ids(some)
        if both:
            raise BadInputError(
                f"{len(both)} of {len(own)} samples of the shift {name} are among those that {what}, and another site "
                "has samples of its own; give other samples, or none"
            )
    what = "the interval of the difference takes them for different people"
    _tell_shared_patients(items_of(shift), items, f"of the shift {name}", what)


def _tell_shared_patients(
    others: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]], which: str, what: str
) -> None:
    """Warn of patients of other samples who are also measured, with what comes of it."""
    own = _patients(others)
    both = len(own & _patients(items))
    if both:
        _LOG.warning("%d of %d patients %s are called as patients that are measured; %s", both, len(own), which, what)


def _patients(items: Sequence[Mapping[str, Any]]) -> set[str]:
    """The patients that samples name, other than by themselves."""
    named = {(patient_name(one.get("patient_id")), str(one.get("sample_id"))) for one in items}
    return {patient for patient, sample in named if patient not in ("", sample)}


def _ids(items: Sequence[Mapping[str, Any]]) -> set[str]:
    return {str(item.get("full_id", item["sample_id"])) for item in items if "sample_id" in item}


@dataclass(frozen=True)
class Samples:
    """The samples, and the network that they are to be shown to.

    Attributes:
        dataset: the samples.
        items: from :func:`items_of`.
        network: ``inputs -> outputs``.
        task: how it is run and what hurts it.
        groups: item keys to report within.
        device: where it runs.
        seed: of random starts and noise.
        batch_size: samples in one forward pass.
        scales: by unit, units of the network's input for one of them, of the sample at a place.
        labelled: whether samples say what is true; else the network's own answer for each as it is takes that place.
        in_space: whether distances are measured, for which the size of a pixel is looked up: an item's ``spacing``, mm
            along each axis of the network's input, or the affine of images that are a ``MetaTensor``.
    """

    dataset: Dataset[Any]
    items: Sequence[Mapping[str, Any]]
    network: Callable[..., Any]
    task: Task
    groups: Sequence[str]
    device: torch.device
    seed: int
    batch_size: int
    scales: Mapping[str, Callable[[int], float]] = field(default_factory=dict)
    in_space: bool = False
    labelled: bool = True

    def check(self) -> None:
        """Refuse a data set without what the table needs.

        Raises:
            BadInputError: naming what is missing.
        """
        if not self.items:
            raise BadInputError("the data set to measure on is empty")
        for key in ("sample_id", "patient_id", "image", "label", *self.groups):
            made = {} if key in ("sample_id", "patient_id") or key in self.items[0] else self.dataset[0]
            if key not in {**self.items[0], **made}:
                raise BadInputError(
                    f"the data set's items have no {key!r}; they have {', '.join(map(str, self.items[0]))}"
                )
        for group in self.groups:
            names = sorted({group_name(item[group]) for item in self.items if group in item})
            refuse_spellings(names, "the data set", (f"the {group}", f"the {group}", group))

    def batches(self) -> list[list[int]]:
        """Places of all samples, batch by batch, each of images of one size."""
        return [list(batch) for batch in same_size_batches(self.items, self.batch_size)]

    def loader(self, batches: Sequence[Sequence[int]], num_workers: int = 0) -> DataLoader:
        """Batches of samples at these places."""
        masked = (MASK_KEY,) if self._masked else ()
        keys = ("image", "label", "sample_id", "patient_id", *masked, *self.groups)
        collate = partial(_collate, keys, tuple(self.groups))
        return DataLoader(self.dataset, batch_sampler=batches, num_workers=num_workers, collate_fn=collate)

    def evaluated(self, batch: Batch) -> EvaluatedBatch:
        """A batch on the network's device."""
        inputs, targets = (plain(batch[key]).to(self.device) for key in ("image", "label"))
        mask = plain(batch[MASK_KEY]).to(self.device).bool() if MASK_KEY in batch else None
        ids = texts(batch["sample_id"])
        scales = partial(self._scales, ids) if self.scales else None
        if not self.labelled:
            targets = self._answered(inputs, targets)
        return EvaluatedBatch(
            self.network,
            inputs,
            targets,
            self.task,
            ids,
            self.seed,
            mask,
            self.batch_size,
            scales,
            self._spacing(batch["image"], ids),
        )

    @torch.no_grad()
    def _answered(self, inputs: Tensor, targets: Any) -> Any:
        """What the network answers, in the form of targets."""
        return self.task.predicted_targets(self.task.forward(self.network, inputs, targets), targets)

    def _scales(self, ids: Sequence[str], unit: str) -> Tensor:
        return torch.tensor([self.scales[unit](self._places[one]) for one in ids], dtype=torch.float64)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {str(item["sample_id"]): place for place, item in enumerate(self.items)}

    @cached_property
    def spacing_is_known(self) -> bool:
        """Whether the size of a pixel is asked for and known: of every item, or of the first image that can be read."""
        return self.in_space and (self._listed_spacings is not None or self._first_spacing is not None)

    @cached_property
    def _listed_spacings(self) -> Mapping[str, tuple[float, ...]] | None:
        """What every item says under ``spacing``, by its id."""
        if any(item.get("spacing") is None for item in self.items):
            return None
        return {str(item["sample_id"]): tuple(map(float, item["spacing"])) for item in self.items}

    @cached_property
    def _first_spacing(self) -> tuple[float, ...] | None:
        for place in range(len(self.items)):
            with suppress(Exception):  # found and listed where it is measured
                return known_spacing(self.dataset[place]["image"])
        return None

    def _spacing(self, images: Any, sample_ids: Sequence[str]) -> Tensor | None:
        """(B, D) mm that a pixel has along each axis."""
        if not self.spacing_is_known:
            return None
        if self._listed_spacings is not None:
            return torch.tensor([self._listed_spacings[sample] for sample in sample_ids], dtype=torch.float64)
        sizes = images.pixdim if isinstance(images, MetaTensor) else []
        return torch.stack([torch.as_tensor(size, dtype=torch.float64) for size in sizes])

    @cached_property
    def _masked(self) -> bool:
        """Whether the samples bring a mask, by the first one that can be read."""
        for place in range(len(self.items)):
            with suppress(Exception):  # found and listed where it is measured
                return MASK_KEY in self.dataset[place]
        return MASK_KEY in _sample(self.dataset, 0)


def texts(values: Sequence[Any]) -> list[str]:
    """Ids and groups of a batch as text."""
    return [str(value.item() if isinstance(value, Tensor) and value.numel() == 1 else plain(value)) for value in values]


def _sample(dataset: Dataset[Any], place: int) -> Mapping[str, Any]:
    try:
        return dataset[place]
    except Exception as error:
        raise BadSampleError(f"sample {place} of the data set (from 0) cannot be read: {error}") from error


def patient_name(value: Any) -> str:
    """A patient as text; none for what stands for nobody, whose sample counts as a patient of its own."""
    found = patient_text(alone(value))
    return str(value) if found is None else found


def group_name(value: Any) -> str:
    """The value of a group as text; none for what is not known."""
    value = alone(value)
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def alone(value: Any) -> Any:
    """A number or a text that stands in a tensor or an array by itself."""
    value = plain(value) if isinstance(value, Tensor) else value
    if isinstance(value, (Tensor, np.ndarray, np.generic)) and math.prod(value.shape) == 1:
        return value.item()
    return value


def _collate(keys: Sequence[str], groups: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    """Only what is needed: other entries, such as the classes an image holds, may differ in length."""
    names = {"patient_id": patient_name, **dict.fromkeys(groups, group_name)}
    told = [{key: named(row[key]) for key, named in names.items()} for row in rows]
    return list_data_collate([{**{key: row[key] for key in keys}, **own} for row, own in zip(rows, told, strict=True)])
