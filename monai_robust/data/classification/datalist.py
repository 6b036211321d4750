"""From a data set's folder to the lists of samples a classifier is trained, validated and tested on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.classification.layouts import find_table
from monai_robust.data.lists.division import (
    Division,
    data_set_folder,
    group_columns,
    items_of,
    parts_of,
    require_parts,
)
from monai_robust.data.lists.listed import finite_number
from monai_robust.data.lists.same_files import refuse_same_files
from monai_robust.data.lists.spellings import refuse_nothing, refuse_spellings
from monai_robust.errors import BadInputError

__all__ = ["ClassificationDatalist", "check_samples", "classification_datalist"]


@dataclass(frozen=True)
class ClassificationDatalist:
    """The samples of a classification data set.

    Args:
        classes: names, in the order of the labels.
        items: for ``"train"``, ``"val"`` and ``"test"`` a list of ``{"image": absolute path, "label": index in
            classes, "sample_id": text, "patient_id": text}`` with the group columns that were asked for.
    """

    classes: tuple[str, ...]
    items: dict[str, list[dict[str, Any]]]


def classification_datalist(
    dataset_dir: str | PathLike[str],
    *,
    datalist: str | PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    groups: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    fold: int | None = None,
    folds: int = 5,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.2,
    undivided: bool = False,
    split_counts: Sequence[int] | None = None,
    redraw: bool = False,
) -> ClassificationDatalist:
    """List the samples of a data set, whichever of the usual layouts it has.

    Looked for in this order: the given ``datalist``; ``index.csv`` in the folder; folders ``train``, ``val``, ``test``
    of class folders; class folders. A CSV file has columns ``file`` (or ``image``) and ``label``, and may have
    ``patient_id``, ``sample_id``, ``split`` and others; a JSON file follows MONAI: ``{"training": [{"image": ...,
    "label": ...}], "validation": [...], "test": [...]}``. Paths in them start from ``dataset_dir``. Rows of other
    splits than train, val and test, and exact repeats of a row, are left out and counted in the log; so are
    files in class folders that are no images, and links to folders are followed.

    A split that the data set does not define is drawn from the training samples, stratified by class and with all
    samples of a patient on one side. ``patient_id`` may also be called ``PatientID``, ``subject`` and alike. Without
    patient ids, and where one is empty, ``unknown`` or the like, every sample is its own patient. An image that is
    listed twice, and ids that differ in case or zeros in front alone, are refused.

    Args:
        dataset_dir: the data set's folder.
        datalist: a JSON or CSV file that lists the samples.
        classes: class names in the order of the labels; by default the labels found, sorted. Where no label is a
            name in ``classes``, whole numbers are taken as indices into it.
        groups: further columns to hand on with every sample, such as ``"source"``.
        limit: use at most so many samples of each split, drawn stratified with patients kept whole.
        seed: of every draw.
        fold: pool training and validation samples and validate on this one of ``folds`` (0 is the first).
        folds: number of folds, each stratified and grouped by patient.
        validation_fraction: share of the samples to validate on, where the data set does not say.
        test_fraction: share of the samples to test on, where the data set does not say.
        undivided: put all samples, of whatever split, into ``test``: those of another site, on which nobody trains.
            Classes without a sample are no fault there, and ``groups`` that the list does not have are left out.
        split_counts: so many samples to train, to validate and to test on, drawn, from the data set's own splits first.
        redraw: draw all splits by the shares, whatever the data set says.

    Raises:
        BadInputError: whatever makes the folder or an argument unusable, in one sentence.
    """
    root = data_set_folder(dataset_dir)
    division = Division(validation_fraction, test_fraction, seed, fold, folds, limit, undivided, split_counts)
    table = find_table(root, None if datalist is None else Path(datalist).expanduser())
    groups = group_columns(groups, table.columns, root, undivided)
    check_samples(table, root)
    names, table["label"] = _class_indices(table["label"], classes, root)
    table = division.divided(table.assign(split="") if redraw else table)
    if not undivided:
        _check_splits(table, names, root)
    if limit is not None and limit < len(names):
        raise BadInputError(f"limit is {limit!r}; with {len(names)} classes it can be {len(names)} or more")
    columns = ["image", "label", "sample_id", "patient_id", *groups]
    parts = parts_of(division.limited(table))
    return ClassificationDatalist(names, {split: items_of(part, columns) for split, part in parts.items()})


def check_samples(table: pd.DataFrame, root: Path) -> None:
    """Refuse a list with missing files, with ids that occur twice, or with one image under two names.

    Raises:
        BadInputError: with the first.
    """
    missing = [image for image in table["image"] if not os.path.exists(image)]
    if missing:
        raise BadInputError(f"{len(missing)} of {len(table)} listed files are missing in {root}; first {missing[0]}")
    repeated = table["sample_id"][table["sample_id"].duplicated()]
    if len(repeated):
        raise BadInputError(
            f"{len(repeated)} sample ids occur twice with different entries in the data list of {root}; "
            f"first {repeated.iloc[0]}"
        )
    refuse_same_files(table["image"], f"the data list of {root}", "image")


def _class_indices(
    labels: pd.Series[str], classes: Sequence[str] | None, root: Path
) -> tuple[tuple[str, ...], pd.Series[int]]:
    if classes is None or set(labels).isdisjoint(classes):
        labels = _whole_numbers(labels)
    found = set(labels)
    if classes is None:
        _check_labels(found, root)
        names = tuple(sorted(found, key=int if all(map(_is_whole, found)) else str))
    else:
        names = tuple(str(name) for name in classes)
        _check_class_names(names)
        if found.isdisjoint(names) and all(_is_whole(label) and int(label) < len(names) for label in found):
            return names, labels.astype(int)
    unknown = sorted(found - set(names))
    if unknown:
        raise BadInputError(f"label {unknown[0]!r} in the data list is none of the classes {', '.join(names)}")
    if len(names) < 2:
        raise BadInputError(f"the data list of {root} has only one class, {names[0]!r}; a classifier needs two or more")
    return names, labels.map({name: index for index, name in enumerate(names)}).astype(int)


def _whole_numbers(labels: pd.Series[str]) -> pd.Series[str]:
    """Whole numbers that some program wrote as 1.0, or both as 1 and as 01, as what they are."""
    found = set(labels)
    if not all(_is_whole(label.removesuffix(".0")) for label in found):
        return labels
    plain = {label: str(int(label.removesuffix(".0"))) for label in found}
    return labels.map(plain) if len(set(plain.values())) < len(found) or any("." in one for one in found) else labels


def _is_whole(label: str) -> bool:
    return label.isascii() and label.isdigit() and len(label) < 10


def _check_labels(found: set[str], root: Path) -> None:
    """Refuse labels that hardly name a class."""
    refuse_spellings(sorted(found), f"the data list of {root}")
    refuse_nothing(sorted(found), f"the data list of {root}")
    for label in sorted(found):
        number = finite_number(label)
        if number is not None and number < 0:
            raise BadInputError(
                f"the data list of {root} has the label {label!r}, which often stands for none; name the classes, that "
                "one among them if it is one, or leave its samples out"
            )
        if number is not None and not number.is_integer():
            raise BadInputError(f"the data list of {root} has the label {label}; a class is a name or a whole number")


def _check_class_names(names: tuple[str, ...]) -> None:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise BadInputError(f"classes names {sorted(repeated)[0]!r} more than once")


def _check_splits(table: pd.DataFrame, names: tuple[str, ...], root: Path) -> None:
    parts = parts_of(table)
    require_parts(parts, len(table), root, "samples")
    labels = {split: set(part["label"]) for split, part in parts.items()}
    for split, found in labels.items():
        unseen = sorted(found - labels["train"])
        if unseen:
            raise BadInputError(
                f"class {names[unseen[0]]!r} is in split {split!r} but not among the training samples of {root}"
            )
    absent = sorted(set(range(len(names))) - labels["train"])
    if absent:
        raise BadInputError(f"class {names[absent[0]]!r} has no training sample in {root}")
