"""The tables beside the outcomes of object detection: ``detections`` and, of the truth, ``boxes``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.data.files.side_files import numbers, read_table
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.run_folder import Run, read_run
from monai_robust.evaluation.tables.schema import DETAIL_KEYS, TRUTH_KEYS
from monai_robust.evaluation.tables.stored import read_frame, stored

__all__ = ["BOXES", "DETECTIONS", "Detections", "read_detections"]

DETECTIONS = "detections.csv"
BOXES = "boxes.csv"
_LARGEST = 1e6  # pixels
CORNERS = (
    ["xmin", "ymin", "xmax", "ymax"],
    ["xmin", "ymin", "zmin", "xmax", "ymax", "zmax"],
)


@dataclass(frozen=True, eq=False)
class Detections:
    """What was detected in every image, and what is there.

    Attributes:
        detections: ``sample_id, perturbation, severity, class, score`` and the box, in pixels of the network's input.
        boxes: ``sample_id, class`` and the box.
    """

    detections: pd.DataFrame
    boxes: pd.DataFrame

    def images(
        self, perturbation: str, severity: float, sample_ids: Sequence[str]
    ) -> tuple[list[dict[str, NDArray[Any]]], list[dict[str, NDArray[Any]]]]:
        """Detections and true boxes of some images, as :mod:`monai_robust.metrics.detection` takes them."""
        own = self.detections
        own = own[(own["perturbation"] == perturbation) & (own["severity"] == severity)]
        return _by_image(own, sample_ids), _by_image(self.boxes, sample_ids)

    def counts(self, threshold: float) -> pd.Series:
        """Detections at or above a score, by (sample_id, perturbation, severity); those without any are left out."""
        sure = self.detections[self.detections["score"] >= threshold]
        return sure.groupby(list(DETAIL_KEYS)).size()

    def true_counts(self) -> pd.Series:
        """True boxes by sample_id; images without any are left out."""
        return self.boxes.groupby("sample_id").size()


def read_detections(folder: str | Path, run: Run | None = None) -> Detections:
    """Read the two tables of a finished evaluation, and behind them those of the other sites in it.

    Args:
        folder: of the evaluation.
        run: what :func:`~monai_robust.evaluation.tables.run_folder.read_run` gave of it, if it was read already.

    Raises:
        BadInputError: if a table is missing or cut short, has other columns, or holds an unknown sample, perturbation
            or class, a number that is none, or a box that ends before it begins; file and line are named.
    """
    run = read_run(folder) if run is None else run
    samples = set(run.clean["sample_id"])
    found = _read(Path(folder) / DETECTIONS, [*DETAIL_KEYS, "class", "score"])
    true = _read(Path(folder) / BOXES, [*TRUTH_KEYS, "class"])
    found, true = (table[~table["sample_id"].isin(run.failed)].copy() for table in (found, true))
    for path, table in ((Path(folder) / DETECTIONS, found), (Path(folder) / BOXES, true)):
        _refuse(path, table, ~table["sample_id"].isin(samples), "sample_id is none of the outcomes table")
        classes = range(len(run.classes))
        _refuse(path, table, ~table["class"].isin(classes), f"class must be an index from 0 to {len(classes) - 1}")
        table["class"] = table["class"].astype(np.int64)
    if len(found.columns) - len(true.columns) != len(DETAIL_KEYS):
        raise BadInputError(
            f"{Path(folder) / DETECTIONS} and {BOXES} beside it must both hold boxes of 4 or of 6 numbers"
        )
    keys = pd.MultiIndex.from_frame(found[["perturbation", "severity"]])
    known = [(one.name, severity) for one in run.applied for severity in one.severities]
    text = "no such perturbation and severity were evaluated"
    _refuse(Path(folder) / DETECTIONS, found, ~pd.Series(keys.isin(known), index=found.index), text)
    others = {name: read_detections(shift.folder, shift) for name, shift in run.shifts.items()}
    if others:
        added = [one.detections.assign(perturbation=name) for name, one in others.items()]
        found = pd.concat([found, *added], ignore_index=True)
        true = pd.concat([true, *(one.boxes for one in others.values())], ignore_index=True)
    return Detections(found, true)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table with these columns and a box, texts as they are and all else numbers; the index tells lines."""
    file = stored(path.parent, path.stem)
    if not file.exists():
        raise BadInputError(f"the table of boxes {path} cannot be read: there is no such file")
    if file.suffix == ".parquet":
        table = read_frame(file)
        table.index += 2
    else:
        table = read_table(file, "table of boxes", whole=True)
    corners = next((names for names in CORNERS if list(table.columns) == [*columns, *names]), None)
    if corners is None:
        raise BadInputError(
            f"{path}, line 1: the columns must be {', '.join([*columns, *CORNERS[0]])} (in 3-D with zmin and zmax), "
            f"not {', '.join(table.columns)}"
        )
    for name in (set(columns) | set(corners)) - {"sample_id", "perturbation"}:
        if file.suffix != ".parquet":
            table[name] = numbers(table, name, path)
        elif table[name].dtype.kind not in "if" or not np.isfinite(table[name]).all():
            raise BadInputError(f"{file}: {name} must be a finite number in every row")
        _refuse(path, table, table[name].abs() > _LARGEST, f"{name} must not be beyond {_LARGEST:g}")
    half = len(corners) // 2
    for low, high in zip(corners[:half], corners[half:], strict=True):
        _refuse(path, table, table[high] < table[low], f"{high} must not be below {low}")
    return table


def _refuse(path: Path, table: pd.DataFrame, wrong: pd.Series, text: str) -> None:
    if wrong.any():
        raise BadInputError(f"{path}, line {table.index[np.flatnonzero(wrong)[0]]}: {text}")


def _by_image(table: pd.DataFrame, sample_ids: Iterable[str]) -> list[dict[str, NDArray[Any]]]:
    corners = next(names for names in reversed(CORNERS) if set(names) <= set(table.columns))
    whole = {"boxes": table[corners].to_numpy(), "labels": table["class"].to_numpy()}
    whole |= {"scores": table["score"].to_numpy()} if "score" in table else {}
    rows = table.groupby("sample_id").indices
    none = np.empty(0, dtype=np.int64)
    return [{name: values[rows.get(sample, none)] for name, values in whole.items()} for sample in sample_ids]
