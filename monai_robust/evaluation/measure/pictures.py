"""What a network was shown of a batch, and pictures of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_robust.errors import NotFiniteError
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.evaluation.tables.gallery import write_gallery
from monai_robust.tasks.tensors import holds_nan

__all__ = ["Pictures", "Predictions"]

Key = tuple[str, float]


@dataclass(frozen=True)
class Predictions:
    """A batch, what the network was shown of it, and what it made of that."""

    inputs: Tensor
    perturbed: Tensor
    targets: Tensor
    outputs: Any
    values: dict[str, Tensor]
    mask: Tensor | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, batch: EvaluatedBatch, perturbed: Tensor, outcomes: TaskOutcomes) -> Predictions:
        """Show the batch's network ``perturbed`` inputs, and take down ``outcomes``.

        Raises:
            NotFiniteError: for samples to which the network answers NaN.
        """
        outputs = batch.task.forward(batch.network, perturbed, batch.targets)
        missing = holds_nan(outputs, len(perturbed)).nonzero().flatten().tolist()
        if missing:
            raise NotFiniteError("the network's outputs hold NaN", missing).among(batch.sample_ids)
        values = outcomes.values_in_space(outputs, batch.targets, batch.spacing)
        return cls(batch.inputs, perturbed, batch.targets, outputs, values, batch.mask)


class Pictures:
    """Collects a gallery batch by batch.

    Medical readers order axes as (x, y); pictures stand upright with rows first.
    """

    def __init__(self) -> None:
        self.pictures: dict[Key, list[np.ndarray]] = {}
        self.captions: dict[Key, list[dict[str, Any]]] = {}
        self.masks: dict[Key, list[np.ndarray]] = {}
        self.truths: dict[Key, list[np.ndarray]] = {}

    def add(self, key: Key, predictions: Predictions, outcomes: TaskOutcomes, classes: Sequence[str]) -> None:
        self.pictures.setdefault(key, []).extend(predictions.perturbed.mean(dim=1).mT.cpu().numpy())
        captions = [outcomes.caption(predictions.values, index, classes) for index in range(len(predictions.inputs))]
        self.captions.setdefault(key, []).extend(captions)
        found = outcomes.picture_masks(predictions.outputs, predictions.targets)
        if found is not None:
            self.masks.setdefault(key, []).extend(found[0].mT.cpu().numpy())
            self.truths.setdefault(key, []).extend(found[1].mT.cpu().numpy())

    def write(self, path: Path) -> None:
        write_gallery(path, self.pictures, self.captions, self.masks, next(iter(self.truths.values()), None))
