"""A perturbation that is searched: for each image the nearest one that the network sees otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import Tensor

from monai_robust.attacks import Attack, DiceBelow, ScoreBeyond
from monai_robust.attacks.criteria import CRITERIA, Criterion, Incorrect, PredictionChanged, as_criterion
from monai_robust.attacks.radius import minimal_radius
from monai_robust.attacks.radius.smallest import METHODS, checked_tolerance, usable_attack
from monai_robust.attacks.table import follows_gradients
from monai_robust.attacks.threat import as_radius
from monai_robust.errors import BadInputError, naming, require_choice
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, Sweep, seeded
from monai_robust.scalars import is_above_zero
from monai_robust.tasks import Classification, Segmentation, Task, base_task

__all__ = ["NearestSweep", "asks_no_label", "radii_found"]

# What a criterion can be asked of.
_NEEDED: Mapping[type[Criterion], type[Task]] = {
    PredictionChanged: Classification,
    Incorrect: Classification,
    DiceBelow: Segmentation,
}
_LEVELS = (ScoreBeyond.name, DiceBelow.name)


class NearestSweep(Sweep):
    """The nearest success of an attack on each sample, found by :func:`~monai_robust.attacks.radius.smallest`; the
    input itself where there is none. What is random for a sample depends on its id and the seed alone.

    There is one severity, ``high``. The column ``distance`` of the outcomes is the radius that was found, an upper
    bound of the distance to the nearest success; :func:`radii_found` reads it.

    Args:
        attack: its norm and its bounds count and, in bisection, all but its radius; ``FMN`` brings its own steps.
            ``PGD()``, which is L2, by default.
        high: the largest radius looked at, in intensity units of the network's input.
        tolerance: of a radius, in the same units; by default a hundredth of ``high``.
        criterion: ``"prediction_changed"``, which asks for no label, ``"incorrect"``, ``ScoreBeyond(level)`` or
            ``DiceBelow(level)``, both of which ask for no label either with ``reference="prediction"``.
        method: ``"minimum_norm"`` or ``"bisection"``.
        name: what tables call it; ``nearest_l2`` or ``nearest_linf`` by default.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    kind = "nearest"

    def __init__(
        self,
        attack: Attack | None = None,
        high: float = 1.0,
        *,
        tolerance: float | None = None,
        criterion: str | Criterion = "prediction_changed",
        method: Literal["minimum_norm", "bisection"] = "minimum_norm",
        name: str | None = None,
    ) -> None:
        if not is_above_zero(high):
            raise BadInputError(f"the largest radius high is {high!r}; it must be a positive finite number")
        high = float(high)
        require_choice("method", method, METHODS)
        self.criterion = as_criterion(criterion)
        if type(self.criterion) not in (PredictionChanged, Incorrect, ScoreBeyond, DiceBelow):
            raise BadInputError(
                f"{type(self.criterion).__name__} cannot be read from a table of outcomes; the criterion must be one "
                f"of {', '.join(map(repr, CRITERIA))}, ScoreBeyond(level) or DiceBelow(level)"
            )
        self.attack = usable_attack(attack, method, self.criterion)
        self.tolerance = high / 100 if tolerance is None else checked_tolerance(tolerance, as_radius(high, 1, "cpu"))
        self.method = method
        norm = self.attack.norm.name
        super().__init__(name or f"{self.kind}_{norm}", [high], norm)

    @property
    def follows_gradients(self) -> bool:
        """Whether the network must have a gradient with respect to its inputs."""
        return follows_gradients(self.attack)

    def apply(self, severity: float, batch: EvaluatedBatch) -> Tensor:
        # without a task, bisection raises the margin of classes, which finds nearer successes than cross-entropy alone
        task = None if type(batch.task) is Classification else batch.task
        with naming(batch.sample_ids):
            return minimal_radius(
                batch.network,
                batch.inputs,
                batch.targets,
                high=severity,
                tolerance=self.tolerance,
                attack=self.attack,
                criterion=self.criterion,
                task=task,
                method=self.method,
                generator=[seeded(batch.seed, self.name, severity, sample) for sample in batch.sample_ids],
                mask=batch.mask,
            ).adversarial

    def describe(self, task: Task) -> dict[str, Any]:
        """See :meth:`Sweep.describe`; a criterion that the task has not is refused before anything is measured."""
        kind = _NEEDED.get(type(self.criterion))
        if kind is not None and not isinstance(base_task(task), kind):
            raise BadInputError(
                f"the criterion {self.criterion.name!r} of {self.name!r} is one of {kind.name} and the task is "
                f"{task.name!r}; use ScoreBeyond(level)"
            )
        return super().describe(task)

    def settings(self) -> dict[str, Any]:
        level: dict[str, Any] = {}
        if isinstance(self.criterion, ScoreBeyond):
            reference = {"reference": self.criterion.reference} if self.criterion.compares else {}
            level = {"level": float(self.criterion.level), **reference}
        attack = {key: value for key, value in self.attack.settings().items() if key not in ("eps", "criterion")}
        criterion = {"criterion": self.criterion.name, **level}
        return {"method": self.method, "tolerance": self.tolerance, **criterion, **attack}


def asks_no_label(settings: Mapping[str, Any]) -> bool:
    """Whether a search compared with what the network itself says of the clean image, and so asked for no label.

    Args:
        settings: of the sweep, as they stand in ``run.json``.
    """
    return settings.get("criterion") == PredictionChanged.name or settings.get("reference") == "prediction"


def radii_found(rows: pd.DataFrame, clean: pd.Series, settings: Mapping[str, Any], higher_is_better: bool) -> pd.Series:
    """The smallest radius at which each sample fulfilled the criterion.

    Args:
        rows: of the outcomes table, those of a :class:`NearestSweep`.
        clean: the score of each of them when clean, with the index of ``rows``.
        settings: of the sweep, as they stand in ``run.json``.
        higher_is_better: of the score.

    Returns:
        Radii in units of the network's input: 0 for a sample that fulfils the criterion as it is, infinite where
        nothing was found.

    Raises:
        BadInputError: for a criterion that is not known, or that lacks its level.
    """
    criterion, level = settings.get("criterion"), settings.get("level")
    if asks_no_label(settings) and criterion in (PredictionChanged.name, *_LEVELS):
        already = np.zeros(len(rows), dtype=bool)
    elif criterion == Incorrect.name:
        already = clean.to_numpy() == 0
    elif criterion in _LEVELS and isinstance(level, (int, float)):
        # in single precision, in which most scores are compared with the level when a radius is searched
        score, limit = clean.to_numpy(dtype=np.float32), np.float32(level)
        already = score < limit if higher_is_better else score > limit
    else:
        known = ", ".join(map(repr, (*CRITERIA, *_LEVELS)))
        raise BadInputError(
            f"the criterion of a nearest change is {criterion!r} with the level {level!r}; it must be one of {known}, "
            f"and of {' and '.join(map(repr, _LEVELS))} the level must be a number"
        )
    return rows["distance"].where(rows["distance"] > 0, np.where(already, 0.0, math.inf))
