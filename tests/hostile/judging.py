"""What a kind of file is, and how two readings of one file are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Kind", "difference"]

Damage = Callable[[Path, np.random.Generator], str]


@dataclass(frozen=True)
class Kind:
    """A kind of file that the product reads.

    Args:
        name: of the kind.
        write: writes a small good example into a folder.
        damaged: patterns of the files in it that may be damaged.
        fields: damage to fields of a file, by the end of its name.
        read: the product's reading of the folder.
        reference: somebody else's reading of it; any exception is a refusal.
        difference: says in which way the first is not the second, ``""`` if it is.
        size: bytes of the decoded example, of which reading may take four times as many beside a fixed amount.
        every: only every so many rounds over all kinds have a case of this one, which takes long.
    """

    name: str
    write: Callable[[Path], object]
    damaged: Sequence[str]
    fields: Mapping[str, Damage]
    read: Callable[[Path], Any]
    reference: Callable[[Path], Any]
    difference: Callable[[Any, Any], str]
    size: int = 0
    every: int = 1


def difference(found: Any, expected: Any, path: str = "") -> str:
    """The first place where two readings differ; NaN is NaN, numbers may differ by rounding to 32 bit."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        if set(found) != set(expected):
            return f"{path}: has {_few(set(found) - set(expected))} more and {_few(set(expected) - set(found))} less"
        return next((one for key in found if (one := difference(found[key], expected[key], f"{path}.{key}"))), "")
    if isinstance(found, np.ndarray) or isinstance(expected, np.ndarray):
        return _arrays(np.asarray(found), np.asarray(expected), path)
    if isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)):
        if len(found) != len(expected):
            return f"{path}: {len(found)} entries, not {len(expected)}"
        pairs = zip(found, expected, strict=True)
        return next((one for k, pair in enumerate(pairs) if (one := difference(*pair, f"{path}[{k}]"))), "")
    same = _same_number(found, expected) if _are_numbers(found, expected) else found == expected
    return "" if same else f"{path}: {str(found)[:60]!r}, not {str(expected)[:60]!r}"


def _few(names: set[Any]) -> list[str]:
    return sorted(str(name)[:40] for name in names)[:3]


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values)


def _same_number(one: Any, other: Any) -> bool:
    try:
        one, other = float(one), float(other)
    except OverflowError:
        return bool(one == other)
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)


def _arrays(found: np.ndarray, expected: np.ndarray, path: str) -> str:
    if found.shape != expected.shape:
        return f"{path}: shape {found.shape}, not {expected.shape}"
    if found.dtype.kind not in "biufc" or expected.dtype.kind not in "biufc":
        return "" if np.array_equal(found, expected) else f"{path}: other values"
    with np.errstate(all="ignore"):
        wide = np.complex128 if "c" in found.dtype.kind + expected.dtype.kind else np.float64
        one, other = found.astype(wide), expected.astype(wide)
        wrong = ~np.isclose(one, other, rtol=1e-5, atol=1e-3, equal_nan=True)
    if not wrong.any():
        return ""
    first = tuple(int(place) for place in np.argwhere(wrong)[0])
    return f"{path}: {wrong.sum()} of {wrong.size} values differ, first {one[first]} not {other[first]} at {first}"
