"""Attaching to our own bundles, whose recipes, savers and measurement come from ids and functions of their own."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from bundle_runs import BUNDLES, Bundle
from conftest import environment
from test_shapes import printed_commands, runs
from warm_python import WarmPython

from monai_robust.commands.words import from_here
from monai_robust.errors import BadInputError
from monai_robust.pipelines import Pipeline, commands_for
from monai_robust.pipelines.building import for_one_batch, parser_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OF_MEASUREMENTS = {"attack_steps": 2, "measurement#sanity_samples": 2}
NAMED = [
    "train it as it is",
    "train it robustly",
    "train it with a margin for every sample",
    "train it robustly",
    "train it with margins in two processes, a GPU each",
    "evaluate it under attack by its own metrics",
    "measure it and write a report",
    "measure it in two processes",
]


def copied(bundle: Bundle, folder: Path) -> Path:
    shutil.copytree(bundle.folder / "configs", folder / "configs")
    return folder


def attached(bundle: Bundle, folder: Path, data: Path, warm: WarmPython) -> subprocess.CompletedProcess[str]:
    settings = {**bundle.settings, **OF_MEASUREMENTS, "dataset_dir": data}
    del settings["bundle_root"]
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return warm.run("-m", "monai_robust", "attach", copied(bundle, folder), *words, env=environment())


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(f"own-{name}")) for name in BUNDLES])
def test_the_commands_for_our_own_bundles_run_word_for_word_and_are_the_same_every_time(
    name: str, tmp_path: Path, warm_python: WarmPython
) -> None:
    folder, data = tmp_path / "bundle", BUNDLES[name].phantoms(tmp_path / "data")
    first = attached(BUNDLES[name], folder, data, warm_python)
    assert first.returncode == 0, first.stderr
    assert first.stderr == "", "no bar of a data set"
    assert not (folder / "output").exists()
    commands = printed_commands(first.stdout)
    assert [what.split(" (")[0] for what in commands] == NAMED
    shutil.rmtree(folder)
    assert attached(BUNDLES[name], folder, data, warm_python).stdout == first.stdout
    for line in commands.values():
        assert runs(line, folder, warm_python)
    assert {path.name for path in (folder / "output").iterdir()} >= {"erm", "amat"}


def test_a_look_reads_no_more_than_some_images_and_writes_no_phantoms(tmp_path: Path) -> None:
    bundle = BUNDLES["chest"]
    folder = copied(bundle, tmp_path / "bundle")
    begin = time.process_time()
    with pytest.raises(BadInputError, match="monai-robust phantoms --kind radiographs"):
        commands_for(Pipeline.read(folder))
    assert time.process_time() - begin < 10
    assert [path.name for path in folder.iterdir()] == ["configs"]
    data = bundle.phantoms(tmp_path / "data")
    pipeline = Pipeline.read(folder, overrides={"dataset_dir": str(data)})
    assert pipeline.own_recipes is not None
    assert pipeline.own_recipes.radius == "robust#attack#eps"
    lines = {one.name: one.line for one in commands_for(pipeline)}
    assert [one.purpose.split(" (")[0] for one in commands_for(pipeline)] == NAMED
    assert lines["train"].endswith("--recipe rtda")
    assert lines["amat"].endswith("--recipe amat --robust#thresholds output/erm/model.pt")
    assert lines["evaluate"].startswith(
        "monai-robust evaluate . --checkpoint output/rtda/model.pt --output_dir results/rtda "
    )
    assert "multi_gpu_train.yaml" in lines["amat_by_several"]
    parser = parser_of(pipeline.folder.training, folder, {})
    for_one_batch(parser, few=True)
    assert parser["limit"] == 64
    assert parser["train#dataset#progress"] is False


def test_an_evaluation_that_needs_a_training_first_is_looked_at_by_that_trainings_validation(tmp_path: Path) -> None:
    bundle = BUNDLES["hippocampus"]
    data = bundle.phantoms(tmp_path / "data")
    folder = copied(bundle, tmp_path / "bundle")
    found = Pipeline.read(folder, overrides={"dataset_dir": str(data), "features": 4}).found
    assert found.labelled
    assert found.windows == ((40, 56), 1)
    (note,) = found.notes
    assert note.startswith("the evaluation is for after a training")


def test_a_folder_that_is_set_is_seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "films").mkdir()
    monkeypatch.chdir(tmp_path)
    assert from_here("films") == str(tmp_path / "films")
    assert from_here("rtda") == "rtda"
