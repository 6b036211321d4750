"""What landmark networks and detectors are validated by, in a MONAI evaluator, against a loop of a few lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from ignite.exceptions import NotComputableError
from monai.engines import SupervisedEvaluator
from test_detection_metrics import random_images, reference_precision
from torch import nn

from monai_robust.handlers import MeanAveragePrecision, MeanRadialError
from monai_robust.tasks import Detection, Landmarks


def evaluated(metric: Any, batches: list[dict[str, torch.Tensor]], network: nn.Module) -> float:
    evaluator = SupervisedEvaluator("cpu", batches, network, key_val_metric={"own": metric}, decollate=False)
    evaluator.run()
    return float(evaluator.state.metrics["own"])


def votes_for(points: torch.Tensor, size: tuple[int, int], radius: float) -> torch.Tensor:
    """Outputs (B, 3L, *size) that find landmarks at ``points`` (B, L, 2): one sure pixel, whose offset is exact."""
    batch, landmarks, _ = points.shape
    outputs = torch.full((batch, 3, landmarks, *size), -50.0)
    for image in range(batch):
        for landmark in range(landmarks):
            x, y = (int(one) for one in points[image, landmark].round())
            outputs[image, 0, landmark, x, y] = 50.0
            outputs[image, 1:, landmark, x, y] = (points[image, landmark] - torch.tensor([x, y])) / radius
    return outputs.flatten(1, 2)


def test_the_mean_radial_error_is_that_of_all_visible_landmarks_of_an_epoch() -> None:
    generator = torch.Generator().manual_seed(0)
    found = 4 + 16 * torch.rand(5, 3, 2, generator=generator)
    true = found + torch.randn(5, 3, 2, generator=generator)
    spacing = 0.5 + torch.rand(5, 1, 2, generator=generator).expand(5, 3, 2)
    true[0, 1] = true[3] = math.nan  # a landmark that is not visible, and an image without any
    outputs, labels = votes_for(found, (24, 24), radius=4.0), torch.cat([true, spacing], dim=2)
    parts = (slice(0, 2), slice(2, 5))  # of unequal length: no mean of the batches' means would do
    batches = [{"image": outputs[part], "label": labels[part]} for part in parts]
    distances = [
        math.dist(found[image, landmark] * spacing[image, landmark], true[image, landmark] * spacing[image, landmark])
        for image in range(5)
        for landmark in range(3)
        if not true[image, landmark].isnan().any()
    ]
    assert len(distances) == 11
    measured = evaluated(MeanRadialError(Landmarks(radius=4.0)), batches, nn.Identity())
    assert measured == pytest.approx(np.mean(distances), rel=1e-4)


class Given(Detection):
    """A detector whose network puts out the numbers of images, and which then finds there what was given."""

    def __init__(self, detections: list[Any], truths: list[Any]) -> None:
        self.given, self.truths = detections, truths

    def detections(self, outputs: Any, targets: Any) -> list[Any]:
        return [self.given[int(number)] for number in outputs]

    def true_boxes(self, targets: Any) -> list[Any]:
        return [self.truths[int(number)] for number in targets]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_mean_average_precision_is_of_all_images_thresholds_and_classes(dimensions: int) -> None:
    detections, truths = random_images(3, dimensions)
    numbers = torch.arange(6)
    batches = [{"image": part, "label": part} for part in numbers.split(4)]
    task = Given(detections, truths)
    for name, thresholds in (("map", np.arange(0.5, 1.0, 0.05)), ("map_50", [0.5])):
        expected = [reference_precision(detections, truths, label, iou) for label in (0, 1) for iou in thresholds]
        measured = evaluated(MeanAveragePrecision(task, name), batches, nn.Identity())
        assert measured == pytest.approx(np.mean(expected), abs=1e-6)
        assert 0.1 < measured < 1


def test_an_epoch_forgets_the_last_one() -> None:
    detections, truths = random_images(5, 2)
    metric = MeanAveragePrecision(Given(detections, truths))
    once = [{"image": torch.arange(6), "label": torch.arange(6)}]
    first = evaluated(metric, once, nn.Identity())
    assert evaluated(metric, once, nn.Identity()) == first
    metric.reset()
    with pytest.raises(NotComputableError, match="was shown no samples"):
        metric.compute()
