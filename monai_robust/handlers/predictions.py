"""Class probabilities of every image an evaluator sees, in one CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ignite.engine import Engine, Events

from monai_robust.tasks import Classification

__all__ = ["PredictionsCSV"]


class PredictionsCSV:
    """Write ``file, prediction, probability_<class>...``, one row an image, when an evaluation has ended.

    Args:
        path: the CSV file.
        classes: names of the classes, in the order of the network's outputs.
        key: what the batch calls its samples.
        skipped: samples that could not be used, with ``file`` and ``reason``; written to ``skipped.csv`` beside it.
    """

    def __init__(
        self,
        path: str | Path,
        classes: Sequence[str],
        key: str = "sample_id",
        skipped: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.path = Path(path)
        self.classes = list(classes)
        self.key = key
        self.skipped = list(skipped)
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        self.rows = []

    def collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        probabilities = Classification().logits(output["pred"]).float().softmax(dim=1).cpu()
        batch: Any = engine.state.batch
        for name, row in zip(batch[self.key], probabilities.tolist(), strict=True):
            columns = {f"probability_{label}": value for label, value in zip(self.classes, row, strict=True)}
            prediction = self.classes[max(range(len(row)), key=row.__getitem__)]
            self.rows.append({"file": name, "prediction": prediction, **columns})

    def write(self, engine: Engine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.rows).to_csv(self.path, index=False)
        if self.skipped:
            listed = self.path.with_name("skipped.csv")
            pd.DataFrame(self.skipped).to_csv(listed, index=False)
            print(f"{len(self.skipped)} files could not be used: {listed}")
        print(f"{len(self.rows)} predictions in {self.path}")
