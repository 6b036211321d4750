"""Files beside weights and results: records, thresholds, plans, checkpoints, and the folder of an evaluation."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from ignite.engine import Engine
from PIL import Image
from synthetic_runs import write_run, write_segmentation_run
from test_detection_report import write_detection_run
from torch import nn

from hostile.judging import Kind, difference
from hostile.list_reading import csv_rows, json_content, read_text
from hostile.text_fields import damage_csv, damage_json, damage_yaml
from monai_robust.data import load_weights, read_record
from monai_robust.evaluation.report.page import write_report
from monai_robust.evaluation.report.training import read_training_table
from monai_robust.evaluation.tables.cases import CaseWriter, read_cases
from monai_robust.evaluation.tables.detections import read_detections
from monai_robust.evaluation.tables.metrics_file import MetricValue, OwnMetrics, write_metrics
from monai_robust.evaluation.tables.outcomes import read_outcomes
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.evaluation.tables.sanity_file import CHECKS, Finding, Sanity, write_sanity
from monai_robust.evaluation.tables.schema import outcome_columns
from monai_robust.evaluation.tables.writer import OutcomesWriter
from monai_robust.handlers import TrainingLoader
from monai_robust.margins.schedules import RecordedMargins
from monai_robust.margins.thresholds import read_thresholds
from monai_robust.networks.postprocessing import read_postprocessing
from monai_robust.planning import read_plan

__all__ = ["KINDS"]

_TESTS = Path(__file__).resolve().parents[1]


def _record(folder: Path) -> None:
    content = {
        "recipe": "sat",
        "seed": 0,
        "split_seed": 0,
        "fold": None,
        "classes": ["covid", "normal"],
        "image_size": 32,
        "epochs": 2,
        "learning_rate": 0.001,
        "weight": None,
        "attack": {"norm": "l2", "eps": 0.5, "steps": 7},
    }
    (folder / "training.json").write_text(json.dumps(content))
    (folder / "model.pt").write_bytes(b"weights")


def _thresholds(folder: Path) -> None:
    about = {
        "samples": 4,
        "mean": 0.3,
        "std": 0.1,
        "minimum": 0.1,
        "maximum": 0.5,
        "below": 0.5,
        "histogram": {"edges": [0.1, 0.3, 0.5], "counts": [2, 2]},
    }
    content = {
        "thresholds": {"dice": 0.3, "ce": 0.31},
        "fitted": {"statistic": {"dice": "mean"}, "k": 2.0},
        "statistics": {"dice": about, "ce": about},
    }
    (folder / "thresholds.json").write_text(json.dumps(content))


def _thresholds_reference(folder: Path) -> Any:
    """Thresholds are finite; of the statistics beside them some may not exist, which Python writes as NaN."""
    content = json.loads(read_text(folder / "thresholds.json"))
    values = content.get("thresholds", content)
    if any(isinstance(value, bool) or not math.isfinite(value) for value in values.values()):
        raise ValueError("no numbers")
    return values


def _plan(folder: Path) -> None:
    plan = _TESTS.parent / "bundles" / "hippocampus_mri_segmentation" / "configs" / "plan.yaml"
    (folder / "plan.yaml").write_bytes(plan.read_bytes())


def _postprocessing(folder: Path) -> None:
    (folder / "choice.json").write_text(json.dumps({"head": True, "tail": False}))


def _margins(folder: Path) -> None:
    rows = [f"{epoch},s{sample},{epoch + sample / 10}" for epoch in range(3) for sample in range(4)]
    (folder / "margins_by_sample.csv").write_text("\n".join(["epoch,sample_id,margin", *rows]) + "\n")


def _read_margins(folder: Path) -> Any:
    found = RecordedMargins(folder / "margins_by_sample.csv")
    return {
        name: dict(zip(map(int, found._epochs), map(float, found._values[row]), strict=True))
        for name, row in found._row.items()
    }


def _margins_reference(folder: Path) -> Any:
    margins: dict[str, dict[int, float]] = {}
    for row in csv_rows(folder / "margins_by_sample.csv"):
        own, epoch = margins.setdefault(row["sample_id"], {}), int(row["epoch"])
        if epoch in own or not 0 <= float(row["margin"]) < math.inf:
            raise ValueError("an epoch twice, or no margin")
        own[epoch] = float(row["margin"])
    if len({tuple(sorted(own)) for own in margins.values()}) != 1:
        raise ValueError("epochs are missing")
    return margins


# Checkpoints


def _network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))
    return network


def _checkpoint(folder: Path) -> None:
    network = _network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    engine = Engine(lambda engine, batch: 0)
    engine.state.max_epochs, engine.state.epoch_length, engine.state.iteration = 4, 2, 6
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "trainer": engine.state_dict()}
    torch.save(state, folder / "model.pt")


def _tensors(network: nn.Module) -> dict[str, Any]:
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _blank() -> nn.Module:
    network = _network()
    for value in network.state_dict().values():
        value.zero_()
    return network


def _read_weights(folder: Path) -> Any:
    return _tensors(load_weights(_blank(), folder / "model.pt"))


def _read_resumed(folder: Path) -> Any:
    network, engine = _blank(), Engine(lambda engine, batch: 0)
    loader = TrainingLoader(str(folder / "model.pt"), {"network": network}, map_location="cpu")
    loader.attach(engine)
    loader(engine)
    return {**_tensors(network), "iteration": engine.state.iteration}


def _checkpoint_reference(folder: Path) -> Any:
    with zipfile.ZipFile(folder / "model.pt") as archive:
        if archive.testzip() is not None:
            raise ValueError("a checksum does not hold")
    state = torch.load(folder / "model.pt", weights_only=True)["network"]
    if not all(bool(value.isfinite().all()) for value in state.values()):
        raise ValueError("not finite")
    return {name: value.numpy() for name, value in state.items()}


def _resumed_reference(folder: Path) -> Any:
    trainer = torch.load(folder / "model.pt", weights_only=True)["trainer"]
    return {**_checkpoint_reference(folder), "iteration": trainer["iteration"]}


# An evaluation's folder


_FINDING = Finding("pgd_l2", next(iter(CHECKS)), "pass", "4 of 4", {"share": 1.0, "seen": [1, 2]})


def _run(folder: Path) -> None:
    write_run(folder, count=6, gallery=True)
    write_sanity(
        folder, Sanity(4, [Finding("pgd_l2", next(iter(CHECKS)), "pass", "4 of 4", {"share": 1.0, "seen": [1, 2]})])
    )


def _run_of_an_evaluator(folder: Path) -> None:
    """A run with the metrics of an evaluator, and cases to look at."""
    _run(folder)
    run = read_run(folder)
    plan = [(one.name, severity) for one in run.perturbations for severity in one.severities]
    values = [
        MetricValue(name, severity, "auroc", None if place == 1 else 0.5, 6)
        for place, (name, severity) in enumerate(plan)
    ]
    write_metrics(folder, OwnMetrics("auroc", "", values))
    writer = CaseWriter(folder, {run.clean["sample_id"].iloc[0]: 1}, plan)
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 128).save(buffer, "PNG")
    drawn = {
        "picture": buffer.getvalue(),
        "low": 0.0,
        "high": 1.0,
        "geometry": json.dumps({"rows": 8, "columns": 8, "original": [8, 8]}),
    }
    said = {"mask": b"", "marks": "", "label": "covid", "prediction": "normal", "confidence": 0.5, "input": b""}
    for name, severity in plan:
        writer.add(run.clean["sample_id"].iloc[0], name, severity, drawn | said)
    writer.finish()


def _segmentation_run(folder: Path) -> None:
    write_segmentation_run(folder, volumes=1, gallery=True, margins=True, corruptions=False)


def _detection_run(folder: Path) -> None:
    write_detection_run(folder, corruptions=False)


def _read_folder(folder: Path) -> Any:
    run = read_run(folder)
    found: dict[str, Any] = {"info": dict(run.info), "outcomes.csv": _columns(run.outcomes)}
    for name in ("margins.csv", "epoch_times.csv"):
        if (folder / name).exists():
            found[name] = _columns(read_training_table(folder / name))
    if run.gallery is not None:
        found["pictures"] = dict(run.gallery.pictures)
        found["captions"] = {key: [asdict(one) for one in listed] for key, listed in run.gallery.captions.items()}
        found["truth"] = run.gallery.truth if run.gallery.truth is not None else []
    if run.sanity is not None:
        found["sanity"] = asdict(run.sanity)
    if run.metrics is not None:
        found["metrics"] = asdict(run.metrics)
    cases = read_cases(folder)
    if cases is not None:
        found["cases"] = cases.to_pydict()
    if run.task == "detection":
        boxes = read_detections(folder, run)
        found["detections.csv"] = _columns(boxes.detections)
    return found


# An evaluation that was stopped, and goes on

_PLAN = [("clean", 0.0), ("pgd_l2", 0.5), ("pgd_l2", 1.0), ("gaussian", 0.1)]
_IDS = [f"s{sample}" for sample in range(6)]
_NAMES = outcome_columns({"label": int, "score": float})


def _batch(place: int, start: int) -> dict[str, list[Any]]:
    value = np.random.default_rng([place, start]).random((2, 5)).tolist()
    texts = {"sample_id": _IDS[start : start + 2], "patient_id": ["a", "=1"], "norm": ["l2", "l2"], "label": [0, 1]}
    measured = [name for name in _NAMES if name not in {*texts, "perturbation", "severity"}]
    return {**texts, **{name: [row[column % 5] for row in value] for column, name in enumerate(measured)}}


def _measure(folder: Path, batches: int = 99) -> OutcomesWriter:
    """Measure what is missing, or so many batches of it; a part for every two batches."""
    with OutcomesWriter(folder, _NAMES, _IDS, _PLAN) as writer:
        for place, (name, severity) in enumerate(_PLAN):
            for start in range(0, len(_IDS), 2):
                if batches and not writer.has(name, severity, start):
                    writer.append(name, severity, _batch(place, start))
                    writer.commit()
                    batches -= 1
                    if batches % 2 == 0:
                        writer.flush()
    return writer


def _stopped(folder: Path) -> None:
    _measure(folder, batches=8)


def _continue(folder: Path) -> list[bytes]:
    _measure(folder).finish()
    read_outcomes(folder)
    return (folder / "outcomes.csv").read_bytes().split(b"\n")


def _never_stopped(folder: Path) -> list[bytes]:
    _measure(folder / "fresh").finish()
    return (folder / "fresh" / "outcomes.csv").read_bytes().split(b"\n")


def _columns(table: Any) -> dict[str, list[Any]]:
    return {str(name): table[name].tolist() for name in table}


def _folder_reference(folder: Path) -> Any:
    found: dict[str, Any] = {"info": json_content(folder / "run.json")}
    for name in ("outcomes.csv", "margins.csv", "epoch_times.csv", "detections.csv"):
        parquet = (folder / name).with_suffix(".parquet")
        if not (folder / name).exists() and parquet.is_file():  # the other of the two, if it was not damaged, is read
            found[name] = pq.read_table(parquet).to_pydict()
        elif (folder / name).exists():
            rows = csv_rows(folder / name)
            found[name] = {column: [row[column] for row in rows] for column in rows[0]}
    if (folder / "gallery.npz").exists():
        with np.load(folder / "gallery.npz", allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        found["captions"] = json.loads(str(arrays.pop("captions")))
        found["truth"] = arrays.get("mask_truth", [])
        found["pictures"] = {key: value for key, value in arrays.items() if not key.startswith("mask_")}
    if (folder / "metrics.json").exists():
        metrics = json_content(folder / "metrics.json")
        named = [{name: one[name] for name in _VALUE} for one in metrics["values"]]
        found["metrics"] = {"key_metric": metrics["key_metric"], "problem": metrics["problem"], "values": named}
    if (folder / "cases.parquet").exists():
        cases = pq.read_table(folder / "cases.parquet").to_pydict()
        found["cases"] = {name: values for name, values in cases.items() if name != "input"}
    if (folder / "sanity.json").exists():
        sanity = json_content(folder / "sanity.json")
        findings = [
            {"numbers": {}} | {name: one[name] for name in one if name in vars(_FINDING)} for one in sanity["findings"]
        ]
        found["sanity"] = {"samples": sanity["samples"], "findings": findings}
    return found


def _folder_difference(found: Any, expected: Any) -> str:
    """Values of tables may be typed; whatever the product did not read is not compared."""
    for name, value in found.items():
        if name not in expected:
            return f"{name} was read, but is not there"
        if name.endswith(".csv"):
            wrong = _table_difference(value, expected[name], name)
        elif name == "info":
            wrong = difference({key: value.get(key) for key in expected[name]}, expected[name], name)
        else:
            wrong = difference(value, expected[name], name)
        if wrong:
            return wrong
    return ""


def _table_difference(found: Mapping[str, list[Any]], expected: Mapping[str, list[str]], name: str) -> str:
    """Rows of one table in another order are the same table only where they are sorted by epoch."""
    by_epoch = "epoch" in expected
    for column, values in found.items():
        if column not in expected:
            return f"{name}: there is no column {column}"
        texts = expected[column]
        if by_epoch:
            last = {float(epoch): text for epoch, text in zip(expected["epoch"], texts, strict=True)}
            texts = [last[epoch] for epoch in sorted(last)]
        if len(texts) != len(values):
            return f"{name}.{column}: {len(values)} rows, not {len(texts)}"
        wrong = next((pair for pair in zip(values, texts, strict=True) if not _same_cell(*pair)), None)
        if wrong is not None:
            return f"{name}.{column}: {wrong[0]!r}, not {wrong[1][:60]!r}"
    return ""


def _same_cell(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return value in (text, text.removeprefix("'"))
    if not text.strip():
        return bool(math.isnan(value))
    try:
        return not difference(value, float(text))
    except ValueError:
        return False


def _report(folder: Path) -> Any:
    """The report is only written; what it is made from is what is compared."""
    found = _read_folder(folder)
    text = write_report([folder], folder / "report.html").read_text(encoding="utf-8")
    if "<b>&" in text.replace("&lt;", "<"[:0]):
        raise AssertionError("markup of a file stands in the report")
    return found


_MORE = ["metrics.json", "cases.parquet"]
_VALUE = ("perturbation", "severity", "metric", "value", "samples")
_FIELDS = {".csv": damage_csv, ".json": damage_json, ".yaml": damage_yaml}
_RUN = [
    "run.json",
    "run.json",
    "outcomes.csv",
    "outcomes.parquet",
    "gallery.npz",
    "sanity.json",
    "margins.csv",
    "epoch_times.csv",
    "detections.csv",
    "detections.parquet",
    "boxes.csv",
    "boxes.parquet",
]


def _kind(
    name: str,
    write: Callable[..., Any],
    damaged: list[str],
    read: Callable[..., Any],
    reference: Callable[..., Any],
    differs: Callable[..., str] = difference,
) -> Kind:
    return Kind(name, write, damaged, _FIELDS, read, reference, differs, 2**20, every=5 if read is _report else 1)


KINDS = [
    _kind(
        "side_record",
        _record,
        ["training.json"],
        lambda folder: read_record(folder / "model.pt"),
        lambda folder: json_content(folder / "training.json"),
    ),
    _kind(
        "side_thresholds",
        _thresholds,
        ["thresholds.json"],
        lambda folder: dict(read_thresholds(folder / "thresholds.json")),
        _thresholds_reference,
    ),
    _kind(
        "side_plan",
        _plan,
        ["plan.yaml"],
        lambda folder: asdict(read_plan(folder / "plan.yaml")),
        lambda folder: yaml.safe_load(read_text(folder / "plan.yaml")),
    ),
    _kind(
        "side_postprocessing",
        _postprocessing,
        ["choice.json"],
        lambda folder: read_postprocessing(folder / "choice.json", ["head", "tail"]),
        lambda folder: json_content(folder / "choice.json"),
    ),
    _kind("side_margins", _margins, ["margins_by_sample.csv"], _read_margins, _margins_reference),
    _kind("checkpoint_weights", _checkpoint, ["model.pt"], _read_weights, _checkpoint_reference),
    _kind("checkpoint_resumed", _checkpoint, ["model.pt"], _read_resumed, _resumed_reference),
    _kind("run_classes", _run, _RUN, _read_folder, _folder_reference, _folder_difference),
    _kind("run_metrics", _run_of_an_evaluator, _MORE, _read_folder, _folder_reference, _folder_difference),
    _kind("run_masks", _segmentation_run, _RUN, _read_folder, _folder_reference, _folder_difference),
    _kind("run_boxes", _detection_run, _RUN, _read_folder, _folder_reference, _folder_difference),
    _kind("run_continued", _stopped, ["parts/*.parquet"], _continue, _never_stopped),
    _kind("report_classes", _run, _RUN, _report, _folder_reference, _folder_difference),
    _kind("report_metrics", _run_of_an_evaluator, _MORE, _report, _folder_reference, _folder_difference),
    _kind("report_masks", _segmentation_run, _RUN, _report, _folder_reference, _folder_difference),
    _kind("report_boxes", _detection_run, _RUN, _report, _folder_reference, _folder_difference),
]
