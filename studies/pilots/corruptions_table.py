"""Accuracy under each corruption and level, mean and spread over the runs of studies/pilots/brain_mr_results.sh.

python studies/pilots/corruptions_table.py RUN_FOLDER... prints it as Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.run_folder import Run, read_run


def levels(run: Run) -> pd.DataFrame:
    """Accuracy and macro AUROC at each level of each corruption; level 0 is clean."""
    rows = []
    for one in run.perturbations:
        if one.kind not in ("clean", "corruption"):
            continue
        for level, severity in enumerate(one.severities, 0 if one.kind == "clean" else 1):
            own = run.outcomes[(run.outcomes["perturbation"] == one.name) & (run.outcomes["severity"] == severity)]
            said = own[[f"probability_{index}" for index in range(len(run.classes))]].to_numpy()
            areas = [roc_auc_score(own["label"] == index, said[:, index]) for index in range(len(run.classes))]
            accuracy = 100 * own["score"].mean()
            rows.append({"corruption": one.name, "level": level, "accuracy": accuracy, "auroc": float(np.mean(areas))})
    return pd.DataFrame(rows)


def cell(values: Sequence[float], digits: int = 1) -> str:
    """Mean and, of several runs, standard deviation."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean


def main(folders: Sequence[str]) -> None:
    runs = [read_run(Path(folder)) for folder in folders]
    found = pd.concat([levels(run).assign(run=index) for index, run in enumerate(runs)])
    clean = found[found["level"] == 0].set_index("run")
    print(f"{runs[0].clean['sample_id'].nunique()} images, {len(runs)} runs; clean: accuracy", end=" ")
    print(f"{cell(clean['accuracy'])} %, macro AUROC {cell(clean['auroc'], 3)}\n")
    corrupted = found[found["level"] > 0]
    drop = (corrupted["accuracy"] - corrupted["run"].map(clean["accuracy"])).groupby(corrupted["corruption"]).mean()
    print("| corruption | 1 | 2 | 3 | 4 | 5 | mean change | macro AUROC at 5 |")
    print("| --- |" + " --- |" * 7)
    for name in drop.sort_values().index:
        own = corrupted[corrupted["corruption"] == name]
        cells = [cell(own.loc[own["level"] == level, "accuracy"]) for level in range(1, 6)]
        changes = [
            (block["accuracy"] - clean.loc[run, "accuracy"]).mean() for run, block in own.groupby("run", sort=True)
        ]
        areas = own.loc[own["level"] == 5, "auroc"]
        print(f"| {perturbation_label(name)} | {' | '.join(cells)} | {cell(changes)} | {cell(areas, 3)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
