"""Damage that any file can take: bytes lost, flipped, added, overwritten, and a thing in its place that is no file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["damage_bytes", "damage_place"]

Random = np.random.Generator
_HEADER = 512


def damage_bytes(path: Path, random: Random) -> str:
    """Change the bytes of a file; returns what was done."""
    content = path.read_bytes()
    name = str(random.choice(list(_BYTES)))
    changed, what = _BYTES[name](content, random)
    path.write_bytes(changed)
    return f"{name} {what}"


def damage_place(path: Path, random: Random) -> str:
    """Put something in the file's place that is no file."""
    name = str(random.choice(list(_PLACES)))
    content = path.read_bytes()
    path.unlink()
    _PLACES[name](path, content)
    return name


def _place(content: bytes, random: Random) -> int:
    """Headers are short and decide much: half of all places are there."""
    length = len(content) if random.random() < 0.5 else min(len(content), _HEADER)
    return int(random.integers(length)) if length else 0


def _cut(content: bytes, random: Random) -> tuple[bytes, str]:
    keep = int(random.integers(len(content) + 1)) if random.random() < 0.7 else max(len(content) - 1 - _few(random), 0)
    return content[:keep], f"to {keep} of {len(content)} bytes"


def _few(random: Random) -> int:
    return int(random.integers(8))


def _flip(content: bytes, random: Random) -> tuple[bytes, str]:
    changed, places = bytearray(content), []
    for _ in range(1 + (_few(random) if random.random() < 0.3 else 0)):
        place = _place(content, random)
        if content:
            changed[place] ^= 1 << int(random.integers(8))
        places.append(place)
    return bytes(changed), f"a bit at {places}"


def _overwrite(content: bytes, random: Random) -> tuple[bytes, str]:
    place, changed = _place(content, random), bytearray(content)
    value = int(random.choice([0, 0xFF, 0x7F, 0x80, 0x0A, 0x2D]))
    if content:
        changed[place] = value
    return bytes(changed), f"{value:#x} at {place}"


def _insert(content: bytes, random: Random) -> tuple[bytes, str]:
    place, more = _place(content, random), random.bytes(1 + _few(random))
    return content[:place] + more + content[place:], f"{len(more)} bytes at {place}"


def _remove(content: bytes, random: Random) -> tuple[bytes, str]:
    place, length = _place(content, random), 1 + _few(random)
    return content[:place] + content[place + length :], f"{length} bytes at {place}"


def _zero(content: bytes, random: Random) -> tuple[bytes, str]:
    place = _place(content, random)
    length = min(int(random.choice([4, 32, 512, 4096])), len(content) - place)
    return content[:place] + bytes(length) + content[place + length :], f"{length} bytes at {place}"


def _append(content: bytes, random: Random) -> tuple[bytes, str]:
    more = bytes(16) if random.random() < 0.5 else random.bytes(1 + _few(random))
    return content + more, f"{len(more)} bytes"


def _repeat(content: bytes, random: Random) -> tuple[bytes, str]:
    start = _place(content, random)
    part = content[start : start + 64]
    return content[: start + 64] + part + content[start + 64 :], f"{len(part)} bytes at {start}"


_BYTES: dict[str, Callable[[bytes, Random], tuple[bytes, str]]] = {
    "cut": _cut,
    "flip": _flip,
    "overwrite": _overwrite,
    "insert": _insert,
    "remove": _remove,
    "zero": _zero,
    "append": _append,
    "repeat": _repeat,
}


def _folder(path: Path, content: bytes) -> None:
    path.mkdir()


def _fifo(path: Path, content: bytes) -> None:
    os.mkfifo(path)


def _loop(path: Path, content: bytes) -> None:
    path.symlink_to(path.name)


def _dangling(path: Path, content: bytes) -> None:
    path.symlink_to("nowhere")


def _empty(path: Path, content: bytes) -> None:
    path.write_bytes(b"")


def _gone(path: Path, content: bytes) -> None:
    shutil.rmtree(path, ignore_errors=True)


_PLACES: dict[str, Callable[[Path, bytes], None]] = {
    "a folder": _folder,
    "a FIFO": _fifo,
    "a link to itself": _loop,
    "a link to nowhere": _dangling,
    "an empty file": _empty,
    "nothing": _gone,
}
