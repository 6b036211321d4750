"""Reports say what radii are in units of the network's input and in those of the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensityd, ScaleIntensityRanged, ScaleIntensityRangePercentilesd
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.data import CheckedDataset
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement, read_run, write_report
from monai_robust.evaluation.sections.figures import score_versus_radius
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.sections.radius_units import in_both_units, of_the_file
from monai_robust.evaluation.statistics.summary import over_replicates, summarise
from monai_robust.evaluation.tasks.classification import ClassificationReport
from monai_robust.tasks import Classification

GREY = ScaleIntensityRanged("image", 0, 250, 0, 1, clip=True)


def smears():
    generator = torch.Generator().manual_seed(0)
    names = [f"smear-{index}" for index in range(6)]
    return [
        {
            "image": (40 * (index + 1)) * torch.rand(1, 6, 6, generator=generator),
            "label": index % 2,
            "sample_id": name,
            "patient_id": name,
        }
        for index, name in enumerate(names)
    ]


def measured(folder, transform, radii, norm="l2"):
    """As a bundle of ours measures: a data set of its own, not an evaluator's."""
    torch.manual_seed(0)
    return Measurement(
        nn.Sequential(nn.Flatten(), nn.Linear(36, 2)),
        CheckedDataset(smears(), transform),
        task=Classification(),
        perturbations=[CleanSweep(), AttackSweep(PGD(norm=norm, steps=2), radii)],
        output_dir=folder,
        name="mine",
        classes=["a", "b"],
        sanity_samples=0,
        progress=False,
    ).run()


def test_what_scales_all_images_alike_is_said_in_grey_levels_below_each_tick(tmp_path):
    folder = measured(tmp_path / "run", GREY, [0.1, 0.4])
    run = read_run(folder)
    assert run.info["units"] == {"file_units_per_input": 250.0, "window": [0.0, 1.0], "by": "ScaleIntensityRange"}
    assert of_the_file([run]) == (250.0, "grey levels")
    sentence = (
        "In grey levels of the file the radii are 25 and 100, as the length of the whole change (spread evenly over N "
        "pixels, each changes by that divided by the root of N): 1 of the network's input is 250."
    )
    assert in_both_units([run], "pgd_l2") == sentence
    frame = over_replicates(summarise([run], ClassificationReport().statistics))
    axes = score_versus_radius(frame, "pgd_l2", file_units=of_the_file([run])).axes[0]
    assert axes.xaxis.get_major_formatter()(0.4, 0) == "0.4\n100"
    assert "below: in grey levels of the file" in axes.get_xlabel()
    page = write_report([folder], tmp_path / "report.html").read_text().replace("&#39;", "'")
    assert sentence in page


def test_radii_that_each_image_has_of_its_own_are_told_in_both_units(tmp_path):
    folder = measured(tmp_path / "run", NormalizeIntensityd("image"), ["5grey", "10grey"])
    run = read_run(folder)
    stds = sorted(float(one["image"].std(correction=0)) for one in smears())
    rows = run.outcomes[run.outcomes["severity"] == 10]
    assert sorted(rows["radius"]) == pytest.approx(sorted(10 / std for std in stds), rel=1e-5)
    sentence = in_both_units([run], "pgd_l2_grey")
    assert f"10 grey levels are {10 / stds[-1]:.3g} to {10 / stds[0]:.3g}" in sentence
    frame = over_replicates(summarise([run], ClassificationReport().statistics))
    axes = score_versus_radius(frame, "pgd_l2_grey", file_units=of_the_file([run])).axes[0]
    assert axes.get_xlabel() == "radius of the attack, L2 norm, in grey levels of the file"
    norm = np.mean(run.clean["input_norm"])
    own = frame[(frame["perturbation"] == "pgd_l2_grey") & (frame["severity"] == 10)]
    assert own["radius_percent"].tolist() == pytest.approx([100 * rows["radius"].mean() / norm])
    assert perturbation_label("pgd_l2_grey") == "PGD (L2, grey levels)"
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "10 grey levels are" in page


def test_of_a_window_of_each_image_radii_are_told_in_percent(tmp_path):
    percentiles = ScaleIntensityRangePercentilesd("image", 1, 99, 0, 2, clip=True)
    run = read_run(measured(tmp_path / "run", percentiles, [0.1], norm="linf"))
    assert run.info["units"]["file_units_per_input"] is None
    assert in_both_units([run], "pgd_linf").endswith("by itself (0 to 2), the radii are 5 %.")


def test_where_nothing_is_known_nothing_is_said(tmp_path):
    run = read_run(measured(tmp_path / "run", lambda item: item, [0.1]))
    assert run.info["units"] is None
    assert in_both_units([run], "pgd_l2") == ""
