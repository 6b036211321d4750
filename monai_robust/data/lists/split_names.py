"""How data sets spell the names of their splits: in tables, lists, folders and file names of all tasks."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.files.schemas import shown
from monai_robust.errors import BadInputError

__all__ = ["in_known_splits", "lists_of_splits", "split_of", "split_of_file", "warn_of_other_lists", "without_trainval"]

_logger = logging.getLogger(__name__)

_SPELLINGS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("trainval", "trainvalid", "trainvalidation", "trainingvalidation"), "trainval"),
}
_ENDINGS = re.compile(r"(set|data|split|list|images?|cases?|samples?|files?|folder)$")


def split_of(name: str) -> str:
    """The split that a name means: "train", "val", "test", "trainval" (to be divided), or "" where it is another.

    Case, spaces, underscores and hyphens do not matter, nor do a year or words such as "set" and "data" at the end.

    >>> [split_of(name) for name in ("Training", "validation_set", "train2017", "train+val", "holdout", "value")]
    ['train', 'val', 'train', 'trainval', '', '']
    """
    plain = re.sub(r"[\s_.+/&-]", "", name.casefold())
    plain = re.sub(r"(19|20)\d\d$", "", plain)
    return _SPELLINGS.get(plain) or _SPELLINGS.get(_ENDINGS.sub("", plain), "")


def split_of_file(name: str) -> str:
    """The split of a file whose name is, or begins with, that of a split: "train_cells", "val2017", "trainval"."""
    first = re.match(r"[a-z]*", name.casefold().strip())
    return split_of(name) or (split_of(first.group()) if first else "")


def without_trainval(ids: Sequence[str], splits: Sequence[str]) -> list[str | None]:
    """The splits of samples where "trainval" is one of them.

    Where "trainval" only repeats a list "train", the rest of it is "val"; otherwise it is "train", of which "val" is
    drawn where there is none.

    Args:
        ids: of the samples; those in two lists occur twice.
        splits: "train", "val", "test", "trainval" or anything else, as which it comes back.

    Returns:
        The split of each, or None for an entry under "trainval" that is under "train" or "val", too.
    """
    listed: dict[str, set[str]] = {split: set() for split in ("train", "val", "trainval")}
    for sample, split in zip(ids, splits, strict=True):
        if split in listed:
            listed[split].add(sample)
    own = listed["train"] | listed["val"]
    rest = "val" if not listed["val"] and listed["train"] & listed["trainval"] else "train"
    return [
        split if split != "trainval" else None if sample in own else rest
        for sample, split in zip(ids, splits, strict=True)
    ]


def in_known_splits(table: pd.DataFrame, ids: Sequence[str], source: Path | str, what: str) -> pd.DataFrame:
    """The rows of a table that are in a split, "train", "val" or "test"; others are left out and told of.

    Args:
        table: has a text column ``split`` with the data set's own names, empty throughout where nothing is divided.
        ids: of its rows, of which "trainval" may list one again.
        source: what it was read from, for messages.
        what: its rows are, for messages.

    Raises:
        BadInputError: no row is in a split.
    """
    if (table["split"] == "").all():
        return table
    splits = pd.Series(without_trainval(list(ids), [split_of(name) for name in table["split"]]), table.index)
    known = splits.isin(("train", "val", "test"))
    others = ", ".join(sorted({name or "none" for name in table.loc[splits == "", "split"]}))
    if not known.any():
        raise BadInputError(f"{source} has no split train, val or test; it has {others}")
    if others:
        _logger.warning(
            "%d %s of %s belong to other splits (%s) and are left out", int((splits == "").sum()), what, source, others
        )
    return table.assign(split=splits)[known]


def lists_of_splits(content: Mapping[str, Any], path: Path) -> list[tuple[str, str, Any]]:
    """The entries of a JSON object such as ``{"training": [...], "validation": [...], "test": [...]}``.

    Args:
        content: the object.
        path: its file, for messages.

    Returns:
        Split, name of the list, and entry, in the order of the file.

    Raises:
        BadInputError: for what is called as a split and is no list.
    """
    lists = {name: entries for name, entries in content.items() if split_of(name) and entries is not None}
    odd = next((name for name, entries in lists.items() if not isinstance(entries, list)), None)
    if odd is not None:
        raise BadInputError(f"{path}: {odd!r} is {shown(lists[odd])}; it needs a list of samples")
    return [(split_of(name), name, entry) for name, entries in lists.items() for entry in entries]


def warn_of_other_lists(content: Mapping[str, Any], path: Path) -> None:
    """Tell of lists of images in a JSON object that are called as no split: nothing in them is used.

    Args:
        content: the object.
        path: its file.
    """
    others = sorted(name for name, entries in content.items() if not split_of(name) and _lists_images(entries))
    if others:
        _logger.warning("%s of data list %s are other lists, of which nothing is used", ", ".join(others), path)


def _lists_images(entries: Any) -> bool:
    return isinstance(entries, list) and any(isinstance(one, dict) and "image" in one for one in entries)
