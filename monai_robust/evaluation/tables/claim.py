"""A run's folder while it is measured: whose it is, and what has failed so far in each process.

``run.json`` says what is measured, and what failed in the first process; each other one lists it in a file of its own
beside its parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_robust.data.files.side_files import read_object
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.parts import FOLDER as PARTS
from monai_robust.evaluation.tables.run_folder import INFO, read_failed, write_run_info
from monai_robust.evaluation.tables.stored import csv_path, parquet_path
from monai_robust.evaluation.tables.writer import OUTCOMES_TABLE

__all__ = ["claim", "failed_in_all", "failed_in_others", "save_failed"]

# What may differ when a measurement goes on.
_FREE = frozenset({"started", "finished", "machine", "versions", "checkpoint", "units"})


def claim(folder: str | Path, about: dict[str, Any]) -> None:
    """Write ``run.json``, or go on with the one that is there if it is about the same measurement.

    Args:
        folder: of the run.
        about: what ``run.json`` says; the time at which a stopped measurement began is put in.

    Raises:
        BadInputError: for a folder that holds another measurement, or one that nobody vouches for.
    """
    path = Path(folder) / INFO
    if not path.exists():
        held = [csv_path(folder, OUTCOMES_TABLE), parquet_path(folder, OUTCOMES_TABLE), Path(folder) / PARTS]
        found = next((one.name for one in held if one.exists()), None)
        if found is not None:
            raise BadInputError(f"{folder} holds {found} without run.json; measure into another folder")
        write_run_info(folder, about)
        return
    before = _read(path)
    now = json.loads(json.dumps(about))
    changed = [key for key in now if key not in _FREE and before.get(key) != now[key]]
    if changed:
        raise BadInputError(
            f"{folder} holds another measurement (other {', '.join(changed)}); measure into another folder"
        )
    about["started"] = before.get("started")
    others = _others(folder)
    if others:
        failed = _merged([read_failed(before, path), *_listed_by_others(folder)])
        write_run_info(folder, {**about, "failed": failed})
        for other in others:
            other.unlink()


def failed_in_all(folder: str | Path) -> list[dict[str, Any]]:
    """What has failed so far, in any process."""
    path = Path(folder) / INFO
    return _merged([read_failed(_read(path), path), *_listed_by_others(folder)])


def failed_in_others(folder: str | Path, process: int) -> list[dict[str, Any]]:
    """What has failed so far in the other processes."""
    path = Path(folder) / INFO
    first = [read_failed(_read(path), path)] if process else []
    return _merged([*first, *_listed_by_others(folder, process)])


def save_failed(
    folder: str | Path, about: Mapping[str, Any], listed: Sequence[Mapping[str, Any]], process: int
) -> None:
    """Keep what has failed so far in a process."""
    if process == 0:
        write_run_info(folder, {**about, "failed": list(listed)})
    else:
        write_whole(Path(folder) / PARTS / f"failed-{process}.json", json.dumps({"failed": list(listed)}).encode())


def _others(folder: str | Path, process: int = 0) -> list[Path]:
    """The lists of the processes but for the first and ``process``."""
    return [path for path in sorted((Path(folder) / PARTS).glob("failed-*.json")) if path.stem != f"failed-{process}"]


def _listed_by_others(folder: str | Path, process: int = 0) -> Iterator[list[dict[str, Any]]]:
    for path in _others(folder, process):
        yield read_failed(_read(path), path)


def _merged(lists: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for listed in lists:
        merged += [dict(one) for one in listed if one not in merged]
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path, "record of an evaluation")
    except BadInputError as error:
        raise BadInputError(f"{path} is damaged ({error}); measure into another folder") from None
