"""What each budget of attack steps buys: AUC_robust, accuracies and training time of fast_training_results.sh.

python studies/pilots/fast_training_table.py OUTPUT_DIR [REFERENCE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.metrics import auc_robust


def run_row(folder: Path) -> dict[str, object]:
    """AUC_robust, the accuracy at each radius and the seconds of training of one run, ``NAME-SEED``."""
    name, seed = folder.name.rsplit("-", 1)
    accuracy = read_run(folder / "robustness").outcomes.groupby("severity")["score"].mean()
    times = pd.read_csv(folder / "epoch_times.csv").drop(columns="epoch").sum()
    area = auc_robust(accuracy.index, accuracy.to_numpy())
    levels = {f"radius {radius:g}": 100 * value for radius, value in accuracy.items()}
    return {"name": name, "seed": int(seed), "AUC_robust": area, **levels, **times}


def main(output: Path, reference: str = "sat20") -> None:
    rows = pd.DataFrame([run_row(path.parents[1]) for path in sorted(output.glob("*/robustness/run.json"))])
    clocks = [column for column in rows if str(column).endswith("seconds")]
    base = rows[rows["name"] == reference].set_index("seed")[["AUC_robust", *clocks]]
    for column in base:
        own = rows["seed"].map(base[column])
        less = rows[column] - own if column == "AUC_robust" else rows[column] / own
        rows[f"{column} {'minus' if column == 'AUC_robust' else 'over'} {reference}'s"] = less
    print(rows.round(3).to_string(index=False))
    print(rows.drop(columns="seed").groupby("name").agg(["mean", "std"]).round(3).T.to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
