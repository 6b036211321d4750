"""Phantom hippocampi: valid volumes in the Decathlon's layout, clinical variety, a fair task, nothing overwritten."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from monai_robust.data import load_volume, phantom_hippocampi, segmentation_datalist, write_hippocampus_phantoms
from monai_robust.errors import BadInputError

CASES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hippocampus_phantoms(tmp_path_factory.mktemp("phantoms") / "set", cases=CASES)


@dataclass(frozen=True)
class Volume:
    """One case, as stored, and as a person sees it: x to the right, y to the front, z upwards."""

    case_id: str
    stored: nib.Nifti1Image
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]

    @property
    def scaled(self) -> NDArray[np.float32]:
        return (self.image - self.image.mean()) / self.image.std()


def canonical(path: Path) -> NDArray[Any]:
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)


@pytest.fixture(scope="module")
def volumes(folder: Path) -> list[Volume]:
    found = []
    for path in sorted((folder / "imagesTr").iterdir()):
        labels = canonical(folder / "labelsTr" / path.name)
        image = canonical(path).astype(np.float32)
        found.append(Volume(path.name.removesuffix(".nii.gz"), nib.load(path), image, labels))
    return found


def checksum(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def dice(found: NDArray[Any], truth: NDArray[Any]) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_the_folder_is_a_data_set_whose_volumes_pass_the_check(folder: Path) -> None:
    found = segmentation_datalist(folder)
    assert found.classes == ("Anterior", "Posterior")
    assert found.modalities == ("MRI",)
    index = pd.read_csv(folder / "index.csv")
    assert list(index.columns) == ["case_id", "patient_id", "split"]
    assert len(index) == CASES
    sizes = {split: len(items) for split, items in found.items.items()}
    assert sizes == index["split"].value_counts().to_dict()
    assert 0.5 <= sizes["train"] / CASES <= 0.7
    for items in found.items.values():
        for item in items:
            assert load_volume(item, classes=2)["label"].max() == 2


def test_patients_have_a_volume_or_two_and_stay_in_one_split(folder: Path) -> None:
    patients = pd.read_csv(folder / "index.csv").groupby("patient_id")
    assert patients["split"].nunique().max() == 1
    assert set(patients.size()) == {1, 2}


def test_volumes_vary_as_clinical_ones_do(volumes: list[Volume]) -> None:
    stored = [volume.stored for volume in volumes]
    spacings = {tuple(round(float(edge), 3) for edge in one.header.get_zooms()) for one in stored}
    assert spacings == {(1, 1, 1), (1, 1, 1.5), (0.9, 0.9, 1.2)}
    assert {one.get_data_dtype().name for one in stored} == {"uint8", "float32"}
    assert len({nib.aff2axcodes(one.affine) for one in stored}) >= 3
    oblique = [nib.affines.obliquity(one.affine).max() > 0.01 for one in stored]
    assert 0 < sum(oblique) < len(stored)
    maxima = [volume.image.max() for volume in volumes if volume.stored.get_data_dtype() == np.float32]
    assert max(maxima) / min(maxima) > 1000
    millimetres = np.array([np.array(one.shape) * one.header.get_zooms() for one in stored])
    np.testing.assert_allclose(millimetres.mean(axis=0), (36, 53, 37), atol=1.5)


def test_slices_at_both_ends_are_empty_and_the_hippocampus_is_never_cut_off(volumes: list[Volume]) -> None:
    for volume in volumes:
        assert set(np.unique(volume.labels)) == {0, 1, 2}
        for axis in range(3):
            held = np.flatnonzero(volume.labels.any(axis=tuple(other for other in range(3) if other != axis)))
            assert held[0] >= 1, volume.case_id
            assert held[-1] <= volume.labels.shape[axis] - 2, volume.case_id


def test_anatomy_is_plausible(volumes: list[Volume]) -> None:
    """In one piece; anterior before posterior; a hippocampus has about 1.5 to 4 ml."""
    for volume in volumes:
        pieces, count = ndimage.label(volume.labels > 0)
        assert count == 1 or np.bincount(pieces.ravel())[1:].max() > 0.97 * (volume.labels > 0).sum()
        front, back = (ndimage.center_of_mass(volume.labels == one)[1] for one in (1, 2))
        assert front > back + 8
        millilitres = (volume.labels > 0).sum() * np.prod(volume.stored.header.get_zooms()) / 1000
        assert 1.2 < millilitres < 4.5


def test_head_and_body_have_the_same_intensity(volumes: list[Volume]) -> None:
    areas = []
    for volume in volumes:
        inside = ndimage.binary_erosion(volume.labels > 0) & (volume.labels > 0)
        areas.append(roc_auc_score(volume.labels[inside] == 1, volume.image[inside]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06)


def test_intensity_alone_does_not_tell_the_hippocampus(volumes: list[Volume]) -> None:
    """The best of all intervals of standardised intensity, chosen on the very volumes."""
    values = np.concatenate([volume.scaled.ravel() for volume in volumes])
    truth = np.concatenate([volume.labels.ravel() > 0 for volume in volumes])
    edges = np.quantile(values, np.linspace(0, 1, 60))
    inside = np.cumsum(np.histogram(values[truth], edges)[0])
    everything = np.cumsum(np.histogram(values, edges)[0])
    intervals = [
        2 * (inside[high] - inside[low]) / (everything[high] - everything[low] + truth.sum())
        for low in range(59)
        for high in range(low + 1, 59)
    ]
    assert max(intervals) < 0.3


def test_the_place_alone_does_not_tell_the_hippocampus(volumes: list[Volume]) -> None:
    """The mean label map of the others, at its best threshold, in a common frame that a network does not even have."""
    common = (36, 52, 36)
    maps = [_resized(volume.labels > 0, common) for volume in volumes]
    mirrored = [one[::-1] for one in maps]
    mean = sum(maps + mirrored) / (2 * len(maps))
    scores = [np.mean([dice(mean > level, one > 0.5) for one in maps]) for level in np.linspace(0.05, 0.7, 14)]
    assert max(scores) < 0.7


def _resized(values: NDArray[np.bool_], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    factors = [wanted / has for wanted, has in zip(shape, values.shape, strict=True)]
    return np.asarray(ndimage.zoom(values.astype(float), factors, order=1))


def _features(volume: Volume) -> NDArray[np.float32]:
    """Of every voxel: intensity around it on four scales, here and some voxels off, and its place from the middle."""
    scaled = volume.scaled
    blurred = [ndimage.gaussian_filter(scaled, width) for width in (0.7, 1.5, 3, 6)]
    shifted = [np.roll(blurred[1], step, axis) for axis in range(3) for step in (-8, -5, -3, 3, 5, 8)]
    ticks = [np.linspace(-1, 1, size) for size in scaled.shape]
    x, y, z = np.meshgrid(*ticks, indexing="ij")
    return np.stack([*blurred, *shifted, x, y, z], axis=-1).reshape(-1, 25).astype(np.float32)


@pytest.mark.full
def test_intensity_place_and_surroundings_together_tell_more(volumes: list[Volume]) -> None:
    rng = np.random.default_rng(0)
    rows, labels = [], []
    for volume in volumes[:16]:
        flat = volume.labels.ravel()
        chosen = rng.permutation(len(flat))[:2000]
        rows.append(_features(volume)[chosen])
        labels.append(flat[chosen])
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    model.fit(np.concatenate(rows), np.concatenate(labels))
    scores = []
    for volume in volumes[20:24]:
        found = model.predict(_features(volume)).reshape(volume.labels.shape)
        scores.append([dice(found == one, volume.labels == one) for one in (1, 2)])
    assert (np.mean(scores, axis=0) > 0.4).all()


def test_the_same_settings_give_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    first, again, other = (
        checksum(write_hippocampus_phantoms(tmp_path / str(n), cases=12, seed=seed)) for n, seed in enumerate((0, 0, 1))
    )
    assert first == again
    differing = {name for name in first if first[name] != other.get(name)}
    assert {"imagesTr/phantom_001.nii.gz", "labelsTr/phantom_012.nii.gz", "phantom.json"} <= differing
    assert len(set(first.values())) == len(first)


def test_phantoms_are_written_once(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set"
    target.parent.mkdir()
    assert phantom_hippocampi(target, cases=12) == str(target)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    assert phantom_hippocampi(target, cases=12) == str(target)
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before
    with pytest.raises(BadInputError, match=r"other settings \(\{'cases': 12\}\)"):
        phantom_hippocampi(target, cases=13)
    (target / "labelsTr" / "phantom_003.nii.gz").unlink()
    with pytest.raises(BadInputError, match=r"lacks 1 of its phantoms, first labelsTr/phantom_003\.nii\.gz"):
        phantom_hippocampi(target, cases=12)
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_a_folder_with_content_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="exists and is not empty"):
        phantom_hippocampi(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cases is 11; it must be a whole number of at least 12"):
        write_hippocampus_phantoms(tmp_path / "a", cases=11)
    with pytest.raises(BadInputError, match="seed is -1"):
        write_hippocampus_phantoms(tmp_path / "a", seed=-1)
    assert not (tmp_path / "a").exists()


def test_the_smallest_set_has_every_split(tmp_path: Path) -> None:
    target = write_hippocampus_phantoms(tmp_path / "a", cases=12)
    assert set(pd.read_csv(target / "index.csv")["split"]) == {"train", "val", "test"}
    assert json.loads((target / "dataset.json").read_text())["numTraining"] == 12
