"""Data lists: every layout, splits by patient, and one clear sentence for each thing that can be wrong."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monai_robust.data import (
    ClassificationDatalist,
    balanced_sampler,
    class_weights,
    classification_datalist,
    read_classes,
    with_classes,
    with_test_images,
)
from monai_robust.data.lists.splits import counted_splits
from monai_robust.errors import BadInputError

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def public_data() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public data sets are not beside the checkout")
    return folder


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write_index(root: Path, rows: Rows, name: str = "index.csv") -> Path:
    for row in rows:
        touch(root / row.get("file", row.get("image")))
    pd.DataFrame(rows).to_csv(root / name, index=False)
    return root / name


def cohort(patients: int = 60, films: int = 3, classes: tuple[str, ...] = ("a", "b", "c")) -> Rows:
    """Samples without a split; patient ``p`` has ``1 + p % films`` of them, all of one class."""
    return [
        {"file": f"{p}_{i}.png", "label": classes[p % len(classes)], "patient_id": f"p{p}", "source": f"s{i}"}
        for p in range(patients)
        for i in range(1 + p // len(classes) % films)
    ]


def with_splits(rows: Rows, *splits: str) -> Rows:
    return [{**row, "split": split} for row, split in zip(rows, splits, strict=True)]


def patients(items: Rows) -> set[str]:
    return {item["patient_id"] for item in items}


def assert_no_patient_is_shared(items: dict[str, Rows]) -> None:
    assert not patients(items["train"]) & patients(items["val"])
    assert not patients(items["train"]) & patients(items["test"])
    assert not patients(items["val"]) & patients(items["test"])


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("covid_cxr3", {"train": 1025, "val": 156, "test": 308}),
        ("mini_mias", {"train": 192, "val": 50, "test": 80}),
        ("pocus_lung_us", {"train": 705, "val": 246, "test": 255}),
        ("luna16_nodule_patches", {"train": 1803, "val": 296, "test": 591}),
    ],
)
def test_public_data_sets_are_listed_as_their_index_has_them(
    public_data: Path, name: str, sizes: dict[str, int]
) -> None:
    datalist = classification_datalist(public_data / name)
    assert {split: len(items) for split, items in datalist.items.items()} == sizes
    index = pd.read_csv(public_data / name / "index.csv").set_index("file")
    for split, items in datalist.items.items():
        for item in items[::50]:
            assert index.loc[item["sample_id"], "label"] == datalist.classes[item["label"]]
            assert index.loc[item["sample_id"], "split"] == split
            assert Path(item["image"]).is_absolute()


@pytest.mark.real_data
def test_rows_listed_twice_are_used_once(public_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = classification_datalist(public_data / "brain_tumor_mri").items
    index = pd.read_csv(public_data / "brain_tumor_mri" / "index.csv")
    assert sum(map(len, items.values())) == index["file"].nunique() < len(index)
    assert "listed twice and used once" in caplog.text


@pytest.mark.real_data
def test_other_splits_are_left_out_and_counted(public_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    classification_datalist(public_data / "luna16_nodule_patches")
    assert "12 samples" in caplog.text
    assert "guard_excluded" in caplog.text


def test_items_carry_ids_labels_and_the_groups_asked_for(tmp_path: Path) -> None:
    rows = [
        {"file": f"images/{split}{label}.png", "label": label, "split": split, "source": "s", "patient_id": split}
        for split in ("train", "val", "test")
        for label in ("b", "a")
    ]
    write_index(tmp_path, rows)
    datalist = classification_datalist(tmp_path, groups=["source"])
    assert datalist.classes == ("a", "b")
    assert datalist.items["val"][0] == {
        "image": str(tmp_path / "images/valb.png"),
        "label": 1,
        "sample_id": "images/valb.png",
        "patient_id": "val",
        "source": "s",
    }


def test_unsplit_samples_are_split_by_patient_stratified_and_seeded(tmp_path: Path) -> None:
    write_index(tmp_path, cohort(patients=90))
    first = classification_datalist(tmp_path, seed=1).items
    assert_no_patient_is_shared(first)
    total = sum(map(len, first.values()))
    assert total == len(cohort(patients=90))
    for split, share in (("val", 0.15), ("test", 0.2)):
        assert abs(len(first[split]) / total - share) < 0.03
        counts = Counter(item["label"] for item in first[split])
        assert max(counts.values()) - min(counts.values()) <= 3
    assert classification_datalist(tmp_path, seed=1).items == first
    assert classification_datalist(tmp_path, seed=2).items["test"] != first["test"]


def test_a_missing_validation_split_is_drawn_from_training_and_leaves_the_test_split(tmp_path: Path) -> None:
    rows = [{**row, "split": "test" if index < 30 else "train"} for index, row in enumerate(cohort())]
    write_index(tmp_path, rows)
    items = classification_datalist(tmp_path).items
    assert {item["sample_id"] for item in items["test"]} == {row["file"] for row in rows[:30]}
    assert len(items["val"]) > 0
    assert not patients(items["train"]) & patients(items["val"])


def test_folds_partition_the_pool_by_patient_and_keep_the_test_split(tmp_path: Path) -> None:
    write_index(tmp_path, cohort())
    folds = [classification_datalist(tmp_path, fold=fold, folds=4).items for fold in range(4)]
    tests = [{item["sample_id"] for item in items["test"]} for items in folds]
    assert all(test == tests[0] for test in tests)
    validated = Counter(item["sample_id"] for items in folds for item in items["val"])
    assert set(validated.values()) == {1}
    assert set(validated) | tests[0] == {row["file"] for row in cohort()}
    for items in folds:
        assert_no_patient_is_shared(items)
        assert {item["label"] for item in items["val"]} == {0, 1, 2}


def test_limit_keeps_patients_whole_classes_in_proportion_and_is_seeded(tmp_path: Path) -> None:
    write_index(tmp_path, cohort(patients=150))
    full = classification_datalist(tmp_path).items
    part = classification_datalist(tmp_path, limit=12).items
    for split, items in part.items():
        assert 9 <= len(items) <= 12
        counts = Counter(item["label"] for item in items)
        assert set(counts) == {0, 1, 2}
        assert max(counts.values()) - min(counts.values()) <= 3
        kept = Counter(item["patient_id"] for item in items)
        whole = Counter(item["patient_id"] for item in full[split])
        assert all(whole[patient] == count for patient, count in kept.items())
    assert classification_datalist(tmp_path, limit=12).items == part
    assert classification_datalist(tmp_path, limit=12, seed=5).items["train"] != part["train"]


def test_limit_finds_room_for_a_class_whose_patients_are_all_large(tmp_path: Path) -> None:
    rows = [
        {"file": f"{split}{label}{i}.png", "label": label, "patient_id": patient or f"{split}{i}", "split": split}
        for split in ("train", "val", "test")
        for label, patient, count in (("a", None, 20), ("b", f"{split}-big", 6))
        for i in range(count)
    ]
    write_index(tmp_path, rows)
    counts = Counter(item["label"] for item in classification_datalist(tmp_path, limit=8).items["train"])
    assert counts == {0: 2, 1: 6}
    with pytest.raises(BadInputError, match="limit 5 cannot hold one whole patient of each class in split 'train'"):
        classification_datalist(tmp_path, limit=5)


def test_split_folders_are_found_whatever_the_spelling(tmp_path: Path) -> None:
    for split in ("Training", "val", "Testing"):
        for label in ("no", "yes"):
            for i in range(2):
                touch(tmp_path / split / label / f"{i}.png")
            touch(tmp_path / split / label / "notes.txt")
    datalist = classification_datalist(tmp_path)
    assert datalist.classes == ("no", "yes")
    assert {split: len(items) for split, items in datalist.items.items()} == {"train": 4, "val": 4, "test": 4}
    assert datalist.items["test"][0]["sample_id"] == "Testing/no/0.png"


def test_class_folders_are_split_and_files_without_suffix_taken_if_they_are_dicom(tmp_path: Path) -> None:
    for label in ("no", "yes"):
        for i in range(10):
            touch(tmp_path / label / f"{i}.nii.gz")
    (tmp_path / "no" / "IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "no" / "LICENSE").write_text("not an image")
    items = classification_datalist(tmp_path).items
    ids = [item["sample_id"] for part in items.values() for item in part]
    assert len(ids) == 21
    assert "no/IM0001" in ids
    assert len(items["test"]) == 4


def test_a_monai_json_list_is_read_with_its_splits(tmp_path: Path) -> None:
    for name in "abcdef":
        touch(tmp_path / f"{name}.nii.gz")
    content = {
        "name": "data",
        "training": [{"image": "./a.nii.gz", "label": 0, "patient_id": 7}, {"image": "b.nii.gz", "label": 1}],
        "validation": [{"image": "c.nii.gz", "label": 0}, {"image": "d.nii.gz", "label": 1}],
        "test": [{"image": "e.nii.gz", "label": 0}, {"image": str(tmp_path / "f.nii.gz"), "label": 1}],
    }
    (tmp_path / "list.json").write_text(json.dumps(content))
    datalist = classification_datalist(tmp_path, datalist="list.json", classes=["healthy", "ill"])
    assert datalist.classes == ("healthy", "ill")
    assert [item["label"] for item in datalist.items["train"]] == [0, 1]
    assert [item["patient_id"] for item in datalist.items["train"]] == ["7", "b.nii.gz"]
    assert [item["sample_id"] for item in datalist.items["test"]] == ["e.nii.gz", "f.nii.gz"]


def test_a_csv_list_may_name_the_image_column_image_and_bring_its_own_ids(tmp_path: Path) -> None:
    rows = [
        {"image": f"{split}{label}.png", "label": label, "split": split, "sample_id": f"id-{split}-{label}"}
        for split in ("train", "val", "test")
        for label in (10, 9)
    ]
    path = write_index(tmp_path, rows, "mine.csv")
    datalist = classification_datalist(tmp_path, datalist=path)
    assert datalist.classes == ("9", "10")
    assert datalist.items["train"][0]["sample_id"] == "id-train-10"
    assert datalist.items["train"][0]["label"] == 1


def test_classes_fix_the_order_of_the_labels(tmp_path: Path) -> None:
    write_index(tmp_path, cohort())
    datalist = classification_datalist(tmp_path, classes=["c", "a", "b"])
    by_id = {row["file"]: row["label"] for row in cohort()}
    for item in datalist.items["train"]:
        assert ["c", "a", "b"][item["label"]] == by_id[item["sample_id"]]


def test_a_patient_in_two_splits_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"file": f"{split}{label}.png", "label": label, "split": split, "patient_id": label}
        for split in ("train", "val", "test")
        for label in ("a", "b")
    ]
    write_index(tmp_path, rows)
    classification_datalist(tmp_path)
    assert "2 patients have samples in more than one split" in caplog.text


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no data set folder .*nowhere"):
        classification_datalist(tmp_path / "nowhere")


def test_a_folder_without_a_known_layout_says_which_were_looked_for(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "1.png")
    with pytest.raises(BadInputError, match=r"index\.csv, for folders train, val, test .* two or more class folders"):
        classification_datalist(tmp_path)


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write_index(tmp_path, cohort())
    (tmp_path / "3_0.png").unlink()
    (tmp_path / "5_0.png").unlink()
    with pytest.raises(BadInputError, match=r"2 of 117 listed files are missing.*3_0\.png"):
        classification_datalist(tmp_path)


def test_a_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    rows = cohort(patients=6, films=1)
    write_index(tmp_path, with_splits(rows, "train", "train", "val", "val", "test", "test"))
    with pytest.raises(BadInputError, match="class 'c' is in split 'val' but not among the training samples"):
        classification_datalist(tmp_path)


def test_an_unknown_label_is_named(tmp_path: Path) -> None:
    write_index(tmp_path, cohort())
    with pytest.raises(BadInputError, match="label 'c' in the data list is none of the classes a, b"):
        classification_datalist(tmp_path, classes=["a", "b"])


def test_a_class_without_training_samples_is_named(tmp_path: Path) -> None:
    write_index(tmp_path, cohort())
    with pytest.raises(BadInputError, match="class 'd' has no training sample"):
        classification_datalist(tmp_path, classes=["a", "b", "c", "d"])


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    write_index(tmp_path, cohort(patients=3, films=1))
    with pytest.raises(BadInputError, match=r"split '(val|test)' is empty: 3 samples are too few"):
        classification_datalist(tmp_path)


def test_contradictory_repeats_are_refused(tmp_path: Path) -> None:
    rows = cohort()
    write_index(tmp_path, [*rows, {**rows[0], "label": "b"}])
    with pytest.raises(BadInputError, match=r"1 sample ids occur twice .*0_0\.png"):
        classification_datalist(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 2}, "limit is 2; with 3 classes it can be 3 or more"),
        ({"fold": 5}, "fold is 5 of 5 folds"),
        ({"fold": 0, "folds": 1}, "folds is 1; it can be a whole number from 2 on"),
        ({"fold": 0, "folds": 1000}, "folds is 1000, more than"),
        ({"groups": ["scanner"]}, "no column 'scanner' to group by; it has label, patient_id, sample_id, source"),
        ({"validation_fraction": 0}, "validation_fraction is 0"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave something to train on"),
        ({"classes": ["a", "a", "b"]}, "names 'a' more than once"),
        ({"datalist": "other.csv"}, r"no data list other\.csv"),
        ({"datalist": "0_0.png"}, r"neither a \.json nor a \.csv"),
    ],
)
def test_arguments_that_cannot_work_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_index(tmp_path, cohort())
    with pytest.raises(BadInputError, match=message):
        classification_datalist(tmp_path, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "file,class\nx.png,1\n", "no column 'label'; it has image, class"),
        ("a.csv", "file,label\nx.png,\n", "1 entries without 'label'"),
        ("a.csv", "file,label\n", "lists no sample"),
        ("a.csv", "", "is empty"),
        ("a.csv", "file,label,split\nx.png,a,holdout\n", "no split train, val or test; it has holdout"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[1, 2]", "no sample under training, validation or test"),
        ("a.json", '{"training": ["x.png"]}', "an entry of 'training' in data list .* 'x.png'"),
        ("a.csv", "file,label\nx.png,a\n", "only one class, 'a'"),
        (
            "a.json",
            '{"training": [{"image": "x.png", "label": 1}, {"image": "x.png", "label": true}]}',
            "has labels that are true or false beside other ones",
        ),
    ],
)
def test_lists_that_cannot_be_used_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    touch(tmp_path / "x.png")
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInputError, match=message):
        classification_datalist(tmp_path, datalist=name)


def test_class_weights_are_inverse_frequencies_with_mean_one() -> None:
    items = [{"label": 0}] * 3 + [{"label": 1}]
    torch.testing.assert_close(class_weights(items, 2), torch.tensor([0.5, 1.5]))
    with pytest.raises(BadInputError, match="class 2 has no sample"):
        class_weights(items, 3)
    with pytest.raises(BadInputError, match="label 1 is none of 1 classes"):
        class_weights(items, 1)


def test_balanced_sampler_draws_rare_classes_as_often_and_repeats_with_its_seed() -> None:
    items = [{"label": 0}] * 900 + [{"label": 1}] * 100
    draws = list(balanced_sampler(items, 2, seed=3))
    assert len(draws) == 1000
    assert 430 < sum(items[index]["label"] for index in draws) < 570
    assert list(balanced_sampler(items, 2, seed=3)) == draws
    assert list(balanced_sampler(items, 2, seed=4)) != draws


@pytest.mark.parametrize("wrap", [int, float, np.int64, np.float32, torch.tensor, lambda one: np.array([one]), str])
def test_labels_of_any_program_are_counted_alike(wrap: Any) -> None:
    items = [{"label": wrap(label)} for label in (0, 0, 0, 1)]
    assert class_weights(items, 2).tolist() == [0.5, 1.5]
    assert len(balanced_sampler(items, 2)) == 4


@pytest.mark.parametrize("label", [0.5, "a", None, torch.tensor([0, 1]), np.array([0, 1]), [1], float("nan")])
def test_a_label_that_is_no_whole_number_is_named(label: Any) -> None:
    for function in (class_weights, balanced_sampler):
        with pytest.raises(BadInputError, match=r"sample x\.png has the label"):
            function([{"label": 0, "sample_id": "y.png"}, {"label": label, "sample_id": "x.png"}], 2)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("0", "1"), ("0", "1")),
        (("0.0", "1.0"), ("0", "1")),
        (("0", "1.0"), ("0", "1")),
        (("1", "01"), "only one class"),
        (("01", "02"), ("01", "02")),
        (("normal", "normal ", "other"), ("normal", "other")),
        (("normal", "Normal"), "class 'Normal' and of class 'normal'"),
        (("normal", "normal\u200b"), r"class 'normal' and of class 'normal\\u200b'"),
        (("b\u00e9nin", "be\u0301nin"), r"class 'be\\u0301nin' and of class 'b\\xe9nin'"),
        (("0", "1", "-1"), "the label '-1', which often stands for none"),
        (("a", "b", "nan"), "the label 'nan', which often stands for none"),
        (("0.25", "0.5"), "the label 0.25; a class is a name or a whole number"),
    ],
)
def test_labels_are_names_or_whole_numbers(tmp_path: Path, labels: tuple[str, ...], classes: Any) -> None:
    rows = [{"file": f"{n}.png", "label": labels[n % len(labels)]} for n in range(30)]
    write_index(tmp_path, rows)
    if isinstance(classes, str):
        with pytest.raises(BadInputError, match=classes):
            classification_datalist(tmp_path)
    else:
        assert classification_datalist(tmp_path).classes == classes


def test_other_lists_and_folders_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(12):
        touch(tmp_path / ("train", "val", "test", "extra")[number % 4] / "ab"[number // 4 % 2] / f"{number}.png")
    classification_datalist(tmp_path)
    assert "folders extra of" in caplog.text
    entries = [{"image": f"{part}/{c}/{n}.png", "label": c} for part, c, n in (("train", "a", 0), ("train", "b", 4))]
    (tmp_path / "a.json").write_text(json.dumps({"training": entries, "holdout": entries}))
    with pytest.raises(BadInputError, match=r"split '(test|val)' is empty"):
        classification_datalist(tmp_path, datalist="a.json")
    assert "holdout of data list" in caplog.text


def test_counted_splits_have_just_so_many_samples_with_patients_whole() -> None:
    table = pd.DataFrame({"patient_id": ["a", "a", *"bcdefg"], "label": 0, "split": "test"})
    found = counted_splits(table, [4, 1, 2], seed=0)
    assert Counter(found["split"]) == {"train": 4, "val": 1, "test": 2}
    assert found.groupby("patient_id")["split"].nunique().max() == 1
    assert not found["split"].equals(counted_splits(table, [4, 1, 2], seed=1)["split"])
    with pytest.raises(BadInputError, match="9 samples, and there are 8"):
        counted_splits(table, [4, 1, 4], seed=0)
    with pytest.raises(BadInputError, match="whole patients do not make up 1 samples"):
        counted_splits(table.assign(patient_id=list("aabbccdd")), [2, 1, 2], seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_counted_splits_leave_samples_in_the_split_of_the_data_set_where_the_counts_allow(seed: int) -> None:
    own = ["train"] * 6 + ["test"] * 5 + ["val"] * 2
    table = pd.DataFrame({"patient_id": [f"p{row}" for row in range(13)], "label": 0, "split": own})
    as_it_is = counted_splits(table, [6, 2, 5], seed)
    assert as_it_is["split"].equals(table["split"])
    no_validation = counted_splits(table[table["split"] != "val"], [6, 2, 3], seed)  # drawn of the test samples
    assert set(no_validation[no_validation["split"] == "train"].index) == set(range(6))
    more = counted_splits(table, [8, 2, 3], seed)
    assert set(range(6)) < set(more[more["split"] == "train"].index)
    whole = table.assign(patient_id=list("aabbcc") + list("ddeefgh"))
    assert Counter(counted_splits(whole, [5, 2, 6], seed)["split"]) == {"train": 5, "val": 2, "test": 6}


def test_classes_are_put_together_left_out_and_limited_in_the_test_split() -> None:
    items = [{"label": label, "image": f"{label}{place}"} for label in range(3) for place in range(4)]
    found = ClassificationDatalist(("benign", "malignant", "normal"), {"train": items, "val": items, "test": items})
    both = with_classes(found, read_classes("abnormal=benign+malignant,normal"))
    assert both.classes == ("abnormal", "normal")
    assert [one["label"] for one in both.items["train"]] == [0] * 8 + [1] * 4
    assert len(with_classes(found, read_classes("benign,normal")).items["val"]) == 8
    few = with_test_images(both, 3, seed=0)
    assert Counter(one["label"] for one in few.items["test"]) == {0: 3, 1: 3}
    assert len(few.items["train"]) == 12
    for words, sentence in (("a=,b", "it takes classes such as"), ("a=benign,b=benign", "puts 'benign' into two")):
        with pytest.raises(BadInputError, match=sentence):
            read_classes(words)
    with pytest.raises(BadInputError, match="names 'cyst'"):
        with_classes(found, read_classes("cyst,normal"))


@pytest.mark.parametrize("word", ["NA", "None", "?", "unknown", "nan", "n/a", "NULL"])
def test_a_label_that_stands_for_none_is_refused_unless_it_is_declared(tmp_path: Path, word: str) -> None:
    for index in range(24):
        (tmp_path / f"{index}.png").touch()
    rows = "".join(f"{index}.png,{word if index % 2 else 'b'}\n" for index in range(24))
    (tmp_path / "index.csv").write_text(f"file,label\n{rows}")
    with pytest.raises(BadInputError, match="which often stands for none; name the classes"):
        classification_datalist(tmp_path)
    assert classification_datalist(tmp_path, classes=["b", word]).classes == ("b", word)


def test_a_label_in_quotation_marks_beside_itself_is_refused(tmp_path: Path) -> None:
    for index in range(24):
        (tmp_path / f"{index}.png").touch()
    labels = ("'normal'", "normal", "b")
    rows = "".join(f"{index}.png,{labels[index % 3]}\n" for index in range(24))
    (tmp_path / "index.csv").write_text(f"file,label\n{rows}")
    with pytest.raises(BadInputError, match="objects of class"):
        classification_datalist(tmp_path)
