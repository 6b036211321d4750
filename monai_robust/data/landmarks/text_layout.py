"""Landmarks in the layout of the ISBI 2015 challenge: one text file a picture and annotator."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from monai_robust.data.files.side_files import read_text
from monai_robust.data.landmarks.annotated import Annotated, BadSamples, PlacedMark, number
from monai_robust.data.landmarks.splits import known_splits
from monai_robust.data.lists.listed import finite_number, is_hidden, visible_folders
from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["ANNOTATIONS", "CHALLENGE_LANDMARKS", "CHALLENGE_SPACING", "read_text_layout"]

ANNOTATIONS = "AnnotationsByMD"
CHALLENGE_SPACING = 0.1  # mm per pixel, Wang et al., IEEE TMI 34(9) (2015)
CHALLENGE_LANDMARKS = (
    "sella",
    "nasion",
    "orbitale",
    "porion",
    "subspinale_A",
    "supramentale_B",
    "pogonion",
    "menton",
    "gnathion",
    "gonion",
    "lower_incisal_incision",
    "upper_incisal_incision",
    "upper_lip",
    "lower_lip",
    "subnasale",
    "soft_tissue_pogonion",
    "PNS",
    "ANS",
    "articulare",
)
_Marks = list[list[PlacedMark]]  # one list for each annotator
_Texts = tuple[Path, dict[str, Path]]  # an annotator's folder, and its files
_PICTURES = "RawImage"
_LARGEST = 2**20  # bytes of one picture's landmarks
_PARTS = ("TrainingData", "Test1Data", "Test2Data")


def read_text_layout(
    root: Path, annotator: str, test_split: str, names: Sequence[str] | None, bad: BadSamples
) -> tuple[tuple[str, ...], list[Annotated]]:
    """Read ``RawImage/{TrainingData,Test1Data,Test2Data}/001.*`` and ``AnnotationsByMD/400_senior/001.txt``.

    Args:
        root: the data set's folder.
        annotator: what comes after the underscore in the name of the annotator's folder, or "mean" of all of them.
        test_split: "test1", "test2" or "both".
        names: of the landmarks, where the data set declares them.
        bad: takes the samples that cannot be used.

    Returns:
        Names of the landmarks, and the pictures of the splits in use.

    Raises:
        BadInputError: a folder is missing, or the annotator is unknown.
    """
    annotators = [_texts(folder) for folder in _annotators(root, annotator)]
    pictures = _pictures(root)
    ids = [_sample_id(picture, root) for picture in pictures]
    splits = known_splits(ids, [picture.parent.name for picture in pictures], test_split, str(root / _PICTURES))
    _note_missing_pictures(annotators[0][1], pictures, root / _PICTURES, bad)
    used = [(picture, split) for picture, split in zip(pictures, splits, strict=True) if split is not None]
    marks = _usable((picture for picture, _ in used), lambda picture: _read_all(picture, annotators), root, bad)
    declared = _declared(names, marks)
    marks = _usable(marks, lambda picture: _joined(marks[picture], len(declared)), root, bad)
    found = [
        Annotated(picture, _sample_id(picture, root), picture.stem, split, marks[picture][0])
        for picture, split in used
        if picture in marks
    ]
    return declared, found


def _usable(
    pictures: Iterable[Path], marks_of: Callable[[Path], _Marks], root: Path, bad: BadSamples
) -> dict[Path, _Marks]:
    """The marks of all pictures that have usable ones."""
    found = {}
    for picture in pictures:
        try:
            found[picture] = marks_of(picture)
        except BadSampleError as error:
            bad.add(_sample_id(picture, root), picture, error)
    return found


def _note_missing_pictures(texts: dict[str, Path], pictures: Sequence[Path], place: Path, bad: BadSamples) -> None:
    stems = {picture.stem for picture in pictures}
    for text in texts.values():
        if text.stem not in stems:
            missing = f"{text} has landmarks, but there is no picture {text.stem}.* in the folders of {place}"
            bad.add(text.stem, text, BadSampleError(missing))


def _annotators(root: Path, annotator: str) -> list[Path]:
    by_name = {path.name.rpartition("_")[2]: path for path in visible_folders(root / ANNOTATIONS)}
    if annotator == "mean" and by_name:
        return list(by_name.values())
    if annotator not in by_name:
        raise BadInputError(
            f"annotator is {annotator!r}; {root / ANNOTATIONS} has {', '.join(by_name) or 'no folder'}, or mean of all"
        )
    return [by_name[annotator]]


def _pictures(root: Path) -> list[Path]:
    folders = [root / _PICTURES / part for part in _PARTS]
    pictures = [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.is_file() and not is_hidden(path.name)
    ]
    if not pictures:
        raise BadInputError(f"{root / _PICTURES} has no pictures in {', '.join(_PARTS)}")
    stem, count = Counter(picture.stem for picture in pictures).most_common(1)[0]
    if count > 1:
        raise BadInputError(
            f"{count} pictures in {root / _PICTURES} are called {stem}; their landmarks would be one file"
        )
    return pictures


def _sample_id(picture: Path, root: Path) -> str:
    return picture.relative_to(root).as_posix()


def _read_all(picture: Path, annotators: Sequence[_Texts]) -> _Marks:
    return [_read_marks(texts.get(picture.stem, folder / f"{picture.stem}.txt")) for folder, texts in annotators]


def _texts(folder: Path) -> _Texts:
    """The text files of an annotator, by their names."""
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".txt" and not is_hidden(path.name))
    return folder, {path.stem: path for path in files}


def _read_marks(path: Path) -> list[PlacedMark]:
    """The lines "x,y" at the top of the file; what follows (the challenge's diagnoses) has no comma. Blank lines mean
    nothing."""
    try:
        lines = read_text(path, "file of landmarks", largest=_LARGEST).splitlines()
    except BadInputError as error:
        raise BadSampleError(str(error)) from error
    marks: list[PlacedMark] = []
    end = 0
    for row, line in enumerate(lines, start=1):
        written, parts = f"{path} line {row}", line.split(",")
        if len(parts) == 1 and line.strip():
            if len(line.split()) == 2 and all(finite_number(part) is not None for part in line.split()):
                raise BadSampleError(f"{written}: {line.strip()!r} is no pair of numbers x,y, with a comma")
            end = end or row
        elif end and len(parts) == 2 and all(finite_number(part) is not None for part in parts):
            raise BadSampleError(f"{written}: {line.strip()!r} is a landmark after the end of them in line {end}")
        elif not end and line.strip():
            if len(parts) != 2:
                raise BadSampleError(f"{written}: {line.strip()!r} is no pair of numbers x,y")
            marks.append(PlacedMark(number(parts[0], written), number(parts[1], written), written))
    if not marks:
        raise BadSampleError(f"{path} line 1: the file has no landmarks; it needs a line x,y for each")
    return marks


def _declared(names: Sequence[str] | None, marks: dict[Path, _Marks]) -> tuple[str, ...]:
    """The data set's own names, the challenge's where there are as many landmarks, else numbers."""
    if names is not None:
        return tuple(names)
    counts = Counter(len(one) for several in marks.values() for one in several)
    usual = counts.most_common(1)[0][0] if counts else 0
    if usual == len(CHALLENGE_LANDMARKS):
        return CHALLENGE_LANDMARKS
    return tuple(f"landmark_{place + 1}" for place in range(usual))


def _joined(marks: _Marks, expected: int) -> _Marks:
    """One list in place of one for each annotator, who must have placed as many landmarks as expected."""
    for one in marks:
        if len(one) != expected:
            raise BadSampleError(
                f"{one[-1].written}: the landmarks end here, after {len(one)}, where the data set has {expected}"
            )
    return [[_mean(several) for several in zip(*marks, strict=True)]]


def _mean(marks: Sequence[PlacedMark]) -> PlacedMark:
    """Of the annotators who placed the landmark."""
    placed = [mark for mark in marks if not math.isnan(mark.x + mark.y)] or [marks[0]]
    x, y = (math.fsum(values) / len(placed) for values in zip(*((mark.x, mark.y) for mark in placed), strict=True))
    return PlacedMark(x, y, placed[0].written)
