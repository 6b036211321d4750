"""The numbers of a finished evaluation as metrics in MLflow, beside those of the training."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from monai_robust.errors import BadInputError, require_choice

__all__ = ["check_tracking", "log_summary", "tracking_uri"]

_EXPERIMENT = "monai_experiment"  # where MONAI's --tracking mlflow logs a training
_NOT_LOGGED = {"name", "group", "value", "perturbation", "kind", "norm", "severity", "n_runs"}


def check_tracking(tracking: str) -> None:
    """Refuse a tracker that is not there before anything is measured.

    Raises:
        BadInputError: for another tracker than ``"mlflow"``, or where MLflow is not installed.
    """
    require_choice("tracking", tracking, ["mlflow"])
    try:
        import mlflow  # noqa: F401
    except ImportError:
        raise BadInputError(
            "--tracking mlflow needs MLflow, which is not installed; pip install 'monai-robust[mlflow]'"
        ) from None


def tracking_uri(checkpoint: str | Path | None, output_dir: str | Path) -> str:
    """Where metrics go: ``MLFLOW_TRACKING_URI``, else the ``mlruns.db`` beside the checkpoint, which its training
    wrote, else one in ``output_dir``."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    beside = None if checkpoint is None else Path(checkpoint).parent / "mlruns.db"
    file = beside if beside is not None and beside.is_file() else Path(output_dir) / "mlruns.db"
    return f"sqlite:///{quote(file.resolve().as_posix(), safe='/:')}"  # as MONAI 1.6.1 writes it


def log_summary(report: str | Path, uri: str) -> str:
    """Log the rows of a report's ``summary.csv`` that are about all samples: a finished run for each name.

    A metric is called ``<perturbation>/<severity>/<column>``, as in ``pgd_l2/0.5/score``, or ``clean/score``. Ids of
    samples, patients and files are not logged. The experiment is ``MLFLOW_EXPERIMENT_NAME``, else MONAI's.

    Args:
        report: the HTML file, beside which the tables stand.
        uri: of the tracking server or data base.

    Returns:
        The experiment's name.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    report = Path(report)
    summary = pd.read_csv(report.with_name(f"{report.stem}_tables") / "summary.csv", keep_default_na=True)
    whole = summary[summary["group"].isna()]
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        number = client.create_experiment(experiment) if known is None else known.experiment_id
        for name, rows in whole.groupby("name", sort=False):
            run = client.create_run(number, run_name=str(name), tags={"monai_robust": "evaluation"}).info
            metrics = [
                Metric(key, value, run.start_time, 0) for _, row in rows.iterrows() for key, value in _metrics(row)
            ]
            for start in range(0, len(metrics), 1000):  # MLflow takes no more at once
                client.log_batch(run.run_id, metrics=metrics[start : start + 1000])
            client.set_terminated(run.run_id)
    except MlflowException as error:
        raise BadInputError(f"MLflow at {uri} did not take the metrics: {str(error).splitlines()[0]}") from error
    return experiment


def _metrics(row: pd.Series[Any]) -> list[tuple[str, float]]:
    """Names and values of the numbers in a row."""
    severity = "" if row["perturbation"] == "clean" else f"/{row['severity']:g}"
    place = re.sub(r"[^\w./ -]", "_", f"{row['perturbation']}{severity}")
    numbers = {
        re.sub(r"[^\w./ -]", "_", str(column)): value
        for column, value in row.items()
        if column not in _NOT_LOGGED and not str(column).endswith("_std") and isinstance(value, (int, float))
    }
    return [(f"{place}/{column}", float(value)) for column, value in numbers.items() if math.isfinite(value)]
