"""Dividing samples into training, validation and test: stratified by class, patients whole, seeded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.random import Generator, default_rng
from sklearn.model_selection import StratifiedGroupKFold

from monai_robust.errors import BadInputError

__all__ = ["SPLITS", "check_fractions", "complete_splits", "counted_splits", "cross_validation_splits", "limited"]

SPLITS = ("train", "val", "test")


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Refuse shares to validate and to test on that are none, or take everything.

    Raises:
        BadInputError: with both.
    """
    if min(validation_fraction, test_fraction) <= 0 or validation_fraction + test_fraction >= 1:
        raise BadInputError(
            f"validation_fraction is {validation_fraction} and test_fraction {test_fraction}; both must be above 0 "
            "and leave something to train on"
        )


def complete_splits(table: pd.DataFrame, validation_fraction: float, test_fraction: float, seed: int) -> pd.DataFrame:
    """Draw the splits that are missing from the training samples.

    Args:
        table: samples with ``label``, ``patient_id`` and ``split`` ("" throughout where nothing is divided yet).
        validation_fraction: share of the samples at hand for a missing "val".
        test_fraction: share of the samples at hand for a missing "test".
        seed: of the draw.

    Returns:
        The table with a ``split`` for every sample.
    """
    table = table.assign(split=table["split"].replace("", "train"))
    rng = default_rng(seed)
    at_hand = int((table["split"] == "train").sum())
    for split, fraction in (("test", test_fraction), ("val", validation_fraction)):
        if not (table["split"] == split).any():
            training = table[table["split"] == "train"]
            drawn = _stratified_share(training, fraction * at_hand / max(len(training), 1), rng)
            table.loc[drawn, "split"] = split
    return table


def counted_splits(table: pd.DataFrame, counts: Sequence[int], seed: int) -> pd.DataFrame:
    """Draw so many samples for each split, with patients whole; what is left is not used.

    Samples stay in the split that the data set has them in, and training samples among those that are trained on, as
    far as the counts allow.

    Args:
        table: samples with ``patient_id`` and ``split``.
        counts: for "train", "val" and "test".
        seed: of the draw.

    Returns:
        The rows that were drawn, with their ``split``.

    Raises:
        BadInputError: there are fewer samples, or whole patients do not make up a count.
    """
    if sum(counts) > len(table):
        raise BadInputError(f"split_counts {list(counts)} are {sum(counts)} samples, and there are {len(table)}")
    patients = [list(part.index) for _, part in table.groupby("patient_id", sort=True)]
    patients = [patients[place] for place in default_rng(seed).permutation(len(patients))]
    own_splits = table["split"].replace("", "train")
    drawn: dict[str, list[int]] = {}
    for split, count in sorted(zip(SPLITS, counts, strict=True), key=lambda one: one[1]):
        far = {own[0]: max(_distance(own_splits[row], split) for row in own) for own in patients}
        largest = sorted(patients, key=len, reverse=True)  # what is left for the end should be small
        taken = _made_up(sorted(largest, key=lambda own: far[own[0]]), count) or _made_up(largest, count)
        if taken is None:
            raise BadInputError(
                f"whole patients do not make up {count} samples for split {split!r}; change split_counts"
            )
        drawn[split] = [row for own in taken for row in own]
        patients = [own for own in patients if own[0] not in drawn[split]]
    table = table.assign(split="")
    for split, rows in drawn.items():
        table.loc[rows, "split"] = split
    return table[table["split"] != ""]


def _made_up(patients: Sequence[list[int]], count: int) -> list[list[int]] | None:
    """The first patients that have so many samples together; None where they do not."""
    taken: list[list[int]] = []
    for own in patients:
        if len(own) <= count:
            taken.append(own)
            count -= len(own)
    return None if count else taken


def _distance(own: str, wanted: str) -> int:
    """How far a sample is from a split: of it, or one to validate or test on for the other, or across training."""
    return 0 if own == wanted else 1 if "train" not in (own, wanted) else 2


def cross_validation_splits(table: pd.DataFrame, fold: int, folds: int, seed: int) -> pd.DataFrame:
    """Divide training and validation samples anew, for one fold of a cross-validation; the test split stays.

    Args:
        table: samples with ``label``, ``patient_id`` and ``split``.
        fold: which part to validate on, from 0.
        folds: how many parts.
        seed: of the division, which is the same for every fold.

    Raises:
        BadInputError: ``fold`` is none of the folds, or there are fewer patients than folds.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise BadInputError(f"fold is {fold} of {folds} folds; it can be 0 to folds - 1, with 2 folds or more")
    pool = table[table["split"] != "test"]
    patients = pool["patient_id"].nunique()
    if patients < folds or pool["label"].value_counts().min() < folds:
        raise BadInputError(f"folds is {folds}, more than the {patients} patients or the samples of the rarest class")
    divider = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    parts = list(divider.split(pool, pool["label"], groups=pool["patient_id"]))
    table = table.copy()
    table.loc[pool.index, "split"] = "train"
    table.loc[pool.index[parts[fold][1]], "split"] = "val"
    return table


def limited(table: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """Keep at most ``limit`` samples of each split, in proportion to its classes, with patients whole.

    Args:
        table: samples with ``label``, ``patient_id`` and ``split``.
        limit: samples of each split.
        seed: of the draw.

    Raises:
        BadInputError: the limit cannot hold one whole patient of each class.
    """
    kept = []
    for number, split in enumerate(SPLITS):
        part = table[table["split"] == split]
        if len(part) > limit:
            part = part.loc[_within_limit(part, limit, default_rng([seed, number]))]
            lost = set(table.loc[table["split"] == split, "label"]) - set(part["label"])
            if lost:
                raise BadInputError(f"limit {limit} cannot hold one whole patient of each class in split {split!r}")
        kept.append(part)
    return pd.concat(kept)


def _stratified_share(table: pd.DataFrame, fraction: float, rng: Generator) -> list[int]:
    """Rows of whole patients that make up about this share of each class.

    Scikit-learn divides grouped samples by class into equal folds only, of which 15 % of twelve patients are none.
    """
    drawn: list[int] = []
    for label, patients in _patients_by_label(table, rng).items():
        wanted = fraction * int((table["label"] == label).sum())
        count = 0
        for rows in patients[:-1]:  # one patient at least stays behind
            if count + len(rows) / 2 > wanted and count:
                break
            drawn += rows
            count += len(rows)
    return drawn


def _within_limit(table: pd.DataFrame, limit: int, rng: Generator) -> list[int]:
    patients = _patients_by_label(table, rng)
    counts = {label: sum(len(rows) for rows in found) for label, found in patients.items()}
    by_class = [_fitting(found, max(1, int(limit * counts[label] / len(table)))) for label, found in patients.items()]
    if not all(by_class):  # a class whose patients all exceed its quota is not to be lost
        by_class = [[min(found, key=len)] for found in patients.values()]
    drawn = [rows for chosen in by_class for rows in chosen]
    taken = {rows[0] for rows in drawn}
    rest = [rows for found in patients.values() for rows in found if rows[0] not in taken]
    drawn += [rest[i] for i in rng.permutation(len(rest))]
    return sorted(row for rows in _fitting(drawn, limit) for row in rows)


def _fitting(patients: list[list[int]], room: int) -> list[list[int]]:
    chosen = []
    for rows in patients:
        if len(rows) <= room:
            chosen.append(rows)
            room -= len(rows)
    return chosen


def _patients_by_label(table: pd.DataFrame, rng: Generator) -> dict[int, list[list[int]]]:
    """For each class its patients in random order, each a list of rows; one of several classes counts as the rarest."""
    frequency = table["label"].value_counts()
    patients: dict[int, list[list[int]]] = {int(label): [] for label in np.sort(table["label"].unique())}
    for _, part in table.groupby("patient_id", sort=True):
        label = min((int(value) for value in part["label"]), key=lambda value: (frequency[value], value))
        patients[label].append([int(row) for row in part.index])
    return {label: [found[i] for i in rng.permutation(len(found))] for label, found in patients.items() if found}
