"""Training and evaluation in MLflow, and what is said where it is not installed."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from bundle_runs import BUNDLES
from mini_bundle import write_mini_bundle
from monai.bundle import run

from monai_robust.data import write_radiograph_phantoms
from monai_robust.errors import BadInputError
from monai_robust.evaluation.report.tracking import check_tracking, log_summary, tracking_uri
from monai_robust.overlays import overlay_path

ROBUST = {f"robust_{name}" for name in ("clean_loss", "adv_loss", "adv_norm", "eps")}


def test_without_mlflow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(BadInputError, match=r"pip install 'monai-robust\[mlflow\]'"):
        check_tracking("mlflow")


def test_another_tracker_is_refused():
    with pytest.raises(BadInputError, match="tracking"):
        check_tracking("wandb")


def test_an_evaluation_goes_where_its_training_went(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    checkpoint, results = tmp_path / "model.pt", tmp_path / "results"
    assert tracking_uri(checkpoint, results).endswith("results/mlruns.db")
    (tmp_path / "mlruns.db").touch()
    assert tracking_uri(checkpoint, results).endswith(f"{tmp_path}/mlruns.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracked")
    assert tracking_uri(checkpoint, results) == "https://tracked"


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Of a data base of its own."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns.db")
    return mlflow.MlflowClient()


def logged(client, name: str) -> list[dict[str, float]]:
    runs = client.search_runs([client.get_experiment_by_name("monai_experiment").experiment_id])
    return [one.data.metrics for one in runs if any(name in metric for metric in one.data.metrics)]


@pytest.mark.full
def test_a_foreign_training_with_an_overlay_is_tracked(client, tmp_path):
    folder = write_mini_bundle(tmp_path / "bundle")
    attack = {"robust#attack#steps": 2, "robust#attack#bounds": [0.0, 1.0]}
    files = [str(folder / "configs" / "train.json"), str(overlay_path("sat"))]
    run(config_file=files, bundle_root=str(folder), tracking="mlflow", **attack)
    (metrics,) = logged(client, "robust_adv_loss")
    assert set(metrics) >= ROBUST
    assert metrics["robust_eps"] == 1.0
    assert 0 < metrics["robust_adv_norm"] <= 1.0 + 1e-5


@pytest.mark.full
def test_a_training_of_our_bundles_is_tracked_with_its_validation(client, tmp_path):
    bundle = BUNDLES["chest"]
    write_radiograph_phantoms(tmp_path / "films", patients=12)
    settings = {"epochs": 1, "limit": 8, "image_size": 16, "batch_size": 4, "recipe": "sat"}
    folders = {"bundle_root": str(tmp_path), "dataset_dir": str(tmp_path / "films"), "output_dir": str(tmp_path / "o")}
    steps = {"robust#attack#steps": 2}
    run(config_file=str(bundle.config("train")), tracking="mlflow", **settings, **folders, **steps)
    (metrics,) = logged(client, "robust_adv_loss")
    assert set(metrics) >= {*ROBUST, "train_loss", "val_accuracy"}


@pytest.mark.full
def test_a_summary_is_logged_by_perturbation_and_severity(client, tmp_path):
    rows = pd.DataFrame(
        {
            "name": "erm",
            "group": [None, None, "site"],
            "value": [None, None, "a"],
            "perturbation": ["clean", "pgd_l2", "clean"],
            "kind": ["clean", "attack", "clean"],
            "norm": ["", "l2", ""],
            "severity": [0.0, 0.5, 0.0],
            "n": [10, 10, 5],
            "score": [0.9, 0.25, 0.1],
            "score_low": [0.8, float("nan"), 0.0],
        }
    )
    (tmp_path / "report_tables").mkdir()
    rows.to_csv(tmp_path / "report_tables" / "summary.csv", index=False)
    assert log_summary(tmp_path / "report.html", str(client.tracking_uri)) == "monai_experiment"
    (metrics,) = logged(client, "score")
    expected = {"clean/score": 0.9, "clean/score_low": 0.8, "clean/n": 10, "pgd_l2/0.5/score": 0.25, "pgd_l2/0.5/n": 10}
    assert metrics == expected
