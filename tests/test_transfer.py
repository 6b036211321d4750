"""Inputs made against one network, shown to others: as a matrix, by the command, and in a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.data import DataLoader, Dataset
from synthetic_runs import write_run

from monai_robust.attacks import PGD
from monai_robust.commands.bundles import transfer_of_bundle
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement, read_run, transfer_matrix
from monai_robust.evaluation.report.transfer import transfer_sections
from monai_robust.evaluation.tables.transfer_file import read_transfer, write_transfer
from monai_robust.evaluation.transfer import transfer_of_measurements
from monai_robust.tasks import Classification

PIXELS = 8


class Linear(torch.nn.Module):
    """Two classes by the sum of some pixels, above or below 0."""

    def __init__(self, *places: int) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(PIXELS))
        with torch.no_grad():
            self.weights[list(places)] = 1.0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        score = (inputs.flatten(1) * self.weights).sum(dim=1)
        return torch.stack([-score, score], dim=1)


def samples(count: int = 10) -> list[dict[str, object]]:
    """Pixels of 1 and -1, by class."""
    return [
        {
            "image": torch.full((1, 2, 4), 2.0 * (index % 2) - 1),
            "label": index % 2,
            "sample_id": str(index),
            "patient_id": str(index),
        }
        for index in range(count)
    ]


NETWORKS = {"left": Linear(0, 1), "right": Linear(6, 7), "both": Linear(0, 1, 6, 7)}
ATTACK = PGD(norm="l2", eps=2.0, steps=5, random_start=False, bounds=None)


def test_a_network_that_answers_by_nan_has_no_score() -> None:
    class Brittle(Linear):
        """No number for what another network's attack makes."""

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) + (torch.nan if bool((inputs.flatten(1).std(dim=1) > 0).any()) else 0.0)

    loader = DataLoader(Dataset(samples()), batch_size=4)
    with pytest.raises(BadInputError, match="“brittle” answers 4 of a batch of 4 images by NaN"):
        transfer_matrix({"left": Linear(0, 1), "brittle": Brittle(0, 1)}, loader, ATTACK, Classification())


def test_an_attack_moves_what_its_network_sees_and_no_more() -> None:
    loader = DataLoader(Dataset(samples()), batch_size=4)
    found = transfer_matrix(NETWORKS, loader, ATTACK, Classification())
    assert found.networks == ["left", "right", "both"]
    assert found.clean == [1.0, 1.0, 1.0]
    # a change of length 2 along two pixels moves each by 1.41, beyond 0; along four by 1, to 0, where class 0 wins
    assert found.attacked[0] == [0.0, 1.0, 1.0]
    assert found.attacked[1] == [1.0, 0.0, 1.0]
    assert found.samples == 10
    assert (found.perturbation, found.radius) == ("pgd_l2", 2.0)
    larger = transfer_matrix(
        NETWORKS,
        [(one["image"][None], torch.tensor([one["label"]])) for one in samples()],
        ATTACK,
        Classification(),
        radius=3.0,
    )
    assert larger.attacked[2] == [0.0, 0.0, 0.0]
    assert larger.attacked[0] == [0.0, 1.0, 0.0]


def measurement(network: torch.nn.Module, folder: Path, items: list[dict[str, object]]) -> Measurement:
    sweeps = [CleanSweep(), AttackSweep(ATTACK, [1.0, 2.0, 3.0])]
    settings = {"output_dir": folder, "name": "erm", "classes": ["a", "b"], "batch_size": 3, "progress": False}
    return Measurement(network, items, task=Classification(), perturbations=sweeps, **settings)


def test_measurements_of_the_same_data_are_compared_and_others_refused(tmp_path: Path) -> None:
    own = [measurement(network, tmp_path, samples()) for network in NETWORKS.values()]
    found = transfer_of_measurements(own, list(NETWORKS), progress=False)
    assert found.radius == 2.0
    assert found.attacked[0] == [0.0, 1.0, 1.0]
    assert not list(tmp_path.iterdir())
    other = measurement(Linear(0), tmp_path, samples(8))
    with pytest.raises(BadInputError, match="other samples"):
        transfer_of_measurements([own[0], other], ["a", "b"], progress=False)
    darker = [one | {"image": one["image"] * 0.5} for one in samples()]
    with pytest.raises(BadInputError, match="“b” is shown other inputs than “a”"):
        transfer_of_measurements([own[0], measurement(Linear(0), tmp_path, darker)], ["a", "b"], progress=False)
    with pytest.raises(BadInputError, match="two or more networks"):
        transfer_of_measurements(own[:1], ["a"], progress=False)


def test_a_report_shows_it_where_it_lies_in_a_runs_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    found = transfer_matrix(NETWORKS, DataLoader(Dataset(samples()), batch_size=4), ATTACK, Classification())
    path = write_transfer(folder, found)
    assert read_transfer(folder) == found
    (section,) = transfer_sections([read_run(folder)])
    table = section.tables[0].frame()
    assert table["Made against"].tolist() == ["clean", *NETWORKS]
    assert table["right"].tolist() == [1.0, 1.0, 0.0, found.attacked[2][1]]
    texts = [text.get_text() for text in section.pictures[0].figure.axes[0].texts]
    assert texts[:4] == ["1.00", "1.00", "1.00", "0.00"]
    assert transfer_sections([read_run(write_run(tmp_path / "other"))]) == []
    for change in ({"clean": [1.0]}, {"version": 2}, {"attacked": [[1.0, 1.0, 1.0]]}):
        path.write_text(json.dumps(json.loads(json.dumps(found.__dict__)) | change))
        with pytest.raises(BadInputError, match="no record of a transfer"):
            read_transfer(folder)


def test_checkpoints_that_are_too_few_or_alike_in_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="two or more checkpoints"):
        transfer_of_bundle(tmp_path, ["a.pt"], tmp_path)
    with pytest.raises(BadInputError, match="as many different names"):
        transfer_of_bundle(tmp_path, [tmp_path / "a.pt", tmp_path / "b.pt"], tmp_path)
