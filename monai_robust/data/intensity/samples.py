"""What a unit of the file is for one sample, where a pipeline scales every image by itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import ArrayDataset, ImageDataset, SmartCacheDataset, ZipDataset
from monai.transforms import ClipIntensityPercentiles, Compose, MapTransform
from torch import Tensor
from torch.utils.data import ConcatDataset, IterableDataset, Subset

from monai_robust.data.checked import CheckedDataset
from monai_robust.data.intensity.scaling import (
    KNOWN,
    Scaling,
    clipped_to,
    flat,
    intensity_transforms,
    is_random,
    known_parts,
    scales_each_image,
    scaling_of,
    step_of,
)
from monai_robust.data.sample_ids import WithSampleIds
from monai_robust.data.segmentation.slices import SliceDataset
from monai_robust.data.segmentation.volumes import load_volume
from monai_robust.errors import BadInputError

__all__ = ["SampleScales", "dataset_scaling"]

_ROUNDING = {torch.float16: 1e-2, torch.bfloat16: 3e-2}
_SINGLE = 1e-4  # of the range, of what single precision may make of intensities far from 0


@dataclass(frozen=True)
class _Step:
    """A transform on its way through one sample: what it was given and what it made of that."""

    name: str
    transform: Any
    before: Tensor
    after: Tensor


class SampleScales:
    """Units of a network's input for one unit of the file, for each sample of a data set.

    The sample is loaded and transformed once more, as far as the last transform that scales every image by itself, and
    what each of those made of it is an affine map of intensities, whose slope is read from all of its voxels. What is
    no such map (two channels that are scaled apart, zeros that are left as they are) is refused by name.

    Args:
        dataset: that can be indexed, its transform behind it; also within ``Subset``, ``ConcatDataset`` and
            :class:`~monai_robust.data.WithSampleIds`. Slices of a ``SliceDataset`` have the scale of their volume.
        key: of the image in its dictionaries; "" where its samples are no dictionaries.
        unit: ``"%"`` for a hundredth of the window that the pipeline clips to; anything else is a unit of the file.

    Raises:
        BadInputError: where the scale of a sample cannot be known: data that is not listed, random transforms before
            the scaling, transforms of which nothing is known, no window.
    """

    def __init__(self, dataset: Any, key: str = "image", unit: str = "grey") -> None:
        self.dataset = dataset
        self.key = key
        self.unit = unit
        self._ready: dict[int, _Replay] = {}
        self._volumes: dict[tuple[int, str], float] = {}  # whose slices have one scale
        self._at(0)  # refused before anything is measured

    def __call__(self, place: int) -> float:
        """The scale of one sample; NaN where its image has one intensity only, and so no scale.

        Raises:
            BadInputError: for an image whose intensities are not mapped by one affine map.
        """
        volume = _volume(self.dataset, place)
        if volume is None:
            return self._scale(place)
        if volume not in self._volumes:
            self._volumes[volume] = self._scale(place)
        return self._volumes[volume]

    def _scale(self, place: int) -> float:
        replay, item = self._at(place)
        slope, width = 1.0, math.nan
        steps = replay.run(item)
        for _, one in intensity_transforms(replay.transform, self.key):
            own = _slope(steps.pop(0)) if scales_each_image(one) else step_of(one, None)[0]
            window = clipped_to(one)
            slope *= own
            width = width * abs(own) if window is None else window[1] - window[0]
        return width / 100 if self.unit == "%" else abs(slope)

    def _at(self, place: int) -> tuple[_Replay, Any]:
        item, transform, load = _raw(self.dataset, place)
        known = self._ready.get(id(transform))
        if known is None:
            known = self._ready[id(transform)] = _Replay(transform, self.key, self.unit)
        return known, item if load is None else load(item)


def dataset_scaling(dataset: Any, key: str = "image") -> Scaling:
    """What the transforms of a data set, or of those within it, do to intensities.

    Args:
        dataset: with a transform.
        key: of the image in its dictionaries; "" where its samples are no dictionaries.
    """
    if isinstance(dataset, (WithSampleIds, Subset)):
        return dataset_scaling(dataset.dataset, key)
    if isinstance(dataset, ConcatDataset):
        first, *others = [dataset_scaling(part, key) for part in dataset.datasets]
        return first if all(one == first for one in others) else Scaling(None, None, "its parts are scaled differently")
    if isinstance(dataset, ArrayDataset):
        inner = dataset.dataset
        return dataset_scaling(inner.data[0] if isinstance(inner, ZipDataset) else inner, key)
    if isinstance(dataset, (list, tuple)):
        return scaling_of(None, key)
    if isinstance(dataset, SliceDataset):
        return _slice_scaling(dataset, key)
    if not hasattr(dataset, "transform"):
        return Scaling(None, None, f"a {type(dataset).__name__} does not tell its transform")
    return scaling_of(dataset.transform, key)


def _slice_scaling(dataset: SliceDataset, key: str) -> Scaling:
    """That of the volumes, where nothing scales their slices again."""
    again = next((one for one in intensity_transforms(dataset.random, key) if not is_random(one[0])), None)
    if again is not None:
        return Scaling(None, None, f"{type(again[0]).__name__} scales slices of volumes that are scaled already")
    return scaling_of(dataset.transform, key)


class _Replay:
    """A pipeline's transforms once more, with note taken of what scales images by themselves."""

    def __init__(self, transform: Any, key: str, unit: str) -> None:
        scaling = scaling_of(transform, key)
        if scaling.factor is None and not scaling.per_image:
            raise BadInputError(f"what one {_called(unit)} is in the network's input is not known: {scaling.why}")
        self.transform = transform
        own = copy.deepcopy(list(flat(transform)))
        pairs = list(intensity_transforms(own, key))
        alone = [place for place, one in enumerate(own) if any(one is two and scales_each_image(p) for two, p in pairs)]
        self.notes: list[_Step] = []
        end = alone[-1] + 1 if alone else 0
        chance = next((one for one in own[:end] if is_random(one) and _is_of(one, key)), None)
        if chance is not None:
            raise BadInputError(
                f"{type(chance).__name__} draws before {type(own[end - 1]).__name__} scales the image by itself, so "
                f"that no sample has one {_called(unit)}; scale first, or give a number in units of the network's input"
            )
        lazy = getattr(transform, "lazy", False) if isinstance(transform, Compose) else False
        self._steps = Compose([self._noting(one, key) for one in own[:end]], lazy=lazy, map_items=False)
        if unit == "%" and not _has_window(transform, key):
            raise BadInputError("a radius in % is of a window, and the pipeline clips to none; give a number")

    def run(self, item: Any) -> list[_Step]:
        """What each transform that scales images by themselves made of a sample."""
        self.notes.clear()
        self._steps(copy.deepcopy(item))
        return list(self.notes)

    def _noting(self, one: Any, key: str) -> Any:
        if isinstance(one, KNOWN):
            return _Noted(one, self.notes) if scales_each_image(one) else one
        if isinstance(one, MapTransform) and key in one.keys:
            for name, part in known_parts(one):
                if scales_each_image(part):
                    noted = _Noted(part, self.notes, type(one).__name__)
                    setattr(one, name, [noted] if isinstance(getattr(one, name), list) else noted)
                    one.keys = (key,)  # other images are scaled by themselves, too
        return one


class _Noted:
    """An array transform that takes note of what it does."""

    def __init__(self, transform: Any, notes: list[_Step], name: str = "") -> None:
        self.transform = transform
        self.notes = notes
        self.name = name or type(transform).__name__

    def __call__(self, image: Any) -> Any:
        before = _values(image).clone()
        made = self.transform(image)
        self.notes.append(_Step(self.name, self.transform, before, _values(made).clone()))
        return made


def _slope(step: _Step) -> float:
    """The slope of the affine map that a transform is on a sample, by least squares over all voxels that it does not
    clip; NaN where there is one intensity only."""
    before, after = (values.double().flatten() for values in (step.before, step.after))
    free = (after > after.min()) & (after < after.max())
    clips = getattr(step.transform, "clip", False) or isinstance(step.transform, ClipIntensityPercentiles)
    if not clips and float(before[free].max() if free.any() else 0) <= float(before[free].min() if free.any() else 0):
        free = torch.ones_like(free)
    before, after = before[free], after[free]
    if not len(before) or float(before.min()) == float(before.max()):
        return math.nan
    centred = before - before.mean()
    slope = float((centred * (after - after.mean())).sum() / centred.square().sum())
    off = (after - after.mean() - slope * centred).abs().max()
    allowed = _ROUNDING.get(step.after.dtype, _SINGLE) * max(float(after.max() - after.min()), 1e-30)
    if not math.isfinite(slope) or float(off) > allowed:
        raise BadInputError(
            f"{step.name} does not scale an image by one factor ({_why(step.transform)}), so that a unit of the file "
            "is none of the network's input; give a number, in units of the network's input"
        )
    return slope


def _why(transform: Any) -> str:
    if getattr(transform, "nonzero", False):
        return "it leaves voxels of intensity 0 as they are"
    if getattr(transform, "channel_wise", False):
        return "each channel has a factor of its own"
    return "its map is no straight line"


def _has_window(transform: Any, key: str) -> bool:
    return any(clipped_to(one) is not None for _, one in intensity_transforms(transform, key))


def _is_of(one: Any, key: str) -> bool:
    return not isinstance(one, MapTransform) or key in one.keys


def _values(image: Any) -> Tensor:
    return torch.as_tensor(image).detach().as_subclass(Tensor)


def _called(unit: str) -> str:
    return {"hu": "HU", "%": "percent of the window"}.get(unit, "grey level")


def _volume(dataset: Any, place: int) -> tuple[int, str] | None:
    """Which volume a sample is a slice of; None where it is none."""
    inner, at = _inner(dataset, place)
    return (id(inner), str(inner.items[at]["case_id"])) if isinstance(inner, SliceDataset) else None


def _inner(dataset: Any, place: int) -> tuple[Any, int]:
    """The data set within subsets, concatenations and wrappers that a sample is of, and its place there."""
    if isinstance(dataset, WithSampleIds):
        return _inner(dataset.dataset, place)
    if isinstance(dataset, Subset):
        return _inner(dataset.dataset, int(dataset.indices[place]))
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            if place < len(part):  # type: ignore[arg-type]
                return _inner(part, place)
            place -= len(part)  # type: ignore[arg-type]
    return dataset, place


def _raw(dataset: Any, place: int) -> tuple[Any, Any, Callable[[Any], Any] | None]:
    """A sample as a data set lists it, the transform that it goes through, and what loads it before that.

    Raises:
        BadInputError: for a data set that does not list what it transforms.
    """
    dataset, place = _inner(dataset, place)
    if isinstance(dataset, SliceDataset):
        return dataset.volume_of(place), dataset.transform, load_volume
    if isinstance(dataset, ArrayDataset):
        inner = dataset.dataset
        return _raw(inner.data[0] if isinstance(inner, ZipDataset) else inner, place)
    if isinstance(dataset, ImageDataset) and not dataset.transform_with_metadata:
        image_only = dataset.image_only
        return dataset.image_files[place], dataset.transform, lambda f: _first(dataset.loader(f), image_only)
    own = dataset.items if isinstance(dataset, CheckedDataset) else getattr(dataset, "data", None)
    listed = dataset if isinstance(dataset, (list, tuple)) else own
    changes = isinstance(dataset, (SmartCacheDataset, IterableDataset, ZipDataset))
    if changes or not isinstance(listed, Sequence) or isinstance(listed, str) or len(listed) != len(dataset):
        raise BadInputError(
            f"a {type(dataset).__name__} does not list what its transform is given, so that units of its files are not "
            "known; give a number, in units of the network's input"
        )
    item = listed[place]
    return dict(item) if isinstance(item, Mapping) else item, getattr(dataset, "transform", None), None


def _first(loaded: Any, image_only: bool) -> Any:
    return loaded if image_only else loaded[0]
