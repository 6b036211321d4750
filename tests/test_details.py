"""Tables of details beside the outcomes: any number of rows for a sample, continued after a kill to the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import TinyNet
from torch import Tensor

from monai_robust.attacks import PGD
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement, read_outcomes, register_task
from monai_robust.evaluation.tables.details import DetailsWriter, write_true_details
from monai_robust.evaluation.tasks.classification import ClassificationOutcomes
from monai_robust.tasks import Classification

COUNT = 7


class Killed(BaseException):
    """As a signal would be: no ``except Exception`` stops it."""


class Spots(Classification):
    """Dies at a given call of one of its methods, or of those of its outcomes."""

    name = "spots"

    def __init__(self, dies_in: str = "", after: int = 0, least_score: float = 0.1) -> None:
        self.dies_in, self.left = dies_in, after
        self.least_score = least_score

    def forward(self, network, inputs, targets):
        self.perhaps_die("forward")
        return super().forward(network, inputs, targets)

    def perhaps_die(self, where: str) -> None:
        if where == self.dies_in:
            self.left -= 1
            if self.left < 0:
                raise Killed


class SpotOutcomes(ClassificationOutcomes):
    """Finds none, one or two things in an image, as its label and the prediction say."""

    task: Spots
    detail_table = "spots"
    truth_table = "things"

    def detail_columns(self) -> list[str]:
        return ["name", "score"]

    def truth_columns(self) -> list[str]:
        return ["name"]

    def settings(self) -> dict[str, Any]:
        return {"least_score": self.task.least_score}

    def values(self, outputs, targets):
        self.task.perhaps_die("values")  # after the details of the same batch were written
        return super().values(outputs, targets)

    def details(self, outputs, targets):
        self.task.perhaps_die("details")
        scores = outputs.softmax(dim=1)
        return [
            [{"name": f'"spot", {place}', "score": float(row[place])} for place in range(int(row.argmax() + label) % 3)]
            for row, label in zip(scores, targets, strict=True)
        ]

    def true_details(self, targets: Tensor) -> list[list[dict[str, Any]]]:
        self.task.perhaps_die("true_details")
        return [[{"name": f"thing {place}"} for place in range(int(label))] for label in targets]


register_task("spots", SpotOutcomes)


class Films:
    """Images in memory; ids need quoting in a table."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = [torch.rand(1, 6, 6, generator=generator) for _ in range(COUNT)]
        self.items = [
            {"image": "", "label": index % 3, "sample_id": f"Bild, „{index}“", "patient_id": str(index)}
            for index in range(COUNT)
        ]

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index] | {"image": self.images[index]}


def network() -> TinyNet:
    torch.manual_seed(1)
    made = TinyNet()
    with torch.no_grad():
        made.head.weight.mul_(60)
        made.head.bias.sub_(made.eval()(torch.full((1, 1, 6, 6), 0.5))[0])
    return made


def measurement(folder: Path, task: Any = None, **changes: Any) -> Measurement:
    arguments = {
        "task": task or Spots(),
        "perturbations": [
            CleanSweep(),
            AttackSweep(PGD(steps=2, random_start="ball", bounds=(0, 1)), [0.5, 1.0]),
            CorruptionSweep("gaussian", [0.1]),
        ],
        "output_dir": folder,
        "name": "spots",
        "classes": ["a", "b", "c"],
        "batch_size": 3,
        "progress": False,
    }
    return Measurement(network(), Films(), **(arguments | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return measurement(tmp_path_factory.mktemp("finished")).run()


TABLES = ("outcomes.csv", "spots.csv", "things.csv")


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_each_sample_has_the_rows_that_the_task_made_for_it(finished):
    outcomes = read_outcomes(finished / "outcomes.csv")
    spots = pd.read_csv(finished / "spots.csv")
    assert spots.columns.tolist() == ["sample_id", "perturbation", "severity", "name", "score"]
    keys = ["sample_id", "perturbation", "severity"]
    counts = spots.groupby(keys).size().to_dict()
    for _, row in outcomes.iterrows():
        own = spots[(spots[keys] == row[keys].tolist()).all(axis=1)]
        assert len(own) == (row["prediction"] + row["label"]) % 3 == counts.get(tuple(row[keys]), 0)
        assert own["name"].tolist() == [f'"spot", {place}' for place in range(len(own))]
        for place, score in enumerate(own["score"]):
            assert score == pytest.approx(row[f"probability_{place}"], rel=1e-5)
    assert set((outcomes["prediction"] + outcomes["label"]) % 3) == {0, 1, 2}
    assert len(set(outcomes["prediction"])) > 1


def test_what_would_be_right_is_written_once_for_each_sample(finished):
    things = pd.read_csv(finished / "things.csv")
    expected = [(f"Bild, „{index}“", f"thing {place}") for index in range(COUNT) for place in range(index % 3)]
    assert list(things.itertuples(index=False, name=None)) == expected


def test_numbers_that_detections_depend_on_are_in_the_record_and_others_are_refused(tmp_path, finished):
    assert '"least_score": 0.1' in (finished / "run.json").read_text()
    measurement(tmp_path, perturbations=[CleanSweep()]).run()
    with pytest.raises(BadInputError, match=r"other settings.*another folder"):
        measurement(tmp_path, Spots(least_score=0.2), perturbations=[CleanSweep()]).run()


def test_a_task_without_details_writes_no_tables(tmp_path):
    folder = measurement(tmp_path, Classification(), perturbations=[CleanSweep()]).run()
    assert sorted(path.name for path in folder.glob("*.csv")) == ["outcomes.csv"]


def test_an_inferer_does_not_lose_the_tables(tmp_path, finished):
    folder = measurement(tmp_path, inferer=lambda inputs, model: model(inputs)).run()
    assert content(folder) == content(finished)


DEATHS = [
    *[("forward", after) for after in (0, 1, 4, 9, 17, 26)],
    *[("details", after) for after in (0, 2, 3, 7)],
    *[("values", after) for after in (1, 5, 11)],
    ("true_details", 1),
]


@pytest.mark.parametrize(("where", "after"), DEATHS)
def test_a_killed_measurement_continues_to_identical_tables(tmp_path, finished, where, after):
    with pytest.raises(Killed):
        measurement(tmp_path, Spots(where, after)).run()
    whole = content(finished)
    assert whole["spots.csv"].startswith((tmp_path / "spots.csv").read_bytes())
    measurement(tmp_path).run()
    assert content(tmp_path) == whole


@pytest.mark.parametrize("rows", [0, 1, 4, 9])
@pytest.mark.parametrize("cut", [0, 1, 6, 25])
def test_details_are_cut_back_to_the_outcomes_wherever_the_writing_of_either_stopped(tmp_path, finished, rows, cut):
    """Killed after the details of a batch were written and before its outcomes, or within a line of either."""
    for name in ("run.json", "outcomes.csv", "spots.csv"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    lines = (finished / "outcomes.csv").read_bytes().splitlines(keepends=True)
    kept = b"".join(lines[: 1 + rows + 1])  # header, whole rows, and one that the cut may hurt
    (tmp_path / "outcomes.csv").write_bytes(kept[: len(kept) - cut])
    spots = (finished / "spots.csv").read_bytes()
    (tmp_path / "spots.csv").write_bytes(spots[: len(spots) - cut])
    measurement(tmp_path).run()
    assert content(tmp_path) == content(finished)


def test_what_is_measured_already_is_not_measured_again(tmp_path):
    measurement(tmp_path).run()
    before = content(tmp_path)
    measurement(tmp_path, Spots("details", 0)).run()
    assert content(tmp_path) == before


def test_a_table_of_truths_that_was_lost_is_written_again(tmp_path):
    measurement(tmp_path, perturbations=[CleanSweep()]).run()
    before = (tmp_path / "things.csv").read_bytes()
    (tmp_path / "things.csv").unlink()
    measurement(tmp_path, perturbations=[CleanSweep()]).run()
    assert (tmp_path / "things.csv").read_bytes() == before


# --- the writer by itself --------------------------------------------------------------------------------------------


def test_a_batch_whose_samples_have_no_rows_is_written_as_nothing(tmp_path):
    with DetailsWriter(tmp_path / "t.csv", ["x"], lambda *_: False) as writer:
        writer.append("clean", 0, ["a", "b"], [[], []])
        writer.append("clean", 0, ["c", "d"], [[], [{"x": 1.5}, {"x": 2}]])
    assert (tmp_path / "t.csv").read_text() == "sample_id,perturbation,severity,x\nd,clean,0.0,1.5\nd,clean,0.0,2\n"


def test_rows_are_for_each_sample_of_the_batch(tmp_path):
    with DetailsWriter(tmp_path / "t.csv", ["x"], lambda *_: False) as writer, pytest.raises(ValueError, match="zip"):
        writer.append("clean", 0, ["a", "b"], [[]])


@pytest.mark.parametrize("content", ["", "sample_id,per", "sample_id,perturbation,severity,x\n"])
def test_a_table_that_was_killed_within_its_header_begins_anew(tmp_path, content):
    (tmp_path / "t.csv").write_text(content)
    with DetailsWriter(tmp_path / "t.csv", ["x"], lambda *_: True) as writer:
        writer.append("clean", 0, ["a"], [[{"x": 1}]])
    assert (tmp_path / "t.csv").read_text() == "sample_id,perturbation,severity,x\na,clean,0.0,1\n"


def test_a_table_with_other_columns_is_refused_and_kept(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sample_id,perturbation,severity,y\na,clean,0.0,1\n")
    before = path.read_bytes()
    with pytest.raises(BadInputError, match=r"t\.csv has other columns than sample_id, perturbation, severity, x"):
        DetailsWriter(path, ["x"], lambda *_: True)
    assert path.read_bytes() == before


def test_rows_are_kept_up_to_the_first_that_has_no_outcome(tmp_path):
    path = tmp_path / "t.csv"
    rows = ["a,clean,0.0,1", "b,clean,0.0,2", "b,clean,0.0,3", "c,clean,0.0,4"]
    path.write_text("\n".join(["sample_id,perturbation,severity,x", *rows, ""]))
    asked = []

    def is_done(sample, perturbation, severity):
        asked.append((sample, perturbation, severity))
        return sample != "c"

    DetailsWriter(path, ["x"], is_done).close()
    assert path.read_text().splitlines()[1:] == rows[:3]
    assert asked[-1] == ("c", "clean", 0.0)


def test_truths_hold_a_row_for_each_thing_of_each_sample(tmp_path):
    write_true_details(tmp_path / "t.csv", ["x", "y"], ["a", "b"], [[], [{"y": 1, "x": 2}, {"x": 3, "y": 4.5}]])
    assert (tmp_path / "t.csv").read_text() == "sample_id,x,y\nb,2,1\nb,3,4.5\n"


# --- damage, and tables that were lost -----------------------------------------------------------------------------


def test_a_damaged_line_is_refused_with_the_table_it_stands_in(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sample_id,perturbation,severity,x\na,clean,zero,1\n")
    with pytest.raises(BadInputError, match=r"t\.csv"):
        DetailsWriter(path, ["x"], lambda *_: True).close()


def test_details_that_were_lost_although_their_outcomes_stand_are_noticed(tmp_path, finished):
    for name in ("run.json", "outcomes.csv", "things.csv"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(BadInputError, match=r"spots\.csv"):
        measurement(tmp_path).run()
