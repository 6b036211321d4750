"""What the studies' preset `paper` trains and attacks with, against the numbers that the papers print."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import REPOSITORY
from monai.bundle import ConfigParser

from monai_robust.configuration.ids import read_configuration
from monai_robust.studies.description import read_study

# Of each study, data set and arm: numbers as printed, by where they stand in the bundle's configuration.
ATTACK = "robust#attack#"
PRINTED = {
    # oncology-stability, Tables S3 (naive) and S4 (trained: half of a batch of 128 is clean)
    ("oncology-stability", "ct", "naive"): {
        **{"image_size": 224, "batch_size": 50, "epochs": 200, "patience": 50, "learning_rate": 2e-4},
        **{"lr_decay": 1e-6, "optimizer#momentum": 0.9, "recipe": "erm"},
    },
    ("oncology-stability", "mammogram", "naive"): {"image_size": 116, "batch_size": 50, "epochs": 100, "patience": 20},
    ("oncology-stability", "mri", "naive"): {"image_size": 224, "batch_size": 50, "epochs": 100, "patience": 5},
    ("oncology-stability", "ct", "trained"): {
        **{"recipe": "sat", "batch_size": 64, "epochs": 200, "train#every_rank#more": []},
        **{ATTACK + "eps": 0.003, ATTACK + "steps": 7, ATTACK + "relative_step": 7 * 0.00075 / 0.003},
        **{ATTACK + "norm": "linf", ATTACK + "random_start": "ball"},
    },
    ("oncology-stability", "mammogram", "trained"): {"epochs": 100, ATTACK + "eps": 0.002, ATTACK + "steps": 7},
    ("oncology-stability", "mri", "trained"): {"epochs": 200, ATTACK + "eps": 0.004, ATTACK + "steps": 7},
    ("oncology-stability", "digits", "naive"): {
        **{"image_size": 32, "batch_size": 64, "epochs": 20, "learning_rate": 0.01, "lr_decay": 0.0},
        **{"optimizer#momentum": 0.0, "patience": None},
    },
    ("oncology-stability", "digits", "trained"): {"epochs": 50, ATTACK + "eps": 0.2, ATTACK + "steps": 7},
    # model-complexity, "Training procedure" and "Adversarial training"; radii in 1/255
    ("model-complexity", "radiographs", "resnet8"): {"image_size": 224, "batch_size": 32, "learning_rate": 0.001},
    ("model-complexity", "radiographs", "resnet8-at"): {ATTACK + "eps": 3 / 255, ATTACK + "steps": 7},
    ("model-complexity", "ultrasound", "resnet50-at"): {ATTACK + "eps": 1 / 255, ATTACK + "steps": 5},
    ("model-complexity", "brain_mr", "resnet20-at"): {ATTACK + "eps": 10 / 255, ATTACK + "steps": 5},
    # rtda, sections 4.1 and 4.2
    ("rtda", "radiographs", "rtda"): {
        **{"epochs": 40, "batch_size": 32, "image_size": 225, "learning_rate": 0.01, "balance": "none"},
        **{ATTACK + "eps": 2.0, ATTACK + "steps": 7, ATTACK + "norm": "l2"},
    },
    ("rtda", "mammograms", "at"): {
        **{"epochs": 50, "batch_size": 5, "image_size": 1024, "learning_rate": 0.01, "balance": "none"},
        **{ATTACK + "eps": 0.15, ATTACK + "steps": 7},
    },
    ("rtda", "ultrasound", "augmix"): {
        **{"epochs": 20, "batch_size": 256, "image_size": 255, "learning_rate": 0.01, "lr_milestones": [5, 10, 15]},
        **{ATTACK + "eps": 0.3, "balance": "none"},
    },
    # robustaugmix-xray, "Experimental setup"
    ("robustaugmix-xray", "radiographs", "robustaugmix"): {
        **{"epochs": 41, "learning_rate": 0.01, ATTACK + "eps": 4.0, ATTACK + "steps": 7},
    },
    # amat, sections 3.5 to 3.7; radii of cephalograms are halves, since intensities span 1 and not 2
    ("amat", "hippocampus", "sat-2"): {
        "epochs": 100,
        "batches_per_epoch": 50,
        ATTACK + "eps": 5.0,
        ATTACK + "steps": 20,
    },
    ("amat", "hippocampus", "sat-4"): {"split_counts": [208, 17, 35], ATTACK + "eps": 15.0},
    ("amat", "heart", "sat-3"): {ATTACK + "eps": 25.0},
    ("amat", "prostate", "sat-3"): {ATTACK + "eps": 40.0},
    ("amat", "cephalograms", "sat-3"): {"epochs": 500, "batch_size": 8, "heatmap": "dice", ATTACK + "eps": 2.5},
    ("amat", "cephalograms", "std-bce"): {"recipe": "erm", "heatmap": "bce"},
    ("amat", "cells", "sat-3"): {
        **{"epochs": 300, "batch_size": 32, "split_counts": [294, 33, 37], ATTACK + "eps": 15.0},
    },
}


def value(content: Any, place: str) -> Any:
    for part in place.split("#"):
        content = content[part]
    return content


@pytest.mark.parametrize(("study", "dataset", "arm"), PRINTED, ids="-".join)
def test_the_papers_settings_are_those_it_prints(study: str, dataset: str, arm: str) -> None:
    found = read_study(REPOSITORY / "studies" / f"{study}.yaml", "paper")
    own, way = found.sets[dataset], found.arms[arm]
    configs = REPOSITORY / "bundles" / own.bundle / "configs"
    files = [configs / "train.yaml", *(configs / "presets" / f"{name}.yaml" for name in own.presets)]
    content = read_configuration(files)
    settings = found.training(own, way, found.replicates[0])
    for place, printed in PRINTED[study, dataset, arm].items():
        trained_with = settings[place] if place in settings else value(content, place)
        assert trained_with == (pytest.approx(printed, rel=2e-3) if isinstance(printed, float) else printed), place


def test_every_image_is_attacked_at_every_radius_where_a_paper_says_how_accuracy_falls() -> None:
    """A search would count an image that one radius turns as turned by all larger ones."""
    configs = REPOSITORY / "bundles" / "chest_xray_classification" / "configs"
    names = ["train.yaml", "robustness.yaml", "presets/oncology.yaml", "presets/oncology_attacks.yaml"]
    content = read_configuration([configs / name for name in names])
    sweeps = [one for one in content["perturbations"] if one["_target_"].endswith("AttackSweep")]
    assert [one["attack"]["_target_"].rpartition(".")[2] for one in sweeps] == ["FGSM", "PGD", "BIM"]
    assert {one["faithful"] for one in sweeps} == {"@faithful"}
    study = read_study(REPOSITORY / "studies" / "oncology-stability.yaml", "paper")
    for dataset in study.sets.values():
        for arm in study.arms.values():
            assert study.evaluation(dataset, arm, study.replicates[0])["faithful"] is True


@pytest.mark.parametrize(
    ("bundle", "rule", "fit", "judged"),
    [
        ("hippocampus_mri_segmentation", "printed", {}, None),
        ("hippocampus_mri_segmentation", "released", {"like": {"best_class": "mean_class"}}, ["best_class"]),
        ("blood_cell_detection", "printed", {"statistic": "mean_std", "k": 2.0}, None),
        ("blood_cell_detection", "released", {"statistic": "maximum"}, None),
    ],
)
def test_thresholds_of_amat_as_printed_and_as_its_authors_program_has_them(
    bundle: str, rule: str, fit: dict[str, Any], judged: list[str] | None
) -> None:
    """Section 2.2 and 2.3; of segmentation a level of Dice, of detection the largest clean loss of each term."""
    parser = ConfigParser(read_configuration([REPOSITORY / "bundles" / bundle / "configs" / "train.yaml"]))
    parser["threshold_rule"] = rule
    margins = parser["robust"]["margins"]
    assert parser.get_parsed_content("robust#margins#fit") == fit
    assert (parser.get_parsed_content("robust#margins#judged") if "judged" in margins else None) == judged
    if "single_term" in parser["task"]:
        assert parser.get_parsed_content("task#single_term") is (rule == "printed")
        assert parser.get_parsed_content("task#levels") is (rule == "released")


def test_augmix_with_two_domains_of_contrast_adds_a_view() -> None:
    for preset in ("paper", "cpu"):
        study = read_study(REPOSITORY / "studies" / "rtda.yaml", preset)
        ultrasound = study.sets["ultrasound"]
        files = [REPOSITORY / "bundles" / ultrasound.bundle / "configs" / "train.yaml"]
        files += [files[0].parent / "presets" / f"{name}.yaml" for name in ultrasound.presets]
        settings = study.training(ultrasound, study.arms["augmix"], study.replicates[0])
        text = settings.get("robust#augmented") or read_configuration(files)["robust"]["augmented"]
        assert "[*robust_recipes.as_recipe(@recipe).augmented, 'aug_low']" in " ".join(text.split())
