"""What landmark networks and detectors are validated by, as their tasks measure it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import ignite.distributed as idist
import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.handlers import from_engine
from torch import Tensor

from monai_robust.metrics import mean_average_precision, mean_radial_error
from monai_robust.tasks.detection import Detection
from monai_robust.tasks.landmarks import Landmarks

__all__ = ["MeanAveragePrecision", "MeanRadialError"]


class _Collected(Metric):
    """A metric of all samples of an epoch together, of all processes; it needs ``pred`` and ``label`` of an engine."""

    def __init__(self) -> None:
        self._samples: list[Any] = []
        super().__init__(output_transform=from_engine(["pred", "label"]))

    def reset(self) -> None:
        self._samples = []

    def update(self, output: Any) -> None:
        outputs, targets = output
        with torch.no_grad():
            self._samples.extend(self.samples(outputs, targets))

    def compute(self) -> float:
        parts: Any = idist.all_gather(self._samples)
        samples = [one for part in parts for one in part]
        if not samples:
            raise NotComputableError(f"{type(self).__name__} was shown no samples")
        return self.result(samples)

    @abstractmethod
    def samples(self, outputs: Any, targets: Any) -> list[Any]:
        """What is kept of each sample of a batch."""

    @abstractmethod
    def result(self, samples: list[Any]) -> float:
        """The metric of all samples."""


class MeanRadialError(_Collected):
    """Mean radial error in mm over all landmarks that are visible; lower is better.

    Args:
        task: knows where a network puts the landmarks.
    """

    def __init__(self, task: Landmarks) -> None:
        self.task = task
        super().__init__()

    def samples(self, outputs: Any, targets: Any) -> list[Any]:
        return list(self.task.errors(outputs, targets).cpu())

    def result(self, samples: list[Tensor]) -> float:
        return float(mean_radial_error(torch.stack(samples).numpy()).mean)


class MeanAveragePrecision(_Collected):
    """Mean average precision (mAP), over the IoU thresholds 0.5 to 0.95 and over classes.

    Args:
        task: knows what a network detects.
        name: ``"map"`` (0.5:0.95) or ``"map_50"``.
    """

    def __init__(self, task: Detection, name: str = "map") -> None:
        self.task = task
        self.name = name
        super().__init__()

    def samples(self, outputs: Any, targets: Any) -> list[Any]:
        return list(zip(self.task.detections(outputs, targets), self.task.true_boxes(targets), strict=True))

    def result(self, samples: list[Any]) -> float:
        found, true = zip(*samples, strict=True)
        classes = 1 + max((int(label) for sample in samples for one in sample for label in one["labels"]), default=0)
        return mean_average_precision(found, true, [f"class {index}" for index in range(classes)])[self.name]
