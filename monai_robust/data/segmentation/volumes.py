"""Loading a volume with its label map, and saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst
from numpy.typing import NDArray
from torch import Tensor

from monai_robust.data.reading import is_folder, read_file
from monai_robust.data.reading.reader import SimpleITKReader
from monai_robust.errors import BadSampleError

__all__ = ["check_volume", "load_volume"]

_SAME_PLACE = 0.1  # of the smallest voxel edge; files written by other programs round their affines


def load_volume(
    item: Mapping[str, Any], *, classes: int | None = None, series_uid: str | None = None
) -> dict[str, Any]:
    """Load a volume and, where the item names one, its label map; both are checked by :func:`check_volume`.

    Files and folders with one DICOM series are read as by :class:`SimpleITKReader`, but a NIfTI volume of one slice
    keeps its third axis. Intensities keep the scale of the file.

    Args:
        item: ``image`` and perhaps ``label``, each a file or a folder of DICOM files; ``channels`` tells how many
            the image has where it is not one; other keys are handed on.
        classes: number of foreground classes; without it, labels may be any whole numbers from 0 to 255.
        series_uid: SeriesInstanceUID to load where a folder holds several series.

    Returns:
        The item with ``image`` (C, x, y, z), a float32 ``MetaTensor`` whose affine is in RAS millimetres, ``label``
        (1, x, y, z) of uint8 likewise, its planes in the order of those of the volume, and ``spacing``, (x, y, z) in
        millimetres.

    Raises:
        BadSampleError: a file cannot be read, or the check finds it unusable.
    """
    name = str(item["image"])
    image = _load(item["image"], series_uid)
    label = None if item.get("label") is None else _from_same_end(image, _load(item["label"], None))
    check_volume(image, label, classes, f"image {name}", channels=int(item.get("channels", 1)))
    loaded = {**item, "image": image, "spacing": tuple(float(edge) for edge in image.pixdim)}
    return loaded if label is None else {**loaded, "label": label.to(torch.uint8)}


def check_volume(
    image: MetaTensor, label: MetaTensor | None, classes: int | None, name: str, *, channels: int = 1
) -> None:
    """Refuse a volume that nothing can be learnt from.

    Refused: anything but three axes with the declared channels, an affine that is none, NaN or infinite voxels, one
    value everywhere, a label map of another shape or at another place (by more than a tenth of a voxel at some corner),
    labels that are no whole numbers or not declared, and a label map without any foreground.

    Args:
        image: (C, x, y, z), with its affine.
        label: (1, x, y, z), with its affine, or None where there is none.
        classes: number of foreground classes, or None where it is not known.
        name: of the volume, to begin the message with.
        channels: C that was declared.

    Raises:
        BadSampleError: names the volume and the first thing that is wrong.
    """
    fault = _image_fault(image, channels)
    if not fault and label is not None:
        fault = _label_fault(image, label, 255 if classes is None else classes)
    if fault:
        raise BadSampleError(f"{name}: {fault}")


def _load(path: Any, series_uid: str | None) -> MetaTensor:
    file = Path(path)
    if is_folder(file) or not _is_nifti(file):
        reader = SimpleITKReader(series_uid)  # not by LoadImage, which answers an error by trying other readers
        array, meta = reader.get_data(reader.read(str(file)))
    else:
        found = read_file(file)
        array, meta = found.array, found.meta(file)
    loaded = MetaTensor.ensure_torch_and_prune_meta(np.asarray(array, dtype=np.float32), meta)
    return cast(MetaTensor, EnsureChannelFirst()(loaded))


def _from_same_end(image: MetaTensor, label: MetaTensor) -> MetaTensor:
    """A label map with its planes in the order of those of its volume, if they are the same ones from the other end.

    Of a DICOM segmentation the order of planes is free; that of a series is by position.
    """
    if label.ndim != 4 or label.shape[1:] != image.shape[1:]:
        return label
    turned = np.eye(4)
    turned[2, 2:] = -1, label.shape[3] - 1
    affine = _affine(label) @ turned
    near = _SAME_PLACE * float(image.pixdim.min())
    as_stored, from_other_end = (_distance(_affine(image), one, image.shape[1:]) for one in (_affine(label), affine))
    if as_stored <= near or from_other_end > near:
        return label
    meta = {**label.meta, "affine": torch.as_tensor(affine)}
    return MetaTensor(label.as_tensor().flip(3), meta=meta)


def _is_nifti(file: Path) -> bool:
    return file.name.lower().endswith((".nii", ".nii.gz"))


def _image_fault(image: MetaTensor, channels: int) -> str:
    values = image.as_tensor()
    if values.ndim != 4:
        return f"it has {values.ndim - 1} axes; a volume needs 3"
    if len(values) != channels:
        return (
            f"it is 4-D, with {len(values)} volumes of shape {tuple(values.shape[1:])}, but the data set declares "
            f"{channels} {'modality' if channels == 1 else 'modalities'}"
        )
    if values.numel() == 0:
        return f"it is empty, of shape {tuple(values.shape[1:])}"
    affine = _affine(image)
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        return "its affine is no map to millimetres: some axis has no length or direction, so that it points nowhere"
    wrong = int((~torch.isfinite(values)).sum())
    if wrong:
        return f"{wrong} of its {values.numel()} voxels are NaN or infinite"
    if values.min() == values.max():
        return f"it is constant, {float(values.min()):g} everywhere"
    return ""


def _label_fault(image: MetaTensor, label: MetaTensor, classes: int) -> str:
    values = label.as_tensor()
    if values.shape != (1, *image.shape[1:]):
        return f"its shape is {tuple(image.shape[1:])}, but that of its label map {_shape(values)}"
    apart = _distance(_affine(image), _affine(label), image.shape[1:])
    if apart > _SAME_PLACE * float(image.pixdim.min()):
        return f"its label map lies elsewhere: their affines put a corner {apart:.3g} mm apart"
    return _value_fault(values, classes)


def _value_fault(values: Tensor, classes: int) -> str:
    if not torch.isfinite(values).all() or (values != values.round()).any():
        return "its label map holds values that are no whole numbers"
    if values.min() < 0 or values.max() > classes:
        found = [int(value) for value in values.unique()]
        undeclared = ", ".join(str(value) for value in found if not 0 <= value <= classes)
        return f"its label map holds {undeclared}, but the declared labels are 0 to {classes}"
    return "" if values.any() else "its label map is empty: there is no foreground"


def _shape(values: Tensor) -> tuple[int, ...]:
    return tuple(values.shape[1:] if len(values) == 1 else (*values.shape[1:], len(values)))


def _distance(one: NDArray[np.float64], other: NDArray[np.float64], shape: Sequence[int]) -> float:
    """How far apart, at most, two affines put a corner of a volume of a shape, in millimetres."""
    ends = [(0, size - 1) for size in shape]
    corners = np.stack([*np.meshgrid(*ends), np.ones((2, 2, 2))]).reshape(4, -1)
    return float(np.linalg.norm((one - other)[:3] @ corners, axis=0).max())


def _affine(image: MetaTensor) -> NDArray[np.float64]:
    return np.asarray(image.affine, dtype=np.float64)
