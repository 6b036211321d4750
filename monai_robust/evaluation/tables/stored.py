"""A table of a run's folder: Parquet for programs, and CSV beside it for people.

Both are written whole. The Parquet file holds the digest of the CSV file that was written with it, so that a reader
knows whether somebody has changed the CSV file since: what a person changed is what counts, and is read strictly. A
folder of an earlier version has the CSV file alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from monai_robust.data.files.csv_cells import csv_line, safe_cell
from monai_robust.data.files.side_files import regular_file
from monai_robust.data.files.whole import writing_whole
from monai_robust.errors import BadInputError

__all__ = [
    "csv_path",
    "parquet_path",
    "read_frame",
    "read_parquet",
    "read_schema",
    "restore_csv",
    "stored",
    "write_parquet",
    "write_table",
]

_CSV_DIGEST = b"csv_sha256"
_ROWS = 65536
_KINDS = {pa.string(), pa.int64(), pa.float64(), pa.binary()}


def csv_path(folder: str | Path, name: str) -> Path:
    return Path(folder) / f"{name}.csv"


def parquet_path(folder: str | Path, name: str) -> Path:
    return Path(folder) / f"{name}.parquet"


def write_table(folder: str | Path, name: str, table: pa.Table) -> None:
    """Write ``NAME.csv`` and then ``NAME.parquet``.

    Raises:
        BadInputError: when one cannot be written, such as on a full disk.
    """
    digest = _write_csv(csv_path(folder, name), table)
    write_parquet(parquet_path(folder, name), table.replace_schema_metadata({_CSV_DIGEST: digest.encode()}))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file whole, with check sums of its pages.

    Raises:
        BadInputError: when it cannot be written.
    """
    with writing_whole(path) as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def read_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet file.

    Raises:
        BadInputError: for no file, or a damaged one.
    """
    regular_file(path, "table")
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{path} is damaged: {error}") from None


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """What a Parquet file holds; text columns as dictionaries.

    Args:
        path: the file.
        columns: names of those to read; all by default.

    Raises:
        BadInputError: for no file, a damaged one, or one with columns of other types than tables of a run have.
    """
    schema = read_schema(path)
    texts = [field.name for field in schema if field.type == pa.string()]
    try:
        with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
            table = file.read(columns)
        table.validate(full=True)
    except (OSError, pa.ArrowException, UnicodeDecodeError, MemoryError) as error:
        raise BadInputError(f"{path} is damaged: {error}") from None
    odd = [field.name for field in schema if field.type not in _KINDS and not pa.types.is_list(field.type)]
    if odd or len(set(schema.names)) < len(schema.names):
        raise BadInputError(f"{path} has columns that no table of a run has, or one of them twice: {', '.join(odd)}")
    return table


def stored(folder: str | Path, name: str) -> Path:
    """The file that a table is to be read from: ``NAME.parquet``, or ``NAME.csv`` where it stands alone or was changed.

    Raises:
        BadInputError: for a Parquet file that is damaged; the message says what to do.
    """
    parquet, text = parquet_path(folder, name), csv_path(folder, name)
    if not parquet.exists():
        return text
    return parquet if _csv_digest(parquet) == _digest(text) or not text.exists() else text


def restore_csv(folder: str | Path, name: str) -> bool:
    """Write ``NAME.csv`` again if it is not the one that was written with ``NAME.parquet``; whether it was.

    Raises:
        BadInputError: for a Parquet file that is damaged.
    """
    if _csv_digest(parquet_path(folder, name)) == _digest(csv_path(folder, name)):
        return False
    _write_csv(csv_path(folder, name), read_parquet(parquet_path(folder, name)))
    return True


def read_frame(path: Path, kept: pa.ChunkedArray | None = None) -> pd.DataFrame:
    """What a Parquet file holds, in pandas: text as text, missing numbers as NaN, whole numbers int64 where none is
    missing. It is read column by column, so that no more than one of them is in memory twice.

    Args:
        path: the file.
        kept: which rows to keep, (N,) of bool; all by default.

    Raises:
        BadInputError: as :func:`read_parquet`.
    """
    frame = {name: _read_column(path, name, kept) for name in read_schema(path).names}
    pa.default_memory_pool().release_unused()  # Arrow keeps what it has read with
    return pd.DataFrame(frame, copy=False)


def _read_column(path: Path, name: str, kept: pa.ChunkedArray | None) -> pd.Series | np.ndarray:
    column = read_parquet(path, [name])[name]
    return _in_pandas(column if kept is None else column.filter(kept))


def _in_pandas(column: pa.ChunkedArray) -> pd.Series | np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    # pandas 3 keeps Arrow's text as it is, without an object for every cell
    return column.to_pandas() if column.type == pa.string() else np.array(column.to_numpy())


def _csv_digest(parquet: Path) -> str:
    """The digest of the CSV file that was written with a Parquet file."""
    regular_file(parquet, "table")
    try:
        metadata = pq.read_metadata(parquet).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(
            f"{parquet} is damaged: {error}; remove it, and the CSV file beside it is read instead"
        ) from None
    return metadata.get(_CSV_DIGEST, b"").decode(errors="replace")


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _by_hand(file)


def _by_hand(file: io.BufferedReader) -> str:
    digest = hashlib.sha256()  # Python 3.10
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def _write_csv(path: Path, table: pa.Table) -> str:
    """Write a CSV file whole; its digest."""
    digest = hashlib.sha256()
    with writing_whole(path) as file:
        for text in _csv_parts(table):
            digest.update(text)
            file.write(text)
    return digest.hexdigest()


def _csv_parts(table: pa.Table) -> Iterator[bytes]:
    """The lines of a table, some thousand at a time; numbers with all their digits, text guarded for spreadsheets."""
    yield csv_line(table.column_names).encode()
    for batch in table.to_batches(max_chunksize=_ROWS):
        columns = [_cells(column) for column in batch.columns]
        if any("\r" in cell for cells in columns for cell in set(cells) if isinstance(cell, str)):
            # the csv module leaves these without quotes, and readers then take them for line ends
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            yield "".join(map(csv_line, rows)).encode()
            continue
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(zip(*columns, strict=True))
        yield buffer.getvalue().encode()


def _cells(column: pa.Array) -> list[object]:
    if pa.types.is_dictionary(column.type) or column.type == pa.string():
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        texts = np.array([safe_cell(text) for text in coded.dictionary.to_pylist()], dtype=object)
        return texts[coded.indices.to_numpy(zero_copy_only=False)].tolist() if len(texts) else []
    return column.to_pylist()
