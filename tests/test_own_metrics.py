"""An evaluator's own metrics of all samples together, clean and under each perturbation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import environment
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import ROCAUC, ConfusionMatrix, MeanDice, from_engine
from monai.losses import DiceLoss
from monai.transforms import Activationsd, AsDiscreted, Compose, Lambdad
from sklearn.metrics import roc_auc_score
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement, read_run, write_report
from monai_robust.evaluation.measure import own_metrics

TESTS = Path(__file__).parent
RADII = [0.5, 2.0]


class Brightness(nn.Module):
    """Two classes by the mean brightness of an image."""

    def forward(self, images):
        mean = images.flatten(1).mean(dim=1)
        return torch.stack([0 * mean, 8 * (mean - 0.5)], dim=1)


def films(count=11):
    generator = torch.Generator().manual_seed(3)
    return [
        {"image": 0.2 * (index % 2) + 0.8 * torch.rand(1, 6, 6, generator=generator), "label": index % 2}
        for index in range(count)
    ]


def evaluator(data=None, **more):
    """With AUROC, which one sample does not have, as its key metric, and sensitivity and accuracy beside it."""
    post = Compose([Activationsd("pred", softmax=True), AsDiscreted("label", to_onehot=2)])
    pairs = from_engine(["pred", "label"])
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(films() if data is None else data), batch_size=4),
        network=Brightness(),
        **{
            "postprocessing": post,
            "key_val_metric": {"auroc": ROCAUC(output_transform=pairs)},
            "additional_metrics": {
                "sensitivity": ConfusionMatrix(
                    include_background=False, metric_name="sensitivity", output_transform=rounded
                ),
            },
            **more,
        },
    )


def rounded(output):
    return [one["pred"].round() for one in output], [one["label"] for one in output]


def sweeps():
    return [CleanSweep(), AttackSweep(PGD(steps=3, bounds="per_image"), RADII, faithful=True)]


def measured(folder, own=None, **more):
    given = {"sanity_samples": 0, "progress": False, **more}
    return Measurement.of(own or evaluator(), sweeps(), folder, **given)


def values(folder, metric):
    found = read_run(folder).metrics
    return {(one.perturbation, one.severity): one.value for one in found.values if one.metric == metric}


def test_clean_it_is_what_the_evaluators_own_run_says(tmp_path):
    own = evaluator()
    own.run()
    folder = measured(tmp_path / "run").run()
    for metric in ("auroc", "sensitivity"):
        assert values(folder, metric)["clean", 0.0] == pytest.approx(float(own.state.metrics[metric]), abs=1e-12)
    assert read_run(folder).metrics.key_metric == "auroc"


def test_under_attack_it_is_that_of_the_answers_in_the_table(tmp_path):
    folder = measured(tmp_path / "run").run()
    run = read_run(folder)
    for (perturbation, severity), rows in run.outcomes.groupby(["perturbation", "severity"]):
        expected = roc_auc_score(rows["label"], rows["probability_1"])
        assert values(folder, "auroc")[perturbation, severity] == pytest.approx(expected, abs=1e-9)
        hits = (rows["prediction"] == 1)[rows["label"] == 1].mean()
        assert values(folder, "sensitivity")[perturbation, severity] == pytest.approx(hits, abs=1e-6)
    found = values(folder, "auroc")
    assert found["pgd_l2", 2.0] < found["pgd_l2", 0.5] < found["clean", 0.0]
    assert {one.samples for one in run.metrics.values} == {11}
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "The pipeline&#39;s own metrics" in page or "The pipeline's own metrics" in page
    assert f"{found['pgd_l2', 2.0]:.4f}" in page
    assert "The evaluator&#39;s key metric is auroc" in page
    assert (tmp_path / "report_tables" / "own_metrics.csv").is_file()


def test_the_evaluator_is_as_before_and_no_answers_stay(tmp_path):
    own = evaluator()
    folder = measured(tmp_path / "run", own).run()
    assert own.state.metrics == {}
    assert own.state.output is None
    assert not (folder / "parts").exists()


def test_a_measurement_that_was_stopped_ends_with_the_same_metrics(tmp_path, monkeypatch):
    whole = (measured(tmp_path / "whole").run() / "metrics.json").read_bytes()
    shown, seen = Measurement._show, []

    def stopping(self, evaluated, perturbed):
        seen.append(len(perturbed))
        if len(seen) == 6:
            raise KeyboardInterrupt
        return shown(self, evaluated, perturbed)

    monkeypatch.setattr(Measurement, "_show", stopping)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "stopped").run()
    assert not (tmp_path / "stopped" / "metrics.json").exists()
    monkeypatch.setattr(Measurement, "_show", shown)
    assert (measured(tmp_path / "stopped").run() / "metrics.json").read_bytes() == whole


def test_a_sample_that_fails_is_left_out(tmp_path):
    data = films()
    data[5]["image"] = torch.full((1, 6, 6), float("nan"))
    folder = measured(tmp_path / "run", evaluator(data)).run()
    assert [one["sample_id"] for one in read_run(folder).info["failed"]]
    assert {one.samples for one in read_run(folder).metrics.values} == {10}
    good = read_run(folder).clean
    assert values(folder, "auroc")["clean", 0.0] == pytest.approx(roc_auc_score(good["label"], good["probability_1"]))


def test_what_cannot_be_taken_is_a_sentence_in_the_report(tmp_path, monkeypatch):
    def broken(pred):
        raise RuntimeError("no such file: /data/jane_doe.nii.gz")

    post = Compose([Lambdad("pred", broken)])
    own = evaluator(postprocessing=post)
    folder = measured(tmp_path / "run", own, task="classification").run()
    problem = read_run(folder).metrics.problem
    assert "RuntimeError: no such file" in problem
    assert "jane" not in problem
    assert "could not be taken" in write_report([folder], tmp_path / "report.html").read_text()
    monkeypatch.setattr(own_metrics, "LARGEST", 10)
    folder = measured(tmp_path / "large").run()
    assert "larger than 2 GiB" in read_run(folder).metrics.problem
    assert read_run(folder).metrics.values == []


def test_of_masks_it_is_the_mean_over_images_that_the_evaluator_takes(tmp_path):
    class Regions(nn.Module):
        def forward(self, images):
            return torch.cat([8 * (images - 0.5), 8 * (images - 0.9)], dim=1)

    data = [{"image": one["image"], "label": (one["image"].repeat(2, 1, 1) > 0.6).float()} for one in films(5)]
    dice = {"dice": MeanDice(include_background=True, output_transform=from_engine(["pred", "label"]))}
    post = Compose([Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.5)])
    own = evaluator(data, key_val_metric=dice, additional_metrics=None, postprocessing=post)
    own.network = Regions()
    folder = measured(tmp_path / "run", own, loss=DiceLoss(sigmoid=True)).run()
    run = read_run(folder)
    for (perturbation, severity), rows in run.outcomes.groupby(["perturbation", "severity"]):
        assert values(folder, "dice")[perturbation, severity] == pytest.approx(rows["score"].mean(), abs=1e-6)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_own_metrics import measured

measured({folder!r}).run()
"""


@pytest.mark.full
def test_two_processes_take_the_metrics_of_one(tmp_path, warm_python):
    alone = measured(tmp_path / "alone").run()
    script = tmp_path / "two.py"
    script.write_text(SCRIPT.format(tests=str(TESTS), folder=str(tmp_path / "two")))
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", script]
    done = warm_python.run(*words, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "two" / "metrics.json").read_bytes() == (alone / "metrics.json").read_bytes()
    assert (tmp_path / "two" / "outcomes.csv").read_bytes() == (alone / "outcomes.csv").read_bytes()


def test_a_damaged_file_is_refused_by_name(tmp_path):
    folder = measured(tmp_path / "run").run()
    found = json.loads((folder / "metrics.json").read_text())
    found["values"][0]["value"] = "high"
    (folder / "metrics.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"metrics\.json"):
        read_run(folder)
