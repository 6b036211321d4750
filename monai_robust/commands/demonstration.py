"""The main job end to end, small enough for two cores: phantoms, two trainings, two evaluations, one report."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from monai_robust.commands.bundle import shipped_bundle
from monai_robust.commands.bundles import bundle_configs, run_bundle
from monai_robust.data import write_radiograph_phantoms
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.report.page import write_report
from monai_robust.evaluation.statistics.summary import mean_input_norm
from monai_robust.evaluation.tables.run_folder import read_run

__all__ = ["run_demo"]

_RECIPES = ("erm", "rtda")
_PATIENTS = 360
# Smaller than the bundle's defaults, so that RTDA learns this task in the minutes that a demonstration has: fewer
# attack steps, a smaller radius, and a lambda that lets classification lead from the first epoch.
_TRAINING = {"robust#attack#steps": 4, "robust#attack#eps": 0.3, "robust#weight": 2.0}
_RADII = [0.2, 0.38, 0.75]
_MARK = "demo.json"


def run_demo(output_dir: str | Path, *, seed: int = 0, bundle: str | Path | None = None) -> Path:
    """Write phantom radiographs, train a classifier by ERM and by RTDA, evaluate both and write ``report.html``.

    Args:
        output_dir: where everything goes; the results of an earlier demonstration there are replaced.
        seed: of phantoms, weights and batches.
        bundle: a chest radiograph bundle's folder; the shipped one by default.

    Returns:
        The report's path.
    """
    started = time.monotonic()
    console = Console()
    folder = _fresh_folder(Path(output_dir), seed)
    bundle = shipped_bundle("chest_xray_classification") if bundle is None else bundle
    bundle_configs(bundle, "train", "robustness")
    stages = 2 * len(_RECIPES) + 2
    console.rule(f"1/{stages}  phantom radiographs (DICOM)")
    data = write_radiograph_phantoms(folder / "phantoms", patients=_PATIENTS, seed=seed, progress=True)
    runs = []
    for index, recipe in enumerate(_RECIPES):
        model = folder / recipe
        console.rule(f"{2 * index + 2}/{stages}  training by {recipe.upper()}")
        common = {"dataset_dir": data, "output_dir": model, "recipe": recipe, "seed": seed, **_TRAINING}
        run_bundle(bundle, ["train"], common)
        console.rule(f"{2 * index + 3}/{stages}  measuring {recipe.upper()}: clean, attacked, corrupted")
        run_bundle(bundle, ["train", "robustness"], {**common, "radii": _RADII})
        runs.append(model / "robustness")
    console.rule(f"{stages}/{stages}  report")
    report = write_report(runs, folder / "report.html")
    console.print(_table(runs))
    for run in runs:
        print(f"outcomes: {run / 'outcomes.csv'}")
    print(f"report:   {report}  (open it in a browser; {(time.monotonic() - started) / 60:.1f} minutes in all)")
    return report


def _fresh_folder(folder: Path, seed: int) -> Path:
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / _MARK).is_file():
            raise BadInputError(f"{folder} holds other files; name an empty folder with --output_dir")
        for entry in ("phantoms", "report_tables", *_RECIPES):
            shutil.rmtree(folder / entry, ignore_errors=True)
    mark = json.dumps({"what": "a demonstration of monai-robust", "seed": seed})
    write_whole(folder / _MARK, f"{mark}\n".encode())
    return folder


def _table(folders: list[Path]) -> Table:
    """Accuracy clean, attacked and shifted, computed from the outcomes tables."""
    runs = [read_run(folder) for folder in folders]
    table = Table(title=f"accuracy in percent on {runs[0].outcomes['sample_id'].nunique()} test films")
    table.add_column("training")
    columns = runs[0].outcomes[["perturbation", "severity"]].drop_duplicates()
    contrasts = [severity for name, severity in columns.itertuples(index=False) if name == "contrast_high"]
    shown = [(name, s) for name, s in columns.itertuples(index=False) if name in ("clean", "pgd_l2")]
    shown += [("contrast_high", contrasts[len(contrasts) // 2])]
    norm = mean_input_norm(runs[0])
    for perturbation, severity in shown:
        percent = f"\n({100 * severity / norm:.1f} %)" if perturbation == "pgd_l2" else ""
        short = {"clean": "clean", "pgd_l2": f"PGD {severity:g}{percent}"}
        table.add_column(short.get(perturbation, f"contrast\nx {severity:g}"), justify="right")
    for run in runs:
        means = run.outcomes.groupby(["perturbation", "severity"], sort=False)["score"].mean()
        assert isinstance(means, pd.Series)
        table.add_row(run.name.upper(), *(f"{100 * means[key]:.1f}" for key in shown))
    table.caption = "PGD: L2 radius, and in percent of the mean image norm"
    return table
