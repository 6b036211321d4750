"""Words of a command line: read by what an id takes, in every bundle; ids that nothing reads are refused."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import REPOSITORY
from ignite.engine import Engine
from ignite.metrics import MeanSquaredError
from monai.bundle import ConfigParser
from monai.handlers import CheckpointLoader
from torch import nn

from monai_robust.configuration import command_line
from monai_robust.configuration.command_line import check_command_line, shown
from monai_robust.configuration.explaining import configuration_sentence
from monai_robust.configuration.ids import check_ids, has_id, read_configuration, read_words
from monai_robust.errors import BadInputError

BUNDLES = sorted(path.parent for path in REPOSITORY.glob("bundles/*/configs"))
RUNS = [
    pytest.param([folder / "configs" / f"{name}.yaml" for name in names], id=f"{folder.name}:{'+'.join(names)}")
    for folder in BUNDLES
    for names in (("train",), ("train", "robustness"), ("train", "evaluate"), ("inference",))
]
FOLDER_NAMES = ["2024", "001", "1e3", "1_000", "0x10", "false", "no", "2024-01-01", "a#b", "[1]", "1.50"]
PATHS = ["dataset_dir", "output_dir", "evaluation_dir", "checkpoint", "resume", "datalist", "plan_file", "bundle_root"]


def configured(folder: str, *names: str) -> dict[str, Any]:
    return read_configuration([REPOSITORY / "bundles" / folder / "configs" / f"{name}.yaml" for name in names])


@pytest.mark.parametrize("files", RUNS)
def test_every_path_of_every_bundle_keeps_the_text_that_was_typed(files: list[Path]) -> None:
    configuration = read_configuration(files)
    ids = [name for name in PATHS if name in configuration]
    assert {"dataset_dir", "output_dir", "checkpoint", "bundle_root"} <= set(ids)
    for text in FOLDER_NAMES:
        assert read_words(configuration, dict.fromkeys(ids, text)) == dict.fromkeys(ids, text)
        assert read_words(configuration, dict.fromkeys(ids, repr(text))) == dict.fromkeys(ids, text)


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves the sign as it is behind ``--output_dir=``."""
    monkeypatch.setenv("HOME", "/home/someone")
    words = {"output_dir": "~/out", "dataset_dir": "a~/b", "checkpoint": "~"}
    read = read_words(configured("chest_xray_classification", "train"), words)
    assert read == {"output_dir": "/home/someone/out", "dataset_dir": "a~/b", "checkpoint": None}


@pytest.mark.parametrize("files", RUNS)
def test_every_switch_of_every_bundle_is_off_however_it_is_written(files: list[Path]) -> None:
    configuration = read_configuration(files)
    switches = [name for name, value in configuration.items() if isinstance(value, bool)]
    for text in ("false", "False", "no", "off", "0", "FALSE"):
        assert read_words(configuration, dict.fromkeys(switches, text)) == dict.fromkeys(switches, False)
    assert read_words(configuration, dict.fromkeys(switches, "true")) == dict.fromkeys(switches, True)
    for name in switches:
        with pytest.raises(BadInputError, match=f"--{name} is 'flase'; it is a switch, true or false"):
            read_words(configuration, {name: "flase"})


def test_the_switches_of_the_documentation_are_known() -> None:
    assert configured("blood_cell_detection", "inference")["pictures"] is True
    assert configured("chest_xray_classification", "train", "robustness")["faithful"] is False
    assert isinstance(configured("hippocampus_mri_segmentation", "inference")["mirror"], bool)
    assert isinstance(configured("hippocampus_mri_segmentation", "inference")["dicom_seg"], bool)


@pytest.mark.parametrize("files", RUNS)
def test_names_stay_as_they_were_typed_and_null_is_nothing_where_nothing_is_the_default(files: list[Path]) -> None:
    configuration = read_configuration(files)
    names = [name for name in ("name", "recipe", "split") if name in configuration]
    for text in ("001", "1e3", "None", "no", "2024"):
        assert read_words(configuration, dict.fromkeys(names, text)) == dict.fromkeys(names, text)
    unset = [name for name, value in configuration.items() if value is None]
    for text in ("null", "None", "none", "~"):
        assert read_words(configuration, dict.fromkeys(unset, text)) == dict.fromkeys(unset)


VALUES = [
    ("chest_xray_classification", "epochs", "3", 3),
    ("chest_xray_classification", "epochs", "1e1", 10),
    ("chest_xray_classification", "learning_rate", "1e-3", 0.001),
    ("chest_xray_classification", "limit", "12", 12),
    ("chest_xray_classification", "radii", "[0.1, 2e-1]", [0.1, 0.2]),
    ("chest_xray_classification", "radii", "0.1,0.2", [0.1, 0.2]),
    ("chest_xray_classification", "radii", "(0.1, 0.2)", [0.1, 0.2]),
    ("chest_xray_classification", "radii", "0.5", [0.5]),
    ("chest_xray_classification", "radii", "3grey", ["3grey"]),
    ("chest_xray_classification", "lr_milestones", "5", [5]),
    ("chest_xray_classification", "groups", "source", ["source"]),
    ("chest_xray_classification", "groups", "2024", ["2024"]),
    ("chest_xray_classification", "groups", "['source', 2024, no]", ["source", "2024", "no"]),
    ("chest_xray_classification", "lr_milestones", "5,10", [5, 10]),
    ("chest_xray_classification", "balance", "none", "none"),
    ("chest_xray_classification", "image_size", "@batch_size", "@batch_size"),
    ("chest_xray_classification", "measurement#sanity_samples", "0", 0),
    ("chest_xray_classification", "measurement#progress", "no", False),
    ("chest_xray_classification", "robust#shared_forward", "false", False),
    ("chest_xray_classification", "robust#attack#bounds", "per_image", "per_image"),
    ("chest_xray_classification", "robust#attack#bounds", "None", None),
    ("chest_xray_classification", "robust#attack#random_start", "sphere", "sphere"),
    ("chest_xray_classification", "robust#attack#random_start", "false", False),
    ("chest_xray_classification", "robust#attack#norm", "linf", "linf"),
    ("chest_xray_classification", "robust#thresholds", "2024", "2024"),
    ("chest_xray_classification", "robust#thresholds", "{'loss': 1e1}", {"loss": 10.0}),
    ("chest_xray_classification", "robust#augmented", "['aug', 'aug_low']", ["aug", "aug_low"]),
    ("chest_xray_classification", "robust#views#aug", "image", "image"),
    ("chest_xray_classification", "robust#views#mine", "image", "image"),
    ("chest_xray_classification", "train#first_rank#n_saved", "3", 3),
    ("chest_xray_classification", "optimizer#lr", "1e-2", 0.01),
    ("blood_cell_detection", "attack_goal", "2", 2),
    ("blood_cell_detection", "attack_goal", "vanishing", "vanishing"),
    ("blood_cell_detection", "image_size", "[64,48]", [64, 48]),
    ("blood_cell_detection", "class_names", "[001, no]", ["001", "no"]),
    ("hippocampus_mri_segmentation", "batch_size", "null", None),
    ("hippocampus_mri_segmentation", "image_size", "[40, 56]", [40, 56]),
    ("cephalometric_landmarks", "spacing", "0.1,0.1", [0.1, 0.1]),
]


@pytest.mark.parametrize(("bundle", "name", "text", "value"), VALUES)
def test_a_word_is_read_by_what_its_id_takes(bundle: str, name: str, text: str, value: object) -> None:
    found = read_words(configured(bundle, "train", "robustness"), {name: text})
    assert (found[name], type(found[name])) == (value, type(value))


WRONG = [
    ("epoch", "3", "did you mean --epochs?"),
    ("eps", "3", "did you mean --robust#attack#eps?"),
    ("measurement#sanity_sample", "0", "did you mean --measurement#sanity_samples?"),
    ("measurement::sanity_sample", "0", "did you mean --measurement#sanity_samples?"),
    ("robust#wieght", "2", "did you mean --robust#weight?"),
    ("train#first_rank#n_save", "2", "did you mean --train#first_rank#n_saved?"),
    ("robust#attack#epps", "2", "did you mean --robust#attack#eps?"),
    ("zzz", "2", "its ids are imports, bundle_root, dataset_dir"),
    ("perturbations#99#radii", "2", "perturbations has"),
    ("epochs#first", "2", "epochs is 15, so set it whole"),
    ("epochs", "three", "--epochs is 'three'; it takes a number such as 15"),
    ("epochs", "true", "it takes a number"),
    ("radii", "large", r"it takes a list, such as '\[0.1"),
    ("radii", "true", r"it takes a list, such as '\[0.1"),
    ("radii", "{a: 1}", r"it takes a list, such as '\[0.1"),
    ("radii", "[0.1", "check its brackets"),
    ("dataset_dir", "", "--dataset_dir is empty; it takes a file or folder"),
    ("measurement#sanity_samples", "many", "--measurement#sanity_samples is 'many'; it takes a number"),
    ("epochs", "0", "--epochs is 0; it takes whole numbers from 1"),
    ("epochs", "[1]", r"--epochs is \[1\]; it takes one whole number from 1"),
    ("num_workers", "null", "--num_workers is None; it takes one whole number from 0"),
    ("batch_size", "-4", "--batch_size is -4; it takes whole numbers from 1"),
    ("batch_size", "1.5", "whole numbers from 1"),
    ("val_interval", "0", "whole numbers from 1"),
    ("image_size", "[64, 0]", r"--image_size is \[64, 0\]; it takes whole numbers from 1"),
    ("num_workers", "-1", "--num_workers is -1; it takes whole numbers from 0"),
    ("train#dataloader#num_workers", "-1", "--train#dataloader#num_workers is -1; it takes whole numbers from 0"),
    ("seed", "1.5", "--seed is 1.5; it takes whole numbers from 0"),
    ("seed", "-1", "--seed is -1; it takes whole numbers from 0"),
    ("seed", "[0, 1]", r"--seed is \[0, 1\]; it takes one whole number from 0"),
    ("split_seed", "1.5", "--split_seed is 1.5; it takes whole numbers from 0"),
    ("split_seed", "-1", "--split_seed is -1; it takes whole numbers from 0"),
    ("split_seed", "null", "--split_seed is None; it takes one whole number from 0"),
    ("learning_rate", "0", "--learning_rate is 0; it takes a number above 0"),
    ("device", "cuda:99", "--device is 'cuda:99', which PyTorch cannot use here; cpu would do"),
    ("device", "gpu", "--device is 'gpu', which PyTorch cannot use here"),
]


@pytest.mark.parametrize(("name", "text", "mention"), WRONG)
def test_an_id_that_nothing_reads_and_a_word_that_cannot_be_meant_are_refused(
    name: str, text: str, mention: str
) -> None:
    with pytest.raises(BadInputError, match=mention):
        read_words(configured("chest_xray_classification", "train", "robustness"), {name: text})


@pytest.mark.parametrize("value", ["runs/run #1", Path("a#b"), ["erm #1", "rtda"], "['erm #1']"])
def test_a_sign_that_monai_would_change_is_refused(value: object) -> None:
    """MONAI would write into a folder "run ::1"."""
    configuration = configured("chest_xray_classification", "train")
    with pytest.raises(BadInputError, match=r"of which MONAI's configurations would make .*::"):
        check_ids(configuration, {"output_dir": value})
    check_ids(configuration, {"output_dir": "$@robust#update.recipe.name", "checkpoint": "@robust#update"})
    check_ids(configuration, {"output_dir": "{'_target_': 'pathlib.Path', 'path': '$@robust#update.recipe.name'}"})


def test_a_new_id_is_known_if_another_value_refers_to_it() -> None:
    configuration = configured("chest_xray_classification", "train")
    check_ids(configuration, {"my_rate": 0.1, "learning_rate": "@my_rate"})
    with pytest.raises(BadInputError, match="my_rate"):
        check_ids(configuration, {"my_rate": 0.1, "learning_rate": 0.1})
    assert not has_id(configuration, "attack_steps")
    assert has_id(configured("chest_xray_classification", "train", "robustness"), "attack_steps")


@pytest.mark.parametrize("other", ["robust#margins", "robust#margins#_target_"])
def test_ids_of_a_component_that_is_replaced_are_those_of_the_new_one(other) -> None:
    configuration = configured("chest_xray_classification", "train")
    kind = "monai_robust.handlers.RecordedMargins"
    value = kind if other.endswith("_target_") else f"{{'_target_': '{kind}'}}"
    words = {other: value, "robust#margins#path": "margins_by_sample.csv"}
    check_ids(configuration, words)
    assert read_words(configuration, words)["robust#margins#path"] == "margins_by_sample.csv"
    with pytest.raises(BadInputError, match="robust#margins#pth is no id"):
        check_ids(configuration, {other: value, "robust#margins#pth": "margins_by_sample.csv"})
    with pytest.raises(BadInputError, match="robust#margins#path is no id"):
        check_ids(configuration, {"robust#margins#path": "margins_by_sample.csv"})


def test_a_value_that_was_written_as_a_word_is_read_as_it_was() -> None:
    configuration = configured("chest_xray_classification", "train", "robustness")
    values = {
        "dataset_dir": "2024",
        "name": "a b#c",
        "radii": [0.1, 1e-3],
        "limit": None,
        "faithful": False,
        "epochs": 3,
    }
    assert read_words(configuration, {name: shown(value) for name, value in values.items()}) == values
    assert shown(Path("001")) == "'001'"
    assert shown("@loss") == "@loss"


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run :func:`check_command_line` as in a process of ``python -m monai.bundle run``: the words Fire gets, if any."""
    config = tmp_path / "train.yaml"
    content = {"dataset_dir": ".", "pictures": True, "epochs": 1, "name": "$1", "radii": [1], "shift": 0}
    content["run"] = ["$@epochs + @shift"]
    config.write_text(yaml.safe_dump(content))

    def start(*given: str, config_file: str | None = None) -> list[str] | None:
        started: list[list[str]] = []
        monkeypatch.setattr(command_line.fire, "Fire", lambda function, command: started.append(command))
        files = [] if config_file == "" else ["--config_file", config_file or str(config)]
        monkeypatch.setattr(sys, "argv", ["/x/monai/bundle/__main__.py", "run", *files, *given])
        with contextlib.suppress(SystemExit):
            check_command_line()
        return started[0] if started else None

    return start


def test_a_run_is_started_again_only_where_fire_reads_a_word_otherwise(words) -> None:
    assert words("--epochs", "3", "--dataset_dir", "films", "--pictures", "False", "--radii", "0.5,1") is None
    again = words("training", "--dataset_dir", "2024", "--pictures=false", "--epochs", "3", "--name", "1e3")
    assert again is not None
    assert again[0] == "training"
    assert {"--dataset_dir='2024'", "--pictures=False", "--name='1e3'", "--epochs=3"} <= set(again)
    assert words(*again[1:], config_file="") is None, "it would start again and again"


def test_words_are_divided_as_fire_divides_them(words) -> None:
    assert "--pictures=False" in words("--nopictures", "--dataset-dir", "1")
    assert words("--pictures", "--shift=-1") is None
    with pytest.raises(BadInputError, match="did you mean --epochs"):
        words("--epoch", "3")
    with pytest.raises(BadInputError, match="did you mean --epochs"):
        words("--epoch")


def test_ids_of_a_file_of_arguments_are_checked_too(words, tmp_path: Path) -> None:
    stored = tmp_path / "args.yaml"
    stored.write_text(yaml.safe_dump({"config_file": str(tmp_path / "train.yaml"), "epoch": 3}))
    with pytest.raises(BadInputError, match="did you mean --epochs"):
        words("--args_file", str(stored), config_file="")


def test_nothing_is_done_in_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "run", "--config_file", "gone.yaml", "--epoch", "3"])
    check_command_line()


PRESETS = sorted(REPOSITORY.glob("bundles/*/configs/presets/*.yaml"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
@pytest.mark.parametrize("last", [(), ("robustness",), ("evaluate",)], ids=["train", "robustness", "evaluate"])
def test_every_value_of_every_preset_wins_over_the_files_it_is_read_with(preset: Path, last: tuple[str, ...]) -> None:
    names = [preset.parents[1] / f"{name}.yaml" for name in ("train", *last)]
    configuration = read_configuration([*names, preset])
    for name, value in yaml.safe_load(preset.read_text()).items():
        node: Any = configuration
        for part in name.removeprefix("+").split("#"):
            node = node[part]
        assert (node[-len(value) :] if name.startswith("+") else node) == value, name  # "+": at the end of a list


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_each_number_of_a_presets_attack_has_its_id(preset: Path) -> None:
    configuration = read_configuration([preset.parents[1] / "train.yaml", preset])
    assert isinstance(configuration["robust"]["attack"], dict)
    words = {"robust#attack#eps": "3", "robust#attack#steps": "2", "robust#attack#relative_step": "1e0"}
    assert list(read_words(configuration, words).values()) == [3, 2, 1.0]


def test_an_argument_that_was_mistyped_is_told_with_the_one_that_was_meant():
    parser = ConfigParser({"attack": {"_target_": "monai_robust.attacks.APGD", "epss": 1.0}})
    with pytest.raises(Exception) as raised:  # noqa: PT011
        parser.get_parsed_content("attack")
    assert configuration_sentence(raised.value) == (
        "the bundle gives APGD the argument epss, which it does not take; did you mean eps?"
    )


def test_a_package_that_is_not_there_is_named_with_the_line_that_installs_it():
    parser = ConfigParser({"network": {"_target_": "timmy.models.Net"}})
    with pytest.raises(Exception) as raised:  # noqa: PT011
        parser.get_parsed_content("network")
    assert configuration_sentence(raised.value, packages={"timmy": "0.9"}) == (
        "the bundle names timmy.models.Net, and there is no package timmy; pip install timmy==0.9, or correct that "
        "_target_"
    )


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (nn.Sequential(nn.Linear(2, 3)), "2 of 4 weights fit (2 are missing, 0 have another shape, 0 too many)"),
        (
            nn.Sequential(nn.Linear(2, 5), nn.Linear(5, 3), nn.Linear(1, 1)),
            "1 of 4 weights fit (0 are missing, 3 have another shape, 2 too many)",
        ),
    ],
)
def test_weights_of_another_network_are_told_with_how_many_fit(other, told, tmp_path):
    torch.save({"model": other.state_dict()}, tmp_path / "model.pt")
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    engine = Engine(lambda engine, batch: None)
    CheckpointLoader(str(tmp_path / "model.pt"), {"model": network}).attach(engine)
    with pytest.raises(RuntimeError) as raised:
        engine.run([0])
    sentence = f"the bundle loads a checkpoint of another network into Sequential: {told}, such as '"
    assert str(configuration_sentence(raised.value)).startswith(sentence)
    engine = Engine(lambda engine, batch: None)
    CheckpointLoader(str(tmp_path / "model.pt"), {"net": network, "more": network}).attach(engine)
    with pytest.raises(Exception) as raised:  # noqa: PT011
        engine.run([0])
    assert "loads 'net' from a checkpoint that does not hold it" in str(configuration_sentence(raised.value))


def test_a_metric_that_fails_is_told_by_its_class():
    engine = Engine(lambda engine, batch: {"pred": torch.zeros(2), "label": torch.zeros(2)})
    MeanSquaredError(output_transform=lambda output: (output["pred"], output["gone"])).attach(engine, "error")
    with pytest.raises(KeyError) as raised:
        engine.run([0])
    assert configuration_sentence(raised.value) == (
        "the bundle cannot compute its metric MeanSquaredError of what the network gives: KeyError: 'gone'; correct it "
        "or its output_transform, or leave it out"
    )
    with pytest.raises(KeyError) as raised:
        Engine(lambda engine, batch: {}["gone"]).run([0])
    assert configuration_sentence(raised.value) is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("radius", "radii"),
        ("epss", "robust#attack#eps"),
        ("atack_steps", "attack_steps"),
        ("robust#atack#eps", "robust#attack#eps"),
        ("robust#attack#epss", "robust#attack#eps"),
        ("robust#atack#epss", "robust#attack"),
    ],
)
def test_an_id_that_was_mistyped_is_told_with_the_one_that_was_meant(typed, meant):
    configuration = configured("chest_xray_classification", "train", "robustness")
    with pytest.raises(BadInputError, match=rf"did you mean --{meant}\?$"):
        check_ids(configuration, {typed: 1})
