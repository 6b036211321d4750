"""A phantom data set of lateral skull radiographs with landmarks: DICOM and text files, laid out as ISBI 2015's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from tqdm import tqdm

from monai_robust.data.phantoms.arguments import checked_sides
from monai_robust.data.phantoms.secondary_capture import write_secondary_capture
from monai_robust.data.phantoms.skull import LANDMARKS, Head, Stance, lateral_head
from monai_robust.data.phantoms.whole_folder import is_written, write_whole, written_once
from monai_robust.scalars import checked_whole

__all__ = ["phantom_cephalograms", "write_cephalogram_phantoms"]

_FEWEST_PATIENTS = 12
_SMALLEST_SIZE = 48
_TEST_SHARE = 0.25
_FULL_SCALE = 4095  # 12 bit
_WIDTH_MM = 190.0  # of a film, within a tenth
_ANNOTATORS = (("400_senior", 0.0), ("400_junior", 0.5))  # and how far off they are, in pixels
_EDGES = ("below", "behind", "in front")


@dataclass(frozen=True)
class _Film:
    """One radiograph: whose, in which part, stored how, and at which edge it was collimated too narrowly."""

    number: int
    part: str
    inverted: bool
    cut: str | None

    @property
    def name(self) -> str:
        return f"{self.number:03d}"

    @property
    def file(self) -> str:
        return f"RawImage/{self.part}/{self.name}.dcm"


def write_cephalogram_phantoms(
    folder: str | os.PathLike[str],
    *,
    patients: int = 60,
    size: tuple[int, int] = (96, 120),
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write a fictitious data set of lateral skull radiographs with six landmarks, one film a patient.

    The landmarks are corners and ends of bones, named as in the ISBI 2015 challenge: sella, nasion, porion, ANS,
    menton and gonion. Proportions, stance, exposure, tone, noise, pixel spacing (1.8 to 2.2 mm at the usual size) and
    storage vary from film to film. On every sixth film the collimator hides an edge of the head; landmarks below it
    are missing (``nan,nan``).

    Files: ``RawImage/TrainingData/001.dcm`` ... and ``RawImage/Test1Data/`` (Secondary Capture with PixelSpacing, 12
    bit, one in five ``MONOCHROME1``; three quarters of the patients for training), ``AnnotationsByMD/400_senior/
    001.txt`` and ``400_junior`` with a line ``x,y`` per landmark in pixels, the second half a pixel off at random,
    ``landmarks.json`` with the names, and ``phantom.json`` with the settings. The same settings give the same bytes.

    Args:
        folder: to be made; it may exist if it is empty.
        patients: how many.
        size: of the films in pixels, width and height.
        seed: of everything random.
        progress: show a bar with the remaining time.

    Returns:
        The folder.

    Raises:
        BadInputError: an argument cannot work, or the folder has content.
    """
    settings = _Settings(patients, checked_sides(size, _SMALLEST_SIZE), seed)
    return write_whole(folder, settings.stored(), lambda target: _write(target, settings, progress))


def phantom_cephalograms(
    folder: str | os.PathLike[str],
    *,
    patients: int = 60,
    size: tuple[int, int] = (96, 120),
    seed: int = 0,
    progress: bool = False,
) -> str:
    """The folder of a phantom data set, written by :func:`write_cephalogram_phantoms` if it is not there yet.

    Args:
        folder: where it is or is to be.
        patients: as for the writer, like all that follow.
        size: of the films in pixels, width and height.
        seed: of everything random.
        progress: show a bar with the remaining time.

    Raises:
        BadInputError: the folder holds something else, or phantoms with other settings; nothing is changed then.
    """
    settings = _Settings(patients, checked_sides(size, _SMALLEST_SIZE), seed)
    write = partial(write_cephalogram_phantoms, patients=patients, size=size, seed=seed, progress=progress)
    return written_once(folder, "cephalograms", lambda target: _is_complete(target, settings), write)


@dataclass(frozen=True)
class _Settings:
    patients: int
    size: tuple[int, int]
    seed: int

    def __post_init__(self) -> None:
        checked_whole("patients", self.patients, _FEWEST_PATIENTS)
        checked_whole("seed", self.seed, 0)

    def stored(self) -> dict[str, Any]:
        return {"phantom": "cephalograms", "version": 1, **asdict(self), "size": list(self.size)}


def _is_complete(folder: Path, settings: _Settings) -> bool:
    films = _plan(settings)
    texts = (_annotation(annotator, film) for film in films for annotator, _ in _ANNOTATORS)
    return is_written(folder, settings.stored(), [*(film.file for film in films), *texts, "landmarks.json"])


def _annotation(annotator: str, film: _Film) -> str:
    return f"AnnotationsByMD/{annotator}/{film.name}.txt"


def _write(folder: Path, settings: _Settings, progress: bool) -> None:
    films = _plan(settings)
    for name in {Path(file).parent for film in films for file in _files(film)}:
        (folder / name).mkdir(parents=True)
    for film in tqdm(films, desc="writing phantoms", unit="image", disable=not progress):
        _write_film(folder, film, settings)
    names = {"names": list(LANDMARKS), "swaps": []}
    (folder / "landmarks.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


def _files(film: _Film) -> Iterator[str]:
    yield film.file
    yield from (_annotation(annotator, film) for annotator, _ in _ANNOTATORS)


def _plan(settings: _Settings) -> list[_Film]:
    """Training films first, as the challenge numbers them; storage and collimation are dealt out within each part."""
    rng = default_rng([settings.seed, 0])
    tested = max(1, round(_TEST_SHARE * settings.patients))
    films: list[_Film] = []
    for part, count in (("TrainingData", settings.patients - tested), ("Test1Data", tested)):
        inverted, cut = rng.permutation(count) % 5 == 0, rng.permutation(count)
        for place in range(count):
            edge = _EDGES[cut[place] // 6 % len(_EDGES)] if cut[place] % 6 == 0 else None
            films.append(_Film(len(films) + 1, part, bool(inverted[place]), edge))
    return films


def _write_film(folder: Path, film: _Film, settings: _Settings) -> None:
    rng = default_rng([settings.seed, 1, film.number])
    head, stance = Head.draw(rng), Stance.draw(rng)
    spacing = round(_WIDTH_MM / settings.size[0] * rng.uniform(0.92, 1.08), 3)
    points = stance.to_pixels(head.landmarks(), settings.size, spacing)
    open_field = _collimated(film.cut, points, settings.size, rng)
    exposed = _expose(lateral_head(head, *stance.of_pixels(settings.size, spacing)), open_field, rng)
    _write_dicom(folder, film, exposed, spacing, json.dumps(settings.stored()))
    for annotator, error in _ANNOTATORS:
        marked = np.clip(points + error * rng.standard_normal(points.shape), 0, np.array(settings.size) - 1)
        lines = [f"{x:.2f},{y:.2f}" if seen else "nan,nan" for (x, y), seen in _seen(marked, points, open_field)]
        (folder / _annotation(annotator, film)).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _seen(
    marked: NDArray[np.float64], points: NDArray[np.float64], open_field: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float64], bool]]:
    """Each marked point with whether it can be seen: within the film and not below the collimator."""
    for mark, (x, y) in zip(marked, points, strict=True):
        row, column = round(y), round(x)
        within = 0 <= row < open_field.shape[0] and 0 <= column < open_field.shape[1]
        yield mark, within and bool(open_field[row, column])


def _collimated(
    edge: str | None, points: NDArray[np.float64], size: tuple[int, int], rng: Generator
) -> NDArray[np.bool_]:
    """Where radiation reaches the film, ``(rows, columns)``; at an edge it ends short of the landmark there."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    short = rng.uniform(0.02, 0.05) * size[0]
    place = dict(zip(LANDMARKS, points, strict=True))
    fields = {
        "below": y < place["menton"][1] - short,
        "behind": x > place["porion"][0] + short,
        "in front": x < place["ANS"][0] - short,
    }
    return np.asarray(np.ones_like(x, dtype=np.bool_) if edge is None else fields[edge])


def _expose(density: NDArray[Any], open_field: NDArray[np.bool_], rng: Generator) -> NDArray[np.float32]:
    """A film on [0, 1] with an uneven beam, a tone curve and noise; nothing but noise below the collimator."""
    gain, gamma, slope = rng.uniform((0.75, 0.8, -0.06), (0.95, 1.25, 0.06))
    across = np.linspace(-1, 1, density.shape[1], dtype=np.float32)
    toned = np.clip(0.06 + gain * np.clip(density, 0, 1) ** gamma + slope * across, 0, 1) * open_field
    noise = rng.uniform(0.012, 0.03) * rng.standard_normal(density.shape, dtype=np.float32)
    return np.asarray(np.clip(toned + noise, 0, 1), dtype=np.float32)


def _write_dicom(folder: Path, film: _Film, exposed: NDArray[np.float32], spacing: float, entropy: str) -> None:
    stored = np.rint(exposed * _FULL_SCALE).astype(np.uint16)
    path = folder / film.file
    write_secondary_capture(
        path,
        _FULL_SCALE - stored if film.inverted else stored,
        inverted=film.inverted,
        patient_id=f"PHANTOM-{film.name}",
        acquisition=1,
        scanner="cephalostat",
        entropy=[entropy, film.file],
    )
    dataset = pydicom.dcmread(path)
    dataset.BodyPartExamined = "HEAD"
    dataset.StudyDescription = "Synthetic head phantom, no patient"
    dataset.PatientOrientation = ["A", "F"]
    dataset.PixelSpacing = [f"{spacing}", f"{spacing}"]
    dataset.save_as(path, enforce_file_format=True)
