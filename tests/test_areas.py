"""Surfaces, volumes and lesions of segmented areas: against MONAI and scipy, by hand, and from network to report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.metrics import compute_hausdorff_distance, compute_iou, compute_surface_dice
from monai.networks import one_hot
from scipy.ndimage import binary_erosion, distance_transform_edt, label
from synthetic_runs import ORGANS, write_run, write_segmentation_run

from monai_robust.attacks import PGD
from monai_robust.data import SliceDataset
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement, outcomes_of, read_run, write_report
from monai_robust.evaluation.of_bundle import ForeignEvaluation
from monai_robust.evaluation.sections.parts import Section
from monai_robust.evaluation.tasks.segmentation import SegmentationReport
from monai_robust.metrics import (
    LesionSensitivity,
    RelativeVolumeDifference,
    intersection_over_union,
    lesion_counts,
    relative_volume_difference,
    surface_measures,
)
from monai_robust.tasks import Classification, Segmentation

SHAPES = {2: (24, 20), 3: (12, 14, 10)}
SPACINGS = {2: [[0.5, 2.0], [1.0, 1.0], [3.0, 0.7]], 3: [[0.5, 2.0, 1.0], [1.0, 1.0, 1.0], [3.0, 0.7, 2.0]]}


def maps(dims: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and truth of three samples with the classes 0 to 2, as areas and not as single pixels."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(2):
        noise = generator.normal(size=(3, *SHAPES[dims]))
        for axis in range(1, dims + 1):
            noise = sum(np.roll(noise, shift, axis) for shift in range(-2, 3))
        made.append(torch.from_numpy(np.digitize(noise, np.quantile(noise, [0.6, 0.85]))))
    return made[0], made[1]


# metrics


@pytest.mark.parametrize("dims", [2, 3])
def test_surfaces_are_those_of_monai(dims: int) -> None:
    found, truth = maps(dims)
    pair = [one_hot(one[:, None], 3) for one in (found, truth)]
    hd95 = compute_hausdorff_distance(*pair, percentile=95, spacing=SPACINGS[dims])
    nsd = compute_surface_dice(*pair, class_thresholds=[1.5, 1.5], spacing=SPACINGS[dims])
    own = surface_measures(found, truth, 2, spacing=SPACINGS[dims], tolerance=1.5)
    assert torch.allclose(own.hd95.float(), hd95, rtol=1e-5)
    assert torch.allclose(own.nsd.float(), nsd, atol=1e-6)
    assert 0.05 < own.nsd.min() < own.nsd.max() < 0.95
    in_pixels = surface_measures(found, truth, 2)
    assert torch.allclose(in_pixels.hd95.float(), compute_hausdorff_distance(*pair, percentile=95), rtol=1e-5)


def test_surfaces_are_those_of_scipy() -> None:
    found, truth = (one[0].numpy() == 1 for one in maps(2, seed=4))
    edges = [one & ~binary_erosion(one) for one in (found, truth)]
    back, there = (
        distance_transform_edt(~edge, sampling=[0.5, 2.0])[other]
        for edge, other in zip(edges, edges[::-1], strict=True)
    )
    own = surface_measures(*maps(2, seed=4), 2, spacing=SPACINGS[2], tolerance=2.0)
    assert own.hd95[0, 0].item() == pytest.approx(max(np.quantile(there, 0.95), np.quantile(back, 0.95)), rel=1e-6)
    close = (there <= 2.0).sum() + (back <= 2.0).sum()
    assert own.nsd[0, 0].item() == pytest.approx(close / (len(there) + len(back)))


def test_a_class_in_one_alone_has_no_distance_and_nsd_0_and_one_in_neither_has_nothing() -> None:
    empty, square = torch.zeros(1, 8, 8, dtype=torch.long), torch.zeros(1, 8, 8, dtype=torch.long)
    square[0, 2:5, 2:5] = 1
    for pair in ((empty, square), (square, empty)):
        own = surface_measures(*pair, 2)
        assert own.hd95.isnan().all()
        assert own.nsd[0, 0] == 0
        assert own.nsd[0, 1].isnan()
    same = surface_measures(square, square, 2)
    assert (same.hd95[0, 0], same.nsd[0, 0]) == (0, 1)


def test_iou_and_volume_difference_are_those_of_masks() -> None:
    found, truth = maps(2)
    counts = [
        torch.stack([(a & b).flatten(1).sum(1) for a, b in pairs], dim=1)
        for pairs in (
            [(found == c, truth == c) for c in (1, 2)],
            [(found == c, truth != c) for c in (1, 2)],
            [(found != c, truth == c) for c in (1, 2)],
        )
    ]
    pair = [one_hot(one[:, None], 3) for one in (found, truth)]
    assert torch.allclose(intersection_over_union(*counts).float(), compute_iou(*pair, include_background=False))
    sizes = [torch.stack([(one == c).flatten(1).sum(1) for c in (1, 2)], dim=1).double() for one in (found, truth)]
    assert torch.allclose(relative_volume_difference(*counts), sizes[0] / sizes[1] - 1)
    assert relative_volume_difference([0], [5], [0]).isnan().all()
    assert relative_volume_difference([0], [0], [5]).item() == -1
    metric = RelativeVolumeDifference()
    metric(pair[0][:2], truth[:2, None])
    metric(pair[0][2:], truth[2:, None])
    assert metric.aggregate().item() == pytest.approx(float((sizes[0] / sizes[1] - 1).abs().mean()))


@pytest.mark.parametrize("dims", [2, 3])
def test_lesions_are_counted_as_one_would_by_hand(dims: int) -> None:
    generator = np.random.default_rng(1)
    found, truth = (torch.from_numpy((generator.random((3, *SHAPES[dims])) < 0.06).astype(int)) for _ in range(2))
    own = lesion_counts(found, truth, 1)
    around = np.ones([3] * dims)
    for sample in range(3):
        ours, theirs = found[sample].numpy(), truth[sample].numpy()
        areas = {"truth": label(theirs, around), "found": label(ours, around)}
        hit = sum(bool(ours[areas["truth"][0] == i].any()) for i in range(1, areas["truth"][1] + 1))
        false = sum(not theirs[areas["found"][0] == i].any() for i in range(1, areas["found"][1] + 1))
        assert 0 < hit < areas["truth"][1]
        assert false > 0
        assert [int(one[sample, 0]) for one in own] == [areas["truth"][1], hit, areas["found"][1], false]
    metric = LesionSensitivity()
    metric(one_hot(found[:, None], 2), truth[:, None])
    assert metric.aggregate().item() == pytest.approx(float(own.found.sum() / own.lesions.sum()))


def test_a_lesion_may_need_more_overlap_than_a_pixel() -> None:
    truth = torch.tensor([[1, 1, 1, 1, 0, 1, 1, 0, 0]])
    found = torch.tensor([[1, 0, 1, 1, 0, 0, 1, 1, 0]])  # 3 of 4, by two components; 1 of 3
    assert lesion_counts(found, truth, 1).found.item() == 2
    strict = lesion_counts(found, truth, 1, iou=0.5)
    # of the components (1, 2, 2 pixels) only the second one covers half of what it touches
    assert [one.item() for one in strict] == [2, 1, 3, 2]
    assert lesion_counts(found, truth, 1, iou=0.75).found.item() == 1
    assert lesion_counts(found, truth, 1, iou=0.76).found.item() == 0


def test_what_cannot_be_measured_is_refused() -> None:
    found, truth = maps(2)
    with pytest.raises(BadInputError, match="3 rows of 2 numbers above 0"):
        surface_measures(found, truth, 2, spacing=[[1.0, 0.0]] * 3)
    with pytest.raises(BadInputError, match="tolerance is -1"):
        surface_measures(found, truth, 2, tolerance=-1)
    with pytest.raises(BadInputError, match="both be"):
        surface_measures(found[:2], truth, 2)
    with pytest.raises(BadInputError, match="iou is 2"):
        lesion_counts(found, truth, 2, iou=2)


# measurement


class Threshold(torch.nn.Module):
    """Logits of background and of what is brighter than 0.5."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - inputs, inputs - 0.5], dim=1) * 20


def disc(radius: float, shift: float = 0.0) -> torch.Tensor:
    grid = torch.arange(24.0) - 12
    return ((grid[:, None] - shift).square() + grid.square() <= radius**2).float()[None]


def films(spacing: tuple[float, float] | None) -> list[dict[str, object]]:
    """Discs, the truth of which lies two rows further; the third film is empty, the fourth is predicted alone."""
    made = []
    for index in range(4):
        shown, true = disc(5.0 + index), disc(5.0 + index, 2.0)
        if index == 2:
            shown, true = torch.zeros_like(shown), torch.zeros_like(true)
        if index == 3:
            true = torch.zeros_like(true)
        image = shown
        if spacing is not None:
            image = MetaTensor(shown, affine=torch.diag(torch.tensor([*spacing, 1.0, 1.0])))
        made.append({"image": image, "label": true, "sample_id": str(index), "patient_id": f"p{index // 2}"})
    return made


def measured(folder: Path, spacing: tuple[float, float] | None, **more: object) -> pd.DataFrame:
    sweeps = [CleanSweep(), AttackSweep(PGD(steps=2, bounds=(0, 1)), [6.0])]
    settings = {"perturbations": sweeps, "output_dir": folder, "name": "erm", "classes": ["disc"], "progress": False}
    Measurement(
        Threshold(), films(spacing), task=Segmentation(), **(settings | {"sanity_samples": 0, "batch_size": 3} | more)
    ).run()
    return read_run(folder).outcomes


def test_distances_are_in_mm_where_images_tell_their_spacing(tmp_path: Path) -> None:
    found = measured(tmp_path / "mm", (2.0, 0.5))
    clean = found[found["perturbation"] == "clean"].set_index("sample_id")
    expected = compute_hausdorff_distance(
        disc(5.0)[None], disc(5.0, 2.0)[None], True, percentile=95, spacing=(2.0, 0.5)
    )
    assert clean.loc["0", "hd95_1"] == pytest.approx(expected.item())
    assert clean["hd95_1"].isna().tolist() == [False, False, True, True]
    assert clean["nsd_1"].isna().tolist() == [False, False, True, False]
    assert clean.loc["3", "nsd_1"] == 0
    info = read_run(tmp_path / "mm").info["settings"]
    assert (info["distance_unit"], info["surface_tolerance"]) == ("mm", 1.0)
    plain = measured(tmp_path / "pixels", None)
    assert read_run(tmp_path / "pixels").info["settings"]["distance_unit"] == "pixels"
    in_pixels = compute_hausdorff_distance(disc(5.0)[None], disc(5.0, 2.0)[None], True, percentile=95)
    assert plain["hd95_1"].iloc[0] == pytest.approx(in_pixels.item())
    section = area_section(tmp_path / "mm")
    assert "Of 4 clean images times classes, 1 hold the class neither" in section.text
    assert "1 hold it in one alone" in section.text
    by_hand = clean.groupby("patient_id")["hd95_1"].mean().mean()
    assert section.tables[0].frame()["HD95 [mm]"].tolist() == pytest.approx([by_hand])
    assert "The size of a pixel was not known" in area_section(tmp_path / "pixels").text
    with pytest.raises(BadInputError, match="other tolerances or units"):
        area_section(tmp_path / "mm", tmp_path / "pixels")


def area_section(*folders: Path) -> Section:
    """What a report says of areas, without its page."""
    report, runs = SegmentationReport(), [read_run(folder) for folder in folders]
    return report.sections(runs, report.frames(runs))[1]


def test_an_evaluators_images_tell_their_spacing(tmp_path: Path) -> None:
    evaluator = SupervisedEvaluator(
        torch.device("cpu"), DataLoader(Dataset(films((2.0, 0.5))), batch_size=2), Threshold()
    )
    Measurement.of(evaluator, [CleanSweep()], tmp_path, task="segmentation", sanity_samples=0, progress=False).run()
    run = read_run(tmp_path)
    assert run.info["settings"]["distance_unit"] == "mm"
    assert run.clean["hd95_1"].iloc[0] == pytest.approx(measured(tmp_path / "own", (2.0, 0.5))["hd95_1"].iloc[0])


def test_slices_of_volumes_know_their_spacing(tmp_path: Path) -> None:
    import nibabel as nib

    volume = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    for name, values in (("image", volume), ("label", (volume > 0.5).astype(np.uint8))):
        nib.save(nib.Nifti1Image(values, np.diag([0.5, 2.0, 3.0, 1.0])), tmp_path / f"{name}.nii")
    item = {"image": str(tmp_path / "image.nii"), "label": str(tmp_path / "label.nii"), "case_id": "a"}
    slices = SliceDataset([item], slice_axis=1, classes=1)
    assert {one["spacing"] for one in slices.items} == {(0.5, 3.0)}


def test_surfaces_can_be_left_out_and_lesions_asked_for(tmp_path: Path) -> None:
    found = measured(tmp_path, None, measures={"surfaces": False, "lesions": True, "lesion_iou": 0.3})
    assert [name for name in found if name.endswith("_1")] == [
        *("tp_1", "fp_1", "fn_1"),
        *("lesions_1", "lesions_found_1", "components_1", "false_components_1"),
    ]
    assert found["lesions_1"].iloc[:4].tolist() == [1, 1, 0, 0]
    assert found["false_components_1"].iloc[:4].tolist() == [0, 0, 0, 1]
    report, run = SegmentationReport(), read_run(tmp_path)
    text = {section.title: section.text for section in report.sections([run], report.frames([run]))}
    assert "an intersection over union of at least 0.3" in text["Lesions"]
    assert "Surfaces were not measured" in text["Volumes"]
    with pytest.raises(BadInputError, match="measures holds 'surface', which the task 'segmentation' does not have"):
        outcomes_of(Segmentation(), {"surface": True})
    with pytest.raises(BadInputError, match="it has none to choose"):
        outcomes_of(Classification(), {"surfaces": True})
    with pytest.raises(BadInputError, match="tolerance must be a number of at least 0"):
        outcomes_of(Segmentation(), {"tolerance": "1mm"})


# report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segmentation_run(tmp_path_factory.mktemp("run") / "std", surfaces=True)


def test_statistics_are_means_over_patients_of_each_class(folder: Path) -> None:
    run = read_run(folder)
    rows = run.outcomes[(run.outcomes["perturbation"] == "pgd_l2") & (run.outcomes["severity"] == 6.0)].copy()
    rows.loc[rows.index[:3], "patient_id"] = "another"  # a volume of six slices of two patients
    found = SegmentationReport().statistics(run, rows)
    for name in ("hd95_1", "nsd_1", "hd95_2", "nsd_2"):
        assert found[name] == pytest.approx(rows.groupby("patient_id")[name].mean().mean())
    assert found["nsd"] == pytest.approx((found["nsd_1"] + found["nsd_2"]) / 2)
    whole = run.outcomes[(run.outcomes["perturbation"] == "pgd_l2") & (run.outcomes["severity"] == 6.0)]
    volumes = whole.groupby("patient_id")[[f"{part}_1" for part in ("tp", "fp", "fn")]].sum()
    tp, fp, fn = (volumes[f"{part}_1"] for part in ("tp", "fp", "fn"))
    own = SegmentationReport().statistics(run, whole)
    assert own["iou_1"] == pytest.approx((tp / (tp + fp + fn)).mean())
    assert own["rvd_1"] == pytest.approx(((fp - fn) / (tp + fn)).mean())
    assert own["absolute_rvd_1"] == pytest.approx(((fp - fn) / (tp + fn)).abs().mean())
    alone = [(whole[f"hd95_{k}"].isna() & whole[f"nsd_{k}"].notna()).sum() for k in (1, 2)]
    assert [own["without_hd95_1"], own["without_hd95_2"], own["without_hd95"]] == [*alone, sum(alone)]
    lesions = sum(whole[f"lesions_{k}"].sum() for k in (1, 2))
    assert own["lesion_sensitivity"] == pytest.approx(sum(whole[f"lesions_found_{k}"].sum() for k in (1, 2)) / lesions)
    assert own["false_components_2"] == pytest.approx(whole["false_components_2"].mean())


def test_the_report_shows_areas_clean_and_under_every_perturbation(folder: Path, tmp_path: Path) -> None:
    write_report([folder], tmp_path / "report.html")
    tables = tmp_path / "report_tables"
    of_classes = pd.read_csv(tables / "table_areas_of_classes.csv")
    assert of_classes["Class"].tolist() == ["All", *ORGANS]
    under = pd.read_csv(tables / "table_areas_pgd_l2.csv")
    assert under["Radius"].tolist() == [0, 2, 6, 10]
    assert under["NSD (1 mm)"].is_monotonic_decreasing
    assert under["HD95 [mm]"].is_monotonic_increasing
    corrupted = pd.read_csv(tables / "table_areas_corrupted.csv")
    assert len(corrupted) == 2
    assert (tables / "table_lesions_pgd_l2.csv").is_file()
    page = (tmp_path / "report.html").read_text()
    assert "Surfaces are those of each slice, in mm" in page


def test_runs_of_before_are_read_and_said_to_have_no_surfaces(folder: Path, tmp_path: Path) -> None:
    old = write_segmentation_run(tmp_path / "old", "amat")
    section = area_section(folder, old)
    assert "Surfaces were measured in “std” alone." in section.text
    row = section.tables[0].frame().set_index(["Class", "Run"])
    assert math.isnan(row.loc[("All", "amat"), "NSD (1 mm)"])
    assert not math.isnan(row.loc[("All", "amat"), "IoU"])


def test_columns_that_hold_what_is_no_distance_are_refused(tmp_path: Path) -> None:
    folder = write_segmentation_run(tmp_path / "std", surfaces=True)
    for name, value, what in (
        ("nsd_1", 1.5, "a share from 0 to 1"),
        ("hd95_2", -1, "a distance"),
        ("lesions_1", "", "count"),
    ):
        table = pd.read_csv(folder / "outcomes.csv")
        table[name] = table[name].astype(object)
        table.loc[3, name] = value
        changed = write_segmentation_run(tmp_path / name, surfaces=True)
        table.to_csv(changed / "outcomes.csv", index=False)
        with pytest.raises(BadInputError, match=f"line 5: {name} must be .*{what}"):
            SegmentationReport().check(read_run(changed))
    part = write_segmentation_run(tmp_path / "part", surfaces=True)
    pd.read_csv(part / "outcomes.csv").drop(columns="nsd_2").to_csv(part / "outcomes.csv", index=False)
    with pytest.raises(BadInputError, match="no column nsd_2"):
        SegmentationReport().check(read_run(part))
    assert read_run(write_run(tmp_path / "classification")).task == "classification"


def test_a_bundle_of_others_is_measured_with_what_its_line_asks_for() -> None:
    asked = ForeignEvaluation(surface_tolerance=2.5, lesions=True)
    outcomes = outcomes_of(Segmentation(), asked.measures("segmentation"))
    assert outcomes.settings() == {"surface_tolerance": 2.5, "distance_unit": "pixels", "lesion_iou": 0.0}
    assert ForeignEvaluation().measures("classification") == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"surface_tolerance": -1.0}, "surface_tolerance is -1.0; it must be a distance of 0 or more"),
        ({"surface_tolerance": math.nan}, "surface_tolerance is nan"),
        ({"lesion_iou": 1.5}, "lesion_iou is 1.5; it must be from 0"),
        ({"explain": -1}, "explain is -1; it must be a whole number of at least 0"),
        ({"sanity_samples": 0.5}, "sanity_samples is 0.5"),
        ({"seed": -1}, "seed is -1"),
        ({"attack_steps": 0}, "attack_steps is 0; it must be a whole number of at least 1"),
        ({"queries": 0}, "queries is 0"),
        ({"radii": 0.5}, "radii is 0.5; it takes a list of radii"),
        ({"radii": "0.5"}, "radii is '0.5'"),
    ],
)
def test_what_a_bundle_of_others_cannot_be_measured_with_is_refused_before(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        ForeignEvaluation(**asked)
