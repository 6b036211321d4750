"""Measuring: perturb batches, show them to the network, and hand what it answers to the writer of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from monai_robust.attacks.threat import L2, as_norm
from monai_robust.evaluation.measure.failures import Failures, alone, attempt, given
from monai_robust.evaluation.measure.own_metrics import KeptOutputs
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, Sweep
from monai_robust.evaluation.measure.pictures import Predictions
from monai_robust.evaluation.measure.randomness import drawing_from
from monai_robust.evaluation.measure.samples import Batch, Samples, group_name, patient_name, texts
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.evaluation.measure.units import Unit
from monai_robust.evaluation.tables.schema import RADIUS
from monai_robust.evaluation.tables.writer import OutcomesWriter

__all__ = ["Measuring"]

Measured = tuple[dict[str, list[Any]], list[Any]]
"""Rows of the outcomes table, and of the table of details, if there is one."""


@dataclass(frozen=True)
class Measuring:
    """Measures units of work.

    Attributes:
        samples: what is perturbed, and the network.
        outcomes: what is written down of the task.
        writer: of the table.
        failures: samples on which something fails.
        show: shows a batch's network what was made of its inputs.
        num_workers: processes that load samples.
        kept: takes the answers of the network, for the evaluator's own metrics of them.
        keep: each takes what the network was shown, by perturbation, severity and sample ids.
    """

    samples: Samples
    outcomes: TaskOutcomes
    writer: OutcomesWriter
    failures: Failures
    show: Callable[[EvaluatedBatch, Tensor], Predictions]
    num_workers: int = 0
    kept: KeptOutputs | None = None
    keep: Sequence[Callable[[str, float, Sequence[str], Predictions], object]] = ()

    def run(self, units: Sequence[Unit], bar: Any) -> None:
        """Measure units one after the other.

        Args:
            units: in order.
            bar: a tqdm bar over rows.

        Raises:
            BadInputError: where too many samples fail.
        """
        for _, alike in groupby(units, lambda unit: (unit.sweep.name, unit.severities)):
            own = list(alike)
            loaded = iter(self.samples.loader([batch for unit in own for batch in unit.batches], self.num_workers))
            for unit in own:
                self._measure(unit, [attempt(loaded) for _ in unit.batches], bar)
                self.writer.commit()

    def _measure(self, unit: Unit, found: Sequence[Any], bar: Any) -> None:
        sweep = unit.sweep
        try:
            batches = [given(batch) for batch in found]
            evaluated_batches = [self.samples.evaluated(batch) for batch in batches]
            with self._drawing(sweep, EvaluatedBatch.joined(evaluated_batches)) as perturbed:
                for severity in unit.severities:
                    bar.set_postfix({"perturbation": f"{sweep.name} {severity:g}"}, refresh=False)
                    parts = perturbed(severity).split([len(one.inputs) for one in evaluated_batches])
                    for batch, evaluated, part in zip(batches, evaluated_batches, parts, strict=True):
                        self._write(sweep, severity, [self._measured(sweep, severity, batch, evaluated, part)])
                        bar.update(len(part))
        except Exception as error:
            self._one_by_one(unit, error, bar)

    @contextmanager
    def _drawing(self, sweep: Sweep, evaluated: EvaluatedBatch) -> Iterator[Callable[[float], Tensor]]:
        """A batch perturbed, by a network whose random numbers, if it draws any, follow from the seed."""
        parts = self.samples.seed, sweep.name, *evaluated.sample_ids
        with drawing_from(*parts, device=self.samples.device):
            yield sweep.over(evaluated)

    def _measured(
        self, sweep: Sweep, severity: float, batch: Batch, evaluated: EvaluatedBatch, perturbed: Tensor
    ) -> Measured:
        own, predictions = self.outcomes, self.show(evaluated, perturbed)
        for keep in self.keep:
            keep(sweep.name, severity, evaluated.sample_ids, predictions)
        if self.kept is not None:
            self.kept.keep(sweep, severity, evaluated.sample_ids, predictions.outputs)
        details = own.details(predictions.outputs, predictions.targets) if own.detail_table else []
        return self._rows(sweep, batch, predictions) | self._radii(sweep, severity, evaluated), details

    def _radii(self, sweep: Sweep, severity: float, evaluated: EvaluatedBatch) -> dict[str, list[float]]:
        """The column of radii, where the table has one."""
        if not self.writer.columns.keys() & RADIUS.keys():
            return {}
        radius = torch.as_tensor(sweep.radius(severity, evaluated), dtype=torch.float64)
        return dict.fromkeys(RADIUS, radius.expand(len(evaluated.inputs)).tolist())

    def _write(self, sweep: Sweep, severity: float, parts: Sequence[Measured]) -> None:
        """Write a batch that was measured in parts."""
        rows = {name: [value for own, _ in parts for value in own[name]] for name in parts[0][0]}
        self.writer.append(sweep.name, severity, rows, [one for _, details in parts for one in details])

    def _one_by_one(self, unit: Unit, error: Exception, bar: Any) -> None:
        """Measure the samples of a unit each by itself, after an error, and list those on which it is met again.

        Raises:
            Exception: ``error``, where every sample meets one, unless it is the samples that are bad.
        """
        sweep, severities, items = unit.sweep, unit.severities, self.samples.items
        found = {place: alone(self._sample(sweep, severities, place)) for places in unit.batches for place in places}
        names = {place: str(items[place]["sample_id"]) for place in found}
        self.failures.judge(found, names, sweep.name, severities, error)
        for at, severity in enumerate(severities):
            for places in unit.batches:
                if not self.writer.has(sweep.name, severity, places[0]):
                    made = [found[place].measured for place in places]
                    rows = [
                        own[at] if at < len(own) else self._empty(sweep, items[place])
                        for own, place in zip(made, places, strict=True)
                    ]
                    self._write(sweep, severity, rows)
                    bar.update(len(places))

    def _sample(self, sweep: Sweep, severities: Sequence[float], place: int) -> Iterator[Measured]:
        """What one sample gives at each severity."""
        batch = next(iter(self.samples.loader([[place]])))
        evaluated = self.samples.evaluated(batch)
        with self._drawing(sweep, evaluated) as perturbed:
            for severity in severities:
                yield self._measured(sweep, severity, batch, evaluated, perturbed(severity))

    def _empty(self, sweep: Sweep, item: Mapping[str, Any]) -> Measured:
        """A row without outcomes, of a sample that failed."""
        known: dict[str, Any] = {group: group_name(item.get(group)) for group in self.samples.groups}
        known |= {"sample_id": str(item["sample_id"]), "patient_id": patient_name(item.get("patient_id"))}
        known["norm"] = sweep.norm
        names = [name for name in self.writer.columns if name not in ("perturbation", "severity")]
        return {name: [known.get(name)] for name in names}, [[]]

    def _rows(self, sweep: Sweep, batch: Batch, predictions: Predictions) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = {
            "sample_id": texts(batch["sample_id"]),
            "patient_id": batch["patient_id"],
            "norm": [sweep.norm] * len(predictions.inputs),
        }
        rows |= {group: batch[group] for group in self.samples.groups}
        rows["distance"] = as_norm(sweep.norm or "l2").size(predictions.perturbed - predictions.inputs).tolist()
        rows["contrast"] = _contrast(predictions.perturbed, predictions.mask).tolist()
        own = predictions.inputs if predictions.mask is None else predictions.inputs * predictions.mask
        rows["input_norm"] = L2().size(own).tolist()
        return rows | {name: column.tolist() for name, column in predictions.values.items()}


def _contrast(images: Tensor, mask: Tensor | None) -> Tensor:
    """Standard deviation of the intensities of each image, (B,), without its padding."""
    if mask is None:
        return images.flatten(1).double().std(dim=1, correction=0)
    inside = mask.expand_as(images)
    return torch.stack([image[own].double().std(correction=0) for image, own in zip(images, inside, strict=True)])
