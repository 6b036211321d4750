"""From a folder in the Medical Segmentation Decathlon's layout to the volumes to train, validate and test on."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.model_selection import KFold

from monai_robust.data.files.schemas import shown
from monai_robust.data.files.side_files import read_json
from monai_robust.data.lists.division import (
    Division,
    data_set_folder,
    group_columns,
    items_of,
    parts_of,
    require_parts,
)
from monai_robust.data.lists.listed import NAMES_AT_DEBUG, list_table, listed_file
from monai_robust.data.lists.patients import patients_of, with_patient_id
from monai_robust.data.lists.spellings import refuse_spellings
from monai_robust.data.lists.split_names import in_known_splits, lists_of_splits, warn_of_other_lists, without_trainval
from monai_robust.data.segmentation.files import check_files, warn_of_other_images
from monai_robust.data.segmentation.folders import without_suffix
from monai_robust.errors import BadInputError

__all__ = ["SegmentationDatalist", "segmentation_datalist"]

_logger = logging.getLogger(__name__)

_NNUNET_FOLD_SEED = 12345
_OWN = {"image", "mask", "label", "split", "case_id", "patient_id", "channels"}  # columns that no index adds


@dataclass(frozen=True)
class SegmentationDatalist:
    """The volumes of a segmentation data set.

    Args:
        classes: names of the foreground classes, in the order of their labels 1, 2, ...; 0 is the background.
        modalities: name of each channel of an image.
        items: for ``"train"``, ``"val"`` and ``"test"`` a list of ``{"image": absolute path, "label": absolute path,
            "case_id": text, "patient_id": text, "channels": number of modalities}`` with the group columns that were
            asked for.
    """

    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    items: dict[str, list[dict[str, Any]]]


def segmentation_datalist(
    dataset_dir: str | PathLike[str],
    *,
    groups: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    fold: int | None = None,
    folds: int = 5,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.2,
    undivided: bool = False,
    split_counts: Sequence[int] | None = None,
) -> SegmentationDatalist:
    """List the volumes of a data set in the Decathlon's layout: ``dataset.json``, ``imagesTr`` and ``labelsTr``.

    ``dataset.json`` names the ``modality`` of each channel, the ``labels`` ``{"0": "background", "1": ...}``, and
    under ``training`` the pairs ``{"image": ..., "label": ...}``, relative to the folder. Pairs under ``validation``
    and ``test`` are that split's; images under ``test`` without a label, as the Decathlon has them, are not used. An
    ``index.csv`` beside it may give, by ``case_id`` (the image's file name without suffix), a ``split`` (train, val,
    test) instead, and a ``patient_id``, which may also be a key of the pairs. Without patient ids every case is its
    own patient.

    Without ``fold``, a split that neither of them defines is drawn from the training cases, with patients kept
    whole. With ``fold``, training and validation cases are divided as nnU-Net divides them, by
    ``KFold(5, shuffle=True, random_state=12345)`` over the sorted patients; the test split stays. Where there is
    no test split, the fold's validation cases are also its test cases, as in the nnU-Net paper's
    cross-validation: then nothing may be chosen on them.

    Args:
        dataset_dir: the data set's folder.
        groups: further columns of ``index.csv`` to hand on with every volume, such as ``"source"``.
        limit: use at most so many volumes of each split, drawn at random with patients kept whole.
        seed: of every draw but nnU-Net's.
        fold: validate on this one of ``folds`` (0 is the first).
        folds: number of folds.
        validation_fraction: share of the cases to validate on, where neither the data set nor ``fold`` says.
        test_fraction: share of the cases to test on, where neither says.
        undivided: put all samples, of whatever split, into ``test``: those of another site, on which nobody trains.
            ``groups`` that the list does not have are left out.
        split_counts: so many samples to train, to validate and to test on, drawn, from the data set's own splits first.

    Raises:
        BadInputError: whatever makes the folder or an argument unusable, in one sentence.
    """
    root = data_set_folder(dataset_dir)
    division = Division(
        validation_fraction, test_fraction, seed, fold, folds, limit=limit, undivided=undivided, counts=split_counts
    )
    content = _read_description(root)
    modalities, classes = _modalities(content, root), _classes(content, root)
    table = _with_patients(_with_index(_cases(content, root), root), root)
    groups = group_columns(groups, set(table.columns) - _OWN, root, undivided)
    parts = parts_of(division.divided(table)) if fold is None else _fold(table, fold, folds)
    if not undivided:
        require_parts(parts, len(table), root, "cases")
    if limit is not None:
        parts = {split: _limited(part, division) for split, part in parts.items() if len(part)}
    items = {split: _items(part, len(modalities), groups) for split, part in parts.items()}
    return SegmentationDatalist(classes, modalities, items)


def _items(table: pd.DataFrame, channels: int, groups: Sequence[str]) -> list[dict[str, Any]]:
    columns = ["image", "label", "case_id", "patient_id", "channels", *groups]
    return items_of(table.assign(label=table["mask"], channels=channels), columns)


def _read_description(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    if not path.exists():
        raise BadInputError(
            f"{root} has no dataset.json; the Medical Segmentation Decathlon's layout needs one, with imagesTr and "
            "labelsTr beside it"
        )
    content = read_json(path, "description of a data set")
    if not isinstance(content, dict):
        raise BadInputError(f"{path} holds {shown(content)}; it needs an object with modality, labels and training")
    absent = [key for key in ("modality", "labels") if not content.get(key)]
    if not any(split in ("train", "trainval") for split, _, _ in lists_of_splits(content, path)):
        absent.append("training")
    if absent:
        raise BadInputError(f"{path} has no {absent[0]!r}; it needs modality, labels and training")
    warn_of_other_lists(content, path)
    warn_of_other_images(content, path)
    return dict(content)


def _modalities(content: dict[str, Any], root: Path) -> tuple[str, ...]:
    return _numbered(content["modality"], root, "modality")


def _classes(content: dict[str, Any], root: Path) -> tuple[str, ...]:
    names = _numbered(content["labels"], root, "labels")
    if len(names) < 2:
        raise BadInputError(f"{root / 'dataset.json'} declares only the label 0 ({names[0]}), so nothing to segment")
    ground = next((name for name in names[1:] if name.casefold() in ("background", "bg")), None)
    if ground is not None:
        raise BadInputError(
            f"{root / 'dataset.json'} calls the label 0 {names[0]!r} and another one {ground!r}; the background is "
            "0, so number the labels of the maps anew"
        )
    if len(set(names)) < len(names):
        raise BadInputError(f"{root / 'dataset.json'} gives two labels one name: {', '.join(names)}")
    refuse_spellings(names, root / "dataset.json")
    return names[1:]


def _numbered(names: Any, root: Path, key: str) -> tuple[str, ...]:
    """The names of ``{"0": ..., "1": ...}`` in the order of their numbers, which must not leave any out."""
    wrong = (
        f"{root / 'dataset.json'}: {key!r} is {shown(names)}; it needs the whole numbers from 0 on, each with a name"
    )
    if not isinstance(names, dict) or not all(re.fullmatch(r"[0-9]{1,5}", number) for number in names):
        raise BadInputError(wrong)
    if not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise BadInputError(wrong)
    by_number = {int(number): " ".join(name.split()) for number, name in names.items()}
    if sorted(by_number) != list(range(len(names))):
        raise BadInputError(wrong)
    return tuple(by_number[number] for number in range(len(names)))


def _cases(content: dict[str, Any], root: Path) -> pd.DataFrame:
    """One row per entry of dataset.json, sorted by case, all of one class 0 as far as stratifying is concerned."""
    path = root / "dataset.json"
    rows = []
    for split, name, entry in lists_of_splits(content, path):
        if split == "test" and not (isinstance(entry, dict) and entry.get("label")):
            continue  # an image for the Decathlon's own contest
        if not isinstance(entry, dict) or not {"image", "label"} <= set(entry):
            raise BadInputError(f'{path}: {shown(entry)} under {name} is not {{"image": ..., "label": ...}}')
        entry = with_patient_id(entry, f"{path}: an entry under {name}")
        files = [str(listed_file(root, entry[key], f"{path}: {key!r} under {name}")) for key in ("image", "label")]
        rows.append((*files, split, entry.get("patient_id")))
    table = pd.DataFrame(rows, columns=["image", "mask", "split", "patient_id"], dtype=object)
    table["case_id"] = [without_suffix(Path(file).name) for file in table["image"]]
    table["split"] = without_trainval(list(table["image"]), list(table["split"]))
    table = table[table["split"].notna()]
    repeated = table["case_id"][table["case_id"].duplicated()]
    if len(repeated):
        raise BadInputError(f"{path} lists {len(repeated)} cases twice; first {repeated.iloc[0]}")
    check_files(table, path)
    return table.assign(label=0).sort_values("case_id", ignore_index=True)


def _with_index(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Take ``split`` and ``patient_id`` from index.csv, where there is one."""
    path = root / "index.csv"
    if not path.exists():
        return table
    index = _read_index(path)
    unlisted = table["case_id"][~table["case_id"].isin(index.index)]
    if len(unlisted):
        raise BadInputError(
            f"{path} lacks {len(unlisted)} of the {len(table)} cases in dataset.json; first {unlisted.iloc[0]}"
        )
    unused = index.index[~index.index.isin(table["case_id"])]
    if len(unused):
        _logger.warning(
            "%d cases of %s are no labelled cases of dataset.json and are left out%s", len(unused), path, NAMES_AT_DEBUG
        )
        _logger.debug("no labelled cases: %s", ", ".join(map(str, unused)))
    rows = index.loc[table["case_id"]].reset_index(drop=True)
    table = table.assign(**{str(name): rows[name] for name in rows if name not in _OWN})
    if "patient_id" in rows:
        table["patient_id"] = rows["patient_id"].where(rows["patient_id"] != "", table["patient_id"])
    if "split" not in rows or (rows["split"] == "").all():
        return table
    table["split"] = rows["split"]
    return in_known_splits(table, list(table["case_id"]), path, "cases").reset_index(drop=True)


def _with_patients(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The patient of each case, as dataset.json or index.csv have it."""
    own = list(table["case_id"])
    given = None if table["patient_id"].isna().all() else list(table["patient_id"])
    places = [f"case {place}" for place in range(1, len(own) + 1)]
    return table.assign(patient_id=patients_of(given, own, f"the data list of {root}", places, "cases"))


def _read_index(path: Path) -> pd.DataFrame:
    index = list_table(path, "case")
    if "case_id" not in index:
        raise BadInputError(f"{path} has no column 'case_id'; it has {', '.join(map(str, index.columns))}")
    repeated = index["case_id"][index["case_id"].duplicated()]
    if len(repeated):
        raise BadInputError(f"{path} lists {len(repeated)} cases twice; first {repeated.iloc[0]}")
    return index.set_index("case_id")


def _fold(table: pd.DataFrame, fold: int, folds: int) -> dict[str, pd.DataFrame]:
    if folds < 2 or not 0 <= fold < folds:
        raise BadInputError(f"fold is {fold} of {folds} folds; it can be 0 to folds - 1, with 2 folds or more")
    pool, test = table[table["split"] != "test"], table[table["split"] == "test"]
    patients = sorted(set(pool["patient_id"]))
    if len(patients) < folds:
        raise BadInputError(f"folds is {folds}, more than the {len(patients)} patients to divide")
    divider = KFold(folds, shuffle=True, random_state=_NNUNET_FOLD_SEED)
    _, chosen = list(divider.split(patients))[fold]
    validated = pool["patient_id"].isin({patients[number] for number in chosen})
    val = pool[validated]
    return {"train": pool[~validated], "val": val, "test": test if len(test) else val}


def _limited(part: pd.DataFrame, division: Division) -> pd.DataFrame:
    smallest = int(part["patient_id"].value_counts().min())
    if division.limit is not None and division.limit < smallest:
        raise BadInputError(
            f"limit is {division.limit}; it must be {smallest} or more, to hold one whole patient of each split"
        )
    # A split's own name must not change the draw, so that a fold's validation cases stay its test cases.
    return division.limited(part.assign(split="train"))
