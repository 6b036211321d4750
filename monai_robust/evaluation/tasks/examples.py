"""Which samples of a data set are shown as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["fullest_of_each_quarter"]

Item = Mapping[str, Any]


def fullest_of_each_quarter(items: Sequence[Item], key: str, fullness: Callable[[Item], tuple[int, ...]]) -> list[int]:
    """Of each quarter of a data set the index of the first sample that holds the most, if it holds anything.

    Args:
        items: of the data set; where none says by ``key`` what it holds, the first four are chosen.
        key: of what an item holds.
        fullness: of an item; zeros for one that holds nothing.
    """
    if not any(key in item for item in items):
        return list(range(min(4, len(items))))
    counts = [fullness(item) for item in items]
    edges = [len(items) * quarter // 4 for quarter in range(5)]
    quarters = [range(first, last) for first, last in pairwise(edges) if first < last]
    best = [max(quarter, key=counts.__getitem__) for quarter in quarters]
    return [index for index in best if any(counts[index])]
