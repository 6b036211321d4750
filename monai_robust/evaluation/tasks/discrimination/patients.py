"""One answer for each patient, put together from those for the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["PATIENT_RULES", "by_patient", "patients_of_several"]

PATIENT_RULES = ("mean", "max")
"""What a patient's probability is of those of their images."""


def by_patient(run: Run, rule: str, true: Sequence[str], probabilities: Sequence[str], exclusive: bool) -> Run | None:
    """A run with a row for each patient in place of each image, its validation alike.

    Args:
        run: a finished evaluation.
        rule: ``"mean"`` or ``"max"`` of the probabilities of a patient's images.
        true: columns of what is true. Classes that exclude each other: images of one patient with different labels
            stand apart, in rows of one ``patient_id``, which are drawn together for intervals. Findings: a patient has
            one where an image has it.
        probabilities: columns of probabilities.
        exclusive: whether classes exclude each other: probabilities are then divided by their sum.

    Returns:
        The run, its ``sample_id`` being the patient's (and label's); None where no patient has several images. Without
        columns but those of keys, truth, probabilities, ``score`` and, of exclusive classes, ``prediction``.

    Raises:
        BadInputError: for another rule.
    """
    if rule not in PATIENT_RULES:
        raise BadInputError(f"--patient_rule is {rule!r}; it must be one of {', '.join(PATIENT_RULES)}")
    clean = run.clean
    known = {name: _members(rows, true if exclusive else ()) for name, rows in _samples_of(run).items()}
    if len(known[CLEAN].names) == len(clean):
        return None
    blocks = []
    for (perturbation, severity), rows in run.outcomes.groupby(["perturbation", "severity"], sort=False):
        names, patients, member, place = known.get(str(perturbation), known[CLEAN])
        own = member[place.get_indexer(pd.Index(rows["sample_id"]))]
        shares = _together(rows[list(probabilities)].to_numpy(dtype=np.float64), own, len(names), rule, exclusive)
        truth = _largest(rows[list(true)].to_numpy(dtype=np.float64), own, len(names))
        block = pd.DataFrame(shares, columns=list(probabilities))
        for position, column in enumerate(true):
            block[column] = truth[:, position].astype(int) if exclusive else truth[:, position]
        if exclusive:
            block["prediction"] = shares.argmax(axis=1)
            block["score"] = (block["prediction"] == block[true[0]]).astype(float)
        else:
            right = (((shares > 0.5) == truth) | np.isnan(truth)).all(axis=1).astype(float)
            block["score"] = np.where(np.isnan(truth).all(axis=1), np.nan, right)
        block = block.assign(sample_id=names, patient_id=patients, perturbation=str(perturbation))
        blocks.append(block.assign(severity=np.full(len(block), severity, dtype=np.float64)))
    outcomes = pd.concat(blocks, ignore_index=True).assign(norm="", input_norm=np.nan)
    own_info = {**run.info, "groups": []}
    validation = run.validation
    if validation is not None:
        validation = by_patient(validation, rule, true, probabilities, exclusive) or validation
    return replace(run, info=own_info, outcomes=outcomes, gallery=None, validation=validation)


class _Members(NamedTuple):
    """Names of the P rows, the patient of each ("" where unknown), which of them each sample is of, (N,), and the
    samples' ids."""

    names: NDArray[np.str_]
    patients: NDArray[np.object_]
    member: NDArray[np.intp]
    place: pd.Index[str]


def _samples_of(run: Run) -> dict[str, pd.DataFrame]:
    """Rows of the samples that were shown: clean, and of every other site."""
    shifts = {name: run.outcomes.iloc[run.places[name, 0.0]] for name in run.shifts}
    return {CLEAN: run.clean, **shifts}


def _members(rows: pd.DataFrame, true: Sequence[str]) -> _Members:
    keys = _keys(rows, true).to_numpy(dtype=str)
    names, first, member = np.unique(keys, return_index=True, return_inverse=True)
    return _Members(names, rows["patient_id"].to_numpy(dtype=object)[first], member, pd.Index(rows["sample_id"]))


def patients_of_several(rows: pd.DataFrame, label: str) -> int:
    """How many patients have images of several labels."""
    known = rows[rows["patient_id"] != ""]
    return int((known.groupby("patient_id")[label].nunique() > 1).sum())


def _keys(rows: pd.DataFrame, true: Sequence[str]) -> pd.Series:
    known = rows["patient_id"].where(rows["patient_id"] != "", "image " + rows["sample_id"])
    for column in true:
        known = known + " / " + rows[column].astype(str)
    return known


def _together(
    shares: NDArray[np.float64], member: NDArray[np.intp], count: int, rule: str, exclusive: bool
) -> NDArray[np.float64]:
    if rule == "mean":
        sizes = np.bincount(member, minlength=count)[:, None]
        return np.stack([np.bincount(member, column, minlength=count) for column in shares.T], axis=1) / sizes
    largest = _largest(shares, member, count)
    return largest / largest.sum(axis=1, keepdims=True) if exclusive else largest


def _largest(values: NDArray[np.float64], member: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    found = np.full((count, values.shape[1]), -np.inf)
    np.fmax.at(found, member, values)
    return np.where(np.isinf(found), np.nan, found)
