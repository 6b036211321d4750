"""The columns of a run's tables and their types: what is written, read and refused is declared here, once.

A column holds text, whole numbers or numbers. Text is never missing, it may be empty; of the numbers, only ``severity``
may not be missing: a number that does not exist, such as the score of a slice without foreground, is null in Parquet,
an empty cell in CSV and NaN in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from monai_robust.errors import BadInputError

__all__ = [
    "CLEAN",
    "DETAIL_KEYS",
    "KEYS",
    "MEASURED",
    "RADIUS",
    "Columns",
    "arrow_schema",
    "arrow_table",
    "detail_columns",
    "outcome_columns",
    "truth_columns",
]

Columns = Mapping[str, type]
"""Names of columns, in their order, and what each holds: ``str``, ``int`` or ``float``."""

CLEAN = "clean"
"""What tables call inputs to which nothing was done."""
KEYS: Columns = {"sample_id": str, "patient_id": str, "perturbation": str, "severity": float, "norm": str}
RADIUS: Columns = {"radius": float}
"""Of an attack whose severities are in units of the file, the radius of each sample in units of the network's input."""
MEASURED: Columns = {"distance": float, "contrast": float, "input_norm": float}
DETAIL_KEYS: Columns = {"sample_id": str, "perturbation": str, "severity": float}
TRUTH_KEYS: Columns = {"sample_id": str}

_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}


def outcome_columns(task_columns: Columns, groups: Iterable[str] = (), *, radius: bool = False) -> dict[str, type]:
    """All columns of an outcomes table, in their order.

    Args:
        task_columns: columns of the task, ``score`` among them.
        groups: group columns of the data set, which are text.
        radius: whether samples have radii of their own.

    Raises:
        BadInputError: if a name occurs twice, or there is no ``score``.
    """
    own = RADIUS if radius else {}
    names = [*KEYS, *groups, *own, *MEASURED, *task_columns]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise BadInputError(f"the outcomes table would have the column {twice[0]!r} twice; rename the group or column")
    if "score" not in task_columns:
        raise BadInputError(
            "the task's columns hold no 'score'; an outcomes table needs one number that rates a sample"
        )
    return {**KEYS, **dict.fromkeys(groups, str), **own, **MEASURED, **task_columns}


def detail_columns(task_columns: Columns) -> dict[str, type]:
    """All columns of a table of details, such as detections: any number of rows for a sample."""
    return {**DETAIL_KEYS, **task_columns}


def truth_columns(task_columns: Columns) -> dict[str, type]:
    """All columns of a table of what would be right, such as true boxes."""
    return {**TRUTH_KEYS, **task_columns}


def arrow_schema(columns: Columns) -> pa.Schema:
    """The schema of columns in Arrow and Parquet."""
    return pa.schema(
        [
            pa.field(name, _TYPES[kind], nullable=kind is not str and name != "severity")
            for name, kind in columns.items()
        ]
    )


def arrow_table(columns: Columns, values: Mapping[str, Sequence[Any]], where: str) -> pa.Table:
    """A table of these columns.

    Args:
        columns: their names and types.
        values: of each column, as lists, arrays, tensors or columns of a data frame, of equal length; None and NaN are
            missing numbers.
        where: what the message of an error begins with.

    Raises:
        BadInputError: for other columns, columns of other lengths, or a value of another type.
    """
    if values.keys() != columns.keys():
        odd = ", ".join(sorted(values.keys() ^ columns.keys()))
        raise BadInputError(f"{where}: the rows and the table do not have the same columns; they differ in {odd}")
    schema = arrow_schema(columns)
    arrays = []
    for field in schema:
        try:
            arrays.append(_array(values[field.name], field))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise BadInputError(f"{where}: {field.name} holds something that is no {field.type}: {error}") from error
    lengths = {name: len(array) for name, array in zip(columns, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        raise BadInputError(f"{where}: columns of a batch differ in their lengths: {lengths}")
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Any, field: pa.Field) -> pa.Array:
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    if field.type == pa.string():
        return pa.array([str(value) for value in listed], pa.string())
    if field.type == pa.int64():
        return pa.array([None if _missing(value) else _whole(value) for value in listed], pa.int64())
    numbers = np.array([np.nan if value is None else value for value in listed], dtype=np.float64)
    if not field.nullable and np.isnan(numbers).any():
        raise ValueError("a number is missing")
    return pa.array(numbers, from_pandas=True)


def _whole(value: Any) -> int:
    if int(value) != value:
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def _missing(value: Any) -> bool:
    return value is None or value != value
