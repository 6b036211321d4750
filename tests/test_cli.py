from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from synthetic_runs import write_run
from tqdm import tqdm
from typer.testing import CliRunner

from monai_robust import __version__
from monai_robust.commands.app import app, main
from monai_robust.commands.words import overrides
from monai_robust.data import classification_datalist
from monai_robust.errors import BadInputError
from monai_robust.overlays import overlay_names

COMMANDS = ["demo", "bundle", "overlay", "phantoms", "datalist", "evaluate", "report"]


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command line as the installed script does: exit status, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["monai-robust", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "phantoms"
    result = CliRunner().invoke(app, ["phantoms", "--output_dir", str(folder), "--patients", "12", "--size", "32"])
    assert result.exit_code == 0, result.output
    return folder


def test_the_version_is_that_of_the_package(command):
    assert command("--version") == (0, f"{__version__}\n", "")


def test_the_commands_are_those_of_the_documentation(command):
    status, out, _ = command("--help")
    assert status == 0
    listed = out.split("Commands:")[1].split()
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_of_itself(command, name):
    status, out, _ = command(name, "--help")
    assert status == 0
    assert f"monai-robust {name}" in out.split("Example:")[1].split("Options:")[0]


@pytest.mark.parametrize("name", overlay_names())
def test_overlay_prints_the_path_of_a_file_and_nothing_else(command, name):
    status, out, err = command("overlay", name)
    assert (status, err) == (0, "")
    assert out.count("\n") == 1
    assert yaml.safe_load(Path(out.strip()).read_text())


def test_overlay_for_a_bundle_prints_the_path_of_one_that_fits(command, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text("trainer:\n  _target_: SupervisedTrainer\n  loss_function: '@loss'\n")
    target = tmp_path / "fitted.yaml"
    status, out, _ = command("overlay", "at", "--for", config, "--output", target)
    assert (status, out.strip()) == (0, str(target.resolve()))
    assert "trainer#iteration_update" in target.read_text()


def test_the_module_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["monai_robust", "overlay", "erm"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("monai_robust", run_name="__main__")
    assert not stop.value.code
    assert Path(capsys.readouterr().out.strip()).is_file()


def bundle(folder: Path, train: str = "image_size: 8\n", robustness: str = "run: []\n") -> Path:
    configs = folder / "bundle" / "configs"
    configs.mkdir(parents=True)
    (configs / "train.yaml").write_text(train)
    (configs / "robustness.yaml").write_text(robustness)
    return folder / "bundle"


def weights(folder: Path, record: str | None = '{"image_size": 8}') -> Path:
    path = folder / "model" / "model.pt"
    path.parent.mkdir()
    torch.save({"network": {}}, path)
    if record is not None:
        (path.parent / "training.json").write_text(record)
    return path


WRONG = {
    "unknown overlay": (["overlay", "rdta"], "there is no overlay 'rdta'"),
    "config that is not there": (["overlay", "at", "--for", "gone.yaml"], "gone.yaml"),
    "config that is none": (["overlay", "at", "--for", "list.csv"], "list.csv"),
    "config without a trainer": (["overlay", "at", "--for", "plain.yaml"], "top-level ids are loss, network"),
    "unwritable overlay": (["overlay", "at", "--for", "zoo.yaml", "--output", "list.csv/at.yaml"], "list.csv"),
    "unknown command": (["train"], "'train'"),
    "unknown option": (["overlay", "at", "--frm", "x"], "--frm"),
    "missing argument": (["overlay"], "name"),
    "missing option": (["phantoms"], "--output_dir"),
    "no number": (["phantoms", "--output_dir", "new", "--patients", "many"], "--patients"),
    "too few patients": (["phantoms", "--output_dir", "new", "--patients", "0"], "patients"),
    "bundle that is not shipped": (["bundle", "chest", "new"], "'chest_xray_classification'"),
    "bundle over other files": (["bundle", "chest_xray_classification", "."], "no empty folder"),
    "phantoms over other files": (["phantoms", "--output_dir", "."], "not empty"),
    "phantoms in a file": (["phantoms", "--output_dir", "list.csv"], "list.csv"),
    "phantoms below a file": (["phantoms", "--output_dir", "list.csv/new"], "list.csv"),
    "data set that is not there": (["datalist", "gone"], "gone"),
    "data set without a layout": (["datalist", "empty"], "empty"),
    "report on nothing": (["report", "gone"], "gone"),
    "report with a wrong name": (["report", "run", "--output", "report.pdf"], "report.pdf"),
    "report below a file": (["report", "run", "--output", "list.csv/report.html"], "list.csv"),
    "bundle that is none": (["evaluate", "empty", "--checkpoint", "x", "--output_dir", "new"], "no MONAI bundle"),
    "checkpoint that is not there": (["evaluate", "bundle", "--checkpoint", "x", "--output_dir", "new"], "checkpoint"),
    "demo over other files": (["demo", "--output_dir", "."], "other files"),
    "demo in a file": (["demo", "--output_dir", "list.csv"], "list.csv"),
    "demo without a bundle": (["demo", "--output_dir", "new", "--bundle", "gone"], "gone"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_wrong_ends_in_one_line_and_exit_status_2(command, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("1,2\n")
    (tmp_path / "plain.yaml").write_text("loss: 1\nnetwork: 2\n")
    (tmp_path / "zoo.yaml").write_text("trainer:\n  _target_: SupervisedTrainer\n")
    bundle(tmp_path)
    if "report with" in name or "report below" in name:
        write_run(tmp_path / "run")
    words, mention = WRONG[name]
    status, out, err = command(*words)
    assert status == 2, err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert mention.lower() in err.lower()
    assert "Traceback" not in out + err
    assert not (tmp_path / "new" / "index.csv").exists()


def test_no_words_at_all_show_the_help(command):
    status, out, err = command()
    assert status == 2
    assert "Usage:" in out + err
    assert "error:" not in err


def test_ctrl_c_ends_with_its_own_exit_status_and_no_traceback(command, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_robust.overlays.overlay_path", interrupted)
    status, out, err = command("overlay", "at")
    assert status == 130
    assert err == "interrupted\n"
    assert out == ""


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    def broken(name):
        raise ZeroDivisionError

    monkeypatch.setattr("monai_robust.overlays.overlay_path", broken)
    monkeypatch.setattr(sys, "argv", ["monai-robust", "overlay", "at"])
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.parametrize("words", [["--output_dir=~/films"], ["--output_dir", "~/films"]])
def test_a_path_may_begin_at_home(command, monkeypatch, tmp_path, words):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    status, _, _ = command("phantoms", *words, "--patients", 12, "--size", 32)
    assert status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert (tmp_path / "home/films/index.csv").is_file()


def test_phantoms_are_written_with_an_index(phantoms):
    index = pd.read_csv(phantoms / "index.csv")
    assert index["patient_id"].nunique() == 12
    assert index["label"].nunique() == 3
    assert all((phantoms / name).is_file() for name in index["file"])


def test_phantoms_are_the_same_for_the_same_seed(phantoms, tmp_path, command):
    assert command("phantoms", "--output_dir", tmp_path / "p", "--patients", 12, "--size", 32)[0] == 0
    first = {path.relative_to(phantoms): path.read_bytes() for path in phantoms.rglob("*") if path.is_file()}
    again = {
        path.relative_to(tmp_path / "p"): path.read_bytes() for path in (tmp_path / "p").rglob("*") if path.is_file()
    }
    assert first == again


def test_a_data_list_that_was_written_reads_as_the_folder_it_was_made_from(phantoms, tmp_path, command):
    target = tmp_path / "lists" / "datalist.json"
    status, out, _ = command("datalist", phantoms, "--output", target)
    assert status == 0
    found = classification_datalist(phantoms)
    again = classification_datalist(phantoms, datalist=target)
    assert again.classes == found.classes
    assert again.items == found.items
    written = json.loads(target.read_text())
    assert set(written) == {"labels", "training", "validation", "test"}
    for split, key in (("train", "training"), ("val", "validation"), ("test", "test")):
        assert f"{len(written[key])} {split}" in out
    assert not Path(written["training"][0]["image"]).is_absolute()


@pytest.mark.full
def test_report_compares_runs_in_one_file(tmp_path, command):
    folders = [write_run(tmp_path / "erm", "erm"), write_run(tmp_path / "rtda", "rtda", falls=0.2)]
    status, out, _ = command("report", *folders, "--output", tmp_path / "new" / "both.html")
    assert status == 0
    assert str(tmp_path / "new" / "both.html") in out
    page = (tmp_path / "new" / "both.html").read_text()
    assert "rtda" in page
    assert "erm" in page


def test_an_unfinished_run_cannot_be_reported_on(tmp_path, command):
    folder = write_run(tmp_path / "erm")
    lines = (folder / "outcomes.csv").read_text().splitlines(keepends=True)
    (folder / "outcomes.csv").write_text("".join(lines[:-5]))
    status, _, err = command("report", folder)
    assert status == 2
    assert err.startswith("error: ")
    assert "start that evaluation again" in err


def test_options_of_a_bundle_come_as_pairs():
    words = ["--dataset_dir", "films", "--batch_size=8", "--robust#attack#eps", "-1", "--name", "a=b", "--empty="]
    assert overrides(words) == {
        "dataset_dir": "films",
        "batch_size": "8",
        "robust#attack#eps": "-1",
        "name": "a=b",
        "empty": "",
    }
    assert overrides([]) == {}


@pytest.mark.parametrize(
    ("words", "mention"), [(["films"], "'films' is no option"), (["--limit"], "--limit has no value")]
)
def test_options_that_are_no_pairs_are_refused(words, mention):
    with pytest.raises(BadInputError, match=mention):
        overrides(words)


TINY = """
image_size: 4
films:
  _target_: test_cli.tiny_films
  size: "@image_size"
"""
MEASURE = """
severities: [0.5]
measurement:
  _target_: monai_robust.evaluation.Measurement
  network: "$torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(@image_size ** 2, 2))"
  dataset: "@films"
  task: {_target_: monai_robust.tasks.Classification}
  perturbations:
    - {_target_: monai_robust.evaluation.CleanSweep}
    - _target_: monai_robust.evaluation.AttackSweep
      attack: {_target_: monai_robust.attacks.PGD}
      radii: "@severities"
  output_dir: "@evaluation_dir"
  name: tiny
  classes: [sick, well]
  checkpoint: "@checkpoint"
  progress: false
initialize: ["$torch.manual_seed(0)"]
run: ["$@measurement.run()"]
"""


def tiny_films(size: int) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.rand(1, size, size, generator=generator),
            "label": index % 2,
            "sample_id": f"film{index}",
            "patient_id": f"patient{index}",
        }
        for index in range(8)
    ]


pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's, of every configuration


def test_evaluate_measures_by_the_bundles_configuration_and_reports(tmp_path, command):
    folder = bundle(tmp_path, TINY, MEASURE)
    given = ["--checkpoint", weights(tmp_path), "--output_dir", tmp_path / "out", "--severities", "[0.1, 0.2]"]
    status, out, err = command("evaluate", folder, *given)
    assert status == 0, err
    table = pd.read_csv(tmp_path / "out" / "outcomes.csv")
    assert sorted(table["severity"].unique()) == [0.0, 0.1, 0.2]
    assert len(table) == 24
    assert str(tmp_path / "out" / "report.html") in out
    # an image size of 8, that of the training, and not the 4 of the configuration
    images = torch.stack([film["image"] for film in tiny_films(8)])
    norms = table.loc[table["perturbation"] == "clean", "input_norm"]
    assert norms.tolist() == pytest.approx(images.flatten(1).norm(dim=1).tolist(), rel=1e-5)


def test_evaluate_takes_presets_and_a_record_without_an_image_size(tmp_path, command):
    folder = bundle(tmp_path, TINY, MEASURE)
    preset = tmp_path / "small.yaml"
    preset.write_text("image_size: 3\nseverities: [0.9]\n")
    given = ["--checkpoint", weights(tmp_path, '{"fold": 2}'), "--output_dir", tmp_path / "out", "--preset", preset]
    status, _, err = command("evaluate", folder, *given)
    assert status == 0, err
    table = pd.read_csv(tmp_path / "out" / "outcomes.csv")
    images = torch.stack([film["image"] for film in tiny_films(3)])
    norms = table.loc[table["perturbation"] == "clean", "input_norm"]
    assert norms.tolist() == pytest.approx(images.flatten(1).norm(dim=1).tolist(), rel=1e-5)
    assert sorted(table["severity"].unique()) == [0.0, 0.9], "the preset is read last"
    gone = [*given[:-1], tmp_path / "gone.yaml"]
    status, _, err = command("evaluate", folder, *gone)
    assert status == 2
    assert "there is no preset" in err


@pytest.mark.parametrize(
    ("record", "words", "mention"),
    [
        (None, [], "training.json is missing"),
        ("{", [], "training.json is damaged"),
        ('{"image_size": 8}', ["--severities", "[0.1"], "severities"),
        ('{"image_size": 8}', ["--severities", "[0.0]"], "radius eps is 0.0"),
        ('{"image_size": 8}', ["films"], "'films' is no option"),
    ],
)
def test_evaluate_refuses_in_one_line(tmp_path, command, record, words, mention):
    folder = bundle(tmp_path, TINY, MEASURE)
    given = ["--checkpoint", weights(tmp_path, record), "--output_dir", tmp_path / "out"]
    status, _, err = command("evaluate", folder, *given, *words)
    last = err.strip().splitlines()[-1]
    assert status == 2, err
    assert last.startswith("error: ")
    assert mention in last
    assert "Traceback" not in err


def test_an_overlay_is_named_without_loading_torch():
    code = (
        "import sys; sys.argv = ['monai-robust', 'overlay', 'rtda']\n"
        "from monai_robust.commands.app import app\n"
        "app(standalone_mode=False)\n"
        "assert not {'torch', 'monai'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_sentence_that_ends_a_command_is_its_last_line_also_where_a_bar_was_shown(monkeypatch, capsys):
    bars = []

    def fails(standalone_mode: bool) -> None:
        bars.append(tqdm(range(4), desc="reading"))
        raise BadInputError("the second sample has no label")

    monkeypatch.setattr("monai_robust.commands.app.app", fails)
    with pytest.raises(SystemExit):
        main()
    bars.clear()
    assert capsys.readouterr().err.endswith("\nerror: the second sample has no label\n")
