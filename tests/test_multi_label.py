"""Several labels of an image, some of which nobody knows: loss, attack, table, report."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from sklearn.metrics import recall_score, roc_auc_score
from torch import nn

from monai_robust.attacks import APGD, FMN, PGD, ScoreBeyond
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement, NearestSweep, read_run, write_report
from monai_robust.evaluation.report.contents import Contents
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.multi_label import MultiLabelReport
from monai_robust.losses import KnownLabelsLoss
from monai_robust.tasks import MultiLabel
from monai_robust.tasks.agreement import agreement_of

FINDINGS = ["effusion", "nodule", "oedema"]
REPORT = MultiLabelReport()
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.2, -0.1]])
UNKNOWN = torch.tensor([[1.0, -1.0, 0.0], [math.nan, 1.0, 0.0]])


def test_the_loss_is_the_mean_over_known_labels() -> None:
    expected = F.binary_cross_entropy_with_logits(LOGITS[UNKNOWN >= 0], UNKNOWN[UNKNOWN >= 0])
    assert KnownLabelsLoss()(LOGITS, UNKNOWN) == pytest.approx(expected.item())
    full = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    assert KnownLabelsLoss()(LOGITS, full) == pytest.approx(nn.BCEWithLogitsLoss()(LOGITS, full).item())
    none = LOGITS.clone().requires_grad_()
    loss = KnownLabelsLoss()(none, torch.full_like(LOGITS, -1))
    loss.backward()
    assert loss.item() == 0
    assert not none.grad.any()
    with pytest.raises(BadInputError, match="several labels of an image are"):
        KnownLabelsLoss()(LOGITS, UNKNOWN[:, :2])


@pytest.mark.parametrize("targets", [None, "effusion"])
def test_labels_that_are_no_numbers_are_refused(targets) -> None:
    with pytest.raises(BadInputError, match=f"labels are a {type(targets).__name__}, and several labels of an image"):
        MultiLabel().terms(LOGITS, targets)


def test_views_agree_in_independent_labels() -> None:
    assert agreement_of(KnownLabelsLoss()) == "bernoulli"


def test_unknown_labels_count_in_no_term_success_or_score() -> None:
    task = MultiLabel()
    logits = LOGITS.clone().requires_grad_()
    terms = task.terms(logits, UNKNOWN)["binary_cross_entropy"]
    losses = F.binary_cross_entropy_with_logits(LOGITS, UNKNOWN.nan_to_num().clamp(min=0), reduction="none")
    expected = torch.where(UNKNOWN >= 0, losses, 0.0).sum(dim=1)
    assert torch.allclose(terms, expected)
    terms.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[~(UNKNOWN >= 0)].any()
    assert task.wrong(LOGITS, UNKNOWN).tolist() == [True, False]  # the third finding of the first is said
    assert task.score(LOGITS, UNKNOWN).tolist() == [0.0, 1.0]
    assert task.score(LOGITS, torch.full_like(UNKNOWN, -1)).isnan().all()  # an image of which nothing is known


@pytest.mark.parametrize("loss", ["bce", "margin"])
def test_attacks_raise_the_loss_of_known_labels(loss: str) -> None:
    torch.manual_seed(0)
    network, task = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), MultiLabel()
    images = torch.rand(2, 1, 8, 8)
    attacked = APGD(steps=5, bounds=(0, 1), loss=loss)(network, images, UNKNOWN, 1.0, task=task)
    before, after = (task.terms(network(one), UNKNOWN)["binary_cross_entropy"] for one in (images, attacked))
    assert (after > before).all()


def films(count: int, seed: int = 0, prefix: str = "film") -> list[dict[str, object]]:
    random = np.random.default_rng(seed)
    found = []
    for index in range(count):
        labels = (random.uniform(size=3) < 0.4).astype(np.float32)
        image = 0.3 + 0.1 * random.uniform(size=(1, 8, 8)).astype(np.float32)
        for place in range(3):
            image[0, 2 * place : 2 * place + 2] += 0.25 * labels[place] + 0.15 * random.normal()
        labels[random.uniform(size=3) < 0.15] = -1
        found.append(
            {
                "image": torch.tensor(image).clamp(0, 1),
                "label": torch.tensor(labels),
                "sample_id": f"{prefix}{index}",
                "patient_id": f"{prefix}-patient{index // 2}",
            }
        )
    return found


class Stripes(nn.Module):
    """A logit for each of three stripes of an image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images[:, 0].mean(dim=2)
        return torch.stack([12 * (rows[:, 2 * k : 2 * k + 2].mean(dim=1) - 0.48) for k in range(3)], dim=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    sweeps = [
        CleanSweep(),
        AttackSweep(PGD(steps=3, bounds=(0, 1)), [0.3, 1.0]),
        NearestSweep(FMN(steps=5, bounds=(0, 1)), high=2.0, criterion=ScoreBeyond(0.5)),
    ]
    folder = tmp_path_factory.mktemp("multi") / "run"
    measurement = Measurement(
        Stripes(),
        films(60),
        task=MultiLabel(),
        perturbations=sweeps,
        output_dir=folder,
        name="erm",
        classes=FINDINGS,
        validation=films(50, seed=1, prefix="other"),
        sanity_samples=4,
        progress=False,
    )
    return read_run(measurement.run())


def test_the_table_has_a_label_and_a_probability_for_each_finding(run: Run) -> None:
    table = run.clean
    given = torch.stack([torch.as_tensor(film["label"]) for film in films(60)]).numpy()
    labels = table[[f"label_{index}" for index in range(3)]].to_numpy(dtype=float)
    assert np.isnan(labels[given == -1]).all()
    assert (labels[given >= 0] == given[given >= 0]).all()
    images = torch.stack([torch.as_tensor(film["image"]) for film in films(60)])
    expected = Stripes()(images).double().sigmoid().numpy()
    assert table[[f"probability_{index}" for index in range(3)]].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert run.info["data"]["classes"] == {name: int((given[:, k] == 1).sum()) for k, name in enumerate(FINDINGS)}


@pytest.mark.parametrize(("perturbation", "severity"), [("clean", 0.0), ("pgd_l2", 0.3)])
def test_areas_and_shares_of_findings_are_those_of_scikit_learn(run: Run, perturbation: str, severity: float) -> None:
    table = run.outcomes
    rows = table[(table["perturbation"] == perturbation) & (table["severity"] == severity)]
    found = REPORT.statistics(run, rows)
    for index in range(3):
        own = rows[rows[f"label_{index}"].notna()]
        labels, scores = own[f"label_{index}"].astype(int), own[f"probability_{index}"]
        assert found[f"auroc_{index}"] == pytest.approx(roc_auc_score(labels, scores))
        called = scores >= found[f"threshold_youden_{index}"]
        assert found[f"sensitivity_youden_{index}"] == pytest.approx(recall_score(labels, called))
        assert found[f"specificity_youden_{index}"] == pytest.approx(recall_score(labels, called, pos_label=0))
    assert found["auroc"] == pytest.approx(np.mean([found[f"auroc_{index}"] for index in range(3)]))
    assert found["all_right"] == pytest.approx(rows["score"].mean())


def test_without_a_case_the_area_is_undefined_in_words_and_nothing_is_beyond(run: Run) -> None:
    none = run.outcomes.assign(**{f"label_{index}": 0.0 for index in range(3)})
    found = Contents([replace(run, outcomes=none)], "erm", REPORT)
    said = [*found.headline, *(picture.alt for section in found.sections for picture in section.pictures)]
    assert "of “erm” it is undefined (no finding has both a case and a control)" in found.headline[0]
    assert not any(re.search(r"\bnan\b|beyond|none of the radii", text) for text in said)
    verdict = [str(cell) for cell in found.verdict.tables[0].frame().iloc[0]]
    assert any(text.startswith("undefined: it has no value on clean images") for text in verdict)


def test_the_report_shows_findings_operating_points_and_patients(run: Run, tmp_path: Path) -> None:
    page = write_report([run.folder], tmp_path / "report.html", prevalence=0.1).read_text()
    for words in (
        *FINDINGS,
        "AUROC, mean of the findings",
        "Operating points fitted on validation",
        "a stated prevalence of 10 %",
        "Image and patient level",
        "Every label right",
        "Temperature",
        "How little it takes",
    ):
        assert words in page
    assert ">nan" not in page
    tables = tmp_path / "report_tables"
    summary = pd.read_csv(tables / "summary.csv")
    clean, largest = (
        summary[(summary["perturbation"] == name) & (summary["severity"] == severity)]["auroc"].iloc[0]
        for name, severity in (("clean", 0.0), ("pgd_l2", 1.0))
    )
    assert largest < clean
    ends = summary[summary["perturbation"] == "clean"].iloc[0]
    assert ends["auroc_low"] < clean < ends["auroc_high"]
    assert ends["label_accuracy_low"] < ends["label_accuracy"] < ends["label_accuracy_high"]
    assert len(pd.read_csv(tables / "table_findings.csv")) == 3
    assert (tables / "summary_by_patient.csv").exists()


def test_an_evaluator_with_several_labels_is_measured_so(tmp_path: Path) -> None:
    data = [{key: film[key] for key in ("image", "label")} for film in films(20)]
    evaluator = SupervisedEvaluator(torch.device("cpu"), DataLoader(Dataset(data), batch_size=4), Stripes())
    measured = Measurement.of(
        evaluator,
        [CleanSweep(), AttackSweep(PGD(steps=2, bounds=(0, 1)), [0.5])],
        tmp_path / "run",
        loss=KnownLabelsLoss(),
        sanity_samples=2,
        progress=False,
    )
    found = read_run(measured.run())
    assert (found.task, found.classes) == ("multi_label", ["class 0", "class 1", "class 2"])
    assert "Each finding" in write_report([found.folder], tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="label_2"), "has no column 'label_2'"),
        (lambda table: table.assign(label_1=2), "labels must be 0, 1 or empty"),
        (lambda table: table.assign(probability_1=1.5), "probabilities must be from 0 to 1"),
    ],
)
def test_tables_that_cannot_be_are_refused(run: Run, change, message: str) -> None:
    broken = Run(run.folder, run.info, change(run.outcomes), run.perturbations)
    with pytest.raises(BadInputError, match=message):
        REPORT.check(broken)


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(BadInputError, match="of -1 or NaN where it is not known"):
        MultiLabel().terms(LOGITS, torch.full_like(LOGITS, 2))
