"""What some samples of a data set hold, to tell it from another one whose samples have the same names."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from monai_robust.data.sample_ids import coarse, listed_items
from monai_robust.errors import BadInputError

__all__ = ["check_contents", "contents_of"]

_LOG = logging.getLogger(__name__)
_PROBED = 8  # samples of a data set
_BLOCKS, _BLOCK = 16, 4096  # bytes of a file that are read, all over it
_FILES = 16  # of a folder, such as a DICOM series


def contents_of(dataset: Any, names: Sequence[str], wanted: Collection[str] | None = None) -> dict[str, str]:
    """Eight digits for each of a few samples, which follow from the file of its image, or from the image itself where
    the data set lists it; no transform is run for them.

    Args:
        dataset: of any kind; without a list of its items, nothing is known of it.
        names: of its samples, in the order of its items.
        wanted: the samples that are looked at; by default some from the first to the last.

    Returns:
        Digits by name, none for a sample whose image is neither a file that is there nor numbers.
    """
    items = listed_items(dataset, named=False)
    if not items or len(items) != len(names):
        return {}
    if wanted is None:
        wanted = {names[round(place)] for place in np.linspace(0, len(names) - 1, _PROBED)}
    held = {name: _held(item) for name, item in zip(names, items, strict=True) if name in wanted}
    return {name: one for name, one in held.items() if one is not None}


def check_contents(then: Mapping[str, str], now: Mapping[str, str], what: str) -> None:
    """Refuse what was kept of samples that only have the names of those of this data set.

    Args:
        then: what samples held, from :func:`contents_of`.
        now: what those of the same names hold.
        what: was kept; begins the sentence.

    Raises:
        BadInputError: where all that are in both differ; if some do, a warning is given.
    """
    both = [name for name in now if name in then]
    others = [name for name in both if then[name] != now[name]]
    if others and len(others) == len(both):
        raise BadInputError(
            f"{what} are of another data set whose samples have the same names: of {len(both)} that were looked at, "
            f"all hold other images, such as {others[0]!r}; start without them, or with the data they were learned on"
        )
    if others:
        _LOG.warning("%s: %d of %d samples that were looked at hold other images now", what, len(others), len(both))


def _held(item: Any) -> str | None:
    digest, told = hashlib.sha256(), False
    for part in _parts(item.get("image", item) if isinstance(item, Mapping) else item):
        for block in _blocks(part):
            digest.update(block)
            told = True
    return digest.hexdigest()[:8] if told else None


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _parts(one)
    else:
        yield value


def _blocks(part: Any) -> Iterator[bytes]:
    """What tells an image from others: numbers, coarsely, and of files their size and blocks all over them."""
    if isinstance(part, (Tensor, np.ndarray)):
        yield repr(coarse(part)).encode()
    if not isinstance(part, (str, Path)):
        return
    path = Path(part).expanduser()
    for file in sorted(path.iterdir())[:_FILES] if path.is_dir() else [path]:
        if file.is_file():
            size = file.stat().st_size
            yield str(size).encode()
            with file.open("rb") as content:
                for place in np.linspace(0, max(0, size - _BLOCK), _BLOCKS).astype(int).tolist():
                    content.seek(place)
                    yield content.read(_BLOCK)
