"""What a report says, for machines: ``summary.json`` among its tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust import __version__
from monai_robust.data.files.whole import write_whole
from monai_robust.evaluation.report.searched import is_searched
from monai_robust.evaluation.sections.comparisons import ScoreStyle
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["SUMMARY", "VERSION", "machine_summary", "write_machine_summary"]

SUMMARY = "summary.json"
VERSION = 1
"""Of the form of the file: raised where a key changes its meaning or goes; new keys may come without."""
_OF_SAMPLES = ("smallest_radius", "explanation", "embedding")  # a row for each sample
_OF_RUNS = ("recipe", "seed", "fold", "machine", "started", "finished", "weights_sha256")


def machine_summary(
    runs: Sequence[Run],
    baseline: str,
    frames: Mapping[str, pd.DataFrame],
    style: ScoreStyle,
    pilot: str = "",
    caveats: Sequence[str] = (),
) -> dict[str, Any]:
    """Every number of a report that stands for all its samples, and where it comes from, as primitives.

    It names neither samples nor patients. Numbers that do not exist are None; what is infinite is the text ``"inf"``.

    Args:
        runs: finished evaluations.
        baseline: the name that the others are compared with.
        frames: every frame of the report.
        style: of the measure that networks are first of all judged by.
        pilot: why the results are a pilot only, "" if they are not.
        caveats: what limits the results, as sentences.

    Returns:
        ``version``, ``monai_robust``, ``task``, ``classes``, ``measure`` (``column``, ``name``, ``higher_is_better``,
        ``unit``), ``baseline``, ``pilot``, ``caveats``, ``runs`` (for each its name, recipe, seed, fold, checksums,
        numbers of images and patients), ``perturbations`` (as in ``run.json``; ``radii_searched`` says of an attack
        that at radii above an image's first success the numbers are of that success) and ``frames``: by the stem of its
        CSV file, a list of rows for each frame that tells of runs, names, perturbations and groups.
    """
    told = {name: frame for name, frame in frames.items() if name not in _OF_SAMPLES}
    return _plain(
        {
            "version": VERSION,
            "monai_robust": __version__,
            "task": runs[0].task,
            "classes": runs[0].classes,
            "measure": {
                "column": style.column,
                "name": style.name,
                "higher_is_better": style.higher_is_better,
                "unit": style.unit,
            },
            "baseline": baseline,
            "pilot": pilot,
            "caveats": list(caveats),
            "runs": [_run(run) for run in runs],
            "perturbations": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "norm": one.norm,
                    "severities": list(one.severities),
                    "radii_searched": is_searched(one),
                }
                for one in runs[0].perturbations
            ],
            "frames": {name: frame.to_dict("records") for name, frame in told.items()},
        }
    )


def write_machine_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write ``summary.json`` into a folder."""
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    return write_whole(folder / SUMMARY, f"{text}\n".encode())


def _run(run: Run) -> dict[str, Any]:
    clean = run.clean
    return {
        "name": run.name,
        **{key: run.info.get(key) for key in _OF_RUNS},
        "checkpoint_sha256": (run.info.get("checkpoint") or {}).get("sha256"),
        "versions": run.info.get("versions"),
        "images": len(clean),
        "patients": int(clean.loc[clean["patient_id"] != "", "patient_id"].nunique()),
        "sanity_warnings": None if run.sanity is None else len(run.sanity.warnings),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(own) for name, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "item"):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return str(value)
