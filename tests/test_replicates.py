"""Replicates may be seeds, folds and random splits, each with its own test samples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import read_run, write_report
from monai_robust.evaluation.sections.replicates import missing_folds, patients_tested
from monai_robust.evaluation.tables.comparable import check_comparable


def write_split(folder: Path, name: str, split: int, *, fold: int | None = None, shift: int | None = None) -> Path:
    """A run whose samples and patients are numbered from ``shift`` on; labels follow numbers, in threes."""
    write_run(folder, name, seed=split, count=24, info={"fold": fold})
    info = json.loads((folder / "run.json").read_text())
    info["settings"]["split_seed"] = 0 if fold is not None else split
    (folder / "run.json").write_text(json.dumps(info))
    text = (folder / "outcomes.csv").read_text()
    first = 9 * split if shift is None else shift
    text = re.sub(r"film-(\d{4})", lambda found: f"film-{int(found[1]) + 2 * first:04d}", text)
    text = re.sub(r"patient-(\d{4})", lambda found: f"patient-{int(found[1]) + first:04d}", text)
    (folder / "outcomes.csv").write_text(text)
    return folder


@pytest.mark.full
def test_random_splits_are_replicates_that_test_other_patients(tmp_path: Path) -> None:
    folders = [write_split(tmp_path / f"{name}{split}", name, split) for name in ("erm", "rtda") for split in range(3)]
    page = write_report(folders, tmp_path / "report.html")
    text = " ".join(re.sub(r"<[^>]*>", " ", page.read_text()).split())
    assert "Each of 3 splits or folds tests other patients (60 images in all, 12 of them again)" in text
    table = pd.read_csv(tmp_path / "report_tables" / "table_replicates.csv")
    assert table["Split seed"].tolist() == [0, 1, 2] * 2
    for folder, told in zip(folders, table["Clean"], strict=True):
        assert told == pytest.approx(100 * read_run(folder).clean["score"].mean())
    differences = pd.read_csv(tmp_path / "report_tables" / "paired_differences.csv")
    assert set(differences["samples"]) == {60}
    assert set(differences["patients"]) == {30}


def test_names_need_the_same_splits(tmp_path: Path) -> None:
    runs = [
        read_run(write_split(tmp_path / f"{name}{split}", name, split))
        for name, split in (("erm", 0), ("erm", 1), ("rtda", 0))
    ]
    with pytest.raises(BadInputError, match="not measured on the same folds or splits"):
        check_comparable(runs)


def test_one_split_seed_with_other_samples_is_refused(tmp_path: Path) -> None:
    runs = [read_run(write_split(tmp_path / str(shift), "erm", 0, shift=shift)) for shift in (0, 6)]
    info = dict(runs[1].info) | {"checkpoint": {"file": "other.pt", "sha256": "0" * 64}}
    (runs[1].folder / "run.json").write_text(json.dumps({**info, "skipped": []}))
    with pytest.raises(BadInputError, match="different samples"):
        check_comparable([runs[0], read_run(runs[1].folder)])


def test_folds_that_are_missing_are_named(tmp_path: Path) -> None:
    runs = [read_run(write_split(tmp_path / str(fold), "erm", fold, fold=fold, shift=12 * fold)) for fold in (0, 1, 3)]
    check_comparable(runs)
    assert missing_folds(runs) == ["Of 5 folds of erm, folds 2 and 4 are missing."]
    assert "no image in more than one" in patients_tested(runs)
    assert missing_folds(runs[:1]) == []


def test_seeds_are_tested_on_the_same_images(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / str(seed), seed=seed)) for seed in (0, 1)]
    assert "All runs were tested on the same images" in patients_tested(runs)
    assert missing_folds(runs) == []
