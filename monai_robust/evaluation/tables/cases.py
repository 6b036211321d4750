"""Cases to look at: pictures of some samples under every perturbation, kept in ``cases.parquet`` of a run's folder.

A row is a case under a perturbation at a severity. Its picture is a PNG file of 8 bits, the slices of a volume below
each other: of ``clean`` the image, in levels from the intensity ``low`` to ``high``; of all else the difference to it,
of which 128 is none and 1 and 255 are ``low`` and ``high``. What the network was shown is made from the two; it is a
picture to look at, never again the input itself. ``input``, which is empty unless asked for, is that: what the network
was given, in single precision.

While a measurement runs, rows stand in parts in the folder ``cases``, each written before the part of the outcomes
table that tells of the same units: what the table holds after a kill has its pictures, and a unit that is measured
again gives the same ones.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.parts import Parts
from monai_robust.evaluation.tables.stored import parquet_path, read_parquet, read_schema, write_parquet
from monai_robust.scalars import is_whole

__all__ = [
    "CASES",
    "MOST_CASES",
    "CaseWriter",
    "case_numbers",
    "check_count",
    "packed_input",
    "read_cases",
    "read_input",
    "read_numbers",
]

CASES = "cases"
MOST_CASES = 200
_VERSION = {b"cases_version": b"1"}
_SCHEMA = pa.schema(
    [
        pa.field("case", pa.int64(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("perturbation", pa.string(), nullable=False),
        pa.field("severity", pa.float64(), nullable=False),
        pa.field("picture", pa.binary(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("geometry", pa.string(), nullable=False),
        pa.field("mask", pa.binary(), nullable=False),
        pa.field("marks", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("prediction", pa.string(), nullable=False),
        pa.field("confidence", pa.float64()),
        pa.field("input", pa.binary(), nullable=False),
    ],
    metadata=_VERSION,
)
TRUTH = "truth"
"""The perturbation of the row that holds, in place of a prediction, what is true of a case."""


def check_count(count: Any, name: str = "cases") -> int:
    """How many cases are kept.

    Raises:
        BadInputError: for anything but a whole number from 0 to 200.
    """
    if not is_whole(count, 0) or count > MOST_CASES:
        raise BadInputError(f"{name} is {count!r}; it must be a whole number from 0 (none are kept) to {MOST_CASES}")
    return int(count)


def case_numbers(items: Iterable[Mapping[str, Any]], count: int) -> dict[str, int]:
    """Which samples are kept as cases, and the number of each, from 1.

    They are drawn evenly from the strata of what samples hold, in turn, and in each in the order of a hash of the
    sample's id. So a case has its number whatever the order of the samples, the number of processes or of cases kept,
    and runs on the same samples keep the same cases.

    Args:
        items: what a data set says of its samples: ``sample_id``, and the stratum by ``foreground`` or ``classes`` (the
            classes that a sample holds) or else ``label``.
        count: how many to keep.
    """
    strata: dict[str, list[tuple[str, str]]] = {}
    for item in items:
        sample = str(item["sample_id"])
        digest = hashlib.sha256(f"case\x1f{sample}".encode()).hexdigest()
        strata.setdefault(_stratum(item), []).append((digest, sample))
    turns = [(turn, digest, sample) for own in strata.values() for turn, (digest, sample) in enumerate(sorted(own))]
    return {sample: number for number, (_, _, sample) in enumerate(sorted(turns)[:count], 1)}


def _stratum(item: Mapping[str, Any]) -> str:
    for key in ("foreground", "classes"):
        if isinstance(item.get(key), (list, tuple, set, frozenset)):
            return repr(sorted({int(one) for one in item[key]}))
    label = item.get("label")
    if isinstance(label, (list, tuple)):
        return repr([float(one) for one in label])
    return repr(float(label)) if isinstance(label, Real) else ""


class CaseWriter:
    """Write cases while a measurement runs, and continue what a stopped one left behind.

    Args:
        folder: of the run.
        numbers: of each sample that is kept, from :func:`case_numbers`; nothing is written where there are none.
        plan: every perturbation and severity, in order.
        process: number of this process among those that write.
    """

    def __init__(
        self, folder: str | Path, numbers: Mapping[str, int], plan: Iterable[tuple[str, float]], process: int = 0
    ) -> None:
        self.path = parquet_path(folder, CASES)
        self.numbers = dict(numbers)
        self.plan = {(str(name), float(severity)): place for place, (name, severity) in enumerate(plan)}
        self._parts = Parts(Path(folder) / CASES, _SCHEMA, process)
        self._rows: dict[tuple[int, str, float], dict[str, Any]] = {}

    def add(self, sample_id: str, perturbation: str, severity: float, row: Mapping[str, Any]) -> None:
        """Take a row of a sample that is kept, the columns from ``picture`` on."""
        case = self.numbers[sample_id]
        keys = {"case": case, "sample_id": sample_id, "perturbation": perturbation, "severity": float(severity)}
        self._rows[(case, perturbation, float(severity))] = {**keys, **row}

    def flush(self) -> None:
        """Write what was taken since the last time as a part."""
        if self._rows:
            self._parts.write(_table(list(self._rows.values())))
            self._rows = {}

    def finish(self) -> None:
        """Put the parts of all processes together into ``cases.parquet``, once all have flushed theirs.

        Cases without a picture for some perturbation, such as those of samples that failed, are left out.
        """
        self.flush()
        self._parts.clean()
        if self._parts.paths():
            write_parquet(self.path, self._in_order(self._parts.read()))
        self._parts.remove()
        if self._parts.run.is_dir() and not any(self._parts.run.iterdir()):
            self._parts.run.rmdir()

    def _in_order(self, table: pa.Table) -> pa.Table:
        """Each row once, whole cases alone, in the order of their numbers and of the plan."""
        rows: dict[tuple[int, int], int] = {}
        keys = zip(
            *(table[name].to_pylist() for name in ("case", "sample_id", "perturbation", "severity")), strict=True
        )
        for place, (case, sample, name, severity) in enumerate(keys):
            key = -1 if name == TRUTH else self.plan.get((name, severity))
            if key is not None and self.numbers.get(sample) == case:
                rows[(case, key)] = place
        whole = {case for case in self.numbers.values() if all((case, at) in rows for at in self.plan.values())}
        kept = [place for (case, _), place in sorted(rows.items()) if case in whole]
        return table.take(pa.array(kept, pa.int64())).replace_schema_metadata(_VERSION)


def read_cases(folder: str | Path) -> pa.Table | None:
    """The cases of a run, without the inputs themselves; None where none were kept.

    Raises:
        BadInputError: for a file that is damaged, of another version, or of other columns.
    """
    return _read(folder, [name for name in _SCHEMA.names if name != "input"])


def read_numbers(folder: str | Path) -> dict[int, str]:
    """The sample of each case by its number; nothing where none were kept.

    Raises:
        BadInputError: as :func:`read_cases`.
    """
    table = _read(folder, ["case", "sample_id"])
    return {} if table is None else dict(zip(table["case"].to_pylist(), table["sample_id"].to_pylist(), strict=True))


def packed_input(image: NDArray[np.float32]) -> bytes:
    """An input (C, *spatial) as the column ``input`` holds it: NumPy's own file format, packed."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(image, dtype=np.float32), allow_pickle=False)
    return zlib.compress(buffer.getvalue(), level=1)


def read_input(folder: str | Path, case: int, perturbation: str, severity: float) -> NDArray[np.float32]:
    """What the network was given of a case, (C, *spatial).

    Raises:
        BadInputError: where it was not kept.
    """
    columns = ["case", "perturbation", "severity", "input"]
    table = _read(folder, columns)
    if table is None:
        raise BadInputError(f"{folder} has kept no cases; measure with cases and case_inputs above 0")
    chosen = pc.and_(pc.equal(table["case"], case), pc.equal(table["severity"], float(severity)))
    names = table["perturbation"].cast(pa.string())
    rows = table.filter(pc.and_(chosen, pc.equal(names, perturbation)))
    if not len(rows):
        raise BadInputError(f"{folder} holds no case {case} under {perturbation} at severity {severity:g}")
    content = rows["input"][0].as_py()
    if not content:
        raise BadInputError(
            f"{folder} has kept pictures of case {case}, not what the network was given; measure into another folder "
            f"with case_inputs {case} or more"
        )
    try:
        found = np.load(io.BytesIO(zlib.decompress(content)), allow_pickle=False)
    except (zlib.error, ValueError, EOFError) as error:
        raise BadInputError(f"{parquet_path(folder, CASES)} is damaged at case {case}: {error}") from None
    return np.asarray(found, dtype=np.float32)


def _read(folder: str | Path, columns: Sequence[str] | None) -> pa.Table | None:
    path = parquet_path(folder, CASES)
    if not path.exists():
        return None
    advice = "delete it to do without cases"
    try:
        schema, table = read_schema(path), read_parquet(path, columns)
    except BadInputError as error:
        raise BadInputError(f"{error}; {advice}") from None
    if not schema.equals(_SCHEMA):
        raise BadInputError(f"{path} has other columns than cases have ({', '.join(schema.names)}); {advice}")
    version = (schema.metadata or {}).get(b"cases_version", b"")
    if version != b"1":
        raise BadInputError(
            f"{path} is of version {version.decode(errors='replace') or 'none'} of cases; version 1 is read; {advice}"
        )
    numbers = pc.min(table["case"]).as_py()
    if numbers is not None and numbers < 1:
        raise BadInputError(f"{path} holds the case {numbers}; they are counted from 1; {advice}")
    return table


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.table({name: [row[name] for row in rows] for name in _SCHEMA.names}, schema=_SCHEMA)
