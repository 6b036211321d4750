"""One reader for every file a clinic hands over: DICOM (file or series), PNG, JPEG, TIFF, NIfTI, MHA and NRRD."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  (the name its own documentation uses)
from monai.config import PathLike
from monai.data import ImageReader
from monai.data.utils import orientation_ras_lps
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from numpy.typing import NDArray
from pydicom.dataset import Dataset as Header
from pydicom.pixels import apply_modality_lut

from monai_robust.data.dicom_series import read_header, series_in_order
from monai_robust.errors import BadSampleError, require_choice

__all__ = ["SimpleITKReader"]

_SUFFIXES = (".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
_COLOR_PIXELS = (sitk.sitkVectorUInt8, sitk.sitkVectorUInt16)
_REC601 = np.array([0.299, 0.587, 0.114])


class SimpleITKReader(ImageReader):
    """Read medical and everyday image files with SimpleITK, for ``LoadImaged(reader=SimpleITKReader())``.

    Axes are ordered as by MONAI's own readers, ``(X, Y[, Z])``, and the affine is in RAS. What it adds to them, for
    DICOM: modality rescale or lookup table applied, ``MONOCHROME1`` inverted (a dense structure is always bright),
    slices of a series sorted by their position along the normal, frames of a multi-frame file kept in order on the
    last axis, several series in one folder refused instead of merged. A single frame becomes a 2-D image, in any
    format; its affine then holds the spacing in the plane and, unless the file itself is 2-D, neither origin nor
    orientation, which two axes cannot carry. Metadata holds geometry and the file name, nothing else from a header.

    ``read`` only takes note of the names and ``get_data`` decodes them: ``LoadImage`` answers any error of ``read``
    by trying MONAI's other readers, which accept some damaged files and ignore ``MONOCHROME1``.

    Args:
        series_uid: SeriesInstanceUID to load where a folder holds several series.
        color: ``"luminance"`` turns colour pictures (8 or 16 bit per channel) to grey by Rec. 601, transparency
            composited on black; ``"rgb"`` gives three channels on the last axis, also of grey pictures, transparency
            composited on black; ``"keep"`` leaves the channels on the last axis.

    Raises:
        BadInputError: for an unknown ``color``.
    """

    def __init__(self, series_uid: str | None = None, color: str = "luminance") -> None:
        super().__init__()
        require_choice("color", color, ("luminance", "rgb", "keep"))
        self.series_uid = series_uid
        self.color = color

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether every name is a folder, has the suffix of a format read here, or has no suffix (as DICOM often)."""
        return all(_is_readable_name(Path(name)) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[Path]:
        """Take note of the files to load; :meth:`get_data` decodes them.

        Args:
            data: a file, a folder with one DICOM series, or several of them to be stacked as channels.
            kwargs: none are known.
        """
        if kwargs:
            raise TypeError(f"SimpleITKReader.read takes no options, got {sorted(kwargs)}")
        return [Path(name) for name in ensure_tuple(data)]

    def get_data(self, img: Sequence[Path] | Path) -> tuple[NDArray[Any], dict[str, Any]]:
        """Decode what :meth:`read` returned.

        Args:
            img: paths of files or series folders.

        Returns:
            The array, ``(X, Y[, Z])``, with channels last where there are any, or first where several files are
            stacked; and its metadata.

        Raises:
            BadSampleError: a file is missing, damaged or no image; images to be stacked differ in shape.
            BadInputError: a folder holds several series and none is chosen.
        """
        paths = ensure_tuple(img)
        volumes = [self._load(Path(path)) for path in paths]
        first = volumes[0]
        meta = first.meta(paths[0])
        if len(volumes) == 1:
            return first.array, meta
        _check_same_shape(paths, [volume.array.shape for volume in volumes])
        meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = 0
        return np.stack([volume.array for volume in volumes]), meta

    def _load(self, path: Path) -> _Volume:
        volume = self._load_series(path) if path.is_dir() else self._load_file(path)
        return volume.without_single_slice_axis()

    def _load_file(self, path: Path, header: Header | None = None) -> _Volume:
        image = _decode(path)
        array = _array(image)
        if _is_dicom(path):
            array = _modality_values(array, header or read_header(path, force=True))
        channels = image.GetNumberOfComponentsPerPixel() > 1
        if channels and self.color == "luminance" and image.GetPixelID() in _COLOR_PIXELS and array.shape[-1] <= 4:
            array, channels = _luminance(array), False
        if self.color == "rgb":
            array, channels = _rgb(path, array, channels), True
        return _Volume(array, _affine(image), channels or image.GetDimension() > 3)

    def _load_series(self, folder: Path) -> _Volume:
        series = series_in_order(folder, self.series_uid)
        slices = [self._load_file(path, header) for path, header in zip(series.files, series.headers, strict=True)]
        first = slices[0]
        if len(slices) == 1:
            return first
        _check_same_shape(series.files, [part.array.shape for part in slices])
        if first.array.shape[2] > 1:
            raise BadSampleError(f"series folder {folder} holds {len(slices)} multi-frame files; name one of the files")
        affine = first.affine.copy()
        if series.step is not None:
            affine[:3, 2] = np.array([-1, -1, 1]) * series.step
        return _Volume(np.concatenate([part.array for part in slices], axis=2), affine, first.channels)


@dataclass(frozen=True)
class _Volume:
    """An array ``(X, Y[, Z, ...][, C])``, its RAS affine, and whether its last axis holds channels."""

    array: NDArray[Any]
    affine: NDArray[np.float64]
    channels: bool

    def meta(self, path: PathLike) -> dict[str, Any]:
        rank = len(self.affine) - 1
        return {
            MetaKeys.AFFINE: self.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: self.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(self.array.shape[:rank]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if self.channels else float("nan"),
            "filename_or_obj": str(path),
        }

    def without_single_slice_axis(self) -> _Volume:
        if len(self.affine) != 4 or self.array.shape[2] != 1:
            return self
        spacing = np.linalg.norm(self.affine[:3, :2], axis=0)
        return _Volume(self.array[:, :, 0], np.diag([-spacing[0], -spacing[1], 1.0]), self.channels)


def _is_readable_name(path: Path) -> bool:
    return path.is_dir() or not path.suffix or path.name.lower().endswith(_SUFFIXES + _VOLUME_SUFFIXES)


def _is_dicom(path: Path) -> bool:
    return bool(sitk.ImageFileReader.GetImageIOFromFileName(str(path)) == "GDCMImageIO")


def _decode(path: Path) -> sitk.Image:
    if not path.exists():
        raise BadSampleError(f"image {path} does not exist")
    try:
        with _itk_warnings_off():
            return sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ")
        raise BadSampleError(f"image {path} cannot be read, it is damaged or no image ({reason})") from error


@contextmanager
def _itk_warnings_off() -> Iterator[None]:
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _array(image: sitk.Image) -> NDArray[Any]:
    """The pixels as ``(X, Y[, Z, ...][, C])``."""
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        return array.T
    return np.moveaxis(array.T, 0, -1)


def _affine(image: sitk.Image) -> NDArray[np.float64]:
    """Index to RAS millimetres, ``(3, 3)`` for a 2-D image and ``(4, 4)`` otherwise."""
    dimension = image.GetDimension()
    rank = min(dimension, 3)
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:rank, :rank]
    affine = np.eye(rank + 1)
    affine[:rank, :rank] = direction * np.asarray(image.GetSpacing())[:rank]
    affine[:rank, -1] = image.GetOrigin()[:rank]
    return np.asarray(orientation_ras_lps(affine))


def _modality_values(array: NDArray[Any], header: Header) -> NDArray[Any]:
    """Pixels in modality units; SimpleITK has inverted MONOCHROME1 and applied a linear rescale already."""
    if header.get("BitsAllocated") == 1:
        return (array > 0).astype(np.uint8)  # GDCM unpacks a bit to 0 or 255
    if "ModalityLUTSequence" not in header:
        return array
    if header.get("PhotometricInterpretation") != "MONOCHROME1":
        return np.asarray(apply_modality_lut(array, header))
    stored = _stored_low_plus_high(header) - array.astype(np.int64)
    entries, first, _ = header.ModalityLUTSequence[0].LUTDescriptor
    table = apply_modality_lut(np.arange(first, first + (entries or 2**16)), header)
    return np.asarray(int(table.min()) + int(table.max()) - apply_modality_lut(stored, header).astype(np.int64))


def _stored_low_plus_high(header: Header) -> int:
    """The sum of the least and the greatest value the stored bits can express: a value and its inverse add up to it."""
    return -1 if header.PixelRepresentation == 1 else 2 ** int(header.BitsStored) - 1


def _luminance(array: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values, ``(X, Y[, Z])``, of grey + alpha, RGB or RGB + alpha, ``(X, Y[, Z], 2 to 4)``."""
    values = array.astype(np.float64)
    has_alpha = array.shape[-1] in (2, 4)
    color = values[..., :-1] if has_alpha else values
    grey = color[..., 0] if color.shape[-1] == 1 else color @ _REC601
    if has_alpha:
        grey = grey * values[..., -1] / np.iinfo(array.dtype).max
    return grey.astype(np.float32)


def _rgb(path: Path, array: NDArray[Any], channels: bool) -> NDArray[Any]:
    """Red, green and blue, ``(..., 3)``, of grey, grey + alpha, RGB or RGB + alpha."""
    if not channels:
        return np.stack([array] * 3, axis=-1)
    if array.shape[-1] not in (1, 2, 3, 4):
        raise BadSampleError(f"image {path} has {array.shape[-1]} channels; a colour picture has up to 4")
    has_alpha = array.shape[-1] in (2, 4)
    color = array[..., :-1] if has_alpha else array
    if has_alpha:
        color = (color * (array[..., -1:] / np.iinfo(array.dtype).max)).astype(np.float32)
    return np.repeat(color, 3, axis=-1) if color.shape[-1] == 1 else color


def _check_same_shape(paths: Sequence[PathLike], shapes: Sequence[tuple[int, ...]]) -> None:
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0]:
            raise BadSampleError(f"image {path} has shape {shape}, but {paths[0]}, to be stacked with it, {shapes[0]}")
