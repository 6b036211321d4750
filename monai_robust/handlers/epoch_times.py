"""How long each epoch of a training took, in a CSV file."""

from __future__ import annotations

import time
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from monai_robust.data.files.epoch_tables import append_rows, keep_epochs

__all__ = ["EpochTimes"]


class EpochTimes:
    """Write ``epoch, seconds, processor_seconds`` of every epoch's iterations, without the validation after them.

    AMAT's Table 5 has the first. The second, of this process with its threads, does not count what other programs of a
    shared machine took; nor what a GPU or data-loading processes did.

    Args:
        output_dir: where ``epoch_times.csv`` goes; a resumed training goes on in it.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.path = Path(output_dir) / "epoch_times.csv"
        self._started = self._last = (0.0, 0.0)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            keep_epochs(self.path, engine.state.epoch - 1)
        self._started = self._last = _now()

    def _note(self, engine: Engine) -> None:
        self._last = _now()

    def _write(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            wall, processor = (last - first for first, last in zip(self._started, self._last, strict=True))
            row = {"epoch": engine.state.epoch, "seconds": wall, "processor_seconds": processor}
            append_rows(self.path, [row])


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
