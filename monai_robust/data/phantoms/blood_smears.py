"""A phantom data set of stained blood smears: PNG pictures with boxes in Pascal VOC's layout."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from monai_robust.data.lists.splits import SPLITS
from monai_robust.data.phantoms.arguments import checked_sides
from monai_robust.data.phantoms.blood_cells import BloodCell, draw_cells
from monai_robust.data.phantoms.whole_folder import is_written, write_whole, written_once
from monai_robust.scalars import checked_whole

__all__ = ["phantom_blood_smears", "write_blood_smear_phantoms"]

_SHARES = {"val": 0.15, "test": 0.25}
_FEWEST_IMAGES = 8
_SMALLEST_SIDE = 48


@dataclass(frozen=True)
class _Settings:
    images: int
    width: int
    height: int
    seed: int

    def __post_init__(self) -> None:
        checked_whole("images", self.images, _FEWEST_IMAGES)
        checked_whole("seed", self.seed, 0)

    def stored(self) -> dict[str, Any]:
        return {"phantom": "blood smears", "version": 1, **asdict(self)}


def write_blood_smear_phantoms(
    folder: str | os.PathLike[str],
    *,
    images: int = 60,
    size: tuple[int, int] = (128, 96),
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write a fictitious data set of stained blood smears with the classes RBC, WBC and Platelets.

    Light is absorbed as in a microscope, so that cells on top of each other add up. Red cells are pink discs with a
    pale centre, 6 to 15 a picture, some touching, some cut off at the edge; white cells are large, with a dark purple
    nucleus of two to four lobes, none to two a picture; platelets are small and purple, none to three. Tint and
    strength of the stain, illumination and its gradient, blur and noise are drawn for each picture, independently of
    its cells. A box holds what is inside the picture of a cell, to the pixel.

    Files: ``JPEGImages/smear_001.png`` ..., ``Annotations/smear_001.xml`` ... (pixels counted from 1, as VOC does),
    ``ImageSets/Main/{train,val,test}.txt`` (60/15/25) and ``phantom.json`` with the settings. The same settings give
    the same bytes.

    Args:
        folder: to be made; it may exist if it is empty.
        images: how many pictures.
        size: pixels (in x, in y); cells grow with it.
        seed: of everything random.
        progress: show a bar with the remaining time.

    Returns:
        The folder.

    Raises:
        BadInputError: an argument cannot work, or the folder has content.
    """
    settings = _Settings(images, *checked_sides(size, _SMALLEST_SIDE), seed)
    return write_whole(folder, settings.stored(), lambda target: _write(target, settings, progress))


def phantom_blood_smears(
    folder: str | os.PathLike[str],
    *,
    images: int = 60,
    size: tuple[int, int] = (128, 96),
    seed: int = 0,
    progress: bool = False,
) -> str:
    """The folder of a phantom data set, written by :func:`write_blood_smear_phantoms` if it is not there yet.

    Args:
        folder: where it is or is to be.
        images: as for the writer, like all that follow.
        size: pixels (in x, in y).
        seed: of everything random.
        progress: show a bar with the remaining time.

    Raises:
        BadInputError: the folder holds something else, or phantoms with other settings; nothing is changed then.
    """
    settings = _Settings(images, *checked_sides(size, _SMALLEST_SIDE), seed)
    write = partial(write_blood_smear_phantoms, images=images, size=size, seed=seed, progress=progress)
    return written_once(folder, "smears", lambda target: _is_complete(target, settings), write)


def _is_complete(folder: Path, settings: _Settings) -> bool:
    pictures = [file for name in _names(settings) for file in (_picture(name), _annotation(name))]
    return is_written(folder, settings.stored(), [*pictures, *(_image_set(split) for split in SPLITS)])


def _names(settings: _Settings) -> list[str]:
    return [f"smear_{number + 1:03d}" for number in range(settings.images)]


def _picture(name: str) -> str:
    return f"JPEGImages/{name}.png"


def _annotation(name: str) -> str:
    return f"Annotations/{name}.xml"


def _image_set(split: str) -> str:
    return f"ImageSets/Main/{split}.txt"


def _write(folder: Path, settings: _Settings, progress: bool) -> None:
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    names = _names(settings)
    for number, name in enumerate(tqdm(names, desc="writing phantoms", unit="image", disable=not progress)):
        rng = default_rng([settings.seed, 1, number])
        cells = draw_cells((settings.width, settings.height), rng)
        picture = _photograph(cells, (settings.width, settings.height), rng)
        Image.fromarray(picture.transpose(2, 1, 0)).save(folder / _picture(name))
        _write_annotation(folder / _annotation(name), f"{name}.png", cells, settings)
    splits = _splits(settings)
    for split in SPLITS:
        listed = [name for name, part in zip(names, splits, strict=True) if part == split]
        (folder / _image_set(split)).write_text("".join(f"{name}\n" for name in listed), encoding="utf-8")


def _splits(settings: _Settings) -> list[str]:
    counts = {split: max(1, round(share * settings.images)) for split, share in _SHARES.items()}
    parts = [split for split, count in counts.items() for _ in range(count)]
    parts += ["train"] * (settings.images - len(parts))
    return [parts[place] for place in default_rng([settings.seed, 0]).permutation(settings.images)]


def _photograph(cells: list[BloodCell], size: tuple[int, int], rng: Generator) -> NDArray[np.uint8]:
    """(3, X, Y): light that the smear lets through, by Beer's law, as a camera takes it."""
    stain = rng.uniform(0.75, 1.25) * rng.uniform(0.85, 1.15, (3, 1, 1))
    density = stain * sum((cell.density for cell in cells), start=np.zeros((3, *size), dtype=np.float32))
    tint = rng.uniform((0.86, 0.82, 0.80), (0.96, 0.93, 0.94))[:, None, None]
    x, y = np.meshgrid(*(np.linspace(-1, 1, length) for length in size), indexing="ij")
    slope = rng.uniform(-0.08, 0.08, 2)
    light = tint * (1 + slope[0] * x + slope[1] * y) * np.exp(-density)
    blurred = gaussian_filter(light, (0, *[rng.uniform(0.4, 0.9)] * 2))
    noisy = blurred + rng.uniform(0.008, 0.025) * rng.standard_normal(light.shape)
    return np.asarray(np.rint(255 * np.clip(noisy, 0, 1)), dtype=np.uint8)


def _write_annotation(path: Path, picture: str, cells: list[BloodCell], settings: _Settings) -> None:
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", picture)
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", settings.width), ("height", settings.height), ("depth", 3)):
        _add(size, name, value)
    for cell in cells:
        one = ElementTree.SubElement(root, "object")
        _add(one, "name", cell.name)
        corners = ElementTree.SubElement(one, "bndbox")
        xmin, ymin, xmax, ymax = cell.box
        # VOC counts pixels from 1 and names the last one inside, so that only the lower corner moves.
        for name, value in (("xmin", xmin + 1), ("ymin", ymin + 1), ("xmax", xmax), ("ymax", ymax)):
            _add(corners, name, value)
    ElementTree.indent(root)
    path.write_text(ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def _add(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)
