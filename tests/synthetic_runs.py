"""Small finished evaluations with made-up outcomes, written through the package's own writers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_robust.evaluation.gallery import write_gallery
from monai_robust.evaluation.run import write_run_info
from monai_robust.evaluation.table import OutcomesWriter, outcome_columns

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


def task_columns(classes: Sequence[str]) -> list[str]:
    return ["label", "prediction", *(f"probability_{index}" for index in range(len(classes))), "score"]


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
    with OutcomesWriter(folder / "outcomes.csv", columns, sample_ids(count), batch_size=16) as writer:
        for one in PERTURBATIONS:
            for severity in one["severities"]:
                drop = severity if one["kind"] == "attack" else 0.3 * severity * (one["kind"] == "corruption")
                contrast = severity if one["name"].startswith("contrast") else 1.0
                right = max(clean - falls * drop, 0.0)
                rows = outcomes(generator, count, classes, right, severity, contrast) | {"norm": [one["norm"]] * count}
                for start in range(0, count, 16):
                    batch = {column: values[start : start + 16] for column, values in rows.items()}
                    writer.append(one["name"], severity, batch)
    write_run_info(folder, run_info(name, seed, classes) | dict(info or {}))
    if gallery:
        write_pictures(folder / "gallery.npz", generator, classes)
    return folder


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
