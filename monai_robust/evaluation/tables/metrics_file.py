"""What an evaluator's own metrics say of all samples together, and the file ``metrics.json`` in which it lies."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from monai_robust.data.files.schemas import Line, Name, Rule, one_line
from monai_robust.data.files.side_files import read_fields
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError

__all__ = ["METRICS", "MetricValue", "OwnMetrics", "read_metrics", "write_metrics"]

METRICS = "metrics.json"

# Outside the class, whose annotations are evaluated among its own names.
_Sentence = Annotated[
    str, Rule("a sentence in one line", lambda text: not text or (one_line(text) and len(text) < 2000))
]


@dataclass(frozen=True)
class MetricValue:
    """One metric of all samples under a perturbation.

    Attributes:
        perturbation: its name in the outcomes table.
        severity: its severity.
        metric: what the evaluator calls it; of several numbers each has its place behind the name.
        value: None where the metric has none.
        samples: how many it was taken of.
    """

    perturbation: Name
    severity: float
    metric: Name
    value: float | None
    samples: int


@dataclass(frozen=True)
class OwnMetrics:
    """The metrics of an evaluator, clean and under each perturbation.

    Attributes:
        key_metric: the name of the one that the evaluator chooses checkpoints by.
        problem: why there are none, "" where there are.
        values: in the order of perturbations, severities and metrics.
    """

    key_metric: Line
    problem: _Sentence
    values: list[MetricValue]


def write_metrics(folder: str | Path, metrics: OwnMetrics) -> Path:
    """Write ``metrics.json`` into a run's folder."""
    text = json.dumps(asdict(metrics), indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(Path(folder) / METRICS, f"{text}\n".encode())


def read_metrics(folder: str | Path) -> OwnMetrics | None:
    """The metrics in a run's folder, None where there are none.

    Raises:
        BadInputError: for a file that holds something else.
    """
    path = Path(folder) / METRICS
    if not path.exists():
        return None
    try:
        return read_fields(path, OwnMetrics, "record of an evaluator's metrics")
    except BadInputError as error:
        raise BadInputError(
            f"{path} is no record of an evaluator's metrics ({error}); delete it and start that evaluation again"
        ) from None
