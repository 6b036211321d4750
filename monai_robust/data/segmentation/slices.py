"""Volumes as a data set of their 2-D slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Randomizable
from numpy.random import RandomState
from torch import Tensor
from torch.utils.data import Dataset

from monai_robust.data.checked import CheckedDataset
from monai_robust.data.segmentation.cutting import check_slicing, slices_of_volume
from monai_robust.data.segmentation.orientation import orientation_of
from monai_robust.data.segmentation.volumes import load_volume
from monai_robust.errors import BadInputError, require_choice

__all__ = ["SliceDataset"]

_Transform = Callable[[Any], Any]
_KEYS = ("sample_id", "case_id", "patient_id", "slice_index")


class SliceDataset(Dataset[dict[str, Any]]):
    """The slices of volumes that were loaded, checked and transformed once, when the data set is made.

    A sample is a dictionary: ``image`` (C, H, W) float32, ``label`` (1, H, W) int64, ``sample_id`` such as
    ``"hippocampus_001/007"``, ``case_id``, ``patient_id`` and ``slice_index``. Tensors are plain, and a copy: whatever
    a random transform does to them, the volumes in memory stay as they are.

    Args:
        items: volumes: ``image``, ``label`` (files), ``case_id``, and perhaps ``patient_id`` and ``channels``; without
            ``label`` all are background.
        slice_axis: 0, 1 or 2, the axis to cut along; the two others, in their order, are H and W. Every volume has to
            run the same way along it, and along the others, when ``transform`` is done with it.
        classes: number of foreground classes; labels may be 0 to ``classes``.
        transform: deterministic dictionary transform of a loaded volume, or a sequence of them; ``image`` comes as
            (C, x, y, z), ``label`` as (1, x, y, z).
        random: random dictionary transform of a sample, or a sequence of them, applied on access.
        pad_to: pixels (H, W) that a slice has at least; smaller ones are padded with 0, the mean of a z-scored volume.
        group_by_size: let slices of one size follow each other, for batches without further padding; otherwise
            slices come in the order of ``items``.
        keep: ``"all"`` slices, or ``"foreground"`` for those that hold some.
        on_bad_sample: ``"fail"`` refuses the data set if any volume is bad; ``"skip"`` leaves bad ones out and lists
            them in :attr:`skipped`.
        cache: keep the transformed volumes in memory. Without it, a volume is loaded when one of its slices is asked
            for and kept until another's is: bearable in order, slow at random.
        num_workers: threads that load.
        progress: show a bar with the remaining time.
        name: of the data set, for the bar and for messages.
        groups: keys of the volumes to hand on with each slice, such as ``source``.

    Attributes:
        transform: of a loaded volume, as one.
        items: for each slice ``sample_id``, ``case_id``, ``patient_id``, ``slice_index``, ``size`` (H, W), where the
            volume tells it ``spacing``, mm of a pixel along H and W,
            ``foreground`` (the classes it holds), the ``groups``, and the files ``image`` and ``label`` of its volume.
        skipped: ``{"sample_id": case, "file", "reason"}`` for each volume left out.

    Raises:
        BadSampleError: a volume is bad and ``on_bad_sample`` is ``"fail"``.
        BadInputError: nothing is left, two volumes have one case id or are stored along different axes, or an argument
            cannot work.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        *,
        slice_axis: int,
        classes: int,
        transform: _Transform | Sequence[_Transform] | None = None,
        random: _Transform | Sequence[_Transform] | None = None,
        pad_to: Sequence[int] | None = None,
        group_by_size: bool = False,
        keep: str = "all",
        on_bad_sample: str = "fail",
        cache: bool = True,
        num_workers: int = 0,
        progress: bool = False,
        name: str = "train",
        groups: Sequence[str] = (),
    ) -> None:
        require_choice("keep", keep, ("all", "foreground"))
        check_slicing(slice_axis, pad_to)
        _check_case_ids(items)
        self.name = name
        self.groups = tuple(groups)
        self.random = _composed(random)
        self.transform = _composed(transform)
        self._reader = _SliceReader(classes, self.transform, slice_axis, pad_to)
        self._volumes = CheckedDataset(
            [{**item, "sample_id": item["case_id"]} for item in items],
            self._reader,
            on_bad_sample=on_bad_sample,
            cache=cache,
            num_workers=num_workers,
            progress=progress,
            name=name,
        )
        self.skipped = self._volumes.skipped
        _check_orientations({item["case_id"]: item for item in self._volumes.items}, self._reader.orientations)
        self._last: tuple[int, dict[str, Any]] | None = None
        self._places: list[tuple[int, int]] = []
        self.items: list[dict[str, Any]] = []
        self._list_slices(keep, group_by_size)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        volume_index, place = self._places[index]
        volume = self._volume(volume_index)
        sample: dict[str, Any] = {
            "image": volume["image"][place].clone(),
            "label": volume["label"][place].long(),  # from uint8, so a copy too
            **{key: self.items[index][key] for key in (*_KEYS, *self.groups) if key in self.items[index]},
        }
        return sample if self.random is None else dict(self.random(sample))

    def set_random_state(self, seed: int | None = None, state: RandomState | None = None) -> SliceDataset:
        """Seed the random transforms, as MONAI's ``DataLoader`` does in each worker."""
        if isinstance(self.random, Randomizable):
            self.random.set_random_state(seed, state)
        return self

    def volume_of(self, index: int) -> dict[str, Any]:
        """The item of the volume that a slice is of, as it was given."""
        return self._volumes.items[self._places[index][0]]

    def _volume(self, index: int) -> dict[str, Any]:
        if self._last is None or self._last[0] != index:
            self._last = (index, self._volumes[index])
        return self._last[1]

    def _list_slices(self, keep: str, group_by_size: bool) -> None:
        found = [
            (number, place, self._slice_item(item, place, foreground, size))
            for number, item in enumerate(self._volumes.items)
            for size, slices in [self._reader.contents[item["case_id"]]]
            for place, foreground in enumerate(slices)
            if foreground or keep == "all"
        ]
        if not found:
            raise BadInputError(f"no slice of data set {self.name!r} is left with keep={keep!r}")
        if group_by_size:
            found.sort(key=lambda entry: entry[2]["size"])  # stable, so slices of a volume stay in order
        self._places = [(number, place) for number, place, _ in found]
        self.items = [item for _, _, item in found]

    def _slice_item(
        self, volume: Mapping[str, Any], place: int, foreground: tuple[int, ...], size: tuple[int, int]
    ) -> dict[str, Any]:
        case_id = volume["case_id"]
        spacing = self._reader.spacings.get(case_id)
        return {
            **({} if spacing is None else {"spacing": spacing}),
            **{group: volume[group] for group in self.groups if group in volume},
            "image": volume["image"],
            **({"label": volume["label"]} if "label" in volume else {}),
            "sample_id": f"{case_id}/{place:03d}",
            "case_id": case_id,
            "patient_id": volume.get("patient_id", case_id),
            "slice_index": place,
            "size": size,
            "foreground": foreground,
        }


class _SliceReader:
    """From a volume's item to its slices; remembers of each case the size of a slice and the classes each holds."""

    def __init__(
        self, classes: int, transform: _Transform | None, slice_axis: int, pad_to: Sequence[int] | None
    ) -> None:
        self.classes = classes
        self.transform = transform
        self.slice_axis = slice_axis
        self.pad_to = pad_to
        self.contents: dict[str, tuple[tuple[int, int], list[tuple[int, ...]]]] = {}
        self.orientations: dict[str, str] = {}
        self.spacings: dict[str, tuple[float, float]] = {}

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Tensor]:
        volume = load_volume(item, classes=self.classes)
        if self.transform is not None:
            volume = dict(self.transform(volume))
        self.orientations[item["case_id"]] = orientation_of(volume["image"])
        if isinstance(volume["image"], MetaTensor):
            sizes = [float(size) for axis, size in enumerate(volume["image"].pixdim) if axis != self.slice_axis]
            self.spacings[item["case_id"]] = (sizes[0], sizes[1])
        image = slices_of_volume(_plain(volume["image"]).float(), self.slice_axis, self.pad_to)
        truth = volume["label"] if "label" in volume else torch.zeros_like(_plain(volume["image"])[:1])
        label = slices_of_volume(_plain(truth).round().to(torch.uint8), self.slice_axis, self.pad_to)
        size = (int(image.shape[2]), int(image.shape[3]))
        self.contents[item["case_id"]] = (size, [_foreground(one) for one in label])
        return {"image": image, "label": label}


def _composed(transform: _Transform | Sequence[_Transform] | None) -> _Transform | None:
    return Compose(list(transform)) if isinstance(transform, Sequence) else transform


def _plain(values: Any) -> Tensor:
    return torch.as_tensor(values).as_subclass(Tensor)


def _foreground(label: Tensor) -> tuple[int, ...]:
    return tuple(int(value) for value in label.unique() if value > 0)


def _check_orientations(items: Mapping[str, Mapping[str, Any]], orientations: Mapping[str, str]) -> None:
    """One index along the slice axis must mean one direction in the patient."""
    first = next(iter(items))
    for case, item in items.items():
        if orientations[case] != orientations[first]:
            raise BadInputError(
                f"volume {item['image']} is stored along the axes {orientations[case]}, but {items[first]['image']} "
                f"along {orientations[first]}, so that slices of one axis would cut them differently; turn both to one "
                "orientation (planned_volume_transform, MONAI's Orientationd)"
            )


def _check_case_ids(items: Sequence[Mapping[str, Any]]) -> None:
    labelled = any("label" in item for item in items)
    for key in ("image", "label", "case_id") if labelled else ("image", "case_id"):
        lacking = sum(key not in item for item in items)
        if lacking:
            raise BadInputError(
                f"{lacking} of {len(items)} volumes have no {key!r}; each needs image, label and case_id"
            )
    repeated = [case for case, count in Counter(item["case_id"] for item in items).items() if count > 1]
    if repeated:
        raise BadInputError(f"{len(repeated)} case ids name more than one volume; first {repeated[0]}")
