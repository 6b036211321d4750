"""Which part of a landmark data set a sample belongs to."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from monai_robust.errors import BadInputError, require_choice

__all__ = ["TEST_SPLITS", "known_splits"]

_logger = logging.getLogger(__name__)

TEST_SPLITS = ("test1", "test2", "both")
_NAMES = {
    **dict.fromkeys(("train", "training", "trainingdata"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("test1", "test1data"), "test1"),
    **dict.fromkeys(("test2", "test2data"), "test2"),
}


def known_splits(splits: Sequence[str], test_split: str, source: str) -> list[str | None]:
    """For each sample "train", "val", "test", None where it is left out, or "" throughout where nothing is divided.

    Args:
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
    meaning = {name: "test" if split in chosen else split for name, split in _NAMES.items()}
    known = [meaning.get(split.lower()) for split in splits]
    used = [split if split in ("train", "val", "test") else None for split in known]
    left_out = Counter(name or "none" for name, split in zip(splits, used, strict=True) if split is None)
    listed = ", ".join(f"{count} of {name}" for name, count in sorted(left_out.items()))
    if not any(used):
        raise BadInputError(f"{source} has no split train, val or test; it has {listed}")
    if left_out:
        _logger.warning("%d samples of %s are left out: %s", left_out.total(), source, listed)
    return used
