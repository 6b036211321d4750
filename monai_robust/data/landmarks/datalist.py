"""From a data set's folder to the pictures a landmark network is trained, validated and tested on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.files.side_files import read_json
from monai_robust.data.landmarks.annotated import Annotated, BadSamples
from monai_robust.data.landmarks.table_layout import read_table
from monai_robust.data.landmarks.text_layout import ANNOTATIONS, CHALLENGE_SPACING, read_text_layout
from monai_robust.data.lists.division import (
    Division,
    data_set_folder,
    group_columns,
    items_of,
    parts_of,
    require_parts,
)
from monai_robust.data.lists.listed import data_list_file
from monai_robust.data.lists.same_files import refuse_same_files
from monai_robust.data.lists.turned import warn_of_turned
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.scalars import is_above_zero

__all__ = ["LandmarkDatalist", "landmark_datalist"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LandmarkDatalist:
    """The pictures of a landmark data set.

    Args:
        classes: names of the landmarks, in the order of the points.
        items: for ``"train"``, ``"val"`` and ``"test"`` a list of ``{"image": absolute path, "points": [[x, y], ...]
            in pixels of the file, NaN where missing, "spacing": [mm per pixel in x, in y], "sample_id": text,
            "patient_id": text}`` with the group columns that were asked for; the centre of pixel i is at i.
        skipped: ``{"sample_id", "file", "reason"}`` for each sample that was left out because it cannot be used.
        swaps: pairs of names, left and right, that take each other's place in a mirrored picture.
    """

    classes: tuple[str, ...]
    items: dict[str, list[dict[str, Any]]]
    skipped: list[dict[str, str]] = field(default_factory=list)
    swaps: tuple[tuple[str, str], ...] = ()


def landmark_datalist(
    dataset_dir: str | PathLike[str],
    *,
    datalist: str | PathLike[str] | None = None,
    groups: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    fold: int | None = None,
    folds: int = 5,
    annotator: str = "senior",
    test_split: str = "test1",
    spacing: float | Sequence[float] | None = None,
    swaps: Sequence[Sequence[str]] | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.2,
    on_bad_sample: str = "fail",
    undivided: bool = False,
    split_counts: Sequence[int] | None = None,
) -> LandmarkDatalist:
    """List the pictures of a landmark data set, whichever of these layouts it has.

    Looked for in this order:

    - the given ``datalist``, a CSV file with a column ``file`` (or ``image``) and columns ``<name>_x``, ``<name>_y``,
      and perhaps ``patient_id``, ``sample_id``, ``split``, ``mm_per_px_x`` and ``mm_per_px_y``;
    - the ISBI 2015 challenge's: ``RawImage/{TrainingData,Test1Data,Test2Data}/001.*`` and
      ``AnnotationsByMD/400_senior/001.txt`` with a line ``x,y`` for each landmark; what follows them is ignored;
    - ``landmarks.csv``, to which an ``index.csv`` beside it may add columns; columns ``orig_*`` are ignored, and
      ``split_clean`` goes before ``split``;
    - ``index.csv`` with everything.

    A missing landmark is an empty cell, ``nan`` or ``NA``, has -1 for both coordinates, or 0 in ``<name>_v``.
    A file ``landmarks.json`` may give ``{"names": [...], "swaps": [[left, right], ...]}``. A split that the data set
    does not define is drawn from the training pictures, with patients kept whole; without patient ids every picture is
    its own patient. Of the challenge's two test sets the first is tested on, unless ``test_split`` says otherwise.
    Pictures of other splits are left out and counted in the log.

    Args:
        dataset_dir: the data set's folder.
        datalist: a CSV file, as it stands or inside ``dataset_dir``.
        groups: further columns of the table to hand on with every picture, such as ``"source"``.
        limit: use at most so many pictures of each split, drawn at random with patients kept whole.
        seed: of every draw.
        fold: pool training and validation pictures and validate on this one of ``folds`` (0 is the first).
        folds: number of folds.
        annotator: of the challenge's layout, "senior", "junior" or "mean" of those who placed the landmark.
        test_split: "test1", "test2" or "both".
        spacing: mm per pixel, or one for x and one for y, of pictures whose spacing neither the table nor their header
            says; by default 0.1 in the challenge's layout and 1 otherwise.
        swaps: pairs of landmark names, left and right, in place of what ``landmarks.json`` says.
        validation_fraction: share of the pictures to validate on, where the data set does not say.
        test_fraction: share of the pictures to test on, where the data set does not say.
        on_bad_sample: "fail" refuses the data set if a sample cannot be used, "skip" leaves it out and lists it.
        undivided: put all samples, of whatever split, into ``test``: those of another site, on which nobody trains.
            ``groups`` that the list does not have are left out.
        split_counts: so many samples to train, to validate and to test on, drawn, from the data set's own splits first.

    Raises:
        BadInputError: whatever makes the folder or an argument unusable, in one sentence with file and line.
    """
    root = data_set_folder(dataset_dir)
    division = Division(validation_fraction, test_fraction, seed, fold, folds, limit, undivided, split_counts)
    bad, declared = BadSamples(on_bad_sample), _declared(root)
    names, found, usual = _read(root, datalist, annotator, test_split, declared.get("names"), bad)
    groups = group_columns(groups, {name for one in found for name in one.columns}, root, undivided)
    table = _checked(found, names, _spacing(spacing, usual), groups, bad)
    pairs = _checked_swaps(declared.get("swaps", ()) if swaps is None else swaps, names)
    table = division.divided(table)
    if not undivided:
        require_parts(parts_of(table), len(table), root, "pictures")
    columns = ["image", "points", "spacing", "sample_id", "patient_id", *groups]
    items = {split: items_of(part, columns) for split, part in parts_of(division.limited(table)).items()}
    return LandmarkDatalist(names, items, bad.skipped, pairs)


def _read(
    root: Path,
    datalist: str | PathLike[str] | None,
    annotator: str,
    test_split: str,
    names: Sequence[str] | None,
    bad: BadSamples,
) -> tuple[tuple[str, ...], list[Annotated], float]:
    """Names, pictures, and mm per pixel of pictures in this layout that do not say it."""
    if datalist is None and (root / ANNOTATIONS).is_dir():
        return *read_text_layout(root, annotator, test_split, names, bad), CHALLENGE_SPACING
    path = _table(root, datalist)
    if annotator not in ("senior", "mean"):  # the mean of one is that one
        raise BadInputError(
            f"annotator is {annotator!r}, but {path} has one set of landmarks only; leave annotator out"
        )
    return *read_table(root, path, test_split, names, bad), 1.0


def _table(root: Path, datalist: str | PathLike[str] | None) -> Path:
    if datalist is not None:
        return data_list_file(root, datalist)
    for name in ("landmarks.csv", "index.csv"):
        if (root / name).exists():
            return root / name
    raise BadInputError(
        f"no landmarks found in {root}: looked for RawImage and {ANNOTATIONS} as in the ISBI 2015 challenge, for "
        f"landmarks.csv and for index.csv; a CSV file can be given by datalist="
    )


def _declared(root: Path) -> dict[str, Any]:
    path = root / "landmarks.json"
    if not path.exists():
        return {}
    content = read_json(path)
    names = content.get("names") if isinstance(content, dict) else content
    texts = names is None or (isinstance(names, list) and all(isinstance(name, str) and name for name in names))
    if not isinstance(content, dict) or not texts or names == [] or (names and len(set(names)) < len(names)):
        raise BadInputError(f'{path} needs the form {{"names": [...], "swaps": [[left, right], ...]}}, each name once')
    return content


def _checked_swaps(swaps: Any, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    wrong = f"swaps is {swaps!r}; it needs pairs of two landmarks, each landmark once, of {', '.join(names)}"
    pairs = swaps if isinstance(swaps, Sequence) else [swaps]
    if any(isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2 for pair in pairs):
        raise BadInputError(wrong)
    paired = [name for pair in pairs for name in pair]
    if any(name not in names for name in paired) or len(set(paired)) < len(paired):
        raise BadInputError(wrong)
    return tuple((first, second) for first, second in pairs)


def _spacing(spacing: float | Sequence[float] | None, usual: float) -> tuple[float, float]:
    given: Any = usual if spacing is None else spacing
    both = list(given) if isinstance(given, Iterable) else [given, given]
    if len(both) != 2 or not all(map(is_above_zero, both)):
        raise BadInputError(
            f"spacing is {spacing!r}; it can be a number of mm per pixel above 0, or one for x and y each"
        )
    return float(both[0]), float(both[1])


def _checked(
    found: Sequence[Annotated],
    names: Sequence[str],
    default: tuple[float, float],
    groups: Sequence[str],
    bad: BadSamples,
) -> pd.DataFrame:
    """The usable samples, all of one class 0 as far as stratifying is concerned."""
    rows: list[dict[str, Any]] = []
    turned = 0
    _refuse_shares(found)
    for one in found:
        try:
            spacing, is_turned = one.checked(names, default)
        except BadSampleError as error:
            bad.add(one.sample_id, one.image, error)
            continue
        turned += is_turned
        points = [[mark.x, mark.y] for mark in one.marks]
        rows.append(
            {
                **{group: one.columns.get(group, "") for group in groups},
                "image": str(one.image),
                "points": points,
                "spacing": list(spacing),
                "sample_id": one.sample_id,
                "patient_id": one.patient_id,
                "split": one.split,
                "label": 0,
            }
        )
    bad.judge(len(rows))
    warn_of_turned(turned, "landmarks")
    _warn_of_corners(row["points"] for row in rows)
    table = pd.DataFrame(rows)
    repeated = table["sample_id"][table["sample_id"].duplicated()]
    if len(repeated):
        raise BadInputError(f"sample id {repeated.iloc[0]} occurs twice in the data list; each picture needs its own")
    refuse_same_files(table["image"], "the data list")
    return table


def _refuse_shares(found: Sequence[Annotated]) -> None:
    """Refuse coordinates from 0 to 1, which are shares of the picture's width and height."""
    placed = [mark for one in found for mark in one.marks if not mark.missing]
    if placed and all(0 <= value <= 1 for mark in placed for value in (mark.x, mark.y)):
        raise BadInputError(
            f"{placed[0].written}: all coordinates of the data set are from 0 to 1, as shares of width and height are; "
            "multiply them by the picture's size, since pixels are needed"
        )


def _warn_of_corners(points: Iterable[list[list[float]]]) -> None:
    counts = [sum(x == y == 0 for x, y in one) for one in points]
    if any(counts):
        _logger.warning(
            "%d landmarks of %d pictures are at exactly 0, 0, which often stands for one that is missing; leave its "
            "cells empty if it is",
            *(sum(counts), sum(count > 0 for count in counts)),
        )
