"""Lists of images each of which may show several findings, from tables with a column for each finding."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from monai_robust.data.classification.datalist import ClassificationDatalist, check_samples
from monai_robust.data.classification.layouts import find_findings_table
from monai_robust.data.lists.division import (
    Division,
    data_set_folder,
    group_columns,
    items_of,
    parts_of,
    require_parts,
)
from monai_robust.data.lists.spellings import NOTHING, refuse_spellings
from monai_robust.errors import BadInputError

__all__ = ["findings_datalist"]

_LOG = logging.getLogger(__name__)
_OTHERS = frozenset(("image", "file", "label", "patient_id", "sample_id", "split", "annotation", "case_id"))
_STATED = {"-1": -1.0, "-1.0": -1.0, "0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0, "false": 0.0}
_STATES = dict.fromkeys((*NOTHING, "u", "uncertain"), -1.0) | _STATED
_MOSTLY = 0.75  # of a column's cells that say something: it is one of findings, and the others are slips
_HARDLY = ("sex", "gender", "male", "female", "fold", "age", "view", "lateral", "frontal", "portable", "split", "train")
_RARE = 30  # samples of a finding below which it does not lead a draw of splits


def findings_datalist(
    dataset_dir: str | PathLike[str],
    *,
    datalist: str | PathLike[str] | None = None,
    findings: Sequence[str] = (),
    groups: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    fold: int | None = None,
    undivided: bool = False,
    split_counts: Sequence[int] | None = None,
) -> ClassificationDatalist:
    """List the samples of a data set whose ``index.csv`` has a column for each finding.

    Cells are 1 (present), 0 (absent), and -1 or empty where it is uncertain or nobody has said; whatever is not known
    counts neither in training nor in evaluation. Files, patients and splits are those of
    :func:`~monai_robust.data.classification_datalist`; splits that the data set does not define are drawn by patient,
    stratified by the rarest finding of an image.

    Args:
        dataset_dir: the data set's folder, with ``index.csv``.
        datalist: another CSV file that lists the samples.
        findings: columns in the order of the network's outputs; by default all that hold nothing but such cells and are
            no keys or groups, which the log names. A column that holds some other cell among many such is refused.
        groups: further columns to hand on with every sample.
        limit: use at most so many samples of each split, with patients kept whole.
        seed: of every draw.
        fold: 0 to 4, of a cross-validation by patient.
        undivided: put all samples, of whatever split, into ``test``: those of another site, on which nobody trains.
            Classes without a sample are no fault there, and ``groups`` that the list does not have are left out.
        split_counts: so many samples to train, to validate and to test on, drawn, from the data set's own splits first.

    Returns:
        ``classes`` are the findings; each item's ``label`` is (C,) float32 of 1, 0 and -1.

    Raises:
        BadInputError: whatever makes the folder or an argument unusable, in one sentence.

    Example:
        >>> findings_datalist("chestmnist", findings=["effusion", "nodule"]).classes  # doctest: +SKIP
        ('effusion', 'nodule')
    """
    root = data_set_folder(dataset_dir)
    table = find_findings_table(root, None if datalist is None else Path(datalist).expanduser())
    names = _findings(table, findings, groups, root)
    groups = group_columns(groups, table.columns, root, undivided)
    check_samples(table, root)
    states = np.stack([_states(table, name, root) for name in names], axis=1)
    division = Division(0.15, 0.2, seed, fold, 5, limit, undivided, split_counts)
    table = table.assign(label=_leading(states), place=range(len(table)))
    table = division.divided(table)
    parts = parts_of(table)
    if not undivided:
        require_parts(parts, len(table), root, "samples")
    trained = states[parts["train"]["place"].to_numpy()]
    for position, name in enumerate([] if undivided else names):
        if not {0.0, 1.0} <= set(trained[:, position]):
            raise BadInputError(f"{name!r} is not both present and absent among the training samples of {root}")
    items = {}
    for split, part in parts_of(division.limited(table)).items():
        rows = items_of(part, ["image", "sample_id", "patient_id", *groups])
        items[split] = [
            {**row, "label": states[place].astype(np.float32)} for row, place in zip(rows, part["place"], strict=True)
        ]
    return ClassificationDatalist(tuple(names), items)


def _findings(table: pd.DataFrame, given: Sequence[str], groups: Sequence[str], root: Path) -> list[str]:
    absent = next((name for name in given if name not in table), None)
    if absent is not None:
        has = ", ".join(map(str, table.columns))
        raise BadInputError(f"the data list of {root} has no column {absent!r} for a finding; it has {has}")
    if given:
        return [str(name) for name in given]
    free = [str(name) for name in table.columns if name not in _OTHERS and name not in groups]
    names = [name for name in free if _holds_states(table, name, root)]
    if not names:
        raise BadInputError(
            f"the data list of {root} has no column of 0, 1 and -1 or empty cells, one for each finding, as several "
            "findings in an image need; one class an image is --task classification"
        )
    refuse_spellings(names, f"the data list of {root}", ("the column", "the column", "findings"))
    _LOG.info("findings of %s: %s", root, ", ".join(names))
    hardly = [name for name in names if name.casefold() in _HARDLY]
    if hardly:
        _LOG.warning(
            "the findings of %s are %s: is %s one? Name those that are by findings",
            *(root, ", ".join(names), ", ".join(hardly)),
        )
    return names


def _holds_states(table: pd.DataFrame, name: str, root: Path) -> bool:
    """Whether a column is one of a finding.

    Raises:
        BadInputError: it is, but for a few cells.
    """
    cells = table[name].str.lower()
    told = ~cells.isin(set(_STATES) - set(_STATED))
    stated = int(cells.isin(list(_STATED)).sum())
    if stated and told.sum() > stated >= _MOSTLY * told.sum():
        odd = _odd_cell(table, name)
        raise BadInputError(
            f"the data list of {root} has {odd}, where nearly all others say 0 or 1; a finding is 1 (present), 0 "
            "(absent), and -1 or empty where it is not known; mend it, or name the columns of findings by findings"
        )
    return stated > 0 and stated == int(told.sum())


def _states(table: pd.DataFrame, name: str, root: Path) -> np.ndarray:
    odd = _odd_cell(table, name)
    if odd:
        raise BadInputError(
            f"the data list of {root} has {odd}; a finding is 1 (present), 0 (absent), and -1 or empty where it is not "
            "known"
        )
    return table[name].str.lower().map(_STATES).to_numpy(dtype=float)


def _odd_cell(table: pd.DataFrame, name: str) -> str:
    """The first cell of a column that says no state of a finding, and where it stands; "" where there is none."""
    for cell, image in zip(table[name], table["image"], strict=True):
        if cell.lower() not in _STATES:
            return f"{cell[:60]!r} in the row of {Path(image).name}, in the column {name!r}"
    return ""


def _leading(states: np.ndarray) -> np.ndarray:
    """For each sample the rarest finding that it has, as a class to stratify by; one more for all others."""
    counts = (states == 1).sum(axis=0)
    leading = np.full(len(states), states.shape[1])
    for position in np.argsort(-counts, kind="stable"):  # rarer ones last
        if counts[position] >= _RARE:
            leading[states[:, position] == 1] = position
    return leading
