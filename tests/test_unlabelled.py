"""Images without labels: the network is compared with its own answers, and a report says what is not known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_measure import CLASSES, Films, measurement, network
from torch import nn

from monai_robust.attacks import FMN, PGD, ScoreBeyond
from monai_robust.data import unlabelled_datalist
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, NearestSweep, write_report
from monai_robust.evaluation.report.contents import Contents
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.tasks import Classification, MultiLabel, Segmentation, Task

NAMES = ("normal", "covid")
FILES = ("a/film1.png", "b/film2.png", "film3.png")


class Unlabelled(Films):
    """Films with nothing that is true of them."""

    def __init__(self, label: object) -> None:
        super().__init__()
        for item in self.items:
            item["label"] = label


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, file in enumerate(FILES):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 40 * place, dtype=np.uint8)).save(tmp_path / file)
    return tmp_path


def test_images_below_a_folder_are_listed_without_labels_for_every_task(folder: Path) -> None:
    for task in ("classification", "multi_label", "detection", "landmarks"):
        found = unlabelled_datalist(task, folder, NAMES)
        assert found.classes == NAMES
        assert [item["sample_id"] for item in found.items["test"]] == list(FILES)
        assert not found.items["train"]
    assert len(unlabelled_datalist("classification", folder, NAMES, limit=2).items["test"]) == 2


def test_a_table_of_images_tells_patients_and_groups_and_needs_no_label(folder: Path) -> None:
    rows = [f"{file},p{place // 2},north" for place, file in enumerate(FILES)]
    (folder / "index.csv").write_text("\n".join(["file,patient_id,site", *rows]))
    items = unlabelled_datalist("classification", folder, NAMES, groups=["site"]).items["test"]
    assert [item["patient_id"] for item in items] == ["p0", "p0", "p1"]
    assert {item["site"] for item in items} == {"north"}
    with pytest.raises(BadInputError, match="no column 'scanner'"):
        unlabelled_datalist("classification", folder, NAMES, groups=["scanner"])
    with pytest.raises(BadInputError, match="nothing is trained without labels"):
        unlabelled_datalist("classification", folder, None)


def pixels() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Conv2d(1, 3, 1)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([0.0, 6.0, 12.0]).view(3, 1, 1, 1))
        made.bias.copy_(torch.tensor([0.0, -2.4, -7.2]))
    return made


CASES = [
    (Classification(), 0, network, CLASSES, "agreement"),
    (MultiLabel(), np.full(3, -1, dtype=np.float32), network, CLASSES, "agreement"),
    (Segmentation(), torch.zeros(1, 8, 8, dtype=torch.long), pixels, CLASSES[1:], "Dice"),
]


@pytest.mark.parametrize(
    ("task", "label", "made", "classes", "word"), CASES, ids=lambda one: getattr(one, "name", None)
)
def test_a_network_is_compared_with_its_own_answers(
    task: Task, label: object, made: object, classes: list[str], word: str, tmp_path: Path
) -> None:
    attack = PGD(norm="l2", steps=3, bounds=(0.0, 1.0))
    films = Unlabelled(label)
    net = made()  # type: ignore[operator]
    folder = measurement(
        tmp_path / "run",
        network=net,
        dataset=films,
        task=task,
        labelled=False,
        classes=classes,
        cases=2,
        perturbations=[
            CleanSweep(),
            AttackSweep(attack, [0.5, 1.5]),
            NearestSweep(FMN(steps=10, bounds=(0.0, 1.0)), 3.0, criterion=ScoreBeyond(0.9, reference="prediction")),
            CorruptionSweep("gaussian", levels=[5]),
        ],
    ).run()
    run = read_run(folder)
    assert not run.labelled
    assert (run.clean["score"].dropna() == 1).all()
    assert run.info["data"]["classes"] == {}
    attacked = run.outcomes[run.outcomes["perturbation"] == "pgd_l2"].groupby("severity")["score"].mean()
    assert attacked.is_monotonic_decreasing
    assert attacked.iloc[-1] < 1
    report = write_report([folder], tmp_path / "report.html")
    text = report.read_text()
    assert "The images have no labels: how often the networks are right is not known." in text
    assert "Without labels these could not be computed" in text
    assert "AUROC</h" not in text
    assert word in Contents.read([folder]).style.name
    assert report.with_name("report_tables").joinpath("worklist.csv").exists()
    assert "The images have no labels" in report.with_name("cases.html").read_text()


def test_answers_of_other_films_do_not_matter_and_the_labels_are_never_read(tmp_path: Path) -> None:
    scores = []
    for place, label in enumerate((0, 2)):
        run = read_run(measurement(tmp_path / str(place), dataset=Unlabelled(label), labelled=False).run())
        scores.append(run.outcomes[["sample_id", "perturbation", "severity", "score", "label"]])
    assert scores[0].equals(scores[1])


def test_thresholds_are_not_fitted_without_labels(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nothing can be fitted on a validation set"):
        measurement(tmp_path, labelled=False, validation=Films())
