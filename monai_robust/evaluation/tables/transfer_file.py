"""How inputs made against one network fare with others, and the file ``transfer.json`` in which that lies."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from monai_robust.data.files.schemas import Line, Name, Rule
from monai_robust.data.files.side_files import read_fields
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError

__all__ = ["TRANSFER", "Transfer", "read_transfer", "write_transfer"]

TRANSFER = "transfer.json"
_VERSION = 1


@dataclass(frozen=True)
class Transfer:
    """Mean scores of N networks on inputs made against each of them.

    Attributes:
        networks: N names.
        perturbation: the attack's name, such as ``pgd_l2``.
        radius: of the attack, in intensity units of the networks' inputs.
        score: what it is called.
        higher_is_better: whether it is one, or an error.
        samples: how many inputs there were.
        clean: N scores on clean inputs; null where no sample has one.
        attacked: row s, column t: the score of network t on inputs made against network s.
        version: of the file.
    """

    networks: list[Name]
    perturbation: Name
    radius: float
    score: Line
    higher_is_better: bool
    samples: Annotated[int, Rule("a whole number from 1 on", lambda count: count >= 1)]
    clean: list[float | None]
    attacked: list[list[float | None]]
    version: int = _VERSION

    def matrix(self) -> NDArray[np.float64]:
        """(1 + N, N): clean scores first, then a row for each network that inputs were made against."""
        rows = [self.clean, *self.attacked]
        return np.array([[math.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def write_transfer(folder: str | Path, found: Transfer) -> Path:
    """Write ``transfer.json`` into a folder, such as that of a run, whose report then shows it."""
    text = json.dumps(asdict(found), indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(Path(folder) / TRANSFER, f"{text}\n".encode())


def read_transfer(folder: str | Path) -> Transfer | None:
    """What lies in a folder, ``None`` where there is nothing.

    Raises:
        BadInputError: for a file that holds something else.
    """
    path = Path(folder) / TRANSFER
    if not path.exists():
        return None
    try:
        found = read_fields(path, Transfer, "record of a transfer")
        count, rows = len(found.networks), [found.clean, *found.attacked]
        if found.version != _VERSION:
            raise BadInputError(f"its version is not {_VERSION}")
        if not count or len(rows) != count + 1 or any(len(row) != count for row in rows):
            raise BadInputError(f"of {count} networks there must be {count} scores in every row, and as many rows")
        if not all(value is None or math.isfinite(value) for row in rows for value in row):
            raise BadInputError("a score is not finite")
    except BadInputError as error:
        raise BadInputError(f"{path} is no record of a transfer ({error}); delete it to do without one") from None
    return found
