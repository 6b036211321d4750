"""Label maps of volumes: what is written lies on the volume's voxels, and postprocessing is chosen slice by slice."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from scipy import ndimage
from torch import nn

from monai_robust.data import load_volume
from monai_robust.errors import BadInputError, user_error
from monai_robust.handlers import ChoosePostprocessing, LabelMaps

CLASSES = ["front", "back"]


class Bands(nn.Module):
    """Scores of three classes: background below 0, the first up to 1, the second above."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([-images, images.clamp(max=1), 2 * images - 1.5], dim=1)


def expected_bands(values: np.ndarray) -> np.ndarray:
    scores = np.stack([-values, np.minimum(values, 1), 2 * values - 1.5])
    return scores.argmax(axis=0)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A NIfTI file with its axes stored towards left, front and foot, of unequal spacing."""
    values = np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32)
    affine = np.diag([-1.5, 2.0, -3.0, 1.0])
    affine[:3, 3] = [10, -4, 7]
    path = tmp_path / "in" / "case_1.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def written(volume: Path, folder: Path, **arguments: object) -> Path:
    loader = DataLoader(Dataset([{"image": str(volume), "case_id": "case_1"}], load_volume), batch_size=1)
    handler = LabelMaps(folder, CLASSES, **arguments)  # type: ignore[arg-type]
    SupervisedEvaluator("cpu", loader, Bands(), val_handlers=[handler], decollate=False).run()
    return folder / "case_1_seg.nii.gz"


def test_a_label_map_lies_voxel_by_voxel_on_its_volume(volume: Path, tmp_path: Path) -> None:
    source, found = nib.load(volume), nib.load(written(volume, tmp_path / "out"))
    assert np.allclose(found.affine, source.affine)
    assert np.array_equal(np.asarray(found.dataobj), expected_bands(source.get_fdata(dtype=np.float32)))
    assert set(np.unique(np.asarray(found.dataobj))) == {0, 1, 2}


def test_only_the_chosen_class_loses_its_smaller_components(volume: Path, tmp_path: Path) -> None:
    path = written(volume, tmp_path / "out", postprocessing={"front": False, "back": True})
    found, before = np.asarray(nib.load(path).dataobj), expected_bands(nib.load(volume).get_fdata(dtype=np.float32))
    structure = np.ones((3, 3, 3))
    components, count = ndimage.label(before == 2, structure)
    assert count > 1
    assert np.array_equal(found == 1, before == 1)
    sizes = np.bincount(components.ravel())[1:]
    assert (found == 2).sum() == sizes.max()
    assert ndimage.label(found == 2, structure)[1] == 1


def test_dicom_seg_of_what_is_no_series_is_refused(volume: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the engine may wrap it
        written(volume, tmp_path / "out", dicom_seg=True)
    assert isinstance(user_error(caught.value), BadInputError)
    assert "needs a DICOM series" in str(caught.value)


def test_what_was_skipped_is_told(volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(volume, tmp_path / "out", skipped=[{"file": "b.nii", "reason": "b.nii: empty"}])
    said = capsys.readouterr().out
    assert "1 files could not be used" in said
    assert "b.nii" not in said
    assert "b.nii: empty" in (tmp_path / "out" / "skipped.csv").read_text()


def test_postprocessing_is_chosen_on_volumes_put_together_from_slices_in_any_order(tmp_path: Path) -> None:
    """Two volumes of 4 slices. The front has an island in them that is wrong, the back one that is right.

    The true front goes a step aside from slice to slice: only in their order is it one, and larger than the island.
    """
    truth = np.zeros((2, 4, 8, 8), dtype=np.int64)
    for index in range(4):
        truth[:, index, index, 2 * (index % 2)] = 1
        truth[:, index, index, 1] = 1
    truth[:, :, 5:7, 5:7] = 2
    truth[:, 0, 7, 0] = 2  # apart from the rest
    found = truth.copy()
    found[:, 3, 0, 3:8] = 1
    order = np.random.default_rng(0).permutation(8)
    rows = [(f"case_{place // 4}", place % 4) for place in order]
    images = torch.nn.functional.one_hot(torch.from_numpy(found), 3).movedim(-1, 2).float()
    labels = torch.from_numpy(truth)
    items = [
        {
            "image": MetaTensor(images[int(case[-1]), index]),
            "label": labels[int(case[-1]), index][None],
            "case_id": case,
            "slice_index": index,
        }
        for case, index in rows
    ]
    path = tmp_path / "model" / "postprocessing.json"
    handler = ChoosePostprocessing(path, CLASSES)
    loader = DataLoader(Dataset(items), batch_size=3)
    SupervisedEvaluator("cpu", loader, nn.Identity(), val_handlers=[handler], decollate=False).run()

    def dice(one: np.ndarray, other: np.ndarray) -> float:
        return 2 * (one & other).sum() / (one.sum() + other.sum())

    expected = {}
    for label, name in enumerate(CLASSES, start=1):
        gains = []
        for own, true in zip(found == label, truth == label, strict=True):
            components, _ = ndimage.label(own, np.ones((3, 3, 3)))
            largest = components == np.bincount(components.ravel())[1:].argmax() + 1
            gains.append(dice(largest, true) - dice(own, true))
        expected[name] = bool(np.mean(gains) > 0)
    assert expected == {"front": True, "back": False}
    assert json.loads(path.read_text()) == expected
