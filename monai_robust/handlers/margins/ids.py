"""Which sample of a data set a place in a batch is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Subset

from monai_robust.errors import BadInputError

__all__ = ["batch_ids", "dataset_ids"]

_FILE = "filename_or_obj"


def batch_ids(batch: Any, key: str, size: int) -> list[str]:
    """The id of each sample of a batch: the batch's ``key``, or else the file its image came from.

    Raises:
        BadInputError: where the batch says neither.
    """
    if isinstance(batch, Mapping) and key in batch:
        _check_unmixed(batch[key], key, size)
        ids = _texts(batch[key])
    else:
        image = (
            batch.get("image")
            if isinstance(batch, Mapping)
            else batch[0]
            if isinstance(batch, (list, tuple))
            else batch
        )
        files = getattr(image, "meta", {}).get(_FILE)
        if files is None:
            keys = ", ".join(map(str, batch)) if isinstance(batch, Mapping) else "none, the batch is no dictionary"
            raise BadInputError(
                f"margins need to know samples again: the batch has no key {key!r} and its images no file name (they "
                f"are no MetaTensors); add one to the data set's items (keys of the batch: {keys})"
            )
        ids = [files] if isinstance(files, str) else _texts(files)
    if len(ids) != size:
        raise BadInputError(f"the batch has {size} images, but {len(ids)} ids under {key!r}; every image needs its own")
    return ids


def _check_unmixed(values: Any, key: str, size: int) -> None:
    """Refuse images that augmentation put together from several: a margin belongs to one."""
    nested = [one for one in values if isinstance(one, (list, tuple))] if isinstance(values, (list, tuple)) else []
    if nested or (isinstance(values, Tensor) and values.ndim > 1 and values.numel() > size):
        shown = nested[0] if nested else values[0].tolist()
        raise BadInputError(
            f"a sample of the batch has several ids under {key!r} ({', '.join(map(str, shown))}), as if it was mixed "
            "from several images, but margins are kept for one image each; train without mixing (mosaic, mixup), or "
            "give every mixture one id of its own"
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
        ids, what = [str(item[key]) for item in items], key
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
    return [str(value) for value in (values.tolist() if isinstance(values, Tensor) else values)]
