from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from synthetic_runs import write_segmentation_run

from monai_robust.commands import margin_steps
from monai_robust.commands.bundles import bundle_configs
from monai_robust.commands.margin_steps import best_step, search_step
from monai_robust.configuration import check_ids, read_configuration
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.run_folder import read_run
from monai_robust.metrics import auc_robust, average_dice_index

BUNDLES = sorted(path.parent for path in REPOSITORY.glob("bundles/*/configs"))
HIPPOCAMPUS = REPOSITORY / "bundles" / "hippocampus_mri_segmentation"
CHEST = REPOSITORY / "bundles" / "chest_xray_classification"
FALLS = {1.0: 0.08, 2.0: 0.04, 4.0: 0.06}  # of the Dice per unit of radius, for a network trained with each step


class Bundle:
    """Stands for MONAI's runs: writes what a training and a measurement leave behind, and remembers them."""

    def __init__(self) -> None:
        self.done: list[tuple[str, float]] = []
        self.settings: list[Mapping[str, Any]] = []
        self.presets: list[list[Path]] = []
        self.interrupted_at: float | None = None

    def __call__(
        self, bundle: Path, configs: Sequence[str], settings: Mapping[str, Any], presets: Sequence[Path] = ()
    ) -> None:
        self.presets.append(list(presets))
        step, folder = float(settings["robust#step"]), Path(settings["output_dir"])
        what = "measure" if "robustness" in configs else "train"
        self.done.append((what, step))
        self.settings.append(dict(settings))
        if what == "measure":
            write_segmentation_run(folder / "robustness", str(settings["name"]), falls=FALLS[step])
            return
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"network": {}, "trainer": {"iteration": 2, "epoch_length": 2}}, folder / "model.pt")
        if self.interrupted_at == step:
            raise KeyboardInterrupt


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> Bundle:
    found = Bundle()
    monkeypatch.setattr(margin_steps, "run_bundle", found)
    return found


def test_each_step_is_trained_by_amat_and_measured_on_validation(bundle: Bundle, tmp_path: Path) -> None:
    search_step(HIPPOCAMPUS, [2, 1], tmp_path, {"robust#thresholds": "model.pt"})
    assert bundle.done == [("train", 1.0), ("measure", 1.0), ("train", 2.0), ("measure", 2.0)]
    assert all(settings["recipe"] == "amat" for settings in bundle.settings)
    assert all(settings["robust#thresholds"] == "model.pt" for settings in bundle.settings)
    assert [settings.get("split") for settings in bundle.settings] == [None, "val", None, "val"]


def test_the_table_is_auc_robust_of_each_step_and_attack(bundle: Bundle, tmp_path: Path) -> None:
    table = search_step(HIPPOCAMPUS, [1, 2, 4], tmp_path, {})
    assert (tmp_path / "step_search.png").stat().st_size > 1000
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "step_search.csv"), table)
    for step in (1.0, 2.0, 4.0):
        outcomes = read_run(tmp_path / f"step_{step:g}" / "robustness").outcomes
        means = {
            key: average_dice_index(*(rows[[f"{part}_1", f"{part}_2"]].to_numpy() for part in ("tp", "fp", "fn"))).mean
            for key, rows in outcomes.groupby(["perturbation", "severity"])
        }
        for attack in ("pgd_l2", "ifgsm_l2"):
            values = [means["clean", 0.0], *(means[attack, radius] for radius in (2.0, 6.0, 10.0))]
            row = table[(table["step"] == step) & (table["perturbation"] == attack)].iloc[0]
            assert row["auc_robust"] == pytest.approx(auc_robust([0, 2, 6, 10], values))
            assert [row["clean"], row["at 2"], row["at 6"], row["at 10"]] == pytest.approx(values)
    pgd = table[table["perturbation"] == "pgd_l2"].set_index("step")["auc_robust"]
    assert pgd.idxmax() == 2.0
    assert best_step(table) == 2.0


def test_the_best_step_is_that_of_the_attack_that_hurts_most() -> None:
    rows = [(1.0, "pgd", 0.5), (1.0, "ifgsm", 0.9), (2.0, "pgd", 0.6), (2.0, "ifgsm", 0.8)]
    table = pd.DataFrame(rows, columns=["step", "perturbation", "auc_robust"])
    assert best_step(table.assign(higher_is_better=True)) == 2.0
    assert best_step(table.assign(higher_is_better=False)) == 2.0  # the largest error is 0.8, not 0.9


def test_a_step_without_a_number_under_an_attack_is_not_the_best(bundle: Bundle, tmp_path: Path) -> None:
    rows = [(1.0, "pgd", 0.5), (1.0, "ifgsm", 0.9), (2.0, "pgd", math.nan), (2.0, "ifgsm", 0.95)]
    table = pd.DataFrame(rows, columns=["step", "perturbation", "auc_robust"])
    for higher in (True, False):
        assert best_step(table.assign(higher_is_better=higher)) == 1.0
        assert best_step(table[table["perturbation"] == "pgd"].assign(higher_is_better=higher)) == 1.0
    with pytest.raises(BadInputError, match="no step can be chosen"):
        best_step(table[table["step"] == 2].assign(higher_is_better=True))


@pytest.mark.parametrize(
    ("steps", "told"),
    [([1, math.nan], "name positive numbers"), ([math.inf], "name positive numbers"), ([1, 1 + 1e-8], "to six digits")],
)
def test_steps_that_no_folder_can_be_made_for_are_refused(
    bundle: Bundle, tmp_path: Path, steps: list[float], told: str
) -> None:
    with pytest.raises(BadInputError, match=told):
        search_step(HIPPOCAMPUS, steps, tmp_path, {})
    assert not bundle.done


def test_a_stopped_search_goes_on_where_it_stopped(bundle: Bundle, tmp_path: Path) -> None:
    bundle.interrupted_at = 2.0
    with pytest.raises(KeyboardInterrupt):
        search_step(HIPPOCAMPUS, [1, 2], tmp_path, {})
    bundle.interrupted_at = None
    bundle.done.clear()
    bundle.settings.clear()
    search_step(HIPPOCAMPUS, [1, 2], tmp_path, {})
    assert bundle.done == [("train", 2.0), ("measure", 2.0)]
    resumed = bundle.settings[bundle.done.index(("train", 2.0))]
    assert resumed["resume"] == tmp_path / "step_2" / "model.pt"


def test_a_step_of_whose_checkpoints_none_loads_is_trained_anew(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "step_2").mkdir()
    (tmp_path / "step_2" / "checkpoint_epoch=1.pt").write_bytes(b"cut off")
    search_step(HIPPOCAMPUS, [2], tmp_path, {})
    assert "resume" not in bundle.settings[0]


def test_another_search_in_the_same_folder_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    search_step(HIPPOCAMPUS, [1], tmp_path, {"epochs": 3})
    with pytest.raises(BadInputError, match="other settings"):
        search_step(HIPPOCAMPUS, [1], tmp_path, {"epochs": 4})
    assert json.loads((tmp_path / "step_search.json").read_text())["settings"] == {"epochs": "3"}


@pytest.mark.parametrize("steps", [[], [0.0, 1.0], [-1.0]])
def test_steps_that_are_no_positive_numbers_are_refused(bundle: Bundle, tmp_path: Path, steps: list[float]) -> None:
    with pytest.raises(BadInputError, match="name positive numbers"):
        search_step(HIPPOCAMPUS, steps, tmp_path, {})
    assert not bundle.done


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda path: path.name)
def test_the_step_is_chosen_on_the_validation_split_in_every_bundle(
    bundle: Bundle, tmp_path: Path, folder: Path
) -> None:
    search_step(folder, [1], tmp_path, {})
    train, measure = bundle.settings
    configuration = read_configuration(bundle_configs(folder, "train", "robustness"))
    assert measure["split"] == "val"
    assert configuration["test"]["items"] == "$@data.items[@split]"
    check_ids(configuration, measure)
    check_ids(read_configuration(bundle_configs(folder, "train")), train)


def test_settings_of_the_measurement_alone_are_kept_from_the_trainings(bundle: Bundle, tmp_path: Path) -> None:
    words = {"epochs": "3", "measurement#sanity_samples": "0", "attack_steps": "1e1", "dataset_dir": "2024"}
    search_step(CHEST, [1], tmp_path, words)
    train, measure = bundle.settings
    read = {"epochs": 3, "dataset_dir": "2024"}
    assert read.items() <= train.items()
    assert {"measurement#sanity_samples", "attack_steps"}.isdisjoint(train)
    assert {**read, "measurement#sanity_samples": 0, "attack_steps": 10}.items() <= measure.items()


def test_presets_are_read_by_trainings_and_measurements(bundle: Bundle, tmp_path: Path) -> None:
    preset = HIPPOCAMPUS / "configs" / "presets" / "amat_heart.yaml"
    search_step(HIPPOCAMPUS, [1], tmp_path, {"robust#attack#eps": "3"}, [preset])
    assert bundle.presets == [[preset], [preset]]
    with pytest.raises(BadInputError, match="other settings"):
        search_step(HIPPOCAMPUS, [1], tmp_path, {"robust#attack#eps": "3"})
    with pytest.raises(BadInputError, match="there is no preset gone"):
        search_step(HIPPOCAMPUS, [1], tmp_path, {}, ["gone.yaml"])


@pytest.mark.parametrize(
    ("name", "mention"),
    [("epoch", "did you mean --epochs"), ("measurement#sanity_sample", "sanity_samples"), ("split", "is set by this")],
)
def test_an_id_that_nothing_reads_is_refused_before_the_first_training(
    bundle: Bundle, tmp_path: Path, name: str, mention: str
) -> None:
    with pytest.raises(BadInputError, match=mention):
        search_step(HIPPOCAMPUS, [1], tmp_path, {name: "3"})
    assert not bundle.done
    assert not list(tmp_path.iterdir())
