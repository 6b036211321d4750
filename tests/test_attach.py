"""Attaching to bundles of somebody else's: what is found, what is proposed, and what is refused in one sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import environment
from foreign_bundles import SHAPES, write_bundle
from monai.bundle import ConfigParser
from warm_python import WarmPython

from monai_robust.commands.attach import attach
from monai_robust.errors import BadInputError
from monai_robust.handlers import fit_thresholds
from monai_robust.overlays import overlay_path
from monai_robust.overlays.fitting import fit_overlay
from monai_robust.overlays.here import files_to_fit
from monai_robust.pipelines import Pipeline, commands_for, outputs_of, proposed_radii
from monai_robust.pipelines.folder import BundleFolder
from monai_robust.pipelines.notes import last_channels
from monai_robust.tasks import LossTask

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def changed(folder: Path, change: Callable[[dict[str, Any]], Any], file: str = "configs/train.json") -> Path:
    """A bundle whose configuration was edited."""
    config = json.loads((folder / file).read_text())
    change(config)
    (folder / file).write_text(json.dumps(config))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle("multi_label", tmp_path / "bundle")


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.refused is None])
def test_what_the_outputs_are_is_found(name: str, tmp_path: Path) -> None:
    found = Pipeline.read(write_bundle(name, tmp_path)).found
    assert SHAPES[name].finds in found.outputs.described
    if name == "script_alone":
        assert found.trained == "--model models/model.ts"
        return
    assert found.checkpoints is not None
    assert found.checkpoints.owner == (
        "trainer" if name in ("single_label", "without_metric", "ignite") else "validator"
    )


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("multi_label", "by sample_id, such as 'case"),
        ("segmentation", "by their files' names, such as"),
        ("lost_metadata", "by their files' names in the data list, which the overlay adds"),
        ("nameless", "by their places in the data set, which must stay as they are, which the overlay adds"),
    ],
)
def test_how_samples_are_known_is_said_and_the_overlay_names_them_where_batches_do_not(
    name: str, known: str, tmp_path: Path
) -> None:
    pipeline = Pipeline.read(write_bundle(name, tmp_path))
    assert str(pipeline.found.samples).startswith(known)
    (amat,) = [one.line for one in commands_for(pipeline) if one.name == "amat"]
    assert ("--sample_ids" in amat) is ("overlay adds" in known)


def test_files_that_a_warm_cache_forgets_are_named_by_the_overlay(tmp_path: Path) -> None:
    folder = write_bundle("segmentation", tmp_path)
    cached = {"_target_": "PersistentDataset", "cache_dir": "cache"}
    changed(folder, lambda c: c["train"]["dataset"].update(cached))
    assert Pipeline.read(folder).found.unnamed


def test_images_of_several_files_are_known_by_all_of_them(tmp_path: Path) -> None:
    folder = write_bundle("segmentation", tmp_path)
    several = "$[{**one, 'image': [one['image'], @made[0]['image']]} for one in @made]"
    changed(folder, lambda c: c.update(made=c["items"], items=several, channels=2))
    changed(folder, lambda c: c["network_def"].update(in_channels=2))
    assert str(Pipeline.read(folder).found.samples).startswith("by a hash of their entries")


@pytest.mark.parametrize(
    ("loader", "sentence"),
    [("$torch.utils.data.DataLoader(@train#dataset, batch_size=4)", "is no component"), (None, "relative references")],
)
def test_data_that_no_overlay_can_name_is_said_and_margins_are_not_offered(
    loader: str | None, sentence: str, tmp_path: Path
) -> None:
    folder = write_bundle("nameless", tmp_path)
    relative = {"_target_": "scripts.images.Images", "count": "@##batch_size"}
    change = {"dataloader": loader} if loader else {"dataloader": RELATIVE | {"dataset": relative}}
    changed(folder, lambda c: c["train"].update(change))
    pipeline = Pipeline.read(folder)
    assert [one.name for one in commands_for(pipeline)] == ["stock", "train", "attack", "evaluate"]
    assert any(sentence in note for note in pipeline.found.notes)


RELATIVE = {"_target_": "DataLoader", "batch_size": 4}


def test_the_engine_that_run_runs_is_meant_where_there_are_several_and_disabled_ones_are_none(bundle: Path) -> None:
    def several(config: dict[str, Any]) -> None:
        other = {**config["validate"]["evaluator"], "val_data_loader": "@train#dataloader"}
        config["stage"] = {"validate": config.pop("validate"), "of_training": other}
        config["old"] = {"trainer": {"_target_": "GanTrainer", "_disabled_": True}}

    for file in ("configs/train.json", "configs/evaluate.json"):
        text = (bundle / file).read_text()
        text = text.replace("@validate#", "@stage#validate#").replace('"validate#', '"stage#validate#')
        (bundle / file).write_text(text)
    pipeline = Pipeline.read(changed(bundle, several))
    assert (pipeline.found.trainer, pipeline.found.evaluator) == ("train#trainer", "stage#validate#evaluator")
    for file in ("configs/train.json", "configs/evaluate.json"):
        text = (bundle / file).read_text().replace("stage#validate#", "stage#check#")
        (bundle / file).write_text(text.replace('{"validate": ', '{"check": '))
    changed(bundle, lambda c: c.update(run=["$@stage#of_training.run()"]), "configs/evaluate.json")
    component = Pipeline.read(bundle).evaluator_component
    assert component is not None
    assert component.id == "stage#of_training"
    changed(bundle, lambda c: c.update(run=["$print(1)"]), "configs/evaluate.json")
    with pytest.raises(BadInputError, match="run does not run just one of them"):
        _ = Pipeline.read(bundle).evaluator_component


def test_engines_that_are_macros_are_found_and_written_out_by_the_overlay(bundle: Path) -> None:
    def engines(config: dict[str, Any]) -> None:
        parts = {"trainer": config["train"]["trainer"], "evaluator": config["validate"]["evaluator"]}
        (bundle / "configs" / "engines.json").write_text(json.dumps(parts))
        config["train"]["trainer"] = "%configs/engines.json#trainer"
        config["validate"]["evaluator"] = "%configs/engines.json#evaluator"
        config["validate"]["dataset"] = "%train#dataset"

    changed(bundle, engines)
    pipeline = Pipeline.read(bundle)
    commands = {one.name: one.line for one in commands_for(pipeline)}
    assert pipeline.folder.training == (bundle / "configs" / "train.json",)
    assert "overlay rtda --for configs/train.json" in commands["train"]
    with pipeline.inside():
        path = fit_overlay("rtda", ["configs/train.json"], bundle / "rtda.yaml")
        config = ConfigParser()
        config.read_config(["configs/train.json", str(path)])
    trainer = config["train#trainer"]
    assert (trainer["_target_"], trainer["iteration_update"]) == ("SupervisedTrainer", "@robust#update")
    changed(bundle, lambda c: c["train"].update(trainer="%configs/engines.json#gone"))
    with pytest.raises(BadInputError, match=r"a macro \(%\) of train.json"):
        _ = Pipeline.read(bundle, ["train.json"]).found


def test_a_smart_cache_is_looked_at_through_a_small_one(bundle: Path) -> None:
    smart = {"_target_": "SmartCacheDataset", "cache_num": 4, "replace_rate": 0.5}
    pipeline = Pipeline.read(changed(bundle, lambda c: c["train"]["dataset"].update(smart)))
    assert pipeline.found.training is not None
    assert str(pipeline.found.samples).startswith("by sample_id")


def test_slices_of_a_volume_are_windows_of_a_network_of_fewer_axes(tmp_path: Path) -> None:
    folder = write_bundle("regions", tmp_path)

    def by_slices(config: dict[str, Any]) -> None:
        config["network_def"]["spatial_dims"] = 2
        config["train"]["preprocessing"]["transforms"][-1]["roi_size"] = [16, 16, 1]
        squeeze = {"_target_": "SqueezeDimd", "keys": ["image", "label"], "dim": -1}
        config["train"]["preprocessing"]["transforms"].append(squeeze)
        slices = {"_target_": "SliceInferer", "roi_size": [20, 20], "spatial_dim": 2, "sw_batch_size": 2}
        config["validate"]["inferer"] = slices

    assert Pipeline.read(changed(folder, by_slices)).found.windows == ((20, 20, 1), 20)


def test_a_network_that_takes_more_than_an_image_is_trained_with_margins_and_has_no_line_that_measures(
    bundle: Path,
) -> None:
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "__init__.py").write_text(AGED)
    prepare = {"_target_": "monai.engines.PrepareBatchExtraInput", "extra_keys": "age"}

    def aged(config: dict[str, Any]) -> None:
        config["network_def"] = {"_target_": "scripts.Aged"}
        config["items"] = config["items"].replace("'label':", "'age': torch.tensor([0.1 * i]), 'label':")
        for engine in (config["train"]["trainer"], config["validate"]["evaluator"]):
            engine["prepare_batch"] = prepare

    pipeline = Pipeline.read(changed(bundle, aged))
    assert [one.name for one in commands_for(pipeline)] == ["stock", "train", "amat", "attack"]
    assert any("takes more than an image" in note for note in pipeline.found.notes)
    trainer = pipeline.trainer()
    with pipeline.inside():
        thresholds = fit_thresholds(
            trainer.network, trainer.data_loader, LossTask(trainer.loss_function), prepare_batch=trainer.prepare_batch
        )
    assert thresholds.fitted["task"]


AGED = """
import torch


class Aged(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(2, 4)

    def forward(self, images, age):
        return self.last(torch.cat([images.mean((2, 3)), age], 1))
"""


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.refused is not None])
def test_what_cannot_be_served_is_refused_by_attach_and_by_overlay_for(name: str, tmp_path: Path) -> None:
    folder = write_bundle(name, tmp_path)
    refused = str(SHAPES[name].refused)
    with pytest.raises(BadInputError, match=refused):
        commands_for(Pipeline.read(folder))
    if name == "torchvision":  # a missing package is seen where something is made of it, and an overlay makes nothing
        return
    pipeline = Pipeline.read(folder)
    with pipeline.inside(), pytest.raises(BadInputError, match=refused):
        fit_overlay("rtda", ["configs/train.json"])


def test_a_dry_run_leaves_files_places_and_random_numbers_as_they_were(bundle: Path) -> None:
    before, place, state = sorted(bundle.rglob("*")), Path.cwd(), torch.random.get_rng_state()
    assert Pipeline.read(bundle).found.trainer == "train#trainer"
    assert sorted(bundle.rglob("*")) == before
    assert Path.cwd() == place
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_dry_run_is_short_however_large_a_batch_is(bundle: Path) -> None:
    """Beyond imports and loading, of which there is little here."""
    larger = {"train#dataloader#batch_size": 8, "items": SHAPES["multi_label"].files()["configs/train.json"]["items"]}
    larger["items"] = larger["items"].replace("16, 16", "128, 128")
    begin = time.process_time()
    small = Pipeline.read(bundle)
    assert commands_for(small)
    large = Pipeline.read(bundle, overrides=larger)
    assert commands_for(large)
    assert time.process_time() - begin < 20
    # the graph of one sample is multiplied: 64 times the pixels in a batch of the same size
    assert small.found.attack_gib is not None
    assert large.found.attack_gib is not None
    assert large.found.attack_gib / small.found.attack_gib == pytest.approx(64, rel=0.2)


def test_engines_are_made_with_the_bundles_own_parts_and_without_its_handlers(bundle: Path) -> None:
    pipeline = Pipeline.read(bundle)
    trainer, evaluator = pipeline.trainer(), pipeline.evaluator()
    assert type(trainer.loss_function).__name__ == "BCEWithLogitsLoss"
    with pipeline.inside():
        trainer.run()
        evaluator.run()
    assert "val_accuracy" in evaluator.state.metrics
    assert not (bundle / "models").exists()


def test_sliding_windows_are_counted_and_their_memory_is_that_of_all_of_them(tmp_path: Path) -> None:
    pipeline = Pipeline.read(write_bundle("regions", tmp_path))
    assert pipeline.found.windows == ((16, 16, 16), 8)  # two an axis of 20, with half a window of overlap
    single = changed(tmp_path, lambda c: c["validate"]["inferer"].update(roi_size=[20, 20, 20]))
    assert Pipeline.read(single).found.windows == ((20, 20, 20), 1)
    more, whole = pipeline.found.attack_gib, Pipeline.read(single).found.attack_gib
    assert more is not None
    assert whole is not None
    assert more / whole == pytest.approx(8 * 16**3 / 20**3, rel=0.3)


def test_radii_are_shares_of_the_norm_of_what_the_network_sees(bundle: Path) -> None:
    found = Pipeline.read(bundle).found
    images = torch.stack([torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(i)) * 0.4 for i in range(2)])
    images[1] += 0.3
    assert found.images.norm == pytest.approx(float(images.flatten(1).norm(dim=1).median()), rel=1e-5)
    assert proposed_radii(128.0) == (0.64, 1.3, 2.6)
    with pytest.raises(BadInputError, match="no radius can be proposed"):
        proposed_radii(0.0)


@pytest.mark.parametrize(
    ("shape", "loss", "labels", "kind"),
    [
        ((4, 3), torch.nn.CrossEntropyLoss(), torch.tensor([0, 1, 2, 0]), "classes"),
        ((4, 3), torch.nn.BCEWithLogitsLoss(), torch.ones(4, 3), "labels"),
        ((4, 1), torch.nn.BCEWithLogitsLoss(), torch.ones(4, 1), "logit"),
        ((4, 3), torch.nn.MSELoss(), torch.rand(4, 3), "numbers"),
        ((4, 3), lambda outputs, targets: outputs.sum(), torch.tensor([0, 1, 2, 0]), "classes"),
        ((4, 3), lambda outputs, targets: outputs.sum(), torch.rand(4, 3), "numbers"),
        ((4, 3), lambda outputs, targets: outputs.sum(), torch.tensor([0, 1, 2, 9]), "unknown"),
    ],
)
def test_outputs_are_told_by_loss_and_labels(shape: tuple[int, ...], loss: Any, labels: Any, kind: str) -> None:
    assert outputs_of(torch.zeros(shape), labels, loss).kind == kind


def test_heads_of_deep_supervision_are_told_by_the_other_mode() -> None:
    one = torch.zeros(2, 3, 8, 8)
    for several in (torch.zeros(2, 4, 3, 8, 8), [one, one[..., ::2, ::2], one, one]):
        found = outputs_of(several, torch.zeros(2, 1, 8, 8), torch.nn.CrossEntropyLoss(), one_head=one)
        assert (found.heads, found.count, found.dense, found.agreement) == (4, 3, True, None)


def test_channels_that_are_no_image_are_named(tmp_path: Path) -> None:
    folder = write_bundle("one_logit", tmp_path)
    change = {"0": "image", "1": "positive clicks", "2": "negative clicks"}
    changed(
        folder,
        lambda c: c["network_data_format"]["inputs"]["image"].update(channel_def=change),
        "configs/metadata.json",
    )
    assert Pipeline.read(folder).found.images.guidance == (1, 2)
    assert Pipeline.read(write_bundle("regions", tmp_path / "other")).found.images.guidance == ()


def test_the_newest_checkpoint_stands_for_one_whose_name_nobody_knows(bundle: Path) -> None:
    saver = {"save_final": True, "save_key_metric": False, "key_metric_filename": None, "save_dir": "$'kept'"}
    pipeline = Pipeline.read(changed(bundle, lambda c: c["validate"]["handlers"][1].update(saver)))
    amat = next(one.line for one in commands_for(pipeline) if one.name == "amat")
    assert '--robust#thresholds "$(ls -t kept_stock/*.pt | head -n 1)"' in amat
    assert "--validate#handlers#1#save_dir kept_amat" in amat


def test_pretrained_weights_are_not_downloaded_for_a_dry_run(bundle: Path) -> None:
    network = {"_target_": "scripts.Pretrained", "pretrained": "@use_pretrained"}
    (bundle / "scripts.py").write_text(
        "import torch\n\n\n"
        "def Pretrained(pretrained):\n"
        "    assert not pretrained, 'this would download'\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 4))\n"
    )
    pipeline = Pipeline.read(changed(bundle, lambda c: c.update(network_def=network, use_pretrained=True)))
    assert pipeline.found.outputs.count == 4
    with pytest.raises(BadInputError, match="this would download"):
        pipeline.trainer()


def test_fitted_overlays_are_written_once_where_one_says(tmp_path: Path) -> None:
    folder = write_bundle("single_label", tmp_path)
    pipeline = Pipeline.read(folder)
    fitting = {command.name: command.line for command in commands_for(pipeline)}
    assert "overlay rtda --for configs/train.json" in fitting["train"]
    written = {command.name: command.line for command in commands_for(pipeline, folder / "fitted")}
    assert "'fitted/robust_rtda.yaml'" in written["train"]
    assert {path.name for path in (folder / "fitted").iterdir()} == {
        "robust_rtda.yaml",
        "robust_amat.yaml",
        "robust_attack.yaml",
    }


def test_a_bundle_says_where_its_data_is_missing(bundle: Path) -> None:
    def no_data(config: dict[str, Any]) -> None:
        config["dataset_dir"] = "/data/not_there"
        config["imports"].append("$import glob")
        config["items"] = "$[{'image': x} for x in list(sorted(glob.glob(os.path.join(@dataset_dir, 'a', '*.jpg'))))]"

    with pytest.raises(BadInputError, match=r"no data: dataset_dir is /data/not_there, .* --set dataset_dir=PATH"):
        _ = Pipeline.read(changed(bundle, no_data)).found


def test_a_list_that_comes_out_empty_is_told_of_with_the_folder_it_is_made_from(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "unlabelled").mkdir()

    def empty(config: dict[str, Any]) -> None:
        config["dataset_dir"] = str(tmp_path / "unlabelled")
        config["imports"].append("$import glob")
        config["items"] = "$[{'image': x} for x in list(sorted(glob.glob(os.path.join(@dataset_dir, 'a', '*.jpg'))))]"

    with pytest.raises(BadInputError, match=r"the list that it makes from dataset_dir, .*unlabelled, is empty"):
        _ = Pipeline.read(changed(bundle, empty)).found


def test_files_that_a_list_names_and_that_are_gone_are_told_of(bundle: Path) -> None:
    def gone(config: dict[str, Any]) -> None:
        config["items"] = "$[{'image': '/data/gone.nii.gz', 'label': 0}] * 4"
        config["train"]["preprocessing"]["transforms"] = [{"_target_": "LoadImaged", "keys": "image"}]

    with pytest.raises(BadInputError, match=r"finds no data: .*gone\.nii\.gz"):
        _ = Pipeline.read(changed(bundle, gone)).found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda c: c["train"]["inferer"].update(_target_="SimpleInferrer"),
            "which is neither MONAI's nor in the bundle",
        ),
        (lambda c: c["train"]["trainer"].update(loss_function="@los"), "refers to @los, which none of its"),
        (lambda c: c["network_def"].update(_target_="nowhere.Net"), "names nowhere.Net"),
        (lambda c: c.update(network_def="$__import__('skimage_not_there')"), "pip install skimage_not_there"),
        (lambda c: c["train"]["trainer"].update(_target_="torchvsion.Trainer"), "pip install torchvsion"),
        (lambda c: c["train"]["trainer"].update(max_epochs_="1"), "SupervisedTrainer the argument max_epochs_"),
        (lambda c: c["train"]["dataloader"].update(batch_size=0), "batch_size"),
        (lambda c: c.update(items="$[{'image': torch.zeros(1, 16, 16)}] * 4"), "without a label|'label'"),
        (lambda c: c.update(items="$[{'image': torch.zeros(1, 16, 16, dtype=int), 'label': 0}]*4"), "floating point"),
    ],
)
def test_what_a_bundle_lacks_is_one_sentence(bundle: Path, change: Any, sentence: str) -> None:
    if "nowhere" in sentence:
        changed(bundle, lambda c: c.update(network_def={"_target_": "torch.nn.Flatten"}))
    with pytest.raises(BadInputError, match=sentence):
        commands_for(Pipeline.read(changed(bundle, change)))


def test_an_evaluation_that_does_not_run_yet_is_looked_at_by_the_trainings_validation(bundle: Path) -> None:
    later = {"validate#dataset#data": "$torch.load('made_by_training.pt')"}
    changed(bundle, lambda c: c.update(later), "configs/evaluate.json")
    pipeline = Pipeline.read(bundle)
    assert [command.name for command in commands_for(pipeline)] == ["stock", "train", "amat", "attack", "evaluate"]
    assert any("the evaluation is for after a training" in note for note in pipeline.found.notes)
    pipeline = Pipeline.read(changed(bundle, lambda c: c["validate"]["dataset"].update(data="$[][0]")))
    assert [command.name for command in commands_for(pipeline)] == ["stock", "train", "amat"]
    assert any("the evaluation does not run here" in note for note in pipeline.found.notes)


def test_a_look_draws_the_same_crops_every_time(tmp_path: Path) -> None:
    folder = write_bundle("regions", tmp_path)
    assert Pipeline.read(folder).found == Pipeline.read(folder).found
    state = torch.random.get_rng_state()
    lines = [one.line for one in commands_for(Pipeline.read(folder))]
    torch.rand(3)
    assert [one.line for one in commands_for(Pipeline.read(folder))] == lines
    assert not torch.equal(torch.random.get_rng_state(), state)


def test_what_is_set_stands_in_every_command(bundle: Path) -> None:
    lines = [one.line for one in commands_for(Pipeline.read(bundle, overrides={"seed": 3}))]
    assert all(" --seed 3" in line for line in lines)


def test_without_a_saver_there_is_nothing_to_fit_margins_from_or_to_measure(bundle: Path) -> None:
    pipeline = Pipeline.read(changed(bundle, lambda c: c["validate"]["handlers"].pop()))
    assert [command.name for command in commands_for(pipeline)] == ["stock", "train", "attack"]
    assert any("no CheckpointSaver stands in its configuration" in note for note in pipeline.found.notes)


def test_labels_that_nothing_measures_leave_that_line_out_and_a_note_says_so(tmp_path: Path, bundle: Path) -> None:
    pipeline = Pipeline.read(write_bundle("listed_labels", tmp_path / "listed"))
    assert [command.name for command in commands_for(pipeline)] == ["stock", "train", "amat", "attack"]
    assert any("no line that measures" in note for note in pipeline.found.notes)
    unlabelled = "$[{'image': one['image']} for one in @items[:4]]"
    pipeline = Pipeline.read(changed(bundle, lambda c: c["validate"]["dataset"].update(data=unlabelled)))
    assert [command.name for command in commands_for(pipeline)] == ["stock", "train", "amat"]
    assert any("have no label" in note for note in pipeline.found.notes)


def test_a_bundle_that_only_infers_is_refused_for_its_lack_of_labels(bundle: Path) -> None:
    def infers(config: dict[str, Any]) -> None:
        del config["train"]["trainer"]
        config["items"] = "$[{'image': torch.rand(1, 16, 16)} for i in range(4)]"
        config["run"] = ["$@validate#evaluator.run()"]

    (bundle / "configs" / "evaluate.json").unlink()
    (changed(bundle, infers) / "configs" / "train.json").rename(bundle / "configs" / "inference.json")
    with pytest.raises(BadInputError, match="trains nothing and evaluates without labels"):
        _ = Pipeline.read(bundle).found


def test_commands_are_for_the_bundles_folder_and_say_so(bundle: Path, warm_python: WarmPython) -> None:
    (bundle.parent / "elsewhere").mkdir()
    attach = ("-m", "monai_robust", "attach")
    away = warm_python.run(*attach, bundle, "--write", "fitted", cwd=bundle.parent / "elsewhere")
    assert f"\ncd {bundle}\n" in away.stdout
    assert f"'{bundle.parent}/elsewhere/fitted/robust_attack.yaml'" in away.stdout
    assert (bundle.parent / "elsewhere" / "fitted" / "robust_attack.yaml").is_file()
    assert "\ncd " not in warm_python.run(*attach, cwd=bundle).stdout
    slip = warm_python.run(*attach, "--set", "dataset_dir", cwd=bundle)
    assert (slip.returncode, slip.stderr.count("\n")) == (2, 1)
    assert "such as dataset_dir=/data" in slip.stderr


def test_a_checkpoint_that_is_there_is_measured_first_and_compared_in_the_end(tmp_path: Path) -> None:
    pipeline = Pipeline.read(write_bundle("segmentation", tmp_path / "bundle"))
    names = [one.name for one in commands_for(pipeline)]
    assert not {"evaluate_own", "compare"} & set(names)
    checkpoints = pipeline.found.checkpoints
    assert checkpoints is not None
    file = pipeline.folder.path / checkpoints.folder / checkpoints.file.replace("*", "7")
    file.parent.mkdir(parents=True)
    file.touch()
    commands = commands_for(pipeline)
    assert [one.name for one in commands] == ["evaluate_own", *names, "compare"]
    assert f" --checkpoint {checkpoints.folder}/{file.name} --radii " in commands[0].line
    folders = [one.line.split("--output_dir ")[1].split()[0] for one in commands if one.name.startswith("evaluate")]
    assert commands[-1].line.startswith(f"monai-robust report {' '.join(folders)} --output ")


def test_the_version_of_a_missing_package_is_the_metadatas(bundle: Path) -> None:
    changed(bundle, lambda c: c.update(network_def="$__import__('itkwidgets')"))
    changed(bundle, lambda c: c["required_packages_version"].update(itkwidgets="1.2"), "configs/metadata.json")
    with pytest.raises(BadInputError, match=r"pip install itkwidgets==1\.2"):
        _ = Pipeline.read(bundle).found


def test_folders_that_are_no_bundle_are_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(BadInputError, match="there is no folder"):
        Pipeline.read(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="is no MONAI bundle"):
        Pipeline.read(tmp_path / "empty")
    with pytest.raises(BadInputError, match=r"there is no configuration file other\.json"):
        Pipeline.read(bundle, ["other.json"])
    (bundle / "configs" / "train.json").write_text("{")
    with pytest.raises(BadInputError, match=r"train\.json cannot be read as JSON"):
        Pipeline.read(bundle)


def test_packages_that_the_metadata_asks_for_are_named_with_the_line_that_installs_them(bundle: Path) -> None:
    required = {"pytorch-ignite": "0.5.0", "itkwidgets-not-there": "1.2"}
    changed(bundle, lambda c: c.update(required_packages_version=required), "configs/metadata.json")
    (note,) = Pipeline.read(bundle).found.notes
    assert "pip install itkwidgets-not-there==1.2" in note
    assert "ignite" not in note


@pytest.mark.parametrize(("content", "note"), [(None, "no metadata.json"), ("{", "cannot be read and is left out")])
def test_metadata_is_not_needed(bundle: Path, content: str | None, note: str) -> None:
    metadata = bundle / "configs" / "metadata.json"
    metadata.unlink() if content is None else metadata.write_text(content)
    assert any(note in one for one in Pipeline.read(bundle).found.notes)


def test_an_evaluation_without_a_training_is_measured_with_the_weights_that_it_loads(tmp_path: Path) -> None:
    folder = write_bundle("script_alone", tmp_path)
    network = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [4, 8]}
    loader = {"_target_": "CheckpointLoader", "load_path": "models/best.pt", "load_dict": {"model": "@network"}}

    def usual(config: dict[str, Any]) -> None:
        config.update(network_def={**network, "strides": [2]})
        config["validate"]["handlers"] = [loader]

    found = Pipeline.read(changed(folder, usual, "configs/evaluate.json")).found
    assert found.trained is None
    assert any("no file of weights is there" in note for note in found.notes)
    (folder / "models" / "best.pt").touch()
    lines = [one.line for one in commands_for(Pipeline.read(folder))]
    assert lines[-1].startswith("monai-robust evaluate . --checkpoint models/best.pt --radii ")


@pytest.mark.parametrize("shape", ["crops", "stream"])
def test_an_evaluation_whose_images_cannot_be_asked_for_one_by_one_has_no_line_that_measures(
    shape: str, tmp_path: Path
) -> None:
    folder = write_bundle("segmentation", tmp_path)
    keys = {"keys": ["image", "label"]}

    def apart(config: dict[str, Any]) -> None:
        part = config["validate"]
        if shape == "crops":
            crop = {"_target_": "RandSpatialCropSamplesd", **keys, "roi_size": [8, 8], "num_samples": 2}
            part["preprocessing"]["transforms"] = [*part["preprocessing"]["transforms"], crop]
        else:
            patches = {"_target_": "PatchIterd", **keys, "patch_size": [8, 8]}
            grid = {"_target_": "GridPatchDataset", "patch_iter": patches, "with_coordinates": False}
            part["dataset"] = {**grid, "data": part["dataset"]}

    pipeline = Pipeline.read(changed(folder, apart))
    assert [command.name for command in commands_for(pipeline)] == ["stock", "train", "amat", "attack"]
    assert any("no line that measures" in note for note in pipeline.found.notes)


def test_a_loss_that_does_not_take_what_evaluation_gives_is_told_of_and_what_goes_without_it_is_offered(
    tmp_path: Path,
) -> None:
    folder = write_bundle("heads", tmp_path)
    code = folder / "scripts" / "heads.py"
    in_training = "return (self.main(images), self.auxiliary(images)) if self.training else self.main(images)"
    code.write_text(code.read_text().replace("return self.main(images), self.auxiliary(images)", in_training))
    changed(folder, lambda c: c["validate"]["postprocessing"]["transforms"].pop(0))
    pipeline = Pipeline.read(folder)
    assert [command.name for command in commands_for(pipeline)] == ["stock", "evaluate"]
    (note,) = pipeline.found.notes
    assert "the loss BothHeads refuses what it gets where the network is attacked" in note
    assert "(ValueError: not enough values to unpack" in note
    assert "--robust#attack#mode train" in note


def test_channels_that_stand_last_are_told() -> None:
    assert "channels, so these stand last" in str(last_channels((16, 16, 3), 3))
    for shape, declared in (((3, 16, 16), 3), ((3, 16, 3), 3), ((16, 16, 3), None), ((16, 16, 3), 4)):
        assert last_channels(shape, declared) is None


def test_one_of_several_trainings_is_chosen_by_its_file(bundle: Path) -> None:
    configs = bundle / "configs"
    (configs / "train_small.json").write_text((configs / "train.json").read_text())
    assert BundleFolder.read(bundle).training == (configs / "train.json",)
    (configs / "train.json").rename(configs / "train_large.json")
    with pytest.raises(BadInputError, match=r"several trainings \(train_large.json, train_small.json\)"):
        Pipeline.read(bundle)
    chosen = Pipeline.read(bundle, ["train_small.json"])
    assert "'configs/train_small.json'" in commands_for(chosen)[0].line


def test_settings_reach_the_dry_run_and_the_printed_commands(bundle: Path) -> None:
    pipeline = Pipeline.read(bundle, overrides={"train#dataloader#batch_size": 3})
    assert pipeline.found.training is not None
    assert pipeline.found.training.batch == 3
    assert "--train#dataloader#batch_size 3" in commands_for(pipeline)[0].line


def test_a_setting_that_the_bundle_does_not_have_is_refused(bundle: Path) -> None:
    with pytest.raises(BadInputError, match="datasetdir"):
        attach(bundle, None, ["datasetdir=/nowhere"], None)


def test_evaluate_json_alone_says_what_goes_before_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    wanted = r"no file before it has validate; .*--for configs/train.json --for configs/evaluate.json"
    with pytest.raises(BadInputError, match=wanted):
        fit_overlay("attack", ["configs/evaluate.json"])


def test_the_overlay_command_fits_the_bundle_it_is_called_in(tmp_path: Path, warm_python: WarmPython) -> None:
    usual, other = (write_bundle(name, tmp_path / name) for name in ("multi_label", "single_label"))
    assert files_to_fit("rtda", usual) == []
    assert files_to_fit("amat", usual) == []
    assert files_to_fit("rtda", other) == [other / "configs/train.json"]
    assert files_to_fit("attack", usual) == [usual / f"configs/{one}.json" for one in ("train", "evaluate")]
    assert files_to_fit("rtda", tmp_path) == []
    printed = warm_python.run("-m", "monai_robust", "overlay", "rtda", cwd=other).stdout.strip()
    assert "\ntrainer#iteration_update" in Path(printed).read_text()
    assert warm_python.run("-m", "monai_robust", "overlay", "rtda", cwd=usual).stdout.strip() == str(
        overlay_path("rtda")
    )


# What MONAI writes there of its own accord: progress bars, and a plug-in that pydicom has not.
NOTES = re.compile(r"it/s\]|nvImageCodec")


def run(folder: Path, warm: WarmPython, line: str) -> subprocess.CompletedProcess[str]:
    path = f"{warm.folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment(PATH=path, PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "line", "sentence"),
    [
        ("multi_label", "'configs/train.json', '$(monai-robust overlay rtda)'", "--robust#agreement"),
        ("multi_label", "'configs/train.json', '$(monai-robust overlay amat)'", "--robust#thresholds"),
        ("segmentation", "'configs/train.json', 'configs/evaluate.json', 'attack.yaml'", "--robust_eval#loss @loss"),
        ("segmentation", "'configs/train.json', 'configs/evaluate.json', 'fitted.yaml'", "models/model.pt"),
        ("multi_label", "'configs/train.json', 'slip.yaml', '$(monai-robust overlay sat)'", "names SimpleInferrer"),
        ("multi_label", "'configs/train.json', '$(monai-robust overlay sat)', 'epss.yaml'", "the argument epss, which"),
        ("multi_label", "'configs/train.json', 'gone.yaml', '$(monai-robust overlay sat)'", "gone.png"),
    ],
)
def test_a_clear_sentence_is_the_only_line_of_stderr(
    name: str, line: str, sentence: str, tmp_path: Path, warm_python: WarmPython
) -> None:
    folder = write_bundle(name, tmp_path)
    (folder / "slip.yaml").write_text("train#inferer#_target_: SimpleInferrer\n")
    (folder / "epss.yaml").write_text("robust#attack#epss: 1.0\n")
    loading = {"items": "$[{'image': 'gone.png', 'label': 0}] * 4"}
    loading["train#preprocessing#transforms#0#_target_"] = "LoadImaged"
    (folder / "gone.yaml").write_text(json.dumps(loading))
    (folder / "attack.yaml").write_text(overlay_path("attack").read_text())
    if "fitted" in line:
        files = [folder / "configs/train.json", folder / "configs/evaluate.json"]
        fit_overlay("attack", files, folder / "fitted.yaml")
    else:
        changed(folder, lambda c: c.update({"validate#handlers": []}), "configs/evaluate.json")
    done = run(folder, warm_python, f'python -m monai.bundle run --config_file "[{line}]"')
    (told,) = [line for line in done.stderr.splitlines() if line and not NOTES.search(line)]
    assert told.startswith("error: ")
    assert sentence in told
    assert done.returncode == 2


def test_the_evaluator_that_a_pipeline_makes_is_attacked_within_the_radius(tmp_path: Path) -> None:
    pipeline = Pipeline.read(write_bundle("segmentation", tmp_path))
    changed(tmp_path, lambda c: c["validate"]["evaluator"].update(iteration_update=UPDATE))
    assert commands_for(pipeline)  # an iteration of ours is none of the bundle's own
    evaluator = pipeline.evaluator()
    with pipeline.inside():
        evaluator.run()
    assert all(0.1 < float(one["adv_norm"]) <= 0.5 * (1 + 1e-5) for one in evaluator.state.output)


UPDATE = {
    "_target_": "monai_robust.engines.UnderAttack",
    "attack": {"_target_": "monai_robust.attacks.PGD", "eps": 0.5, "steps": 2, "bounds": "per_image"},
    "loss": "@loss",
}


@pytest.mark.full
@pytest.mark.slow
def test_margins_are_kept_by_the_validators_saver_and_found_again(tmp_path: Path, warm_python: WarmPython) -> None:
    folder = write_bundle("segmentation", tmp_path)
    (folder / "thresholds.json").write_text('{"thresholds": {"loss": 99.0}}')
    (folder / "resume.json").write_text(json.dumps({"train#handlers": [RESUME, VALIDATE]}))
    amat = "--robust#thresholds thresholds.json --robust#step 0.01"
    first = (
        f"""python -m monai.bundle run --config_file "['configs/train.json', '$(monai-robust overlay amat)']" {amat}"""
    )
    margins = margins_after(first, folder, warm_python)
    assert list(margins.values()) == pytest.approx([0.02] * 6)  # they began with a step and grew by another
    assert (folder / "models" / "margins.csv").is_file()
    again = first.replace("json', '$", "json', 'resume.json', '$") + " --ckpt_dir again"
    assert list(margins_after(again, folder, warm_python, "again").values()) == pytest.approx([0.03] * 6)
    stock = run(folder, warm_python, EVALUATE)
    assert stock.returncode == 0, stock.stderr


RESUME = {"_target_": "CheckpointLoader", "load_path": "models/model.pt", "load_dict": {"model": "@network"}}
VALIDATE = {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "epoch_level": True, "interval": 1}
EVALUATE = """python -m monai.bundle run --config_file "['configs/train.json', 'configs/evaluate.json']\""""


def margins_after(line: str, folder: Path, warm: WarmPython, models: str = "models") -> dict[str, float]:
    done = run(folder, warm, line)
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(folder / models / "model.pt", weights_only=True)["margins"]
    return dict(zip(state["ids"], state["margins"].tolist(), strict=True))
