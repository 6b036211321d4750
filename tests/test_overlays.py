from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import environment
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.bundle import run as run_bundle
from monai.engines import SupervisedTrainer
from monai.handlers import StatsHandler

from monai_robust.attacks import PGD
from monai_robust.checkpoints.attached import handlers_of
from monai_robust.errors import BadInputError
from monai_robust.overlays import overlay_names, overlay_path
from monai_robust.overlays.fitting import fit_overlay
from monai_robust.overlays.plugged import UnpluggedOverlay, unplugged
from monai_robust.overlays.rendering import render_attack, render_recipe
from monai_robust.recipes import RECIPES

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's, of every configuration

# A bundle as somebody else might have written it, who has never heard of robustness.
FOREIGN = """
imports:
  - $import ignite.metrics
device: cpu
results: results.pt
seed: $torch.manual_seed(3)
images: $torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
items: "$[{'image': image, 'label': index % 3} for index, image in enumerate(@images)]"
network: $torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
loss:
  _target_: torch.nn.CrossEntropyLoss
optimizer:
  _target_: torch.optim.SGD
  params: $@network.parameters()
  lr: 0.1
  momentum: 0.9
train:
  dataset:
    _target_: Dataset
    data: "@items"
  dataloader:
    _target_: DataLoader
    dataset: "@train#dataset"
    batch_size: 4
  trainer:
    _target_: SupervisedTrainer
    device: "@device"
    max_epochs: 3
    train_data_loader: "@train#dataloader"
    network: "@network"
    optimizer: "@optimizer"
    loss_function: "@loss"
    decollate: false
validate:
  dataloader:
    _target_: DataLoader
    dataset: "@train#dataset"
    batch_size: 5
  evaluator:
    _target_: SupervisedEvaluator
    device: "@device"
    val_data_loader: "@validate#dataloader"
    network: "@network"
    decollate: false
    key_val_metric:
      accuracy:
        _target_: ignite.metrics.Accuracy
        output_transform: "$monai.handlers.from_engine(['pred', 'label'])"
      loss:
        _target_: ignite.metrics.Loss
        loss_fn: "@loss"
        output_transform: "$monai.handlers.from_engine(['pred', 'label'])"
initialize:
  - "@seed"
run:
  - $@train#trainer.run()
  - $@validate#evaluator.run()
  - "$torch.save({'weights': @network.state_dict(), 'metrics': @validate#evaluator.state.metrics,
     'trained': @train#trainer.state.output, 'evaluated': @validate#evaluator.state.output}, @results)"
"""


@pytest.fixture
def foreign(tmp_path) -> Path:
    path = tmp_path / "bundle.yaml"
    path.write_text(FOREIGN)
    return path


def renamed(tmp_path: Path, text: str = FOREIGN, suffix: str = "yaml") -> Path:
    """The same bundle with its engines at the top, named as in many bundles of the model zoo."""
    config = yaml.safe_load(text)
    config["trainer"] = config["train"].pop("trainer")
    config["evaluator"] = config["validate"].pop("evaluator")
    moved = json.dumps(config).replace("@train#trainer", "@trainer").replace("@validate#evaluator", "@evaluator")
    path = tmp_path / f"renamed.{suffix}"
    path.write_text(moved if suffix == "json" else yaml.safe_dump(json.loads(moved)))
    return path


def outcome(*configs: Path, folder: Path, **overrides):
    results = folder / f"results{len(list(folder.glob('results*')))}.pt"
    run_bundle(config_file=[str(path) for path in configs], results=str(results), bundle_root=str(folder), **overrides)
    return torch.load(results, weights_only=False)


def attacked_metrics(weights, eps: float, steps: int) -> dict[str, float]:
    """Accuracy and loss of the foreign network under attack, without MONAI."""
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(36, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    ).eval()
    network.load_state_dict(weights)
    images = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    logits = network(PGD(eps=eps, steps=steps, bounds="per_image")(network, images, labels))
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return {"accuracy": (logits.argmax(1) == labels).float().mean().item(), "loss": loss.item()}


def loaded(name: str) -> dict:
    return yaml.safe_load(overlay_path(name).read_text())


def ids(config, prefix: str = "") -> set[str]:
    if not isinstance(config, dict):
        return set()
    return {f"{prefix}{key}" for key in config} | {
        deeper for key, value in config.items() for deeper in ids(value, f"{prefix}{key}#")
    }


def test_every_recipe_has_an_overlay_and_there_is_one_to_attack():
    assert set(overlay_names()) == {*RECIPES, "fast", "attack"}
    assert {"erm", "at", "advl", "sat", "dataaug", "augmix", "robustaugmix", "rtda"} <= set(overlay_names())
    folder = overlay_path("erm").parent
    assert {path.stem for path in folder.glob("*.yaml")} == set(overlay_names())
    with pytest.raises(BadInputError, match=r"there is no overlay 'rdta'; did you mean rtda\? there are advl, amat"):
        overlay_path("rdta")


def test_all_recipe_overlays_define_the_same_ids_and_differ_in_the_recipe_alone():
    reference = loaded("erm")
    for name in RECIPES:
        overlay = loaded(name)
        overlay.pop("train#trainer#train_handlers", None)  # amat's own; see below
        assert ids(overlay) == ids(reference), name
        assert overlay["robust"].pop("recipe") == name
    wanted = {"robust#attack#eps", "robust#attack#steps", "robust#recipe", "robust#update"}
    assert wanted <= ids(reference)
    assert set(reference) == {"robust", "+train", "+train#trainer", "train#trainer#iteration_update"}


def test_overlays_of_recipes_with_margins_alone_put_them_before_the_trainers_handlers():
    shared = set(loaded("erm"))
    with_margins = {name for name in RECIPES if RECIPES[name].margins}
    assert "amat" in with_margins
    assert {name for name in RECIPES if set(loaded(name)) != shared} == with_margins
    assert set(loaded("amat")) - shared == {"train#trainer#train_handlers"}


def test_the_attack_overlay_has_a_top_level_key_of_its_own():
    assert set(loaded("attack")) == {
        "robust_eval",
        "+validate",
        "+validate#evaluator",
        "validate#evaluator#iteration_update",
    }
    assert loaded("attack")["validate#evaluator#iteration_update"] == "@robust_eval#update"


@pytest.mark.parametrize("name", [*RECIPES, "attack"])
def test_shipped_files_are_what_the_table_of_recipes_renders(name):
    assert overlay_path(name).read_text() == (render_attack() if name == "attack" else render_recipe(name))


@pytest.mark.parametrize("name", [name for name in RECIPES if not RECIPES[name].margins])
def test_every_recipe_trains_an_untouched_bundle(foreign, tmp_path, name):
    result = outcome(foreign, overlay_path(name), folder=tmp_path)
    views = set(RECIPES[name].views)
    assert ("adv_image" in result["trained"]) == ("adv" in views)
    if "adv" in views:
        assert {f"{view}_loss" for view in RECIPES[name].supervised} <= set(result["trained"])
    assert torch.isfinite(result["trained"]["loss"])
    assert "adv_image" not in result["evaluated"]


def test_the_erm_overlay_ends_with_the_weights_of_the_stock_bundle_bit_for_bit(foreign, tmp_path):
    stock = outcome(foreign, folder=tmp_path)["weights"]
    erm = outcome(foreign, overlay_path("erm"), folder=tmp_path)["weights"]
    rtda = outcome(foreign, overlay_path("rtda"), folder=tmp_path)["weights"]
    assert all(torch.equal(value, erm[name]) for name, value in stock.items())
    assert not all(torch.equal(value, rtda[name]) for name, value in stock.items())


def test_two_overlays_at_once_train_by_a_recipe_and_evaluate_under_attack(foreign, tmp_path):
    result = outcome(foreign, overlay_path("rtda"), overlay_path("attack"), folder=tmp_path)
    assert "adv_image" in result["trained"]
    assert "adv_image" in result["evaluated"]
    assert result["metrics"] == pytest.approx(attacked_metrics(result["weights"], eps=1.0, steps=20), abs=1e-4)
    alone = outcome(foreign, overlay_path("rtda"), folder=tmp_path)
    assert all(torch.equal(value, alone["weights"][name]) for name, value in result["weights"].items())
    assert alone["metrics"]["loss"] < result["metrics"]["loss"]


@pytest.mark.parametrize("recipe", ["augmix", "rtda"])
def test_the_same_seed_gives_the_same_weights_and_another_one_others(foreign, tmp_path, recipe):
    first, again = (outcome(foreign, overlay_path(recipe), folder=tmp_path)["trained"]["loss"] for _ in range(2))
    assert torch.equal(first, again)
    other = outcome(foreign, overlay_path(recipe), folder=tmp_path, seed="$torch.manual_seed(4)")["trained"]["loss"]
    assert not torch.equal(first, other)


def test_radius_and_steps_are_set_by_an_override(foreign, tmp_path):
    overrides = {"robust#attack#eps": 0.3, "robust_eval#attack#eps": 0.2, "robust_eval#attack#steps": 2}
    result = outcome(foreign, overlay_path("at"), overlay_path("attack"), folder=tmp_path, **overrides)
    assert torch.equal(result["trained"]["eps"], torch.full((4,), 0.3))
    assert torch.equal(result["evaluated"]["eps"], torch.full((2,), 0.2))
    assert result["metrics"] == pytest.approx(attacked_metrics(result["weights"], eps=0.2, steps=2), abs=1e-4)


def test_the_recipe_itself_can_be_set_by_an_override(foreign, tmp_path):
    expected = outcome(foreign, overlay_path("sat"), folder=tmp_path)["weights"]
    by_override = outcome(foreign, overlay_path("erm"), folder=tmp_path, **{"robust#recipe": "sat"})["weights"]
    assert all(torch.equal(value, by_override[name]) for name, value in expected.items())


def test_the_shipped_overlay_is_handed_out_where_it_fits(foreign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert fit_overlay("rtda", [foreign]) == overlay_path("rtda")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_engines_of_another_name_get_a_fitting_overlay(tmp_path, suffix):
    bundle = renamed(tmp_path, suffix=suffix)
    training = fit_overlay("at", [bundle], tmp_path / "fitted" / "at.yaml")
    attacking = fit_overlay("attack", [bundle], tmp_path / "fitted" / "attack.yaml")
    assert training == (tmp_path / "fitted" / "at.yaml").resolve()
    assert yaml.safe_load(training.read_text())["trainer#iteration_update"] == "@robust#update"
    assert yaml.safe_load(attacking.read_text())["evaluator#iteration_update"] == "@robust_eval#update"
    assert ids(yaml.safe_load(training.read_text())["robust"]) == ids(loaded("at")["robust"])
    result = outcome(bundle, training, attacking, folder=tmp_path, **{"robust#attack#eps": 0.3})
    assert torch.equal(result["trained"]["eps"], torch.full((4,), 0.3))
    assert "adv_image" in result["evaluated"]


def test_a_fitted_overlay_goes_to_the_current_folder_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit_overlay("sat", [renamed(tmp_path)]) == (tmp_path / "robust_sat.yaml").resolve()
    assert fit_overlay("sat", [renamed(tmp_path)]) == (tmp_path / "robust_sat.yaml").resolve()  # it is the same


def test_a_file_with_other_content_is_not_overwritten(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("epochs: 3\n")
    with pytest.raises(BadInputError, match=r"mine\.yaml exists .* --output"):
        fit_overlay("sat", [renamed(tmp_path)], mine)
    assert mine.read_text() == "epochs: 3\n"


@pytest.mark.parametrize("loss", ["@loss", {"_target_": "torch.nn.CrossEntropyLoss"}, "@###loss", "$@loss"])
def test_the_attack_raises_the_loss_the_trainer_lowers(tmp_path, loss):
    config = yaml.safe_load(FOREIGN)
    config["train"]["trainer"]["loss_function"] = loss
    path = tmp_path / "bundle.yaml"
    path.write_text(yaml.safe_dump(config))
    overlay = fit_overlay("attack", [path], tmp_path / "attack.yaml")
    parser = ConfigParser()
    parser.read_config([str(path), str(overlay)])
    update = parser.get_parsed_content("robust_eval#update")
    assert isinstance(update.task.loss, torch.nn.CrossEntropyLoss)


def test_a_segmentation_bundle_is_attacked_through_its_own_loss(tmp_path):
    text = (
        FOREIGN.replace("'label': index % 3", "'label': (image > 0.5).float()")
        .replace(
            "$torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))",
            "$torch.nn.Conv2d(1, 1, 3, padding=1)",
        )
        .replace("_target_: torch.nn.CrossEntropyLoss", "_target_: DiceCELoss\n  sigmoid: true")
        .replace("        _target_: ignite.metrics.Accuracy", "        _target_: MeanDice")
    )
    path = tmp_path / "dense.yaml"
    path.write_text(text)
    attacking = fit_overlay("attack", [path], tmp_path / "attack.yaml")
    clean = outcome(path, overlay_path("at"), folder=tmp_path)
    result = outcome(path, overlay_path("at"), attacking, folder=tmp_path)
    assert result["metrics"]["loss"] > clean["metrics"]["loss"]


def test_a_bundle_without_a_trainer_is_refused_with_the_engines_or_ids_it_has(tmp_path):
    config = yaml.safe_load(FOREIGN)
    del config["train"]["trainer"]
    path = tmp_path / "evaluate.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(BadInputError, match=r"needs a SupervisedTrainer.*validate#evaluator \(SupervisedEvaluator\)"):
        fit_overlay("rtda", [path])
    del config["validate"]["evaluator"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(BadInputError, match=r"top-level ids are .*loss.*network"):
        fit_overlay("rtda", [path])
    with pytest.raises(BadInputError, match=r"needs a SupervisedEvaluator such as validate#evaluator"):
        fit_overlay("attack", [path])


def test_several_trainers_are_refused_by_name_unless_one_has_the_usual_id(tmp_path, foreign):
    config = yaml.safe_load(FOREIGN)
    config["second"] = config["train"]["trainer"]
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(config))
    assert fit_overlay("at", [path]) == overlay_path("at")
    config["first"] = config["train"].pop("trainer")
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(BadInputError, match=r"several SupervisedTrainers \((first, second|second, first)\)"):
        fit_overlay("at", [path])


def test_later_configs_win_as_they_do_in_a_run(tmp_path, foreign):
    other = tmp_path / "other.yaml"
    other.write_text("train#trainer#_target_: monai.engines.GanTrainer\n")
    with pytest.raises(BadInputError, match=r"train#trainer \(GanTrainer\)"):
        fit_overlay("at", [foreign, other])


def test_what_is_no_configuration_is_refused_by_name(tmp_path, foreign):
    for name, content in (("list.yaml", "- 1\n- 2\n"), ("broken.json", "{"), ("text.txt", "hello")):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(BadInputError, match=name):
            fit_overlay("at", [path])
    with pytest.raises(BadInputError, match=r"no configuration file .*gone\.yaml"):
        fit_overlay("at", [foreign, tmp_path / "gone.yaml"])
    with pytest.raises(BadInputError, match="there is no overlay"):
        fit_overlay("fgsm", [foreign])


# --- amat: margins need thresholds, a name for every sample, and the first place among the handlers ------------------

HANDLERS = {
    "by reference": "@train#handlers",
    "by expression": "$@train#handlers",
    "inline": [{"_target_": "StatsHandler", "name": "the bundle's own", "iteration_log": False}],
    "none": None,
}


def with_handlers(tmp_path: Path, handlers="@train#handlers", sample_id: bool = True, saver: bool = True) -> Path:
    """The foreign bundle with handlers of its own, and items that have names."""
    config = yaml.safe_load(FOREIGN)
    if sample_id:
        config["items"] = config["items"].replace("'label'", "'sample_id': f'image{index}', 'label'")
    own = [{"_target_": "StatsHandler", "name": "the bundle's own", "iteration_log": False}]
    if saver:
        keep = {"_target_": "CheckpointSaver", "save_dir": "@bundle_root", "save_dict": {"network": "@network"}}
        own.insert(0, {**keep, "save_final": True, "final_filename": "model.pt"})
    config["bundle_root"] = "."
    if isinstance(handlers, str):
        config["train"]["handlers"] = own
    if handlers is not None:
        config["train"]["trainer"]["train_handlers"] = handlers
    path = tmp_path / "handled.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def a_file_of_thresholds(tmp_path: Path, value: float) -> str:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"loss": value}))
    return str(path)


def test_amat_trains_an_untouched_bundle_and_its_margins_are_in_the_checkpoint(tmp_path):
    bundle = with_handlers(tmp_path)
    amat = {"robust#thresholds": a_file_of_thresholds(tmp_path, 99.0), "robust#step": 0.25}
    result = outcome(bundle, overlay_path("amat"), folder=tmp_path, **amat)
    # No attack reaches a loss of 99: a margin has grown with every epoch, and the last attack had that of the second.
    assert torch.equal(result["trained"]["eps"], torch.full((4,), 0.75))
    stored = torch.load(tmp_path / "model.pt", weights_only=True)
    assert stored["margins"]["ids"] == [f"image{index}" for index in range(12)]
    assert stored["margins"]["margins"].tolist() == [1.0] * 12
    assert all(torch.equal(value, result["weights"][name]) for name, value in stored["network"].items())
    assert len((tmp_path / "margins.csv").read_text().splitlines()) == 1 + 3


def test_amat_fits_its_thresholds_from_a_checkpoint_of_the_bundle(tmp_path):
    bundle = with_handlers(tmp_path)
    stock = outcome(bundle, folder=tmp_path)
    checkpoint = (tmp_path / "model.pt").rename(tmp_path / "stock.pt")
    outcome(bundle, overlay_path("amat"), folder=tmp_path, **{"robust#thresholds": str(checkpoint)})
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(36, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    )  # fmt: skip
    network.load_state_dict(stock["weights"])
    images = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(network(images), torch.arange(12) % 3).item()
    fitted = json.loads((tmp_path / "stock.thresholds.json").read_text())
    assert fitted["thresholds"] == {"loss": pytest.approx(loss, rel=1e-5)}


def chain(error: BaseException | None) -> str:
    """What an error and its causes say."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_amat_refuses_to_start_without_thresholds_and_says_which_id_to_set(tmp_path):
    with pytest.raises(RuntimeError) as raised:  # MONAI's, of the component that it cannot make
        outcome(with_handlers(tmp_path), overlay_path("amat"), folder=tmp_path)
    assert "adaptive margins need thresholds" in chain(raised.value)
    assert "--robust#thresholds" in chain(raised.value)
    assert not (tmp_path / "model.pt").exists()


def test_amat_refuses_a_bundle_whose_samples_have_no_names(tmp_path):
    bundle = with_handlers(tmp_path, sample_id=False, saver=False)
    thresholds = a_file_of_thresholds(tmp_path, 1.0)
    with pytest.raises(RuntimeError) as raised:  # MONAI's, of the expression that runs the trainer
        outcome(bundle, overlay_path("amat"), folder=tmp_path, **{"robust#thresholds": thresholds})
    assert "no key 'sample_id' and its images no file name" in chain(raised.value)


@pytest.mark.parametrize("moved", [False, True], ids=["usual ids", "renamed"])
@pytest.mark.parametrize("kind", list(HANDLERS))
def test_the_margins_come_first_however_a_bundle_lists_its_handlers(tmp_path, kind, moved):
    bundle = with_handlers(tmp_path, HANDLERS[kind])
    bundle = renamed(tmp_path, bundle.read_text()) if moved else bundle
    overlay = fit_overlay("amat", [bundle], tmp_path / "amat.yaml")
    trainer = "trainer" if moved else "train#trainer"
    thresholds = a_file_of_thresholds(tmp_path, 99.0)
    parser = ConfigParser()
    parser.read_config([str(bundle), str(overlay)])
    parser["robust#thresholds"] = thresholds
    parser["bundle_root"] = str(tmp_path)
    parser["results"] = str(tmp_path / "unused.pt")
    engine = parser.get_parsed_content(trainer)
    started = handlers_of(engine, Events.EPOCH_COMPLETED)
    assert type(started[0]).__name__ == "AdaptiveMargins"
    assert [type(one).__name__ for one in started].count("AdaptiveMargins") == 1
    if kind != "none":
        assert "the bundle's own" in [one.logger.name for one in started if isinstance(one, StatsHandler)]
    result = outcome(bundle, overlay, folder=tmp_path, **{"robust#thresholds": thresholds})
    assert result["trained"]["eps"].tolist() == pytest.approx([0.3] * 4)  # the third epoch's: 0.1 and two steps of it


def test_the_usual_way_to_list_handlers_needs_no_fitting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fit_overlay("amat", [with_handlers(tmp_path)]) == overlay_path("amat")


@pytest.mark.parametrize("kind", ["by reference", "inline", "none"])
def test_the_amat_overlay_trains_by_another_recipe_too(tmp_path, kind):
    bundle = with_handlers(tmp_path, HANDLERS[kind])
    overlay = fit_overlay("amat", [bundle], tmp_path / "amat.yaml")
    expected = outcome(bundle, overlay_path("sat"), folder=tmp_path)["weights"]
    found = outcome(bundle, overlay, folder=tmp_path, **{"robust#recipe": "sat"})["weights"]
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_recipe_of_ones_own_that_asks_for_margins_gets_them(tmp_path):
    own = tmp_path / "own.yaml"
    recipe = {"_target_": "monai_robust.recipes.Recipe", "supervised": {"adv": 1.0}, "name": "mine", "margins": True}
    own.write_text(yaml.safe_dump({"robust#recipe": recipe}))
    amat = {"robust#thresholds": a_file_of_thresholds(tmp_path, 99.0), "robust#step": 0.25}
    result = outcome(with_handlers(tmp_path), overlay_path("amat"), own, folder=tmp_path, **amat)
    assert torch.equal(result["trained"]["eps"], torch.full((4,), 0.75))
    assert torch.load(tmp_path / "model.pt", weights_only=True)["margins"]["margins"].tolist() == [1.0] * 12


class Clipping(SupervisedTrainer):
    """A trainer with an iteration of its own."""

    def _iteration(self, engine, batchdata):
        raise NotImplementedError


def odd_bundle(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda config: None) -> str:
    """A bundle whose trainer has another name, edited."""
    config = yaml.safe_load(FOREIGN)
    config["train"]["my_trainer"] = config["train"].pop("trainer")
    config["run"] = ["$@train#my_trainer.run()", "$torch.save(@network.state_dict(), @results)"]
    change(config)
    path = folder / "odd.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.mark.parametrize("name", ["rtda", "attack"])
def test_a_shipped_overlay_that_changes_no_engine_ends_in_a_sentence_with_the_one_that_fits(
    tmp_path, warm_python, name
):
    def other(config):
        config["validate"]["my_evaluator"] = config["validate"].pop("evaluator")

    file = odd_bundle(tmp_path, other)
    files = f"['{file}', '{overlay_path(name)}']"
    ran = warm_python.run(
        "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", files, cwd=tmp_path, env=environment()
    )
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"error: the overlay {name}, as it is shipped, does not change ")
    assert f"monai-robust overlay {name} --for {file}" in line
    assert not (tmp_path / "results.pt").exists()


def test_a_script_that_plugs_an_overlay_in_nowhere_ends_too(tmp_path):
    with pytest.warns(UserWarning, match="Can't merge"), pytest.raises(UnpluggedOverlay, match="overlay rtda --for"):
        run_bundle(config_file=[odd_bundle(tmp_path), str(overlay_path("rtda"))])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--robust#wieght 2", "robust#weight"),
        ("--robust::attack::epss=2", "robust#attack#eps"),
        ("--robust#weight 2 --epochss 1", None),  # what is the bundle's own is left to MONAI
        ("--robust#attack#_target_ monai_robust.attacks.APGD --robust#attack#restarts 2", None),
        ("--robust#attack#_target_ monai_robust.attacks.APGD --robust#attack#restart 2", "robust#attack#restarts"),
    ],
)
def test_an_id_of_an_overlay_that_is_mistyped_is_refused(foreign, monkeypatch, typed, meant):
    program = str(Path("monai", "bundle", "__main__.py"))
    files = f"['{foreign}', '{overlay_path('rtda')}']"
    monkeypatch.setattr(sys, "argv", [program, "run", "--config_file", files, *typed.split()])
    with pytest.raises(UnpluggedOverlay, match=f"did you mean.*{meant}") if meant else nullcontext():
        from monai_robust.overlays.plugged import here  # noqa: F401


def test_an_overlay_that_a_later_file_undoes_is_refused(tmp_path, foreign):
    config = ConfigParser.load_config_files([str(overlay_path("at")), str(foreign)])
    files = [str(overlay_path("at")), str(foreign)]
    assert "name it last" in str(unplugged(config, files))
    assert unplugged(ConfigParser.load_config_files(files[::-1]), files[::-1]) is None


def test_what_no_overlay_serves_is_refused_where_a_shipped_one_is_plugged_in(tmp_path):
    for change, sentence in (
        ({"_target_": "GanTrainer"}, "networks against each other"),
        ({"_target_": f"{__name__}.Clipping"}, "overlay at --for"),
    ):
        config = yaml.safe_load(FOREIGN)
        config["train"]["trainer"].update(change)
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump(config))
        files = [str(path), str(overlay_path("at"))]
        assert sentence in str(unplugged(ConfigParser.load_config_files(files), files))
