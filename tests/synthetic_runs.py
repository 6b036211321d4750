"""Small finished evaluations with made-up outcomes, written through the package's own writers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monai_robust.evaluation.tables.gallery import write_gallery
from monai_robust.evaluation.tables.run_folder import write_run_info
from monai_robust.evaluation.tables.schema import outcome_columns
from monai_robust.evaluation.tables.stored import write_table
from monai_robust.evaluation.tables.writer import OutcomesWriter

CLASSES = ["covid", "normal", "pneumonia"]
RADII = [0.5, 1.0, 2.0]
PERTURBATIONS: list[dict[str, Any]] = [
    {"name": "clean", "kind": "clean", "norm": "", "severities": [0.0], "settings": {}},
    {"name": "pgd_l2", "kind": "attack", "norm": "l2", "severities": RADII, "settings": {"steps": 20}},
    {"name": "gaussian", "kind": "corruption", "norm": "", "severities": [0.1, 0.5, 1.0], "settings": {}},
    {"name": "salt_and_pepper", "kind": "corruption", "norm": "", "severities": [0.1, 0.5, 1.0], "settings": {}},
    {"name": "speckle", "kind": "corruption", "norm": "", "severities": [0.1, 0.5, 1.0], "settings": {}},
    {"name": "contrast_high", "kind": "corruption", "norm": "", "severities": [1.5], "settings": {}},
    {"name": "contrast_low", "kind": "corruption", "norm": "", "severities": [0.5], "settings": {}},
]


def sample_ids(count: int) -> list[str]:
    return [f"film-{index:04d}-secretid" for index in range(count)]


def measured_lines(folder: Path) -> list[str]:
    """The lines that the finished parts of a stopped measurement would have in its table, without an order."""
    parts = [pq.read_table(path) for path in sorted((folder / "parts").glob("*.parquet"))]
    if not parts:
        return []
    table = pa.concat_tables(parts)
    write_table(folder / "measured", "lines", table.select([name for name in table.column_names if name != "details"]))
    lines = (folder / "measured" / "lines.csv").read_text().splitlines()[1:]
    shutil.rmtree(folder / "measured")
    return lines


def plan_of(perturbations: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Every perturbation and severity, in order."""
    return [(one["name"], severity) for one in perturbations for severity in one["severities"]]


def task_columns(classes: Sequence[str]) -> dict[str, type]:
    return {"label": int, "prediction": int, **{f"probability_{k}": float for k in range(len(classes))}, "score": float}


def outcomes(
    generator: np.random.Generator, count: int, classes: Sequence[str], right: float, severity: float, contrast: float
) -> dict[str, list[Any]]:
    """All columns but perturbation, severity and norm; ``right`` is the chance that a prediction is right."""
    labels = np.arange(count) % len(classes)
    hit = generator.random(count) < right
    predictions = np.where(hit, labels, (labels + generator.integers(1, len(classes), count)) % len(classes))
    logits = generator.normal(0, 0.7, (count, len(classes)))
    logits[np.arange(count), predictions] = logits.max(axis=1) + generator.gamma(2.0, 0.7, count)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {
        "sample_id": sample_ids(count),
        "patient_id": [f"patient-{index // 2:04d}-secret" for index in range(count)],
        "source": ["north" if index % 4 < 2 else "south" for index in range(count)],
        "distance": [severity] * count,
        "contrast": (contrast * generator.normal(0.2, 0.03, count)).tolist(),
        "input_norm": generator.normal(40.0, 3.0, count).tolist(),
        "label": labels.tolist(),
        "prediction": predictions.tolist(),
        **{f"probability_{index}": column.tolist() for index, column in enumerate(probabilities.T)},
        "score": (predictions == labels).astype(float).tolist(),
    }


def write_run(
    folder: Path,
    name: str = "erm",
    *,
    seed: int = 0,
    count: int = 48,
    clean: float = 0.95,
    falls: float = 1.0,
    classes: Sequence[str] = CLASSES,
    gallery: bool = False,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished evaluation whose accuracy falls by ``falls`` per unit of radius, and return its folder."""
    generator = np.random.default_rng([seed, len(name), round(100 * falls)])
    columns = outcome_columns(task_columns(classes), ["source"])
    with OutcomesWriter(folder, columns, sample_ids(count), plan_of(PERTURBATIONS)) as writer:
        for one in PERTURBATIONS:
            for severity in one["severities"]:
                drop = severity if one["kind"] == "attack" else 0.3 * severity * (one["kind"] == "corruption")
                contrast = severity if one["name"].startswith("contrast") else 1.0
                right = max(clean - falls * drop, 0.0)
                rows = outcomes(generator, count, classes, right, severity, contrast) | {"norm": [one["norm"]] * count}
                writer.append(one["name"], severity, rows)
        writer.commit()
    writer.finish()
    write_run_info(folder, run_info(name, seed, classes) | dict(info or {}))
    if gallery:
        write_pictures(folder / "gallery.npz", generator, classes)
    return folder


ORGANS = ["head", "tail"]
SLICES = 6
LESIONS = ("lesions", "lesions_found", "components", "false_components")


def slice_ids(volumes: int) -> list[str]:
    return [f"secretcase{volume:02d}/{index:03d}" for volume in range(volumes) for index in range(SLICES)]


def slice_outcomes(generator: np.random.Generator, volumes: int, quality: float, severity: float) -> dict[str, Any]:
    """All columns but perturbation, severity and norm, of slices of which the first of each volume is empty;
    ``quality`` is about the Dice of the others."""
    count = volumes * SLICES
    truth = generator.integers(40, 60, (count, 2))
    truth[np.arange(count) % SLICES == 0] = 0
    truth[np.arange(count) % SLICES == 1, 1] = 0
    tp = np.round(truth * np.clip(generator.normal(quality, 0.03, (count, 2)), 0, 1)).astype(int)
    fp = np.where(truth > 0, truth - tp, generator.integers(0, 5, (count, 2)))
    present = truth > 0
    dice = np.where(present, 2 * tp / np.maximum(tp + fp + truth, 1), 0)
    with np.errstate(invalid="ignore"):
        score = dice.sum(axis=1) / present.sum(axis=1)
    columns = {
        f"{name}_{k + 1}": values[:, k].tolist()
        for k in range(2)
        for name, values in (("tp", tp), ("fp", fp), ("fn", truth - tp))
    }
    return {
        "sample_id": slice_ids(volumes),
        "patient_id": [name.split("/")[0] for name in slice_ids(volumes)],
        "distance": [severity] * count,
        "contrast": generator.normal(1.0, 0.05, count).tolist(),
        "input_norm": generator.normal(45.0, 3.0, count).tolist(),
        **columns,
        "score": score.tolist(),
    }


def surfaces_of(rows: Mapping[str, Any], severity: float) -> dict[str, Any]:
    """Made-up columns of surfaces and lesions that go with the counts of :func:`slice_outcomes`."""
    columns: dict[str, Any] = {}
    for k in (1, 2):
        tp, fp, fn = (np.array(rows[f"{part}_{k}"]) for part in ("tp", "fp", "fn"))
        held, found = tp + fn > 0, tp + fp > 0
        columns[f"hd95_{k}"] = np.where(held & found, 1 + severity / k + 0.01 * np.arange(len(tp)), np.nan).tolist()
        columns[f"nsd_{k}"] = np.where(held & found, 1 / (1 + severity), np.where(held | found, 0, np.nan)).tolist()
        columns[f"lesions_{k}"] = (2 * held).tolist()
        columns[f"lesions_found_{k}"] = (held & found).astype(int).tolist()
        columns[f"components_{k}"] = found.astype(int).tolist()
        columns[f"false_components_{k}"] = (found & ~held).astype(int).tolist()
    return columns


def segmentation_perturbations(corruptions: bool = True) -> list[dict[str, Any]]:
    def attack(name: str, steps: int) -> dict[str, Any]:
        settings = {"steps": steps}
        return {"name": name, "kind": "attack", "norm": "l2", "severities": [2.0, 6.0, 10.0], "settings": settings}

    noise = {"name": "gaussian", "kind": "corruption", "norm": "", "severities": [0.1, 0.4], "settings": {}}
    return [PERTURBATIONS[0], attack("pgd_l2", 100), attack("ifgsm_l2", 10), *([noise] if corruptions else [])]


def write_segmentation_run(
    folder: Path,
    name: str = "std",
    *,
    seed: int = 0,
    volumes: int = 4,
    clean: float = 0.9,
    falls: float = 0.08,
    gallery: bool = False,
    margins: bool = False,
    corruptions: bool = True,
    surfaces: bool = False,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished segmentation whose Dice falls by ``falls`` per unit of radius, and return its folder."""
    generator = np.random.default_rng([seed, len(name), round(100 * falls)])
    perturbations = segmentation_perturbations(corruptions)
    counts = {f"{part}_{k}": int for k in (1, 2) for part in ("tp", "fp", "fn")}
    if surfaces:
        counts |= {f"{part}_{k}": float for k in (1, 2) for part in ("hd95", "nsd")}
        counts |= {f"{part}_{k}": int for k in (1, 2) for part in LESIONS}
    columns = outcome_columns(counts | {"score": float})
    ids = slice_ids(volumes)
    with OutcomesWriter(folder, columns, ids, plan_of(perturbations)) as writer:
        for one in perturbations:
            for severity in one["severities"]:
                drop = severity * {"pgd_l2": 1.0, "ifgsm_l2": 0.4}.get(one["name"], 0.5)
                rows = slice_outcomes(generator, volumes, max(clean - falls * drop, 0.0), severity)
                rows |= {"norm": [one["norm"]] * len(ids)}
                writer.append(one["name"], severity, rows | (surfaces_of(rows, severity) if surfaces else {}))
        writer.commit()
    writer.finish()
    about = {"task": "segmentation", "groups": [], "perturbations": perturbations}
    about |= {"score": {"name": "mean foreground Dice", "higher_is_better": True}}
    if surfaces:
        about |= {"settings": {"surface_tolerance": 1.0, "distance_unit": "mm", "lesion_iou": 0.0}}
    write_run_info(folder, run_info(name, seed, ORGANS) | about | dict(info or {}))
    (folder / "epoch_times.csv").write_text("epoch,seconds\n1,9.0\n2,4.0\n3,4.5\n")
    if margins:
        write_margins(folder / "margins.csv", generator)
    if gallery:
        write_masks(folder / "gallery.npz")
    return folder


def write_margins(path: Path, generator: np.random.Generator) -> None:
    header = "epoch,samples,visited,mean,minimum,p10,p50,p90,maximum,enlarged,refined,ever_shrunk"
    rows = []
    for epoch in range(1, 6):
        low, middle, high = np.quantile(generator.gamma(4.0, 0.3 * epoch, 200), [0.1, 0.5, 0.9])
        rows.append(f"{epoch},200,180,{middle},0.1,{low},{middle},{high},{2 * high},120,60,{0.1 * epoch}")
    path.write_text("\n".join([header, *rows]) + "\n")


def write_masks(path: Path) -> None:
    """Two slices with two areas each, clean and attacked; the attack moves what is predicted."""
    grid = np.linspace(-1, 1, 40)
    images = np.stack([np.hypot(grid[:, None] - shift, grid[None]) for shift in (0.0, 0.2)]).astype(np.float32)
    truth = np.where(images < 0.3, 1, np.where(images < 0.5, 2, 0))
    said = [{"label": "head: 110, tail: 190 pixels", "prediction": f"Dice {dice:.2f}"} for dice in (1.0, 1.0)]
    fooled = [one | {"prediction": "Dice 0.31"} for one in said]
    pictures = {("clean", 0.0): images, ("pgd_l2", 6.0): images + 0.01, ("ifgsm_l2", 6.0): images - 0.01}
    masks = {
        ("clean", 0.0): truth,
        ("pgd_l2", 6.0): np.roll(truth, 8, axis=2),
        ("ifgsm_l2", 6.0): np.roll(truth, 3, axis=2),
    }
    write_gallery(path, pictures, dict(zip(pictures, [said, fooled, fooled], strict=True)), masks, truth)


def run_info(name: str, seed: int, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "task": "classification",
        "recipe": name,
        "seed": seed,
        "fold": None,
        "classes": list(classes),
        "perturbations": PERTURBATIONS,
        "score": {"name": "accuracy", "higher_is_better": True},
        "groups": ["source"],
        "settings": {
            "epochs": 12,
            "learning_rate": 0.01,
            "dataset_dir": "/home/somebody/films",
            "attack": {"eps": 2.0},
        },
        "versions": {"monai": "1.6.1", "torch": "2.13.0"},
        "checkpoint": {"file": "model.pt", "sha256": f"{name}{seed}".encode().hex().ljust(64, "0")},
        "data": {"samples": 48, "patients": 24},
        "skipped": [],
        "started": "2025-01-01T10:00:00",
        "finished": "2025-01-01T10:05:00",
        "machine": "2 cores",
    }


def write_pictures(path: Path, generator: np.random.Generator, classes: Sequence[str]) -> None:
    """Three round shadows, clean, attacked and with high contrast."""
    grid = np.linspace(-1, 1, 48)
    radius = np.hypot(grid[:, None], grid[None])
    images = np.stack([np.exp(-((radius - 0.2 * k) ** 2) * 4) for k in range(3)]).astype(np.float32)
    labels = [classes[k % len(classes)] for k in range(3)]
    right = [{"label": label, "prediction": label, "confidence": 0.93} for label in labels]
    wrong = [one | {"prediction": classes[(k + 1) % len(classes)], "confidence": 0.81} for k, one in enumerate(right)]
    pictures = {
        ("clean", 0.0): images,
        ("pgd_l2", 2.0): images + generator.normal(0, 0.02, images.shape).astype(np.float32),
        ("contrast_high", 1.5): np.clip(images.mean() + 1.5 * (images - images.mean()), 0, 1),
    }
    write_gallery(path, pictures, dict(zip(pictures, [right, wrong, right], strict=True)))
