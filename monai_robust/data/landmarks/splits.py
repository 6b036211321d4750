"""Which part of a landmark data set a sample belongs to."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence

from monai_robust.data.lists.split_names import split_of, without_trainval
from monai_robust.errors import BadInputError, require_choice

__all__ = ["TEST_SPLITS", "known_splits"]

_logger = logging.getLogger(__name__)

TEST_SPLITS = ("test1", "test2", "both")
_TEST_SETS = re.compile(r"test[ _-]?([12])(?:[ _-]?data)?")  # the challenge's


def known_splits(ids: Sequence[str], splits: Sequence[str], test_split: str, source: str) -> list[str | None]:
    """For each sample "train", "val", "test", None where it is left out, or "" throughout where nothing is divided.

    Args:
        ids: of the samples.
        splits: as the data set names them.
        test_split: which of the challenge's two test sets to test on, "test1", "test2" or "both"; a plain "test" is
            always tested on.
        source: what the splits were read from, for messages.

    Raises:
        BadInputError: there is no such ``test_split``, or no sample is in a known split.
    """
    require_choice("test_split", test_split, TEST_SPLITS)
    if not any(splits):
        return [""] * len(splits)
    chosen = ("test1", "test2") if test_split == "both" else (test_split,)
    known = without_trainval(ids, [_meaning(split, chosen) for split in splits])
    used = [split if split in ("train", "val", "test") else None for split in known]
    left_out = Counter(name or "none" for name, split in zip(splits, used, strict=True) if split is None)
    listed = ", ".join(f"{count} of {name}" for name, count in sorted(left_out.items()))
    if not any(used):
        raise BadInputError(f"{source} has no split train, val or test; it has {listed}")
    if left_out:
        _logger.warning("%d samples of %s are left out: %s", left_out.total(), source, listed)
    return used


def _meaning(name: str, chosen: Sequence[str]) -> str:
    test_set = _TEST_SETS.fullmatch(name.casefold().strip())
    if test_set is None:
        return split_of(name)
    return "test" if f"test{test_set.group(1)}" in chosen else ""
