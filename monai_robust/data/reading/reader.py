"""One reader for every file a clinic hands over: DICOM (file or series), PNG, JPEG, TIFF, NIfTI, MHA and NRRD."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple
from numpy.typing import NDArray

from monai_robust.data.reading import LoadedImage, is_folder, read_file, size_limit
from monai_robust.data.reading.dicom_series import series_in_order
from monai_robust.errors import BadInputError, BadSampleError, require_choice

__all__ = ["SimpleITKReader"]

_SUFFIXES = (".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
_REC601 = np.array([0.299, 0.587, 0.114])


class SimpleITKReader(ImageReader):
    """Read medical and everyday image files, for ``LoadImaged(reader=SimpleITKReader())``.

    Axes are ordered as by MONAI's own readers, ``(X, Y[, Z])``, and the affine is in RAS. What it adds to them, for
    DICOM: modality rescale or lookup table applied, ``MONOCHROME1`` inverted (a dense structure is always bright),
    slices of a series and frames of a multi-frame file sorted by their position along the normal (frames without one
    keep their order) on the last axis, ``PixelSpacing`` of radiographs preferred to that of their detector, several
    series in one folder refused instead of merged. Pictures stand upright as their EXIF orientation has it; their
    printing resolution is no spacing. A file that is cut off, fails its checksums, contradicts its header, names files
    outside its folder or would take more than ``max_bytes`` is refused. A single frame becomes a 2-D image, in any
    format; its affine then holds the spacing in the plane and, unless the file itself is 2-D, neither origin nor
    orientation, which two axes cannot carry. Metadata holds geometry and the file name, nothing else from a header.

    ``read`` only takes note of the names and ``get_data`` decodes them: ``LoadImage`` answers any error of ``read``
    by trying MONAI's other readers, which accept some damaged files and ignore ``MONOCHROME1``.

    Args:
        series_uid: SeriesInstanceUID to load where a folder holds several series.
        color: ``"luminance"`` turns colour pictures (8 or 16 bit per channel) to grey by Rec. 601, transparency
            composited on black; ``"rgb"`` gives three channels on the last axis, also of grey pictures, transparency
            composited on black; ``"keep"`` leaves the channels on the last axis.
        eight_bit: refuse what has other than 8 bits per channel, for networks whose input is scaled from 0 to 255: a
            picture of 12 or 16 bits would be white, one of floating numbers black.
        spatial_dims: 2 or 3 to refuse by name and shape what has another number of axes, channels not counted, which
            transforms would end in words of their own.
        max_bytes: what the decoded image of one file may take; without it, the environment variable
            ``MONAI_ROBUST_MAX_IMAGE_BYTES`` or 2 GiB. Reading takes up to four times that.

    Raises:
        BadInputError: for an unknown ``color`` or number of axes, or a limit that is no whole number above 0.
    """

    def __init__(
        self,
        series_uid: str | None = None,
        color: str = "luminance",
        eight_bit: bool = False,
        max_bytes: int | None = None,
        spatial_dims: int | None = None,
    ) -> None:
        super().__init__()
        require_choice("color", color, ("luminance", "rgb", "keep"))
        if spatial_dims not in (None, 2, 3):
            raise BadInputError(f"spatial_dims is {spatial_dims!r}; it can be 2, 3 or None")
        size_limit(max_bytes)
        self.series_uid = series_uid
        self.color = color
        self.eight_bit = eight_bit
        self.max_bytes = max_bytes
        self.spatial_dims = spatial_dims

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
            BadSampleError: a file is missing, damaged, no image, or of another number of axes than asked for; images to
                be stacked differ in shape.
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

    def _load(self, path: Path) -> LoadedImage:
        whole = (
            self._load_series(path) if is_folder(path) else self._in_color_mode(path, read_file(path, self.max_bytes))
        )
        image = whole.without_single_slice_axis()
        if self.spatial_dims is not None:
            _check_axes(path, image, self.spatial_dims)
        return image

    def _in_color_mode(self, path: Path, image: LoadedImage) -> LoadedImage:
        array, channels = image.array, image.channels
        if self.eight_bit and array.dtype != np.uint8:
            raise BadSampleError(f"image {path} holds values of type {array.dtype}; it must be saved with 8 bits each")
        if image.color and self.color == "luminance" and array.shape[-1] <= 4:
            array, channels = _luminance(array), False
        if self.color == "rgb":
            array, channels = _rgb(path, array, channels), True
        return LoadedImage(array, image.affine, channels)

    def _load_series(self, folder: Path) -> LoadedImage:
        series = series_in_order(folder, self.series_uid, self.max_bytes)
        slices = [self._in_color_mode(path, read_file(path, self.max_bytes)) for path in series.files]
        first = slices[0]
        if len(slices) == 1:
            return first
        _check_same_shape(series.files, [part.array.shape for part in slices])
        if first.array.shape[2] > 1:
            raise BadSampleError(f"series folder {folder} holds {len(slices)} multi-frame files; name one of the files")
        affine = first.affine.copy()
        affine[:3, 2] = np.array([-1, -1, 1]) * series.step
        return LoadedImage(np.concatenate([part.array for part in slices], axis=2), affine, first.channels)


def _is_readable_name(path: Path) -> bool:
    return path.is_dir() or not path.suffix or path.name.lower().endswith(_SUFFIXES + _VOLUME_SUFFIXES)


def _luminance(array: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values, ``(X, Y[, Z])``, of grey + alpha, RGB or RGB + alpha, ``(X, Y[, Z], 2 to 4)``."""
    grey = np.empty(array.shape[:-1], np.float32)
    for place, column in enumerate(array):  # one at a time, or a picture would take eight times its bytes
        color = _on_black(column)
        grey[place] = color[..., 0] if color.shape[-1] == 1 else color @ _REC601
    return grey


def _rgb(path: Path, array: NDArray[Any], channels: bool) -> NDArray[Any]:
    """Red, green and blue, ``(..., 3)``, of grey, grey + alpha, RGB or RGB + alpha."""
    if not channels:
        return np.stack([array] * 3, axis=-1)
    if array.shape[-1] not in (1, 2, 3, 4):
        raise BadSampleError(f"image {path} has {array.shape[-1]} channels; a colour picture has up to 4")
    if array.shape[-1] in (2, 4):
        color = np.empty((*array.shape[:-1], array.shape[-1] - 1), np.float32)
        for place, column in enumerate(array):
            color[place] = _on_black(column)
    else:
        color = array
    return np.repeat(color, 3, axis=-1) if color.shape[-1] == 1 else color


def _on_black(array: NDArray[Any]) -> NDArray[np.float64]:
    """Colour without its transparency, composited on black, of ``(..., 1 to 4)`` values."""
    values = array.astype(np.float64)
    if array.shape[-1] in (1, 3):
        return values
    return np.asarray(values[..., :-1] * (values[..., -1:] / np.iinfo(array.dtype).max))


def _check_axes(path: Path, image: LoadedImage, wanted: int) -> None:
    axes = len(image.affine) - 1
    if axes == wanted:
        return
    shape = " x ".join(map(str, image.array.shape[:axes]))
    found = f"a 2-D image of {shape} pixels" if axes == 2 else f"a volume of {shape} voxels"
    raise BadSampleError(f"image {path} is {found}; {'a 2-D image' if wanted == 2 else 'a volume'} is wanted here")


def _check_same_shape(paths: Sequence[PathLike], shapes: Sequence[tuple[int, ...]]) -> None:
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0]:
            raise BadSampleError(f"image {path} has shape {shape}, but {paths[0]}, to be stacked with it, {shapes[0]}")
