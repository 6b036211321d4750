"""The numbers that stand for some images of a classifier, from their probabilities and labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.evaluation.sections.comparisons import (
    names_of,
)
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.discrimination import (
    Scored,
)
from monai_robust.metrics import (
    brier_decomposition,
    brier_score,
    expected_calibration_error,
    predictive_entropy,
    rms_calibration_error,
    tempered,
)

__all__ = ["BINS", "arrays", "at_temperature", "confusion_frame", "of_probabilities", "probability_columns", "scored"]

BINS = 15


def of_probabilities(run: Run, rows: pd.DataFrame) -> dict[str, float]:
    probabilities, labels = arrays(run, rows)
    parts = brier_decomposition(probabilities, labels, bins=BINS)
    binary = {"brier_binary": brier_score(probabilities, labels, form="binary")} if len(run.classes) == 2 else {}
    return {
        "brier_multiclass": brier_score(probabilities, labels, form="multiclass"),
        **binary,
        "rms_calibration_error": rms_calibration_error(
            probabilities, labels, bins=BINS, kind="top_label", estimator="debiased", binning="equal_mass"
        ),
        "expected_calibration_error": expected_calibration_error(probabilities, labels, bins=BINS),
        "entropy": float(predictive_entropy(probabilities).mean()),
        **dict(zip(("brier_reliability", "brier_resolution", "brier_uncertainty"), parts, strict=False)),
    }


def at_temperature(run: Run, rows: pd.DataFrame, temperature: float) -> dict[str, float]:
    probabilities, labels = arrays(run, rows)
    softer = tempered(probabilities, temperature)
    return {
        "temperature": temperature,
        "brier_tempered": brier_score(softer, labels),
        "ece_tempered": expected_calibration_error(softer, labels, bins=BINS),
    }


def scored(run: Run, rows: pd.DataFrame) -> Scored:
    """The probabilities of each class against the rest, of two classes of the second."""
    probabilities, labels = arrays(run, rows)
    indices = (1,) if len(run.classes) == 2 else tuple(range(len(run.classes)))
    truth = np.eye(len(run.classes), dtype=np.int8)[labels]
    return Scored(indices, probabilities[:, indices], truth[:, indices], probabilities, labels)


def confusion_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """How many images of each class are taken for each, at each severity, replicates added up."""
    keys = ["perturbation", "severity", "label", "prediction"]
    nearest = {one.name for one in runs[0].perturbations if one.kind == "nearest"}
    blocks = []
    for name in names_of(runs):
        counts = [run.outcomes.groupby(keys, sort=False).size() for run in runs if run.name == name]
        blocks.append(pd.concat(counts).groupby(level=keys, sort=False).sum().rename("images").reset_index())
        blocks[-1].insert(0, "name", name)
    found = pd.concat(blocks, ignore_index=True)
    return found[~found["perturbation"].isin(nearest)]


def probability_columns(run: Run) -> list[str]:
    return [f"probability_{index}" for index in range(len(run.classes))]


def arrays(run: Run, rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (N, C) and labels (N,)."""
    return rows[probability_columns(run)].to_numpy(dtype=np.float64), rows["label"].to_numpy(dtype=np.int64)
