"""Which sample of a data set a place in a batch is: one rule for margins, kept starts and evaluations."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.data import ArrayDataset, GridPatchDataset, ImageDataset, PatchDataset, SmartCacheDataset, ZipDataset
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from monai_robust.data.file_names import below, common_folder, folder_of_files, moved_names
from monai_robust.data.unaugmented import read_apart
from monai_robust.errors import BadInputError

__all__ = [
    "KnownSamples",
    "WithSampleIds",
    "batch_ids",
    "coarse",
    "dataset_ids",
    "first_row",
    "hashed_id",
    "image_folder",
    "known_samples",
    "listed_items",
    "names_now",
]

_FILE = "filename_or_obj"
_PROBED = 8  # samples that a fingerprint reads


@dataclass(frozen=True)
class KnownSamples:
    """An id for each sample of a data set.

    Attributes:
        ids: one for each index; a subset that holds a sample twice has its id twice.
        by: what they were made of: the items' ``"sample_id"``, the image's ``"file"``, the ``"entry"`` of the data
            list, or the ``"place"`` in a data set of fixed order.
        full: what also tells them from the samples of other data sets on this machine: files with all their folders.
        folder: that files are named from, "" for samples that are known otherwise.
    """

    ids: list[str]
    by: Literal["sample_id", "file", "entry", "place"]
    full: list[str] = field(compare=False)
    folder: str = field(default="", compare=False)


def known_samples(dataset: Any, key: str = "sample_id") -> KnownSamples:
    """An id for each sample of a data set that can be indexed.

    It is what the items have under ``key``, else the file of their image, by its path below the folder that the files
    of all images have in common, else a hash of their entry in the data list (names, numbers, arrays, files by their
    paths below the folder of all), whichever first tells all of them apart. Where none does, it is the sample's place
    behind a fingerprint of the data set, which a few of its samples are read for: with other data, or in another order,
    ids are others, and so they are in a part of the data set.
    """
    if isinstance(dataset, WithSampleIds):
        return dataset.known
    if isinstance(dataset, Subset):
        whole = known_samples(dataset.dataset, key)
        ids, full = ([names[index] for index in dataset.indices] for names in (whole.ids, whole.full))
        return KnownSamples(ids, whole.by, full, whole.folder)
    try:
        full, by = _listed_ids(dataset, key) or ([], "")
    except BadInputError:  # shared by several items
        full = []
    if full and len(full) == len(dataset):
        if by == key:
            return KnownSamples(full, "sample_id", full)
        folder = image_folder(dataset)
        ids = [below(one, folder) for one in full]
        return KnownSamples(ids, "file", [os.path.abspath(one) for one in full], folder)
    items = listed_items(dataset) or ()
    entries = [_entry(one) for one in items]
    if len(entries) == len(dataset) == len(set(entries)) and None not in entries:
        folder = common_folder(os.path.dirname(one) for item in items for one in _paths(item))
        ids, full = ([hashed_id(str(_entry(one, within))) for one in items] for within in (folder, ""))
        return KnownSamples(ids, "entry", full, folder)
    digits = len(str(len(dataset) - 1))
    mark = _fingerprint(dataset)
    ids = [f"{mark}_{place:0{digits}d}" for place in range(len(dataset))]
    return KnownSamples(ids, "place", ids)


def image_folder(dataset: Any) -> str:
    """The folder that the files of all images of a data set lie in, of a part of one those of the whole; "" where it
    does not list them."""
    if isinstance(dataset, Subset):
        return image_folder(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        folders = [image_folder(one) for one in dataset.datasets]
        return common_folder(folders) if all(folders) else ""
    items = None if isinstance(dataset, WithSampleIds) else listed_items(dataset)
    files = [_image_file(one) for one in items or ()]
    return "" if None in files else folder_of_files([one for one in files if one is not None])


def names_now(kept: Collection[str], dataset: Any, key: str, folder: str, *, hashed: bool = False) -> dict[str, str]:
    """What the samples are called now that a checkpoint names by the paths of their files, as older versions did, or
    by those of a data set that lay elsewhere; nothing where they are called as ever.

    Args:
        kept: names in the checkpoint.
        dataset: whose samples they may be.
        key: as of :func:`known_samples`.
        folder: of its images, see :func:`image_folder`.
        hashed: names are those of :func:`hashed_id`.

    Returns:
        New names by old ones.
    """
    listed = None if isinstance(dataset, WithSampleIds) else _listed_ids(dataset, key)
    if listed is None or listed[1] == key:
        return {}
    if hashed:
        made = {hashed_id(file): hashed_id(below(file, folder)) for file in listed[0]}
        return {old: new for old, new in made.items() if old in kept and new not in kept}
    return moved_names(kept, [below(file, folder) for file in listed[0]], folder)


class WithSampleIds(Dataset[Any]):
    """A data set whose dictionaries say which sample they are: each gets the id of :func:`known_samples`.

    Margins and kept starts know samples by it where a pipeline loses the metadata on its way (caches, NPZ files,
    concatenated images, patches of slides). Where an item becomes a list of crops, each crop has the item's id.

    Args:
        dataset: map-style, such as MONAI's ``Dataset``, ``CacheDataset`` or ``PersistentDataset`` or torch's
            ``Subset``, of dictionaries. Its data list must stay as it is.
        key: what the dictionaries call the id.

    Raises:
        BadInputError: for data that can be read once only, or whose samples change their places, and (when a sample is
            read) for one that is no dictionary.

    Example:
        >>> from monai.data import Dataset
        >>> WithSampleIds(Dataset([{"image": "a.png"}, {"image": "b.png"}]))[1]
        {'image': 'b.png', 'sample_id': 'b.png'}
    """

    def __init__(self, dataset: Any, key: str = "sample_id") -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise BadInputError(
                f"a {type(dataset).__name__} gives its samples in an order of its own, so none of them is known again; "
                f"give a data set that can be indexed, or items with a {key!r}"
            )
        if isinstance(dataset, SmartCacheDataset):
            raise BadInputError(
                "a SmartCacheDataset changes from epoch to epoch which sample has which place, so places do not tell "
                f"samples; give the items of its data list a {key!r} that transforms keep, or take a CacheDataset"
            )
        self.dataset = dataset
        self.key = key
        self.known = known_samples(dataset, key)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (slice, Sequence)):  # as MONAI's data sets
            return Subset(self, list(range(len(self))[index] if isinstance(index, slice) else index))
        return self._named(self.dataset[index], self.known.ids[int(index)])

    def _named(self, item: Any, name: str) -> Any:
        if isinstance(item, Mapping):
            return {**item, self.key: name}
        if isinstance(item, (list, tuple)) and item and all(isinstance(one, Mapping) for one in item):
            return [{**one, self.key: name} for one in item]
        raise BadInputError(
            f"an item of the data set is a {type(item).__name__}, which has no room for a {self.key!r}; make it a "
            "dictionary, such as {'image': ..., 'label': ...}"
        )


def batch_ids(batch: Any, key: str, size: int, folder: str = "") -> list[str]:
    """The id of each sample of a batch: the batch's ``key``, or else the file its image came from.

    Args:
        batch: as a loader gave it.
        key: of ids.
        size: number of images.
        folder: which files are named from, see :func:`image_folder`.

    Raises:
        BadInputError: where the batch says neither.
    """
    if isinstance(batch, (list, tuple)) and batch and isinstance(batch[0], Mapping) and _uncollated(batch) is None:
        batch = batch[0]  # of patches with their places
    rows = _uncollated(batch)
    if rows and all(key in one for one in rows):
        batch = {key: [one[key] for one in rows]}
    elif rows:
        batch = {name: None for name in rows[0] if name != key} | {"image": [one.get("image") for one in rows]}
    if isinstance(batch, Mapping) and key in batch:
        given, what = batch[key], key
    else:
        given, what = _files(batch), _FILE
    if given is None:
        keys = ", ".join(map(str, batch)) if isinstance(batch, Mapping) else "none, the batch is no dictionary"
        raise BadInputError(
            f"samples must be known again (for margins, for kept starts): the batch has no key {key!r} and its images "
            f"no file name (they are no MetaTensors); wrap the data set in monai_robust.data.WithSampleIds (an overlay "
            f"does by --sample_ids of monai-robust overlay), or add the key to its items (keys of the batch: {keys})"
        )
    _check_unmixed(given, what, size)
    ids = [given] if isinstance(given, str) else _texts(given)
    if len(ids) != size:
        raise BadInputError(f"the batch has {size} images, but {len(ids)} ids under {key!r}; every image needs its own")
    return ids if what == key else [below(one, folder) for one in ids]


def first_row(batch: Any) -> Any:
    """The first dictionary of a batch that nobody collated; any other batch itself."""
    rows = _uncollated(batch)
    return rows[0] if rows else batch


def _uncollated(batch: Any) -> list[Mapping[Any, Any]] | None:
    """The dictionaries of a batch that nobody collated, those of several crops of an image one by one; else None."""
    if not isinstance(batch, (list, tuple)) or not batch:
        return None
    if all(isinstance(one, Mapping) for one in batch):
        return list(batch)
    parts = [_uncollated(one) for one in batch]
    return None if None in parts else [row for part in parts for row in part or ()]


def dataset_ids(dataset: Any, key: str, folder: str = "") -> list[str] | None:
    """The ids by which batches of a data set tell its samples, where its items list them, else None; ``folder`` as of
    :func:`batch_ids`.

    Raises:
        BadInputError: when two items share an id; slices of one volume need a key of their own, not the file's name.
    """
    if isinstance(dataset, WithSampleIds):
        return list(dict.fromkeys(dataset.known.ids)) if dataset.key == key else None
    listed = _listed_ids(dataset, key)
    if listed is None:
        return None
    return listed[0] if listed[1] == key else [below(one, folder) for one in listed[0]]


def listed_items(dataset: Any, *, named: bool = True) -> Sequence[Any] | None:
    """The items a data set lists, in whatever way; None where it lists none.

    Args:
        dataset: of any kind.
        named: of a ``WithSampleIds`` its names; else what the data set within it lists.
    """
    if isinstance(dataset, WithSampleIds):
        return [{dataset.key: name} for name in dataset.known.ids] if named else listed_items(dataset.dataset)
    if isinstance(dataset, Subset):
        items = listed_items(dataset.dataset, named=named)
        return None if items is None else [items[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [listed_items(one, named=named) for one in dataset.datasets]
        return None if None in parts else [item for part in parts for item in part or ()]
    if isinstance(dataset, ImageDataset):
        return dataset.image_files
    if isinstance(dataset, (GridPatchDataset, PatchDataset)):
        return listed_items(dataset.data, named=named)
    if isinstance(dataset, ArrayDataset):  # of images, and of what belongs to them
        first = dataset.dataset
        return listed_items(first.data[0] if isinstance(first, ZipDataset) else first)
    for items in (dataset, getattr(dataset, "items", None), getattr(dataset, "data", None)):
        if isinstance(items, Sequence) and not isinstance(items, str):
            return items
    return None


def hashed_id(sample_id: str) -> str:
    """The first 32 digits of the SHA-256 of an id: not to be read, but whoever guesses it can tell that it is it."""
    return hashlib.sha256(sample_id.encode()).hexdigest()[:32]


def _listed_ids(dataset: Any, key: str) -> tuple[list[str], str] | None:
    """Ids of a data list's items by their key or their image's file, and which of both."""
    items = listed_items(dataset)
    if not items or not all(isinstance(item, Mapping) or _image_file(item) for item in items):
        return None
    if all(isinstance(item, Mapping) and key in item for item in items):
        ids, what = [_text(item[key]) for item in items], key
    else:
        files = [_image_file(item) for item in items]
        ids, what = [one for one in files if one is not None], "image file"
        if len(ids) < len(files):
            return None
    twice = [name for name, times in Counter(ids).items() if times > 1]
    if twice:
        raise BadInputError(
            f"{len(twice)} of the data set's samples share their {what} with another, such as {twice[0]!r}; margins "
            f"are kept for each sample, so give each item a {key!r} of its own"
        )
    return ids, what


def _image_file(item: Any) -> str | None:
    """The file of an item's image, as MONAI's ``LoadImage`` names it, or the item where it is a file; else None."""
    file = item.get("image") if isinstance(item, Mapping) else item
    if not isinstance(file, (str, Path)):
        return None
    path = Path(file).expanduser()
    return str(path) if isinstance(item, Mapping) or path.exists() else None


def _entry(item: Any, folder: str = "") -> str | None:
    """An entry of a data list as text, where it is made of names, numbers and arrays alone; files below a folder by
    their paths there."""
    try:
        return json.dumps(_within(item, folder) if folder else item, sort_keys=True, default=_as_text)
    except (TypeError, ValueError):
        return None


def _paths(value: Any) -> Iterator[str]:
    """The absolute paths that an entry holds."""
    if isinstance(value, (str, Path)):
        if os.path.isabs(value):
            yield str(value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _paths(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _paths(one)


def _within(value: Any, folder: str) -> Any:
    if isinstance(value, (str, Path)) and os.path.isabs(value):
        return below(str(value), folder)
    if isinstance(value, Mapping):
        return {name: _within(one, folder) for name, one in value.items()}
    return [_within(one, folder) for one in value] if isinstance(value, (list, tuple)) else value


def _as_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        array = np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
        if array.dtype != object:
            return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    raise TypeError(type(value).__name__)


def _fingerprint(dataset: Any) -> str:
    """Eight digits that follow from the number of samples and, coarsely, from what a few of them hold."""
    places = sorted({round(place) for place in np.linspace(0, len(dataset) - 1, _PROBED)})
    read = [coarse(item) for item in read_apart(dataset, places)]
    return hashlib.sha256(json.dumps([len(dataset), read]).encode()).hexdigest()[:8]


def coarse(value: Any) -> Any:
    """What a sample holds, without what rounding and another machine might change."""
    if isinstance(value, Mapping):
        return {str(name): coarse(one) for name, one in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [coarse(one) for one in value]
    if isinstance(value, str) and os.path.isabs(value):
        return Path(value).name
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    numeric = value.dtype.kind in "biuf" if isinstance(value, (np.ndarray, np.generic)) else isinstance(value, Tensor)
    if not numeric and not isinstance(value, float):
        return type(value).__name__
    numbers = torch.as_tensor(value).detach().cpu().as_subclass(Tensor).double()
    if not numbers.numel() or not bool(numbers.isfinite().all()):
        return list(numbers.shape)
    low, high = float(numbers.min()), float(numbers.max())
    scale = (high - low) or 1.0
    return [list(numbers.shape), f"{scale:.1e}", round(100 * (float(numbers.mean()) - low) / scale)]


def _files(batch: Any) -> Any:
    """The names of the files that a batch's images came from, where its MetaTensors know."""
    image = (
        batch.get("image") if isinstance(batch, Mapping) else batch[0] if isinstance(batch, (list, tuple)) else batch
    )
    if not isinstance(image, (list, tuple)):
        return getattr(image, "meta", {}).get(_FILE)
    files = [getattr(one, "meta", {}).get(_FILE) for one in image]
    return None if None in files else files


def _check_unmixed(values: Any, key: str, size: int) -> None:
    """Refuse images that augmentation put together from several: a margin belongs to one."""
    several = isinstance(values, (list, tuple)) and any(isinstance(one, (list, tuple)) for one in values)
    if several or (getattr(values, "ndim", 1) > 1 and np.prod(values.shape) > size):
        raise BadInputError(
            f"samples of the batch have several ids under {key!r}, as if they were mixed from several images, but "
            "margins are kept for one image each; train without mixing (mosaic, mixup), or give every mixture an id"
        )


def _texts(values: Any) -> list[str]:
    return [_text(one) for one in values]


def _text(value: Any) -> str:
    """An id as text, the same whether a data set holds it as a number, or as a tensor or an array of one."""
    single = isinstance(value, (Tensor, np.ndarray, np.generic)) and np.prod(value.shape) == 1
    return str(value.item() if single else value)
