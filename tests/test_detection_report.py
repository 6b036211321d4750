"""What a report says of detected boxes follows from the outcomes and the tables of boxes beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import plan_of, run_info, segmentation_perturbations

from monai_robust.errors import BadInputError
from monai_robust.evaluation import OutcomesWriter, outcome_columns, read_run, write_report, write_run_info
from monai_robust.evaluation.tables.detections import read_detections
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.writer import write_truth
from monai_robust.evaluation.tasks.detection import DetectionReport
from monai_robust.evaluation.tasks.detection import report as detection_report
from monai_robust.evaluation.tasks.registry import report_of
from monai_robust.metrics import auc_robust, average_iou, mean_average_precision

CELLS = ["red", "white", "platelet"]
RADII = [2.0, 6.0, 10.0]
COUNT = 6
THRESHOLD = 0.4
BOX = ["xmin", "ymin", "xmax", "ymax"]

Image = dict[str, Any]


def true_boxes(generator: np.random.Generator) -> list[Image]:
    """A few cells in every image but the last; no image has a platelet."""
    images = []
    for index in range(COUNT):
        count = 0 if index == COUNT - 1 else 3 + index % 2
        low = generator.uniform(0, 50, (count, 2))
        boxes = np.concatenate([low, low + generator.uniform(10, 20, (count, 2))], axis=1)
        images.append({"boxes": boxes, "labels": np.arange(count) % 2})
    return images


def detect(generator: np.random.Generator, truths: list[Image], blur: float) -> list[Image]:
    """True boxes moved by about ``blur`` pixels, and an unsure invention in each of the first images."""
    images = []
    for index, one in enumerate(truths):
        boxes = one["boxes"] + generator.normal(0, blur, one["boxes"].shape)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        extra = index < COUNT - 1
        scores = generator.uniform(0.5, 1.0, len(boxes)).tolist() + [0.1] * extra
        images.append(
            {
                "boxes": np.concatenate([boxes, [[1.0, 1.0, 9.0, 9.0]]]) if extra else boxes,
                "labels": np.concatenate([one["labels"], [2] * extra]).astype(int),
                "scores": np.array(scores),
            }
        )
    return images


def sure(one: Image) -> Image:
    chosen = one["scores"] >= THRESHOLD
    return {name: values[chosen] for name, values in one.items()}


def details_of(one: Image) -> list[dict[str, Any]]:
    scores = one.get("scores", [None] * len(one["labels"]))
    rows = zip(one["boxes"].tolist(), one["labels"].tolist(), scores, strict=True)
    return [{"class": label, "score": score, **dict(zip(BOX, box, strict=True))} for box, label, score in rows]


def write_detection_run(
    folder: Path,
    name: str = "erm",
    *,
    seed: int = 0,
    clean: float = 0.5,
    rises: float = 0.6,
    corruptions: bool = True,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished evaluation whose boxes are ``rises`` pixels further off per unit of radius."""
    generator = np.random.default_rng([seed, len(name), round(100 * rises)])
    truths = true_boxes(np.random.default_rng(5))
    perturbations = segmentation_perturbations(corruptions)
    ids = [f"secretslide-{index}" for index in range(COUNT)]
    columns = outcome_columns({"boxes": int, "detections": int, "score": float}, ["site"])
    details = ("detections", {"class": int, "score": float, **dict.fromkeys(BOX, float)})
    with OutcomesWriter(folder, columns, ids, plan_of(perturbations), details=details) as outcomes:
        for one in perturbations:
            for severity in one["severities"]:
                blur = clean + rises * severity * {"pgd_l2": 1.0, "ifgsm_l2": 0.5}.get(one["name"], 1.0)
                found = detect(generator, truths, blur)
                counted = [sure(image) for image in found]
                rows = {
                    "sample_id": ids,
                    "patient_id": [""] * COUNT,
                    "site": ["ab"[index % 2] for index in range(COUNT)],
                    "norm": [one["norm"]] * COUNT,
                    "distance": [severity] * COUNT,
                    "contrast": [1.0] * COUNT,
                    "input_norm": [45.0] * COUNT,
                    "boxes": [len(image["labels"]) for image in truths],
                    "detections": [len(image["labels"]) for image in counted],
                    "score": [average_iou([image], [true]) for image, true in zip(counted, truths, strict=True)],
                }
                outcomes.append(one["name"], severity, rows, [details_of(image) for image in found])
        outcomes.commit()
    outcomes.finish()
    write_truth(
        folder, "boxes", {"class": int, **dict.fromkeys(BOX, float)}, ids, [details_of(image) for image in truths]
    )
    about = {"task": "detection", "groups": ["site"], "perturbations": perturbations}
    about |= {"score": {"name": "average IoU", "higher_is_better": True}}
    about |= {"settings": {"score_threshold": THRESHOLD}}
    write_run_info(folder, run_info(name, seed, CELLS) | about | dict(info or {}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of erm, one of amat."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        read_run(write_detection_run(folder / "erm0", "erm", seed=0)),
        read_run(write_detection_run(folder / "erm1", "erm", seed=1)),
        read_run(write_detection_run(folder / "amat", "amat", rises=0.15)),
    ]


@pytest.fixture(scope="module")
def report(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([run.folder for run in runs], tmp_path_factory.mktemp("report") / "report.html")


def images_of(
    run: Run, perturbation: str, severity: float, least: float = 0.0, site: str = "ab"
) -> tuple[list[Image], list[Image]]:
    """Detections and true boxes from the files themselves, by another reader."""
    found, true = pd.read_csv(run.folder / "detections.csv"), pd.read_csv(run.folder / "boxes.csv")
    found = found[(found["perturbation"] == perturbation) & (found["severity"] == severity) & (found["score"] >= least)]
    ids = [f"secretslide-{index}" for index in range(COUNT) if "ab"[index % 2] in site]
    detections, truths = [], []
    for sample in ids:
        own, there = found[found["sample_id"] == sample], true[true["sample_id"] == sample]
        boxes = {"boxes": own[BOX].to_numpy(), "labels": own["class"].to_numpy(), "scores": own["score"].to_numpy()}
        detections.append(boxes)
        truths.append({"boxes": there[BOX].to_numpy(), "labels": there["class"].to_numpy()})
    return detections, truths


def precision(run: Run, perturbation: str, severity: float, key: str = "map") -> float:
    return mean_average_precision(*images_of(run, perturbation, severity), CELLS)[key]


def pooled_iou(run: Run, perturbation: str, severity: float) -> float:
    return average_iou(*images_of(run, perturbation, severity, THRESHOLD))


def table(report: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(report.with_name("report_tables") / f"{name}.csv").set_index("Run")


@pytest.mark.parametrize(
    ("stem", "first", "value"),
    [("map", "mAP", precision), ("average_iou", "average IoU", pooled_iou)],
)
def test_the_tables_under_attack_have_the_shape_of_the_papers(
    runs: list[Run], report: Path, stem: str, first: str, value: Callable[..., float]
) -> None:
    found = table(report, f"table_{stem}_under_attack")
    shape = [first, "P. 2", "P. 6", "P. 10", "P. Avg.", "IF. 2", "IF. 6", "IF. 10", "IF. Avg."]
    assert [column for column in found.columns if "," not in column] == shape
    for name, own in (("erm", runs[:2]), ("amat", runs[2:])):
        at_radii = [np.mean([value(run, "pgd_l2", radius) for run in own]) for radius in RADII]
        assert found.loc[name, ["P. 2", "P. 6", "P. 10"]].tolist() == pytest.approx(at_radii)
        assert found.loc[name, "P. Avg."] == pytest.approx(np.mean(at_radii))
        assert found.loc[name, first] == pytest.approx(np.mean([value(run, "clean", 0.0) for run in own]))
    spread = [np.mean([value(run, "ifgsm_l2", radius) for radius in RADII]) for run in runs[:2]]
    assert found.loc["erm", "IF. Avg., standard deviation"] == pytest.approx(np.std(spread, ddof=1))


def test_classes_stand_beside_their_mean_and_one_without_boxes_is_unknown(runs: list[Run], report: Path) -> None:
    found = table(report, "table_map_50").loc["amat"]
    own = [precision(runs[2], "clean", 0.0, f"map_50_{name}") for name in CELLS]
    assert found[CELLS].tolist() == pytest.approx(own, nan_ok=True)
    assert math.isnan(own[2])
    assert found["Mean"] == pytest.approx(np.mean(own[:2]))


def test_the_average_iou_of_a_data_set_is_over_all_its_detections(runs: list[Run], report: Path) -> None:
    found = table(report, "table_detection").loc["amat"]
    assert found["Average IoU"] == pytest.approx(pooled_iou(runs[2], "clean", 0.0))
    assert found["Average IoU"] != pytest.approx(runs[2].clean["score"].mean(), rel=1e-4)
    assert found["Detections per image"] == pytest.approx(runs[2].clean["detections"].mean())
    assert "Average IoU, 95 % low" not in found
    assert "17 objects in 6 images" in report.read_text()


def test_auc_robust_is_of_map_and_of_average_iou(runs: list[Run], report: Path) -> None:
    for stem, value in (("", precision), ("_average_iou", pooled_iou)):
        curve = [value(runs[2], "clean", 0.0), *(value(runs[2], "pgd_l2", radius) for radius in RADII)]
        found = table(report, f"table_auc_robust{stem}")
        assert found.loc["amat", "PGD (L2) up to 10"] == pytest.approx(auc_robust([0, *RADII], curve))


def test_the_headline_is_in_map_and_names_no_patient(runs: list[Run], report: Path) -> None:
    page = report.read_text()
    clean = np.mean([precision(run, "clean", 0.0) for run in runs[:2]])
    assert f"“erm” reaches {clean:.2f}" in page
    assert "PGD (L2) attacks halve the mAP of “erm” at radius" in page
    assert "secret" not in page
    assert "accuracy" not in page


def test_map_is_told_within_groups_and_under_corruptions(runs: list[Run], report: Path) -> None:
    found = table(report, "table_pgd_l2_within_site")
    own = mean_average_precision(*images_of(runs[2], "pgd_l2", 6.0, site="a"), CELLS)["map"]
    row = found[found["Site"] == "a"].loc["amat"]
    assert row[next(column for column in found if column.startswith("6 ("))] == pytest.approx(own)
    corrupted = [precision(runs[2], "gaussian", severity) for severity in (0.1, 0.4)]
    assert table(report, "table_corruptions").loc["amat", "Gaussian"] == pytest.approx(np.mean(corrupted))


def test_boxes_are_matched_once_for_each_perturbation_and_severity(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(detections: Any, truths: Any) -> Any:
        calls.append(len(truths))
        return match_images(detections, truths)

    match_images = detection_report.match_images
    monkeypatch.setattr(detection_report, "match_images", counted)
    report_of_task = DetectionReport()
    report_of_task.check(runs[0])
    first = report_of_task.frames(runs[:1])
    again = report_of_task.frames(runs[:1])
    assert calls == [COUNT] * (1 + 2 * len(RADII) + 2)
    pd.testing.assert_frame_equal(first["summary"], again["summary"])


def test_nothing_detected_anywhere_is_a_report_of_zeros(tmp_path: Path) -> None:
    folder = write_detection_run(tmp_path / "erm")
    outcomes = pd.read_csv(folder / "outcomes.csv", keep_default_na=False)
    outcomes["detections"], outcomes["score"] = 0, np.where(outcomes["boxes"] > 0, "0.0", "")
    outcomes.to_csv(folder / "outcomes.csv", index=False)
    header = (folder / "detections.csv").read_text().splitlines()[0]
    (folder / "detections.csv").write_text(header + "\n")
    found = pd.read_csv(write_report([folder], tmp_path / "report.html").with_name("report_tables") / "summary.csv")
    whole = found[found["group"].isna()]
    assert (whole[["map", "map_50", "average_iou", "detections_per_image"]] == 0).all().all()


@pytest.mark.parametrize(
    ("recipe", "clean", "expected"), [("erm", 9.0, True), ("amat", 9.0, False), ("erm", 0.1, False)]
)
def test_an_undertrained_standard_network_makes_a_pilot(
    tmp_path: Path, recipe: str, clean: float, expected: bool
) -> None:
    run = read_run(write_detection_run(tmp_path / "run", "some", clean=clean, info={"recipe": recipe}))
    report_of_task = DetectionReport()
    assert ("less than 0.50" in report_of_task.pilot([run], report_of_task.frames([run]))) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.drop(columns="boxes"), "no column 'boxes'"),
        (lambda found: found.assign(detections=0.5), "detections must be a number of boxes"),
        (lambda found: found.assign(score=found["score"].fillna(0.0)), "contradicts itself"),
        (lambda found: found.assign(score=found["score"] + 1), "contradicts itself"),
        (lambda found: found.assign(detections=found["detections"] + (found["boxes"] > 0)), "line 2: detections is 4"),
        (lambda found: found.assign(boxes=found["boxes"] + (found["boxes"] > 3)), "line 3: boxes is 5, but boxes.csv"),
    ],
)
def test_outcomes_that_contradict_themselves_or_the_boxes_are_refused(runs: list[Run], change, message: str) -> None:
    report_of_task = DetectionReport()
    report_of_task.check(runs[0])
    with pytest.raises(BadInputError, match=message):
        report_of_task.check(replace(runs[0], outcomes=change(runs[0].outcomes)))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"classes": []}, "must list 1 to 50 classes"),
        ({"score": {"higher_is_better": False}}, "more is better"),
        ({"settings": {}}, ""),
        ({"settings": {"score_threshold": 0.05}}, "with a score of 0.05 or more"),
    ],
)
def test_what_run_json_says_must_fit_the_tables(runs: list[Run], info: dict[str, Any], message: str) -> None:
    changed = replace(runs[0], info={**runs[0].info, **info})
    report_of_task = DetectionReport()
    if not message:
        return report_of_task.check(changed)  # the default threshold is below all sure detections here
    with pytest.raises(BadInputError, match=message):
        report_of_task.check(changed)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("detections.csv", "secretslide-0,clean", "stranger,clean", "detections.csv, line 2: sample_id is none"),
        ("detections.csv", ",clean,", ",blur,", "line 2: no such perturbation and severity"),
        (
            "detections.csv",
            "secretslide-0,clean,0.0,0,",
            "secretslide-0,clean,0.0,3,",
            "line 2: class must be an index",
        ),
        ("detections.csv", "secretslide-0,clean,0.0,0,", "secretslide-0,clean,0.0,0.5,", "line 2: class must be an"),
        ("detections.csv", "secretslide-0,clean,0.0,0,", "secretslide-0,clean,0.0,0,high", "line 2: score must be a"),
        ("detections.csv", ",score,", ",confidence,", "detections.csv, line 1: the columns must be sample_id"),
        ("boxes.csv", "secretslide-0,0,", "secretslide-9,0,", "boxes.csv, line 2: sample_id is none"),
        ("boxes.csv", "secretslide-0,0,", "secretslide-0,0,9", "boxes.csv, line 2: xmax must not be below xmin"),
        ("boxes.csv", "xmin,ymin,xmax,ymax", "xmin,ymin,xmax", "boxes.csv"),
    ],
)
def test_a_damaged_table_of_boxes_is_refused(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    path = write_detection_run(tmp_path / "erm") / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInputError, match=message):
        read_detections(tmp_path / "erm")


def test_tables_that_are_missing_or_cut_short_are_refused(tmp_path: Path) -> None:
    path = write_detection_run(tmp_path / "erm") / "detections.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(BadInputError, match="ends within a line"):
        read_detections(tmp_path / "erm")
    path.unlink()
    assert len(read_detections(tmp_path / "erm").detections)  # of the Parquet file
    path.with_suffix(".parquet").unlink()
    with pytest.raises(BadInputError, match=r"detections.csv cannot be read"):
        read_detections(tmp_path / "erm")


def test_boxes_of_volumes_have_six_numbers(tmp_path: Path) -> None:
    folder = write_detection_run(tmp_path / "erm")
    for file in ("detections.csv", "boxes.csv"):
        flat = pd.read_csv(folder / file)
        flat.insert(flat.columns.get_loc("ymin") + 1, "zmin", 1.0)
        flat.assign(zmax=3.0).to_csv(folder / file, index=False)
        if file == "detections.csv":
            with pytest.raises(BadInputError, match="boxes of 4 or of 6 numbers"):
                read_detections(folder)
    report_of_task, run = DetectionReport(), read_run(folder)
    report_of_task.check(run)
    flat = read_run(write_detection_run(tmp_path / "flat"))
    pd.testing.assert_frame_equal(report_of_task.frames([run])["summary"], report_of_task.frames([flat])["summary"])


def test_a_report_knows_the_task() -> None:
    assert isinstance(report_of("detection"), DetectionReport)
