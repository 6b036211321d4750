"""How a data set's samples become those of training, validation and test, whatever the task."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.lists.splits import (
    SPLITS,
    check_fractions,
    complete_splits,
    counted_splits,
    cross_validation_splits,
    limited,
)
from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["Division", "data_set_folder", "group_columns", "items_of", "parts_of", "require_parts"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Division:
    """What every data list is asked about its splits.

    Args:
        validation_fraction: share of the samples to validate on, where the data set does not say.
        test_fraction: share of the samples to test on, where the data set does not say.
        seed: of every draw.
        fold: pool training and validation samples and validate on this one of ``folds`` (0 is the first).
        folds: number of folds.
        limit: use at most so many samples of each split, with patients whole; None for all.
        undivided: all samples are for test, whatever the data set says, and nothing is drawn.
        counts: so many samples to train, to validate and to test on, drawn, from the data set's own splits first.

    Raises:
        BadInputError: for fractions that are none or leave nothing to train on, and for a seed, a fold or a limit that
            is no whole number, or too small a one.
    """

    validation_fraction: float
    test_fraction: float
    seed: int = 0
    fold: int | None = None
    folds: int = 5
    limit: int | None = None
    undivided: bool = False
    counts: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_fractions(self.validation_fraction, self.test_fraction)
        for name, least in (("seed", 0), ("fold", 0), ("folds", 2), ("limit", 1)):
            value = getattr(self, name)
            if not is_whole(value, least) and not (value is None and name in ("fold", "limit")):
                raise BadInputError(f"{name} is {value!r}; it can be a whole number from {least} on")
        if self.counts is not None:
            numbers = list(self.counts) if isinstance(self.counts, (list, tuple)) else []
            if len(numbers) != 3 or not all(is_whole(one, 1) for one in numbers):
                raise BadInputError(
                    f"split_counts is {self.counts!r}; it takes the numbers of samples to train, to validate and to "
                    "test on, such as [208, 17, 35]"
                )
            if self.fold is not None:
                raise BadInputError(
                    f"split_counts {numbers} and fold {self.fold} both say what to validate on; give one"
                )

    def divided(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with a ``split`` for every sample: what was missing is drawn, and a fold divided.

        Args:
            table: samples with ``label`` (what to stratify by), ``patient_id`` and ``split``.

        Raises:
            BadInputError: for a fold that there is none of.
        """
        if self.undivided:
            return table.assign(split="test")
        if self.counts is not None:
            return counted_splits(table, self.counts, self.seed)
        table = complete_splits(table, self.validation_fraction, self.test_fraction, self.seed)
        return table if self.fold is None else cross_validation_splits(table, self.fold, self.folds, self.seed)

    def limited(self, table: pd.DataFrame) -> pd.DataFrame:
        """At most ``limit`` samples of each split, in proportion to its classes.

        Raises:
            BadInputError: the limit cannot hold one whole patient of each class.
        """
        return table if self.limit is None else limited(table, self.limit, self.seed)


def data_set_folder(dataset_dir: str | PathLike[str]) -> Path:
    """The absolute path of a data set's folder.

    Raises:
        BadInputError: there is none.
    """
    root = Path(dataset_dir).expanduser().absolute()
    if not root.is_dir():
        raise BadInputError(f"there is no data set folder {root}")
    return root


def parts_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each split."""
    return {split: table[table["split"] == split] for split in SPLITS}


def require_parts(parts: Mapping[str, pd.DataFrame], total: int, root: Path, what: str, why: str = "") -> None:
    """Refuse a split without samples, and tell of patients that are in two.

    Args:
        parts: the rows of each split; the same table twice is one split of two names.
        total: the number of samples.
        root: the data set's folder.
        what: its samples are, for messages.
        why: else a split may have nothing, from a semicolon on.

    Raises:
        BadInputError: for an empty split.
    """
    for split, part in parts.items():
        if part.empty:
            raise BadInputError(f"split {split!r} is empty: {total} {what} are too few, or {root} omits it{why}")
    own = {id(part): set(part["patient_id"]) for part in parts.values()}
    leaking = sum(times > 1 for times in Counter(one for patients in own.values() for one in patients).values())
    if leaking:
        _logger.warning("%d patients have %s in more than one split", leaking, what)


def group_columns(groups: Sequence[str], columns: Iterable[str], root: Path, undivided: bool = False) -> list[str]:
    """The columns that samples are to be grouped by; where nothing is divided, those that are there.

    Args:
        groups: that were asked for.
        columns: of the data list.
        root: the data set's folder.
        undivided: the samples are of another site, whose list may have other columns.

    Raises:
        BadInputError: for one that is not there.
    """
    known = {str(column) for column in columns}
    absent = [group for group in groups if group not in known]
    if absent and not undivided:
        has = ", ".join(sorted(known - {"image", "split"})) or "none"
        raise BadInputError(f"the data list of {root} has no column {absent[0]!r} to group by; it has {has}")
    return [group for group in groups if group in known]


def items_of(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """A dictionary for each row, with these columns."""
    rows = table[list(dict.fromkeys(columns))].to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]
