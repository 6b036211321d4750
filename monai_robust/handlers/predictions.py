"""Class probabilities of every image an evaluator sees, in one CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.files.csv_cells import csv_text
from monai_robust.handlers.per_image import PerImage, whole_batch
from monai_robust.tasks import Classification, MultiLabel

__all__ = ["PredictionsCSV"]


class PredictionsCSV(PerImage):
    """Write ``file, prediction, probability_<class>...``, one row an image, when an evaluation has ended.

    Args:
        path: the CSV file.
        classes: names of the classes, in the order of the network's outputs.
        key: what the batch calls its samples.
        skipped: samples that could not be used, with ``file`` and ``reason``; written to ``skipped.csv`` beside it.
        independent: classes are findings, each with a sigmoid of its own; there is then no column ``prediction``.
    """

    things = "predictions"

    def __init__(
        self,
        path: str | Path,
        classes: Sequence[str],
        key: str = "sample_id",
        skipped: Sequence[Mapping[str, str]] = (),
        independent: bool = False,
    ) -> None:
        super().__init__(path, key, skipped)
        self.classes = list(classes)
        self.independent = independent

    def collect(self, engine: Any) -> None:
        batch, output = whole_batch(engine)
        outputs = output["pred"]
        if self.independent:
            probabilities = MultiLabel().logits(outputs).float().sigmoid().cpu()
        else:
            probabilities = Classification().logits(outputs).float().softmax(dim=1).cpu()
        places, probabilities = self.answered(engine, probabilities)
        names = [batch[self.key][place] for place in places.tolist()]
        for name, row in zip(names, probabilities.tolist(), strict=True):
            columns = {f"probability_{label}": value for label, value in zip(self.classes, row, strict=True)}
            prediction = self.classes[max(range(len(row)), key=row.__getitem__)]
            said = {} if self.independent else {"prediction": prediction}
            self.rows.append({"file": name, **said, **columns})

    def content(self) -> str:
        return csv_text(pd.DataFrame(self.rows))
