"""A phantom data set of chest radiographs: DICOM files with an index, for demonstrations and tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from tqdm import tqdm

from monai_robust.data.phantoms.secondary_capture import write_secondary_capture
from monai_robust.data.phantoms.thorax import FINDINGS, Anatomy, Opacity, Positioning, thorax
from monai_robust.data.phantoms.whole_folder import is_written, write_whole, written_once
from monai_robust.errors import BadInputError
from monai_robust.scalars import checked_whole, is_above_zero

__all__ = ["phantom_radiographs", "write_radiograph_phantoms"]

_SHARES = (("train", 0.60), ("val", 0.15), ("test", 0.25))
_FEWEST_PATIENTS = 12  # one of each class in each split
_SMALLEST_SIZE = 32
SEVERAL = ("lobar", "diffuse", "cardiomegaly")
_FULL_SCALE = 4095  # 12 bit


@dataclass(frozen=True)
class _Scanner:
    """A make of detector: tone curve ``v**gamma`` bent to an S by ``slope``, and its noise at full scale 1."""

    name: str
    gamma: float
    slope: float
    quantum_noise: float
    electronic_noise: float


_SCANNERS = (
    _Scanner("scanner-a", 1.00, 2.0, 0.010, 0.004),
    _Scanner("scanner-b", 0.85, 3.0, 0.016, 0.006),
    _Scanner("scanner-c", 1.15, 1.2, 0.013, 0.008),
)


@dataclass(frozen=True)
class _Acquisition:
    """One film: whose, of what, on which scanner, stored how, and in which split."""

    patient: int
    number: int
    label: str
    split: str
    scanner: _Scanner
    inverted: bool

    @property
    def patient_id(self) -> str:
        return f"PHANTOM-{self.patient + 1:04d}"

    @property
    def file(self) -> str:
        return f"dicom/{self.patient_id}_{self.number + 1}.dcm"


def write_radiograph_phantoms(
    folder: str | os.PathLike[str],
    *,
    patients: int = 160,
    size: int = 192,
    seed: int = 0,
    contrast: float = 0.22,
    several: bool = False,
    progress: bool = False,
) -> Path:
    """Write a fictitious data set of chest radiographs in three classes, about two films a patient.

    The signal is anatomical and of low spatial frequency:

    - ``normal``: clear lungs;
    - ``lobar``: one homogeneous consolidation with soft edges, a fifth of the film wide, in one lobe of one lung;
    - ``diffuse``: faint patches in both lungs, denser towards the chest wall and the diaphragm.

    Nothing else goes with the class. Proportions of the body, position, exposure, scanner, noise, number of films and
    storage are drawn independently of it, or the same for each class; each film is given the grey-level distribution
    of the same chest in health before it is exposed, so that no global statistic betrays the opacity; the noise of
    each pixel is that of the healthy chest.

    Files: ``dicom/PHANTOM-0001_1.dcm`` ... (Secondary Capture, 12 bit, about one in five ``MONOCHROME1``),
    ``index.csv`` with columns ``file, label, patient_id, split, source`` (split 60/15/25 by patient within each
    class; source is the scanner) and ``phantom.json`` with the settings. The same settings give the same bytes.

    Args:
        folder: to be made; it may exist if it is empty.
        patients: how many; a third of them of each class.
        size: of the square films, in pixels.
        seed: of everything random.
        contrast: what an opacity adds to the attenuation, where soft tissue has about 0.7; the smaller, the easier
            is a classifier fooled.
        several: each film may show several findings, drawn independently of each other: ``index.csv`` then has, in
            place of ``label``, the columns ``lobar``, ``diffuse`` and ``cardiomegaly`` of 1, 0 and, in one of ten,
            nothing or -1, where it is left open.
        progress: show a bar with the remaining time.

    Returns:
        The folder.

    Raises:
        BadInputError: an argument cannot work, or the folder has content.
    """
    settings = _Settings(patients, size, seed, contrast, several)
    return write_whole(folder, settings.stored(), lambda target: _write(target, settings, progress))


def phantom_radiographs(
    folder: str | os.PathLike[str],
    *,
    patients: int = 160,
    size: int = 192,
    seed: int = 0,
    contrast: float = 0.22,
    several: bool = False,
    progress: bool = False,
) -> str:
    """The folder of a phantom data set, written by :func:`write_radiograph_phantoms` if it is not there yet.

    Args:
        folder: where it is or is to be.
        patients: as for the writer, like all that follow.
        size: of the films in pixels.
        seed: of everything random.
        contrast: of the opacities.
        several: each film may show several findings.
        progress: show a bar with the remaining time.

    Raises:
        BadInputError: the folder holds something else, or phantoms with other settings; nothing is changed then.
    """
    settings = _Settings(patients, size, seed, contrast, several)
    write = partial(
        write_radiograph_phantoms,
        patients=patients,
        size=size,
        seed=seed,
        contrast=contrast,
        several=several,
        progress=progress,
    )
    return written_once(folder, "radiographs", lambda target: _is_complete(target, settings), write)


@dataclass(frozen=True)
class _Settings:
    patients: int
    size: int
    seed: int
    contrast: float
    several: bool = False

    def __post_init__(self) -> None:
        checked_whole("patients", self.patients, _FEWEST_PATIENTS)
        checked_whole("size, in pixels,", self.size, _SMALLEST_SIZE)
        checked_whole("seed", self.seed, 0)
        if not is_above_zero(self.contrast) or self.contrast >= 1:
            raise BadInputError(f"contrast is {self.contrast}; it can be between 0 and 1")

    def stored(self) -> dict[str, Any]:
        settings = asdict(self)
        several = settings.pop("several")  # films of one class are as they were before there were others
        return {"phantom": "radiographs", "version": 1, **settings, **({"several": True} if several else {})}


def _is_complete(folder: Path, settings: _Settings) -> bool:
    """Whether the folder holds all of this data set; it is renamed into place only once everything is written."""
    return is_written(folder, settings.stored(), _films(folder))


def _films(folder: Path) -> Iterator[str]:
    yield from pd.read_csv(folder / "index.csv")["file"]


def _write(folder: Path, settings: _Settings, progress: bool) -> None:
    (folder / "dicom").mkdir()
    acquisitions = list(_plan_of_several(settings) if settings.several else _plan(settings))
    for film in tqdm(acquisitions, desc="writing phantoms", unit="image", disable=not progress):
        _write_film(folder, film, settings)
    rows = [(film.file, film.label, film.patient_id, film.split, film.scanner.name) for film in acquisitions]
    index = pd.DataFrame(rows, columns=["file", "label", "patient_id", "split", "source"])
    if settings.several:
        index = index.drop(columns="label").assign(**_cells(acquisitions, settings))
    index.to_csv(folder / "index.csv", index=False, lineterminator="\n")


def _plan(settings: _Settings) -> Iterator[_Acquisition]:
    """Who is filmed how often and on what: drawn for each class alike, so that nothing but the lungs differs."""
    rng = default_rng([settings.seed, 0])
    findings = rng.permutation(settings.patients) % len(FINDINGS)
    plans = {}
    for finding in range(len(FINDINGS)):
        members = np.flatnonzero(findings == finding)
        splits = _splits(len(members), rng)
        films = 1 + rng.permutation(len(members)) % 3
        first_film = 0
        for place, patient in enumerate(rng.permutation(members)):
            plans[int(patient)] = (FINDINGS[finding], splits[place], int(films[place]), first_film)
            first_film += int(films[place])
    for patient in range(settings.patients):
        label, split, films_of_patient, first = plans[patient]
        for number in range(films_of_patient):
            scanner = _SCANNERS[(first + number) % len(_SCANNERS)]
            yield _Acquisition(patient, number, label, split, scanner, (first + number) % 5 == 0)


def _plan_of_several(settings: _Settings) -> Iterator[_Acquisition]:
    """Who is filmed how often, in which split, with which findings: each drawn for itself."""
    rng = default_rng([settings.seed, 3])
    splits = _splits(settings.patients, rng)
    # as many with each of the eight sets of findings, so that few patients have them all, too
    sets = np.concatenate([rng.permutation(8) for _ in range(-(-settings.patients // 8))])[: settings.patients]
    for patient in range(settings.patients):
        found = [name for place, name in enumerate(SEVERAL) if sets[patient] >> place & 1]
        for number in range(1 + int(rng.integers(2))):
            scanner = _SCANNERS[int(rng.integers(len(_SCANNERS)))]
            label = "+".join(found) or "normal"
            yield _Acquisition(patient, number, label, splits[patient], scanner, bool(rng.integers(5) == 0))


def _cells(films: list[_Acquisition], settings: _Settings) -> dict[str, list[str]]:
    """What the index says of each finding: 1, 0, and in one of ten cells nothing, or -1."""
    rng = default_rng([settings.seed, 4])
    cells = {}
    for name in SEVERAL:
        stated = ["1" if name in film.label.split("+") else "0" for film in films]
        open_ = rng.integers(20, size=len(films))
        cells[name] = ["" if one == 0 else "-1" if one == 1 else cell for one, cell in zip(open_, stated, strict=True)]
    return cells


def _splits(count: int, rng: Generator) -> list[str]:
    train = round(_SHARES[0][1] * count)
    val = max(1, round(_SHARES[1][1] * count))
    names = np.array(["train"] * train + ["val"] * val + ["test"] * (count - train - val))
    return [str(name) for name in rng.permutation(names)]


def _write_film(folder: Path, film: _Acquisition, settings: _Settings) -> None:
    person = default_rng([settings.seed, 1, film.patient])
    moment = default_rng([settings.seed, 2, film.patient, film.number])
    anatomy, opacity = Anatomy.draw(person), Opacity.draw(film.label, person)
    if "cardiomegaly" in film.label.split("+"):
        anatomy = replace(anatomy, heart_size=1.45 * anatomy.heart_size)
    x, y = Positioning.draw(moment).coordinates(settings.size)
    healthy, density = thorax(anatomy, opacity, settings.contrast, x, y)
    exposed = _expose(_with_distribution_of(healthy, density), healthy, film.scanner, moment)
    stored = np.rint(exposed * _FULL_SCALE).astype(np.uint16)
    write_secondary_capture(
        folder / film.file,
        _FULL_SCALE - stored if film.inverted else stored,
        inverted=film.inverted,
        patient_id=film.patient_id,
        acquisition=film.number + 1,
        scanner=film.scanner.name,
        entropy=[json.dumps(settings.stored()), film.file],
    )


def _with_distribution_of(reference: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give an image the grey-level distribution of a reference, keeping the order of its pixels."""
    if image is reference:
        return image
    matched = np.empty(image.size, dtype=np.float32)
    matched[np.argsort(image, axis=None, kind="stable")] = np.sort(reference, axis=None)
    return matched.reshape(image.shape)


def _expose(
    density: NDArray[np.float32], healthy: NDArray[np.float32], scanner: _Scanner, rng: Generator
) -> NDArray[np.float32]:
    """A film on [0, 1]: exposure, tone curve and noise, whose strength follows the healthy chest."""
    gain, offset = np.float32(rng.uniform(0.84, 1.0)), np.float32(rng.uniform(0.0, 0.06))
    level = rng.uniform(0.7, 1.3)
    noise = rng.standard_normal((2, *density.shape), dtype=np.float32)
    quantum = np.float32(scanner.quantum_noise * level) * np.exp(np.clip(healthy, 0, 1.2)) * noise[0]
    toned = _tone(np.clip(offset + gain * density, 0, 1), scanner)
    return np.clip(toned + quantum + np.float32(scanner.electronic_noise) * noise[1], 0, 1)


def _tone(values: NDArray[np.float32], scanner: _Scanner) -> NDArray[np.float32]:
    bent = np.tanh(scanner.slope * (values**scanner.gamma - 0.5)) / (2 * np.tanh(scanner.slope / 2)) + 0.5
    return np.asarray(bent, dtype=np.float32)
