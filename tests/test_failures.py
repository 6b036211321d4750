from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import test_details
import torch
from synthetic_runs import measured_lines
from test_measure import COUNT, Films, Killed, Stopping, measurement, network, sweeps

from monai_robust.attacks import PGD
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.evaluation import AttackSweep, CleanSweep, read_outcomes, read_run, write_report
from monai_robust.tasks import Classification

BAD = "film5"


def is_bad(inputs: torch.Tensor) -> torch.Tensor:
    """Which of the inputs are near the bad film, clean or perturbed."""
    return (inputs - Films().images[5]).flatten(1).norm(dim=1) < 1.5


class Unreadable(Films):
    def __getitem__(self, index: int) -> dict[str, object]:
        if index == 5:
            raise OSError(f"films/{index}.png is cut off")
        return super().__getitem__(index)


class Raising(torch.nn.Module):
    """A network that meets an error in one sample; with ``attacked``, only in what an attack made of it."""

    def __init__(self, attacked: bool = False, nan: bool = False) -> None:
        super().__init__()
        self.network, self.attacked, self.nan = network(), attacked, nan

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.network(inputs)
        bad = is_bad(inputs)
        if self.attacked:
            bad &= (inputs - Films().images[5]).flatten(1).norm(dim=1) > 0.1
        if self.nan:
            return torch.where(bad[:, None], torch.full_like(outputs, torch.nan), outputs)
        if bad.any():
            raise RuntimeError("an index is out of range")
        return outputs


class OfOneClass(Films):
    """Only the bad film is of the last class."""

    def __init__(self) -> None:
        super().__init__()
        for index, item in enumerate(self.items):
            item["label"] = 2 if index == 5 else index % 2


class RaisingLoss(Classification):
    def terms(self, outputs: Any, targets: Any) -> dict[str, torch.Tensor]:
        if (targets == 2).any():
            raise ZeroDivisionError("a loss without a sample")
        return super().terms(outputs, targets)


CASES = {
    "unreadable": {"dataset": Unreadable()},
    "network": {"network": Raising()},
    "attacked": {"network": Raising(attacked=True)},
    "nan": {"network": Raising(nan=True)},
    "loss": {"dataset": OfOneClass(), "task": RaisingLoss()},
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_sample_that_fails_is_listed_and_the_rest_is_measured_as_ever(tmp_path: Path, case: str) -> None:
    films = OfOneClass() if case == "loss" else Films()
    folder = measurement(tmp_path / "run", sanity_samples=4 * (case == "attacked"), **CASES[case]).run()
    run = read_run(folder)
    whole = read_outcomes(measurement(tmp_path / "whole", dataset=films).run() / "outcomes.csv", ["source"])
    assert run.failed == {BAD}
    expected = whole[whole["sample_id"] != BAD].reset_index(drop=True)
    assert len(expected) == (COUNT - 1) * len(whole) // COUNT
    for name in ("sample_id", "perturbation", "severity", "prediction", "source"):
        assert run.outcomes[name].tolist() == expected[name].tolist(), name
    assert run.outcomes["probability_0"].tolist() == pytest.approx(expected["probability_0"].tolist(), abs=1e-5)
    failed = json.loads((folder / "run.json").read_text())["failed"]
    assert failed[0]["reason"]
    if case == "attacked":
        page = write_report([folder], tmp_path / "report.html").read_text()
        assert "Some samples were skipped" in page
        assert BAD not in page


@pytest.mark.full
def test_a_measurement_with_a_failing_sample_goes_on_after_a_kill(tmp_path: Path) -> None:
    whole = measurement(tmp_path / "whole", dataset=Unreadable()).run()
    for after in (1, 21):
        folder = tmp_path / str(after)
        with pytest.raises(Killed):
            measurement(folder, dataset=Unreadable(), task=Stopping(after)).run()
        measurement(folder, dataset=Unreadable()).run()
        assert (folder / "outcomes.csv").read_bytes() == (whole / "outcomes.csv").read_bytes()
        assert read_run(folder).info["failed"] == read_run(whole).info["failed"]
    before = (whole / "outcomes.csv").read_bytes()
    measurement(whole, dataset=Unreadable()).run()
    assert (whole / "outcomes.csv").read_bytes() == before


def test_searched_radii_go_on_past_a_failing_sample(tmp_path: Path) -> None:
    attack = AttackSweep(PGD(norm="l2", steps=3, bounds=(0.0, 1.0)), [0.25, 0.5])
    folder = measurement(tmp_path, network=Raising(), perturbations=[CleanSweep(), attack]).run()
    run = read_run(folder)
    assert [(one["sample_id"], one["perturbation"]) for one in run.info["failed"]] == [(BAD, "clean"), (BAD, "pgd_l2")]
    assert len(run.outcomes) == 3 * (COUNT - 1)


def test_tables_of_details_go_on_past_a_failing_sample(tmp_path: Path) -> None:
    class UnreadablePictures(test_details.Films):
        def __getitem__(self, index: int) -> dict[str, Any]:
            if index == 4:
                raise OSError("4.png is cut off")
            return super().__getitem__(index)

    whole = test_details.measurement(tmp_path / "whole").run()
    made = test_details.measurement(tmp_path / "made")
    made.dataset = UnreadablePictures()
    folder = made.run()
    assert read_run(folder).failed == {"Bild, „4“"}
    for name in ("spots.csv", "things.csv"):
        rows = [line for line in (whole / name).read_text().splitlines() if "„4“" not in line]
        found = (folder / name).read_text().splitlines()
        assert [line.split(",0.")[0] for line in found] == [line.split(",0.")[0] for line in rows]


def test_an_error_of_every_sample_stops_with_a_name_and_loses_nothing(tmp_path: Path) -> None:
    class Broken(Classification):
        def terms(self, outputs: Any, targets: Any) -> dict[str, torch.Tensor]:
            raise RuntimeError("sizes differ")

    with pytest.raises(BadSampleError, match=r"'film0' cannot be measured \(pgd_l2 at severity 0.25\): .*sizes differ"):
        measurement(tmp_path, task=Broken()).run()
    assert len(measured_lines(tmp_path)) == COUNT  # the clean ones


def test_more_failing_samples_than_can_be_left_out_stop_the_measurement_with_a_name(tmp_path: Path) -> None:
    class Two(Unreadable):
        def __getitem__(self, index: int) -> dict[str, object]:
            if index == 6:
                raise OSError("films/6.png is cut off")
            return super().__getitem__(index)

    with pytest.raises(BadSampleError, match="'film6' cannot be measured"):
        measurement(tmp_path, dataset=Two()).run()
    with pytest.raises(BadInputError):
        write_report([tmp_path], tmp_path / "report.html")


def test_a_data_set_without_items_names_the_sample_that_cannot_be_read(tmp_path: Path) -> None:
    class Plain(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return Unreadable()[5] if index == 1 else Films()[index]

    with pytest.raises(BadSampleError, match="sample 1 of the data set"):
        measurement(tmp_path, dataset=Plain(), perturbations=sweeps()).run()
