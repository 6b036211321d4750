"""What is fitted on the validation run, once, and applied to all that is measured: thresholds and a temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.metrics import TEMPERATURES, fitted_temperature, ranking, threshold_of

__all__ = ["RULES", "Fitted", "Scored", "fitted_on_validation", "prevalence_of"]

RULES: Mapping[str, Mapping[str, Any]] = {
    "youden": {"rule": "youden"},
    "90": {"rule": "sensitivity", "level": 0.90},
    "95": {"rule": "sensitivity", "level": 0.95},
}
"""How thresholds are fitted: where Youden's index is largest, or for a sensitivity in percent."""


@dataclass(frozen=True)
class Scored:
    """Probabilities of findings, and which of them are true.

    Attributes:
        indices: of the C findings among the run's classes: all, but of two classes that exclude each other the second.
        scores: (N, C) probabilities.
        truth: (N, C) 1 where present, 0 where absent, -1 where nobody knows.
        probabilities: of all classes, (N, classes), for a temperature.
        labels: (N,) class indices, or the truth again where findings are independent.
        independent: whether findings are independent of each other.
    """

    indices: tuple[int, ...]
    scores: NDArray[np.float64]
    truth: NDArray[np.int8]
    probabilities: NDArray[np.float64]
    labels: NDArray[Any]
    independent: bool = False


@dataclass(frozen=True)
class Fitted:
    """What was fitted on clean validation samples.

    Attributes:
        thresholds: for each rule of :data:`RULES` (C,), NaN where validation has no case or no control.
        temperature: by which logits are divided; NaN where nothing is known. At an end of the search, such as where
            every prediction on validation is right, it says only that there is no best one (:attr:`bounded`).
        images: how many there were.
        patients: of how many patients.
    """

    thresholds: Mapping[str, NDArray[np.float64]]
    temperature: float
    images: int
    patients: int

    @property
    def bounded(self) -> str:
        """What a reader must know of a temperature that was found at an end of the search, else ""."""
        for end in TEMPERATURES:
            if math.isclose(self.temperature, end, rel_tol=1e-3):
                return (
                    f"{end:g}, an end of the search ({TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}): the likelihood of "
                    "the validation labels has no maximum between, such as where every prediction is right or none "
                    "tells anything"
                )
        return ""


Read = Callable[[Run, pd.DataFrame], Scored]
_KNOWN: WeakKeyDictionary[Run, Fitted] = WeakKeyDictionary()
_SHARES: WeakKeyDictionary[Run, NDArray[np.float64]] = WeakKeyDictionary()


def prevalence_of(run: Run, read: Read, stated: float | None = None) -> NDArray[np.float64]:
    """(C,) the share of cases of each finding among the clean images of a run, NaN where none is known; or the one that
    is stated.

    Args:
        run: a finished evaluation.
        read: what of a task's rows is scored.
        stated: a prevalence, if there is one.
    """
    if run not in _SHARES:
        truth = read(run, run.clean).truth
        known = (truth >= 0).sum(axis=0)
        cases = (truth == 1).sum(axis=0)
        _SHARES[run] = np.divide(cases, known, out=np.full(len(known), np.nan), where=known > 0)
    return _SHARES[run] if stated is None else np.full_like(_SHARES[run], stated)


def fitted_on_validation(run: Run, read: Read) -> Fitted | None:
    """What the clean samples of a run's validation give; None without such a run.

    Args:
        run: a finished evaluation.
        read: what of a task's rows is scored.
    """
    if run.validation is None:
        return None
    if run.validation not in _KNOWN:
        _KNOWN[run.validation] = _fitted(run.validation, read)
    return _KNOWN[run.validation]


def _fitted(validation: Run, read: Read) -> Fitted:
    clean = validation.clean
    found = read(validation, clean)
    ranked = [ranking(found.scores[:, c], found.truth[:, c]) for c in range(len(found.indices))]
    thresholds = {name: np.array([threshold_of(one, **rule) for one in ranked]) for name, rule in RULES.items()}
    temperature = fitted_temperature(found.probabilities, found.labels, found.independent)
    return Fitted(thresholds, temperature, len(clean), len(np.unique(validation.patients)))
