"""What ``run.json`` records of a measurement: what was measured, how, with which versions and on which machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from monai_robust.evaluation.measure.file_units import units_record
from monai_robust.evaluation.measure.perturbations import Sweep
from monai_robust.evaluation.measure.samples import Samples
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.evaluation.tables.provenance import checkpoint_record, machine, now, versions, weights_digest

__all__ = ["Recorded"]


@dataclass(frozen=True)
class Recorded:
    """What is recorded of a measurement, before it begins.

    Attributes:
        name: of the run.
        network: whose weights are told by a digest.
        samples: what is measured, and how it is shown to the network.
        outcomes: what is written down of the task.
        perturbations: what is done to the inputs.
        classes: names of the classes.
        training: settings of the training run.
        checkpoint: the file the weights came from.
        inferer: how the network is run, where it is not called directly.
    """

    name: str
    network: nn.Module
    samples: Samples
    outcomes: TaskOutcomes
    perturbations: Sequence[Sweep]
    classes: Sequence[str]
    training: Mapping[str, Any]
    checkpoint: str | Path | None
    inferer: Callable[..., Any] | None

    def about(self) -> dict[str, Any]:
        """What stands in ``run.json`` of a measurement that begins now."""
        samples, task = self.samples, self.samples.task
        items = samples.items
        return {
            "name": self.name,
            "task": task.name,
            **({} if samples.labelled else {"labelled": False}),
            "recipe": self.training.get("recipe"),
            "seed": self.training.get("seed", samples.seed),
            "fold": self.training.get("fold"),
            "classes": list(self.classes),
            "perturbations": [sweep.describe(task) for sweep in self.perturbations],
            "score": {"name": task.score_name, "higher_is_better": task.higher_is_better},
            "groups": list(samples.groups),
            "settings": self._settings(),
            "units": units_record(samples.dataset),
            "versions": versions(),
            "checkpoint": checkpoint_record(self.checkpoint),
            "weights_sha256": weights_digest(self.network),
            "data": {
                "samples": len(items),
                "patients": len({str(item["patient_id"]) for item in items}),
                "classes": self.outcomes.class_counts(items, self.classes) if samples.labelled else {},
            },
            "skipped": [
                {"file": bad["file"], "reason": bad["reason"]} for bad in getattr(samples.dataset, "skipped", [])
            ],
            "machine": machine(samples.device),
            "started": now(),
            "finished": None,
        }

    def _settings(self) -> dict[str, Any]:
        samples = self.samples
        found = {
            **self.training,
            **self.outcomes.settings(),
            "batch_size": samples.batch_size,
            "evaluation_seed": samples.seed,
        }
        if "distance_unit" in found:
            found["distance_unit"] = "mm" if samples.spacing_is_known else "pixels"
        if self.inferer is not None:
            found["inferer"] = getattr(self.inferer, "__name__", type(self.inferer).__name__)
        return found
