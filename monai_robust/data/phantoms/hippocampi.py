"""A phantom data set of hippocampi in MR volumes: NIfTI files in the Decathlon's layout."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from monai_robust.data.phantoms.hippocampus import Hippocampus, Pose, temporal_lobe
from monai_robust.data.phantoms.whole_folder import is_written, write_whole, written_once
from monai_robust.scalars import checked_whole

__all__ = ["phantom_hippocampi", "write_hippocampus_phantoms"]

_FEWEST_CASES = 12
_SHARES = (("train", 0.60), ("val", 0.15), ("test", 0.25))
_EXTENT_MM = ((34.0, 38.0), (50.0, 56.0), (34.0, 40.0))
_SPACINGS = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.5), (0.9, 0.9, 1.2))
_DEGREES_OF_OBLIQUE = 12.0


@dataclass(frozen=True)
class _Settings:
    cases: int
    seed: int

    def __post_init__(self) -> None:
        checked_whole("cases", self.cases, _FEWEST_CASES)
        checked_whole("seed", self.seed, 0)

    def stored(self) -> dict[str, Any]:
        return {"phantom": "hippocampi", "version": 1, **asdict(self)}


@dataclass(frozen=True)
class _Case:
    """One volume: whose, of which side, in which split."""

    number: int
    patient: int
    left: bool
    split: str

    @property
    def case_id(self) -> str:
        return f"phantom_{self.number + 1:03d}"

    @property
    def patient_id(self) -> str:
        return f"PHANTOM-{self.patient + 1:04d}"


def write_hippocampus_phantoms(
    folder: str | os.PathLike[str], *, cases: int = 60, seed: int = 0, progress: bool = False
) -> Path:
    """Write a fictitious data set of MR volumes cropped around a hippocampus, about 35 x 50 x 36 voxels each.

    The signal is shape: a bent tube of grey matter, thick in front with a knob on its inner side (``Anterior``), thin
    behind (``Posterior``), between bright white matter and a dark ventricle, and touching other grey matter of the
    very same intensity. What the intensity tells is therefore not enough, nor is the place, which varies with pose,
    side and the direction in which an axis is stored. Anterior and posterior do not differ in intensity.

    As in clinical data, and independent of the anatomy: spacing (three in five 1 mm, else 1 x 1 x 1.5 or
    0.9 x 0.9 x 1.2), orientation (mirrored and oblique affines), intensity scale (maxima from about 1 to 1e4 in
    float32, and uint8), a bias field, blur and noise; at both ends slices without foreground. The patients have one
    volume or two, left and right.

    Files: ``imagesTr/phantom_001.nii.gz`` ..., ``labelsTr`` likewise, ``dataset.json``, ``index.csv`` with columns
    ``case_id, patient_id, split`` (60/15/25 by patient) and ``phantom.json`` with the settings. The same settings give
    the same bytes.

    Args:
        folder: to be made; it may exist if it is empty.
        cases: how many volumes.
        seed: of everything random.
        progress: show a bar with the remaining time.

    Returns:
        The folder.

    Raises:
        BadInputError: an argument cannot work, or the folder has content.
    """
    settings = _Settings(cases, seed)
    return write_whole(folder, settings.stored(), lambda target: _write(target, settings, progress))


def phantom_hippocampi(
    folder: str | os.PathLike[str], *, cases: int = 60, seed: int = 0, progress: bool = False
) -> str:
    """The folder of a phantom data set, written by :func:`write_hippocampus_phantoms` if it is not there yet.

    Args:
        folder: where it is or is to be.
        cases: as for the writer, like all that follow.
        seed: of everything random.
        progress: show a bar with the remaining time.

    Raises:
        BadInputError: the folder holds something else, or phantoms with other settings; nothing is changed then.
    """
    settings = _Settings(cases, seed)
    write = partial(write_hippocampus_phantoms, cases=cases, seed=seed, progress=progress)
    return written_once(folder, "volumes", lambda target: _is_complete(target, settings), write)


def _is_complete(folder: Path, settings: _Settings) -> bool:
    names = [name for case in _plan(settings) for name in (_image_name(case), _label_name(case))]
    return is_written(folder, settings.stored(), [*names, "dataset.json", "index.csv"])


def _write(folder: Path, settings: _Settings, progress: bool) -> None:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
    cases = _plan(settings)
    for case in tqdm(cases, desc="writing phantoms", unit="volume", disable=not progress):
        _write_case(folder, case, settings)
    rows = [(case.case_id, case.patient_id, case.split) for case in cases]
    index = pd.DataFrame(rows, columns=["case_id", "patient_id", "split"])
    index.to_csv(folder / "index.csv", index=False, lineterminator="\n")
    description = json.dumps(_description(cases), indent=1) + "\n"
    (folder / "dataset.json").write_text(description, encoding="utf-8")


def _description(cases: list[_Case]) -> dict[str, Any]:
    return {
        "name": "Hippocampus phantoms",
        "description": "generated and fictitious",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": len(cases),
        "numTest": 0,
        "training": [{"image": f"./{_image_name(case)}", "label": f"./{_label_name(case)}"} for case in cases],
        "test": [],
    }


def _image_name(case: _Case) -> str:
    return f"imagesTr/{case.case_id}.nii.gz"


def _label_name(case: _Case) -> str:
    return f"labelsTr/{case.case_id}.nii.gz"


def _plan(settings: _Settings) -> list[_Case]:
    """Two patients with both sides, one with one, and so on; patients dealt to the splits at random."""
    rng = default_rng([settings.seed, 0])
    owners: list[int] = []
    while len(owners) < settings.cases:
        patient = owners[-1] + 1 if owners else 0
        owners += [patient] * (1 if patient % 3 == 2 else 2)
    owners = owners[: settings.cases]
    splits = _splits(owners[-1] + 1, rng)
    first_side = rng.integers(2, size=owners[-1] + 1)
    return [
        _Case(number, patient, bool((first_side[patient] + number) % 2), splits[patient])
        for number, patient in enumerate(owners)
    ]


def _splits(patients: int, rng: Generator) -> list[str]:
    val, test = (max(1, round(share * patients)) for _, share in _SHARES[1:])
    names = ["train"] * (patients - val - test) + ["val"] * val + ["test"] * test
    return [names[place] for place in rng.permutation(patients)]


def _write_case(folder: Path, case: _Case, settings: _Settings) -> None:
    person = default_rng([settings.seed, 1, case.patient])
    moment = default_rng([settings.seed, 2, case.number])
    anatomy = Hippocampus.draw(person)
    spacing = _SPACINGS[int(moment.integers(len(_SPACINGS)))]
    x, y, z = (round(moment.uniform(*ends) / edge) for ends, edge in zip(_EXTENT_MM, spacing, strict=True))
    if case.left:
        anatomy = anatomy.other_side(moment)
    tissue, labels = temporal_lobe(anatomy, Pose.draw(moment), (x, y, z), spacing, moment)
    image = _stored(_acquired(tissue, moment), moment)
    if case.left:
        image, labels = image[::-1], labels[::-1]
    affine = _affine(labels.shape, spacing, moment)
    for axis in range(2):  # which way an axis is stored; the slice axis stays, as a scanner's protocol keeps it
        if moment.random() < 0.25:
            image, labels = np.flip(image, axis), np.flip(labels, axis)
            affine[:3, 3] += affine[:3, axis] * (labels.shape[axis] - 1)
            affine[:3, axis] *= -1
    _save(folder / _image_name(case), image, affine)
    _save(folder / _label_name(case), labels, affine)


def _acquired(tissue: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Tissue as a scanner records it: texture, blur, an uneven coil, noise."""
    texture = gaussian_filter(rng.standard_normal(tissue.shape, dtype=np.float32), 0.8)
    blurred = gaussian_filter(tissue + 0.06 * texture / texture.std(), 0.5)
    ticks = np.meshgrid(*[np.linspace(-1, 1, size, dtype=np.float32) for size in tissue.shape], indexing="ij")
    slopes, bows = rng.uniform(-0.15, 0.15, 3), rng.uniform(-0.1, 0.1, 3)
    bias = sum(slope * tick + bow * tick**2 for slope, bow, tick in zip(slopes, bows, ticks, strict=True))
    level = rng.uniform(0.03, 0.06)
    real, imaginary = level * rng.standard_normal((2, *tissue.shape), dtype=np.float32)
    return np.asarray(np.hypot(blurred * np.exp(bias) + real, imaginary), dtype=np.float32)  # Rician, as magnitudes are


def _stored(image: NDArray[np.float32], rng: Generator) -> NDArray[np.generic]:
    """On the scale of one scanner or another: a fourth of the volumes uint8, the others float32."""
    if rng.random() < 0.25:
        return np.rint(image / image.max() * rng.integers(120, 256)).astype(np.uint8)
    return np.asarray(image * np.float32(10 ** rng.uniform(0, 4)), dtype=np.float32)


def _affine(shape: tuple[int, ...], spacing: tuple[float, float, float], rng: Generator) -> NDArray[np.float64]:
    """RAS, in a third of the volumes turned about the left-right axis, as slices along the hippocampus are."""
    angle = np.deg2rad(rng.uniform(-_DEGREES_OF_OBLIQUE, _DEGREES_OF_OBLIQUE)) if rng.random() < 1 / 3 else 0.0
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    affine[:3, 3] = rng.uniform(-40, 40, 3) - affine[:3, :3] @ (np.array(shape) / 2)
    return affine


def _save(path: Path, values: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    volume = nib.Nifti1Image(np.ascontiguousarray(values), affine)
    volume.set_sform(affine, code="scanner")
    volume.set_qform(affine, code="scanner")
    volume.header.set_xyzt_units("mm")
    nib.save(volume, path)
