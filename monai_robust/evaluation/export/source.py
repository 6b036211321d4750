"""The file that a sample was read from, and how the intensities of a network's input are those of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from monai_robust.data import (
    classification_datalist,
    detection_datalist,
    findings_datalist,
    landmark_datalist,
    segmentation_datalist,
)
from monai_robust.data.reading import is_folder, read_file, size_limit
from monai_robust.data.reading.dicom_header import parse_dicom
from monai_robust.data.reading.dicom_series import series_in_order
from monai_robust.data.reading.files import first_bytes, format_of
from monai_robust.errors import BadInputError

__all__ = ["Source", "in_file_units", "named_file", "source_files"]

_DATALISTS = {
    "classification": classification_datalist,
    "detection": detection_datalist,
    "landmarks": landmark_datalist,
    "multi_label": findings_datalist,
    "segmentation": segmentation_datalist,
}
_TOLERANCE = 1e-3  # of the range of an input, in which it may differ from a linear function of the file


@dataclass(frozen=True)
class Source:
    """A sample's source.

    Attributes:
        array: (X, Y, Z), in units of the file.
        affine: (4, 4), from indices to RAS millimetres.
        headers: of DICOM, that of each slice, in the order of the last axis; of other formats none.
    """

    array: NDArray[np.float64]
    affine: NDArray[np.float64]
    headers: tuple[Dataset, ...] = ()

    @classmethod
    def read(cls, path: Path, case: str) -> Source:
        """Read a file, or a folder with a DICOM series.

        Raises:
            BadInputError: for a file that cannot be read, is in colour, or has several frames.
        """
        files = list(series_in_order(path).files) if is_folder(path) else [path]
        images = [read_file(file) for file in files]
        if images[0].channels:
            raise BadInputError(
                f"the source of {case} is in colour or has several channels; only grey images are exported"
            )
        kinds = [format_of(file, first_bytes(file)) for file in files]
        array = np.concatenate([_three_axes(image.array) for image in images], axis=2)
        headers: tuple[Dataset, ...] = ()
        if all(kind.startswith("DICOM") for kind in kinds):
            headers = tuple(
                parse_dicom(file, size_limit(), pixels=False, preamble=kind == "DICOM")
                for file, kind in zip(files, kinds, strict=True)
            )
            if len(headers) != array.shape[2]:
                raise BadInputError(f"the source of {case} is a DICOM file of several frames, which are not exported")
        return cls(array, _four_by_four(images, files), headers)


def named_file(sample_id: str, dataset_dir: str | Path) -> Path | None:
    """The file, or folder of a series, that a sample is called by: its path below the folder of all images, as samples
    of an evaluator are; None for a sample with another name, or one that leads out of the folder.

    Args:
        sample_id: in the run's tables.
        dataset_dir: the folder of all images.
    """
    name = Path(sample_id)
    if not sample_id or name.is_absolute() or ".." in name.parts:
        return None
    path = Path(dataset_dir) / name
    return path if path.exists() else None


def source_files(task: str, dataset_dir: str | Path, datalist: str | Path | None = None) -> dict[str, Path]:
    """The file, or folder of a series, of each sample id of a data set.

    Raises:
        BadInputError: for a task without data lists, and a data set that cannot be read.
    """
    read: Any = _DATALISTS.get(task)
    if read is None:
        raise BadInputError(f"data sets of the task {task!r} have no list here; there are {', '.join(_DATALISTS)}")
    options = {} if datalist is None else {"datalist": datalist}
    if datalist is not None and task == "segmentation":
        raise BadInputError("--datalist does not go with segmentation, whose data sets have a dataset.json")
    items: Mapping[str, Any] = read(dataset_dir, **options).items
    return {str(one.get("sample_id", one.get("case_id"))): Path(one["image"]) for own in items.values() for one in own}


def in_file_units(
    source: Source, clean: NDArray[np.float32], perturbed: NDArray[np.float32], case: str
) -> NDArray[np.float64]:
    """A perturbed input in units of its file: the file, with the change of the input over the factor between them.

    That factor is found from the file and the clean input themselves, which must be a linear function of it in every
    pixel, but for those at its ends, where a pipeline may have clipped.

    Args:
        source: of the sample.
        clean: (1, X, Y[, Z]), the input without a perturbation.
        perturbed: of the same shape.
        case: what a message calls it.

    Returns:
        (X, Y, Z).

    Raises:
        BadInputError: where the input is on another grid than the file, or no such function of it.
    """
    if len(clean) != 1:
        raise BadInputError(f"{case} has {len(clean)} channels; only inputs of one channel are exported")
    given = _three_axes(clean[0].astype(np.float64))
    if given.shape != source.array.shape:
        sizes = f"{_times(given.shape)} pixels, its file {_times(source.array.shape)}"
        raise BadInputError(
            f"the network's input of {case} has {sizes}: what was resized, cropped, padded or cut into slices cannot "
            "be put back; measure with inputs of the files' size"
        )
    low, high = float(given.min()), float(given.max())
    within = (given > low) & (given < high)
    values, levels = source.array[within], given[within]
    if values.size < 2 or np.ptp(values) == 0:
        raise BadInputError(f"{case} has too few grey levels to tell how its file was scaled")
    factor, offset = np.polyfit(values, levels, 1)
    apart = np.abs((factor * source.array + offset).clip(low, high) - given).max()
    if factor <= 0 or apart > _TOLERANCE * (high - low):
        raise BadInputError(
            f"the network's input of {case} is no linear function of its file, pixel by pixel (they differ by "
            f"{100 * apart / (high - low):.2g} % of its range), so that its preprocessing cannot be undone"
        )
    change = _three_axes(perturbed[0].astype(np.float64)) - given
    return source.array + change / factor


def _three_axes(array: NDArray[Any]) -> NDArray[np.float64]:
    found = np.asarray(array, dtype=np.float64)
    return found[..., None] if found.ndim == 2 else found


def _four_by_four(images: list[Any], files: list[Path]) -> NDArray[np.float64]:
    """The affine of images that follow one another along the last axis."""
    affine = np.array(images[0].affine, dtype=np.float64)
    if len(affine) == 3:
        whole = np.eye(4)
        whole[:2, :2], whole[:2, 3] = affine[:2, :2], affine[:2, 2]
        return whole
    if len(files) > 1:
        affine[:3, 2] = (np.asarray(images[-1].affine)[:3, 3] - affine[:3, 3]) / (len(files) - 1)
    return affine


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape[:2] if shape[2] == 1 else shape))
