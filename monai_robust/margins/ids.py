"""Which sample of a data set a place in a batch is."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Subset

from monai_robust.errors import BadInputError

__all__ = ["batch_ids", "dataset_ids", "hashed_id"]

_FILE = "filename_or_obj"


def batch_ids(batch: Any, key: str, size: int) -> list[str]:
    """The id of each sample of a batch: the batch's ``key``, or else the file its image came from.

    Raises:
        BadInputError: where the batch says neither.
    """
    if isinstance(batch, (list, tuple)) and batch and all(isinstance(one, Mapping) and key in one for one in batch):
        batch = {key: [one[key] for one in batch]}  # a batch that nobody collated
    if isinstance(batch, Mapping) and key in batch:
        given, what = batch[key], key
    else:
        given, what = _files(batch), _FILE
    if given is None:
        keys = ", ".join(map(str, batch)) if isinstance(batch, Mapping) else "none, the batch is no dictionary"
        raise BadInputError(
            f"samples must be known again (for margins, for kept starts): the batch has no key {key!r} and its images "
            f"no file name (they are no MetaTensors); add one to the data set's items (keys of the batch: {keys})"
        )
    _check_unmixed(given, what, size)
    ids = [given] if isinstance(given, str) else _texts(given)
    if len(ids) != size:
        raise BadInputError(f"the batch has {size} images, but {len(ids)} ids under {key!r}; every image needs its own")
    return ids


def hashed_id(sample_id: str) -> str:
    """The first 32 digits of the SHA-256 of an id: not to be read, but whoever guesses it can tell that it is it."""
    return hashlib.sha256(sample_id.encode()).hexdigest()[:32]


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


def dataset_ids(dataset: Any, key: str) -> list[str] | None:
    """The ids of all samples of a data set where it lists its items, else None.

    Raises:
        BadInputError: when two items share an id; slices of one volume need a key of their own, not the file's name.
    """
    items = _items(dataset)
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    if all(key in item for item in items):
        ids, what = [_text(item[key]) for item in items], key
    elif all(isinstance(item.get("image"), (str, Path)) for item in items):
        ids, what = [str(Path(item["image"]).expanduser()) for item in items], "image file"  # as MONAI's LoadImage
    else:
        return None
    twice = [name for name, times in Counter(ids).items() if times > 1]
    if twice:
        raise BadInputError(
            f"{len(twice)} of the data set's samples share their {what} with another, such as {twice[0]!r}; margins "
            f"are kept for each sample, so give each item a {key!r} of its own"
        )
    return ids


def _items(dataset: Any) -> Sequence[Any] | None:
    """The items a data set lists, in whatever way."""
    if isinstance(dataset, Subset):
        items = _items(dataset.dataset)
        return None if items is None else [items[index] for index in dataset.indices]
    for items in (dataset, getattr(dataset, "items", None), getattr(dataset, "data", None)):
        if isinstance(items, Sequence) and not isinstance(items, str):
            return items
    return None


def _texts(values: Any) -> list[str]:
    return [_text(one) for one in values]


def _text(value: Any) -> str:
    """An id as text, the same whether a data set holds it as a number, or as a tensor or an array of one."""
    single = isinstance(value, (Tensor, np.ndarray, np.generic)) and np.prod(value.shape) == 1
    return str(value.item() if single else value)
