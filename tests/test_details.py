"""Tables of details beside the outcomes: any number of rows for a sample, continued after a kill to the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import TinyNet
from torch import Tensor

from monai_robust.attacks import PGD
from monai_robust.data import read_table
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement, read_outcomes, register_task
from monai_robust.evaluation.tables.schema import outcome_columns
from monai_robust.evaluation.tables.stored import read_parquet
from monai_robust.evaluation.tables.writer import OutcomesWriter, write_truth
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

    def detail_columns(self) -> dict[str, type]:
        return {"name": str, "score": float}

    def truth_columns(self) -> dict[str, type]:
        return {"name": str}

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


TABLES = [f"{name}.{kind}" for name in ("outcomes", "spots", "things") for kind in ("csv", "parquet")]


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
    measurement(tmp_path).run()
    assert content(tmp_path) == content(finished)


def test_details_that_were_lost_or_changed_are_written_again_from_the_parquet_file(tmp_path, finished):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "spots.csv").unlink()
    (tmp_path / "run" / "outcomes.csv").write_text("changed\n")
    measurement(tmp_path / "run").run()
    assert content(tmp_path / "run") == content(finished)


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


def rows_of(samples: list[str]) -> dict[str, list[Any]]:
    texts = {"sample_id": samples, "patient_id": samples, "norm": [""] * len(samples)}
    return texts | dict.fromkeys(("distance", "contrast", "input_norm", "score"), [0.5] * len(samples))


def writer(folder: Path, **changes: Any) -> OutcomesWriter:
    arguments = {"plan": [("clean", 0.0)], "details": ("spots", {"x": float})} | changes
    return OutcomesWriter(folder, outcome_columns({"score": float}), ["a", "b", "c", "d"], **arguments)


def test_a_batch_whose_samples_have_no_rows_is_written_as_nothing(tmp_path):
    with writer(tmp_path) as made:
        made.append("clean", 0, rows_of(["a", "b"]), [[], []])
        made.append("clean", 0, rows_of(["c", "d"]), [[], [{"x": 1.5}, {"x": 2}]])
        made.commit()
    made.finish()
    assert (
        tmp_path / "spots.csv"
    ).read_text() == "sample_id,perturbation,severity,x\nd,clean,0.0,1.5\nd,clean,0.0,2.0\n"


def test_tables_without_any_details_have_their_heading(tmp_path):
    with writer(tmp_path) as made:
        made.append("clean", 0, rows_of(["a", "b", "c", "d"]), [[]] * 4)
        made.commit()
    made.finish()
    assert (tmp_path / "spots.csv").read_text() == "sample_id,perturbation,severity,x\n"


def test_rows_are_for_each_sample_of_the_batch(tmp_path):
    with writer(tmp_path) as made, pytest.raises(BadInputError, match="details of 1 samples were given for 2"):
        made.append("clean", 0, rows_of(["a", "b"]), [[]])


def test_parts_with_other_details_are_refused_and_kept(tmp_path):
    with writer(tmp_path) as made:
        made.append("clean", 0, rows_of(["a", "b", "c", "d"]), [[{"x": 1.0}]] * 4)
        made.commit()
    (part,) = (tmp_path / "parts").iterdir()
    before = part.read_bytes()
    with pytest.raises(BadInputError, match=r"0-000000\.parquet has the columns"):
        writer(tmp_path, details=("spots", {"y": float})).finish()
    assert part.read_bytes() == before


def test_truths_hold_a_row_for_each_thing_of_each_sample(tmp_path):
    things = [[], [{"class": 1, "x": 2}, {"x": 3, "class": 4}]]
    write_truth(tmp_path, "t", {"class": int, "x": float}, ["a", "b"], things)
    assert (tmp_path / "t.csv").read_text() == "sample_id,class,x\nb,1,2.0\nb,4,3.0\n"


def test_texts_of_details_may_hold_what_csv_needs_quotes_for(tmp_path):
    names = ['a, "b"', "two\nlines", "carriage\rreturn", "=1+1", "", "'=x"]
    write_truth(tmp_path, "t", {"name": str}, ["a"], [[{"name": name} for name in names]])
    assert read_table(tmp_path / "t.csv")["name"].tolist() == names
    assert read_parquet(tmp_path / "t.parquet")["name"].to_pylist() == names


# --- tables that were lost -------------------------------------------------------------------------------------------


def test_details_that_were_lost_although_their_outcomes_stand_are_noticed(tmp_path, finished):
    for name in ("run.json", "outcomes.csv", "outcomes.parquet", "things.csv"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(BadInputError, match=r"spots\.csv"):
        measurement(tmp_path).run()
