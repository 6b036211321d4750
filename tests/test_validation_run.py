"""The validation split is measured beside what is reported on, for thresholds to be fitted on it alone."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from mini_bundle import write_mini_bundle
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from test_measure import Films, Killed, Stopping, measurement, sweeps

from monai_robust.attacks import FMN
from monai_robust.commands.foreign import measure_foreign
from monai_robust.data import spread
from monai_robust.errors import BadInputError
from monai_robust.evaluation import CleanSweep, Measurement, NearestSweep, read_run
from monai_robust.evaluation.tables import writer


class OtherFilms(Films):
    """The validation split of the films."""

    def __init__(self) -> None:
        super().__init__()
        for index, item in enumerate(self.items):
            item |= {"sample_id": f"other{index}", "patient_id": f"other{index}"}


def test_validation_is_measured_clean_and_for_nearest_changes_alone(tmp_path: Path) -> None:
    perturbations = [*sweeps(), NearestSweep(FMN(steps=3, bounds=(0, 1)), high=2.0)]
    run = read_run(measurement(tmp_path, perturbations=perturbations, validation=OtherFilms(), sanity_samples=2).run())
    assert run.validation is not None
    assert [one.name for one in run.validation.perturbations] == ["clean", "nearest_l2"]
    assert set(run.validation.outcomes["sample_id"]) == {f"other{index}" for index in range(len(OtherFilms()))}
    assert run.validation.info["settings"]["split"] == "validation"
    assert run.validation.sanity is None
    assert run.sanity is not None
    assert not (tmp_path / "validation" / "gallery.npz").exists()


def test_a_run_without_validation_has_none(tmp_path: Path) -> None:
    assert read_run(measurement(tmp_path).run()).validation is None


def test_it_can_be_added_to_a_finished_run(tmp_path: Path) -> None:
    measurement(tmp_path).run()
    before = (tmp_path / "outcomes.parquet").read_bytes()
    assert read_run(measurement(tmp_path, validation=OtherFilms()).run()).validation is not None
    assert (tmp_path / "outcomes.parquet").read_bytes() == before


@pytest.mark.full
def test_a_stopped_validation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SECONDS", 0.0)
    measurement(tmp_path / "stopped").run()
    with pytest.raises(Killed):
        measurement(tmp_path / "stopped", validation=OtherFilms(), task=Stopping(1)).run()
    measurement(tmp_path / "stopped", validation=OtherFilms()).run()
    measurement(tmp_path / "whole", validation=OtherFilms()).run()
    one, two = ((tmp_path / name / "validation" / "outcomes.csv").read_bytes() for name in ("stopped", "whole"))
    assert one == two


def test_samples_that_are_measured_are_no_validation(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="11 of 11 validation samples are among those that are measured"):
        measurement(tmp_path, validation=Films()).run()
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "b", "c"]}, "their classes differ"),
        ({"weights_sha256": "0" * 64}, "their weights_sha256 differ"),
        ({"task": "segmentation"}, "their task differ"),
    ],
)
def test_another_networks_validation_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    measurement(tmp_path, validation=OtherFilms()).run()
    path = tmp_path / "validation" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInputError, match=message):
        read_run(tmp_path)


def evaluator_of(count: int, level: float) -> SupervisedEvaluator:
    films = [{"image": torch.full((1, 4, 4), level + 0.1 * index), "label": index % 2} for index in range(count)]
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    return SupervisedEvaluator(torch.device("cpu"), DataLoader(Dataset(films), batch_size=2), network)


@pytest.mark.parametrize("form", ["evaluator", "loader"])
def test_an_evaluators_validation_is_a_loader_or_another_evaluator(tmp_path: Path, form: str) -> None:
    other = evaluator_of(5, 0.3)
    validation = other if form == "evaluator" else other.data_loader
    measured = Measurement.of(
        evaluator_of(3, 0.0), [CleanSweep()], tmp_path, validation=validation, sanity_samples=0, progress=False
    )
    run = read_run(measured.run())
    assert run.validation is not None
    assert (len(run.clean), len(run.validation.clean)) == (3, 5)


def test_what_is_no_data_is_refused_as_validation(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="validation is a list"):
        Measurement.of(evaluator_of(3, 0.0), [CleanSweep()], tmp_path, validation=[1], progress=False)


def test_a_foreign_bundles_validation_is_a_loader_of_its_training(tmp_path: Path) -> None:
    folder = write_mini_bundle(tmp_path / "bundle")
    file = folder / "configs" / "train.json"
    config = json.loads(file.read_text())
    config["tested"] = "$[{'image': torch.full((1, 16, 16), 0.12 + 0.05 * i), 'label': i % 3} for i in range(6)]"
    loader = {"_target_": "monai.data.DataLoader", "batch_size": 4}
    config["test_loader"] = {**loader, "dataset": {"_target_": "monai.data.Dataset", "data": "@tested"}}
    config["validate"]["evaluator"]["val_data_loader"] = "@test_loader"
    file.write_text(json.dumps(config))
    parser = ConfigParser()
    parser.read_config([str(file)])
    torch.save(parser.get_parsed_content("network").state_dict(), folder / "weights.pt")
    given = {"radii": "0.2", "attack_steps": "1", "sanity_samples": "0"}

    def measured(name: str, **words: str) -> Path:
        return measure_foreign(folder, folder / "weights.pt", tmp_path / name, {**given, **words})

    run = read_run(measured("run", validation="validate#dataloader"))
    assert run.validation is not None
    assert (len(run.clean), len(run.validation.clean)) == (6, 12)
    with pytest.raises(BadInputError, match="6 of 6 validation samples are among those"):
        measured("same", validation="test_loader")
    with pytest.raises(BadInputError, match="has no id validation_loader; name a data loader"):
        measured("none", validation="validation_loader")
    with pytest.raises(BadInputError, match="network of bundle is a DenseNet; name a data loader"):
        measured("network", validation="network")


def test_a_part_of_a_list_keeps_patients_whole() -> None:
    items = [{"patient_id": str(patient), "place": place} for patient in range(20) for place in range(3)]
    found = pd.DataFrame(spread(items, 16))
    assert 12 <= len(found) <= 16
    assert set(found.groupby("patient_id").size()) == {3}
    assert int(found["patient_id"].iloc[-1]) > 10
    assert spread(items, None) == items
    assert spread(items, 0) == []
    with pytest.raises(BadInputError, match="limit of -1"):
        spread(items, -1)
