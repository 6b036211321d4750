"""What becomes of margins over the epochs: how far they can come, and what they were, as CSV files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine

from monai_robust.data.files.epoch_tables import append_rows, keep_epochs
from monai_robust.errors import BadInputError

__all__ = ["MarginLog", "distribution", "histogram", "visits_to_come"]

_LOG = logging.getLogger(__name__)
_BINS = 30
_TABLES = ("margins.csv", "margin_histogram.csv", "margins_by_sample.csv")


class MarginLog:
    """Writes ``margins.csv`` and ``margin_histogram.csv``, a row or a few an epoch, by the first process.

    Args:
        output_dir: where they go; None for nowhere.
        history: also write ``margins_by_sample.csv``, with the margin of every sample after every epoch.
        summary_writer: a TensorBoard writer, for a histogram an epoch.

    Raises:
        BadInputError: for an ``output_dir`` that is no path.
    """

    def __init__(self, output_dir: str | Path | None, history: bool = False, summary_writer: Any = None) -> None:
        if output_dir is not None and not isinstance(output_dir, (str, PathLike)):
            raise BadInputError(f"output_dir is {output_dir!r}; it takes a folder's path")
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.history = history
        self.summary_writer = summary_writer

    def begin(self, epoch: int, margins: Mapping[str, float], renamed: Mapping[str, str] | None = None) -> None:
        """Go on after ``epoch``; what an earlier run wrote of later ones is dropped, and samples are called as now.

        Args:
            epoch: the last one behind.
            margins: all margins, by sample.
            renamed: new names of samples by those of the earlier run.
        """
        for name in _TABLES:
            if self._writes():
                keep_epochs(self._path(name), epoch, renamed)
        if epoch == 0:
            self._write_history(epoch, margins)

    def write(self, epoch: int, row: Mapping[str, Any], visited: Sequence[float], margins: Mapping[str, float]) -> None:
        """Write what an epoch came to.

        Args:
            epoch: its number.
            row: of ``margins.csv``, less the distribution of the margins.
            visited: the margins of all samples that were visited so far.
            margins: all margins, by sample.
        """
        if self._writes():
            samples = {"epoch": epoch, "samples": len(margins), "visited": row["visited"]}
            append_rows(self._path("margins.csv"), [{**samples, **distribution(visited), **row}])
            append_rows(self._path("margin_histogram.csv"), histogram(visited, epoch))
        self._write_history(epoch, margins)
        if self.summary_writer is not None and visited:
            self.summary_writer.add_histogram("margins", torch.tensor(visited), epoch)

    def tell_reach(self, reach: float, visits: float, of_interest: float | None) -> None:
        """Say how far a margin can come, and warn where that is below the largest radius that is to be evaluated."""
        text = f"a sample is visited about {visits:.1f} times, so a margin can reach about {reach:.3g}"
        if of_interest is None or reach >= of_interest:
            _LOG.info(text)
            return
        _LOG.warning(
            "%s, below the radius %g that is to be evaluated: more epochs or a larger step would help",
            text,
            of_interest,
        )

    def _writes(self) -> bool:
        return self.output_dir is not None and idist.get_rank() == 0

    def _path(self, name: str) -> Path:
        assert self.output_dir is not None  # it writes
        return self.output_dir / name

    def _write_history(self, epoch: int, margins: Mapping[str, float]) -> None:
        if self.history and self._writes():
            rows = [{"epoch": epoch, "sample_id": name, "margin": value} for name, value in margins.items()]
            append_rows(self._path("margins_by_sample.csv"), rows)


def visits_to_come(engine: Engine, samples: int | None, epochs_behind: int) -> float | None:
    """How often a sample will be visited in what is left of a training; None where nobody knows its samples."""
    length, epochs = engine.state.epoch_length, engine.state.max_epochs
    loader: Any = engine.data_loader  # type: ignore[attr-defined]
    batch = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if samples is None or length is None or epochs is None or batch is None:
        return None
    return length * (epochs - epochs_behind) * batch * idist.get_world_size() / samples


def distribution(margins: Sequence[float]) -> dict[str, float]:
    """``mean, minimum, p10, p50, p90, maximum`` of margins; NaN where there are none."""
    values = np.asarray(margins, dtype=np.float64)
    if not len(values):
        return dict.fromkeys(("mean", "minimum", "p10", "p50", "p90", "maximum"), float("nan"))
    p10, p50, p90 = np.quantile(values, [0.1, 0.5, 0.9])
    return {
        "mean": float(values.mean()),
        "minimum": float(values.min()),
        "p10": float(p10),
        "p50": float(p50),
        "p90": float(p90),
        "maximum": float(values.max()),
    }


def histogram(margins: Sequence[float], epoch: int) -> list[dict[str, Any]]:
    """Rows ``epoch, low, high, samples`` of a histogram of equal bins."""
    counts, edges = np.histogram(np.asarray(margins, dtype=np.float64), bins=_BINS)
    return [
        {"epoch": epoch, "low": float(low), "high": float(high), "samples": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
