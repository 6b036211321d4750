"""One anatomy, whichever way its voxels are stored: plans know directions in the patient, not only indices of axes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.data import MetaTensor

from monai_robust.data import SliceDataset, VolumeGrid, label_map_on, load_volume
from monai_robust.data.segmentation.orientation import orientation_of
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.planning import (
    Fingerprint,
    Plan,
    fingerprint_of,
    make_plan,
    planned_volume_transform,
    read_plan,
    write_plan,
)

CODES = ("RAS", "LPS", "PIL", "ASR")
SHAPE = (11, 12, 7)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One oblique volume with its label map, stored along axes of each orientation."""
    root = tmp_path_factory.mktemp("stored")
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, :3] = nib.eulerangles.euler2mat(0.1, 0.2, 0.05) @ affine[:3, :3]
    affine[:3, 3] = (3, -8, 20)
    rng = np.random.default_rng(0)
    parts = {"image": rng.normal(size=SHAPE).astype(np.float32), "label": (rng.random(SHAPE) > 0.7).astype(np.uint8)}
    items: dict[str, dict[str, Any]] = {codes: {"case_id": codes} for codes in CODES}
    for key, values in parts.items():
        straight = nib.Nifti1Image(values, affine)
        now = nib.io_orientation(affine)
        for codes in CODES:
            turn = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(codes))
            path = root / f"{key}_{codes}.nii.gz"
            nib.save(straight.as_reoriented(turn), path)
            items[codes][key] = str(path)
    return items


@pytest.fixture
def plan() -> Plan:
    return make_plan(Fingerprint.from_shapes([(35, 50, 36)], [(1, 1, 2)], ["MRI"], ["organ"]))


@pytest.mark.parametrize("codes", CODES)
def test_the_network_sees_one_anatomy_in_one_way(stored: dict[str, dict[str, Any]], plan: Plan, codes: str) -> None:
    transform = planned_volume_transform(plan)
    expected, found = (transform(load_volume(stored[one])) for one in ("RAS", codes))
    for key in ("image", "label"):
        assert torch.equal(found[key].as_tensor(), expected[key].as_tensor())
    assert orientation_of(found["image"]) == "RAS"
    assert orientation_of(load_volume(stored[codes])["image"]) == codes


@pytest.mark.parametrize("codes", CODES)
def test_slices_of_training_and_evaluation_are_cut_across_the_same_direction(
    stored: dict[str, dict[str, Any]], plan: Plan, codes: str
) -> None:
    slices = [
        SliceDataset([stored[one]], slice_axis=plan.slice_axis, classes=1, transform=planned_volume_transform(plan))
        for one in ("RAS", codes)
    ]
    assert len(slices[0]) == len(slices[1]) == SHAPE[2]
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(*slices, strict=True))


@pytest.mark.parametrize("codes", CODES)
def test_a_label_map_comes_back_to_the_voxels_of_its_file(
    stored: dict[str, dict[str, Any]], plan: Plan, codes: str
) -> None:
    own = load_volume(stored[codes])
    seen = planned_volume_transform(replace(plan, spacing=(1.0, 1.0)))(load_volume(stored[codes]))
    scores = torch.cat([1 - seen["label"].as_tensor(), seen["label"].as_tensor()]).float()
    written = label_map_on(VolumeGrid.of_file(seen["image"]), scores, seen["image"].affine)
    np.testing.assert_array_equal(written, own["label"].numpy()[0])


def test_a_data_set_is_planned_along_the_axes_that_most_cases_have(stored: dict[str, dict[str, Any]]) -> None:
    volumes = (load_volume(stored[codes]) for codes in ("RAS", "PIL", "PIL", "ASR"))
    found = fingerprint_of(volumes, modality=["MRI"], classes=["organ"])
    assert found.orientation == "PIL"
    assert set(found.shapes) == {(12, 7, 11)}
    np.testing.assert_allclose(found.spacings, [(1, 2, 1)] * 4, rtol=1e-6)
    large = replace(found, shapes=((120, 70, 110),) * 4)
    assert (make_plan(large).orientation, make_plan(large).slice_axis) == ("PIL", 1)


def test_without_a_plan_volumes_of_several_orientations_are_refused(stored: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(BadInputError, match=r"image_PIL.* along the axes PIL, but .*image_RAS.* along RAS"):
        SliceDataset([stored["RAS"], stored["PIL"]], slice_axis=2, classes=1)


def test_a_plan_of_an_older_version_is_refused_with_the_line_to_add(plan: Plan, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path / "plan.yaml")
    values = yaml.safe_load(path.read_text())
    del values["orientation"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(BadInputError, match=r"plan\.yaml: orientation is missing.*such as orientation: RAS"):
        read_plan(path)
    for wrong in ("RAR", "RA", "XYZ", "ras", ""):
        path.write_text(yaml.safe_dump({**values, "orientation": wrong}))
        with pytest.raises(BadInputError, match=r"plan\.yaml: orientation (is|has) "):
            read_plan(path)


def test_an_affine_without_three_directions_is_refused_by_name(tmp_path: Path) -> None:
    volume = nib.Nifti1Image(np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32), np.eye(4))
    volume.header["qform_code"], volume.header["sform_code"] = 0, 1
    volume.header["vox_offset"] = 352
    volume.header["srow_y"] = 0
    path = tmp_path / "flat.nii"
    path.write_bytes(volume.header.binaryblock + bytes(4) + volume.get_fdata().astype(np.float32).tobytes("F"))
    with pytest.raises(BadSampleError, match=r"flat\.nii.* its affine is no"):
        load_volume({"image": path})
    with pytest.raises(BadSampleError, match="axes that point nowhere"):
        orientation_of(MetaTensor(torch.zeros(1, 3, 3, 3), affine=torch.diag(torch.tensor([1.0, 0.0, 1.0, 1.0]))))
