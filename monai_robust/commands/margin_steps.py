"""Which step AMAT's margins should grow by: a training and a measurement on the validation split for each candidate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from monai_robust.checkpoints.stored import newest_checkpoint
from monai_robust.commands.bundles import bundle_configs, check_presets, read_settings, run_bundle
from monai_robust.configuration import has_id, read_configuration
from monai_robust.data.files.csv_cells import csv_text
from monai_robust.data.files.side_files import read_object
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError, writing
from monai_robust.evaluation.statistics.curves import auc_by_attack, largest_error
from monai_robust.evaluation.statistics.summary import rated_by, summarise
from monai_robust.evaluation.tables.run_folder import Run, read_run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.registry import report_of

__all__ = ["best_step", "search_step"]

_FINISHED = "finished.json"
_TAKEN = ("recipe", "robust#step", "output_dir", "split", "name", "bundle_root")


def search_step(
    bundle: str | Path,
    steps: Sequence[float],
    output_dir: str | Path,
    settings: Mapping[str, Any],
    presets: Sequence[str | Path] = (),
) -> pd.DataFrame:
    """Grid search of the margins' step by AUC_robust on the validation split (amat, section 3.8 and Tables 8 to 12).

    Each step is a training of the bundle by ``amat`` and a measurement by its ``robustness`` configuration with
    ``--split val``, in a folder of its own. What is finished is not done again; what was interrupted goes on.

    Args:
        bundle: a bundle's folder, with ``configs/train`` and ``configs/robustness``.
        steps: candidates, in intensity units of the network's input.
        output_dir: gets a folder ``step_<value>`` for each, ``step_search.csv`` and ``step_search.png``.
        settings: further ids of the bundle's configurations, such as ``robust#thresholds`` and ``radii``; those of
            ``robustness`` alone are for the measurements. Text is read as on a command line.
        presets: configuration files, read last, so that they win over the bundle's own.

    Returns:
        One row for each step and attack: ``step, perturbation, clean``, what the step is chosen by at each radius (the
        mean score; of landmarks the pooled mean radial error, of detections the pooled average IoU), ``auc_robust``
        (errors are divided by the largest of all candidates, as in Table 11) and ``higher_is_better``.

    Raises:
        BadInputError: for steps that are no positive numbers, settings that are not those of the search that was begun
            in ``output_dir``, or a training or measurement that failed.
    """
    steps = sorted({float(step) for step in steps})
    if not steps or not all(math.isfinite(step) and step > 0 for step in steps):
        raise BadInputError(f"the steps to try are {steps}; name positive numbers, such as 0.5,1,2")
    if len({f"{step:g}" for step in steps}) < len(steps):
        raise BadInputError(f"two of the steps to try, {steps}, are alike to six digits, and so are their folders")
    folder = Path(output_dir)
    training, measurement = _settings(bundle, settings, check_presets(presets))
    _claim(folder, bundle, settings, presets)
    for step in steps:
        own = folder / f"step_{step:g}"
        _train(Path(bundle), step, own, training, presets)
        _measure(Path(bundle), step, own, measurement, presets)
    table = _table({step: read_run(folder / f"step_{step:g}" / "robustness") for step in steps})
    write_whole(folder / "step_search.csv", csv_text(table).encode())
    _draw(table, folder / "step_search.png")
    return table


def best_step(table: pd.DataFrame) -> float:
    """The step with the largest AUC_robust (of errors the smallest) under the attack that hurts it most.

    Args:
        table: from :func:`search_step`. A step without a number under one of the attacks is not chosen.

    Raises:
        BadInputError: no step has a number under every attack.
    """
    sign = 1.0 if table["higher_is_better"].all() else -1.0
    worst = (sign * table["auc_robust"]).groupby(table["step"]).min()
    worst[table["auc_robust"].isna().groupby(table["step"]).any()] = -np.inf  # which the minimum leaves out
    if not np.isfinite(worst).any():
        raise BadInputError("no step can be chosen: AUC_robust is not defined for any of them under every attack")
    return float(worst.index.to_numpy()[int(np.argmax(worst.to_numpy()))])


def _settings(
    bundle: str | Path, settings: Mapping[str, Any], presets: Sequence[str | Path]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a training and of a measurement: the second may have ids that no training reads."""
    train, robustness = bundle_configs(bundle, "train", "robustness")
    measurement = read_settings(read_configuration([train, robustness, *presets]), settings, taken=_TAKEN)
    trained = read_configuration([train, *presets])
    return {name: value for name, value in measurement.items() if has_id(trained, name)}, measurement


def _claim(folder: Path, bundle: str | Path, settings: Mapping[str, Any], presets: Sequence[str | Path]) -> None:
    """Refuse to mix trainings of two searches."""
    path = folder / "step_search.json"
    content = {"bundle": str(bundle), "settings": {name: str(value) for name, value in settings.items()}}
    if presets:
        content["presets"] = [str(path) for path in presets]
    if path.exists() and read_object(path, "record of a search") != content:
        raise BadInputError(f"{folder} holds a search with other settings (see {path.name}); name another --output_dir")
    write_whole(path, f"{json.dumps(content, indent=2)}\n".encode())


def _train(bundle: Path, step: float, folder: Path, settings: Mapping[str, Any], presets: Sequence[str | Path]) -> None:
    if (folder / _FINISHED).is_file():
        return
    values = {**settings, "recipe": "amat", "robust#step": step, "output_dir": folder}
    checkpoint = newest_checkpoint(folder)
    if checkpoint is not None:
        values["resume"] = checkpoint
    run_bundle(bundle, ["train"], values, presets)
    write_whole(folder / _FINISHED, b"{}\n")


def _measure(
    bundle: Path, step: float, folder: Path, settings: Mapping[str, Any], presets: Sequence[str | Path]
) -> None:
    about = folder / "robustness" / "run.json"
    if about.exists() and read_object(about, "record of an evaluation").get("finished"):
        return
    common = {**settings, "recipe": "amat", "robust#step": step, "output_dir": folder, "split": "val"}
    run_bundle(bundle, ["train", "robustness"], {**common, "name": f"step {step:g}"}, presets)


def _table(runs: Mapping[float, Run]) -> pd.DataFrame:
    first = next(iter(runs.values()))
    report = report_of(first.task)
    for run in runs.values():
        report.check(run)
    summary = rated_by(summarise(list(runs.values()), report.statistics), report.searched)
    summary = summary[summary["group"] == ""]
    higher = bool((first.info.get("score") or {}).get("higher_is_better", True))
    areas = auc_by_attack(summary, higher_is_better=higher, scale=None if higher else largest_error(summary))
    rows = []
    for step, run in runs.items():
        own = summary[summary["name"] == run.name]
        clean = float(own.loc[own["perturbation"] == CLEAN, "score"].iloc[0])
        for _, area in areas[areas["name"] == run.name].iterrows():
            attack = own[own["perturbation"] == area["perturbation"]]
            levels = {
                f"at {radius:g}": value for radius, value in zip(attack["severity"], attack["score"], strict=True)
            }
            row = {"step": step, "perturbation": area["perturbation"], "clean": clean, **levels}
            rows.append({**row, "auc_robust": area["auc_robust"], "higher_is_better": higher})
    return pd.DataFrame(rows).sort_values(["perturbation", "step"], ignore_index=True)


def _draw(table: pd.DataFrame, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for attack, rows in table.groupby("perturbation", sort=False):
        axes.plot(rows["step"], rows["auc_robust"], marker="o", label=str(attack))
    axes.set_xlabel("step of the margins")
    axes.set_ylabel("AUC_robust, validation")
    axes.legend(frameon=False)
    with writing(path):
        figure.savefig(path, dpi=150)
    plt.close(figure)
