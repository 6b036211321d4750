"""An evaluator's own metrics of all samples together, as its own handlers take them, under each perturbation.

What the network answers is kept beside the parts of a table while it is measured, by whichever process; at the end each
perturbation is an epoch of the evaluator: its batches, with those answers as predictions, its postprocessing, its
metrics.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_robust.configuration.explaining import chain_of
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError, in_one_line
from monai_robust.evaluation.measure.evaluator import EvaluatorSamples, epoch_of
from monai_robust.evaluation.measure.perturbations import Sweep
from monai_robust.evaluation.tables.metrics_file import METRICS, MetricValue, OwnMetrics, write_metrics
from monai_robust.evaluation.tables.parts import FOLDER as PARTS
from monai_robust.tasks.tensors import map_tensors, plain, select_rows

__all__ = ["LARGEST", "KeptOutputs"]

LARGEST = 2**31
"""Bytes of all outputs of a measurement, above which they are not kept."""
_MOST = 64  # numbers of a metric
_PATH = re.compile(r"\S*[/\\]\S*|\S+\.(nii|dcm|png|npy|npz|json|csv)\S*")


class KeptOutputs:
    """The network's answers under each perturbation, and the evaluator's metrics of them.

    Args:
        samples: of an evaluator with a key metric.
        folder: of the run.
        sweeps: the perturbations; a search for nearest changes has no metrics.
    """

    def __init__(self, samples: EvaluatorSamples, folder: str | Path, sweeps: Sequence[Sweep]) -> None:
        self.samples = samples
        self.run = Path(folder)
        self.plan = [(one.name, float(severity)) for one in sweeps if one.kind != "nearest" for severity in one]
        self._places = {str(item["sample_id"]): place for place, item in enumerate(samples.items)}

    @property
    def done(self) -> bool:
        """Whether the metrics have been taken."""
        return (self.run / METRICS).exists()

    def keep(self, sweep: Sweep, severity: float, sample_ids: Sequence[str], outputs: Any) -> None:
        """Keep the answers for a batch."""
        key = (sweep.name, float(severity))
        if key not in self.plan or self.done:
            return
        plainly = map_tensors(lambda x: plain(x).detach().cpu().clone(), outputs)
        if _bytes(plainly) / len(sample_ids) * len(self.samples) * len(self.plan) > LARGEST:
            return
        places = [self._places[one] for one in sample_ids]
        rows = [select_rows(plainly, slice(row, row + 1)) for row in range(len(places))]
        buffer = io.BytesIO()
        torch.save(dict(zip(places, map(_owned, rows), strict=True)), buffer)
        write_whole(self._folder / f"{self.plan.index(key):04d}-{places[0]:08d}.pt", buffer.getvalue())

    def take(self, batches: Sequence[Sequence[int]], left_out: Collection[str]) -> None:
        """Take the metrics, and write them into the run's folder; one process does, once all have kept theirs.

        Args:
            batches: places of samples, batch by batch.
            left_out: ids of samples on which something failed.
        """
        if self.done:
            return
        good = [
            [one for one in batch if str(self.samples.items[one]["sample_id"]) not in left_out] for batch in batches
        ]
        good = [batch for batch in good if batch]
        values, problem = [], ""
        for number, (perturbation, severity) in enumerate(self.plan):
            kept = self._kept(number)
            if not all(place in kept for batch in good for place in batch):
                problem = (
                    "The evaluator's own metrics of all samples together were not taken, since the network's answers "
                    "were not kept: they are larger than 2 GiB in all, or an earlier version measured them."
                )
                break
            try:
                found = epoch_of(self.samples.evaluator, self._epoch(good, kept))
            except Exception as error:  # of a stranger's postprocessing or metric
                where = f"{perturbation} at severity {severity:g}"
                root = list(chain_of(error))[-1]
                told = _PATH.sub("a file", in_one_line(root, 300))  # whose name may be a patient's
                problem = (
                    "The evaluator's own metrics of all samples together could not be taken, since its postprocessing "
                    f"or a metric of it fails under {where}: {type(root).__name__}: {told}"
                )
                break
            size = sum(map(len, good))
            values += [MetricValue(perturbation, severity, name, value, size) for name, value in _numbers(found)]
        key = str(self.samples.evaluator.state.key_metric_name)
        write_metrics(self.run, OwnMetrics(key, problem, [] if problem else values))

    @property
    def _folder(self) -> Path:
        return self.run / PARTS / "outputs"

    def _kept(self, number: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for path in sorted(self._folder.glob(f"{number:04d}-*.pt")):
            try:
                found |= torch.load(path, weights_only=True)
            except Exception as error:
                raise BadInputError(f"{path} is damaged ({error}); measure into another folder") from None
        return found

    def _epoch(self, batches: Sequence[Sequence[int]], kept: Mapping[int, Any]) -> Iterator[tuple[Any, Any]]:
        """The evaluator's batches and the answers to each."""
        for places in batches:
            rows = [self.samples.dataset[place] for place in places]
            yield self.samples.collate(rows), joined([kept[place] for place in places])


def joined(parts: Sequence[Any]) -> Any:
    """The outputs of several samples as those of a batch."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts)) if first.ndim else first
    if isinstance(first, Mapping):
        return {key: joined([part[key] for part in parts]) for key in first}
    if isinstance(first, (list, tuple)) and all(isinstance(one, Tensor) for one in first):
        return type(first)(joined(list(entries)) for entries in zip(*parts, strict=True))
    if isinstance(first, (list, tuple)):
        return [entry for part in parts for entry in part]
    return first


def _owned(value: Any) -> Any:
    """Without the rest of the batch, which a view would be stored with."""
    return map_tensors(torch.clone, value)


def _bytes(value: Any) -> int:
    sizes: list[int] = []
    map_tensors(lambda x: sizes.append(x.numel() * x.element_size()), value)
    return sum(sizes)


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for name, value in metrics.items():
        numbers = torch.as_tensor(plain(value), dtype=torch.float64).flatten() if _is_number(value) else torch.empty(0)
        for place, number in enumerate(numbers.tolist()[:_MOST]):
            label = str(name) if len(numbers) == 1 else f"{name} {place}"
            yield label, number if math.isfinite(number) else None


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_complex()
    try:
        torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True
