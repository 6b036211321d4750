from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from conftest import TinyNet
from ignite.engine import Events
from monai.data import DataLoader, MetaTensor
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer, default_prepare_batch
from monai.handlers import (
    ROCAUC,
    CheckpointLoader,
    CheckpointSaver,
    EarlyStopHandler,
    LrScheduleHandler,
    MetricLogger,
    StatsHandler,
    TensorBoardStatsHandler,
    ValidationHandler,
    from_engine,
)
from monai.inferers import SimpleInferer
from monai.losses import DiceCELoss, DiceLoss
from monai.transforms import Activationsd, AsDiscreted, Compose, RandFlipd
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.engines import RobustTrainer, RobustUpdate
from monai_robust.errors import BadInputError
from monai_robust.handlers import AdaptiveMargins, WarmupRadius
from monai_robust.losses import LandmarkLoss
from monai_robust.recipes import RECIPES
from monai_robust.tasks import Classification, Inferred, Landmarks, PredictionDivergence, Segmentation
from monai_robust.transforms import AugMix

VIEWS = {"aug": lambda image: image.flip(-1)}


def items(dense: bool = False, count: int = 12) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(7)
    result = []
    for index in range(count):
        image = MetaTensor(torch.rand(1, 8, 8, generator=generator), meta={"filename_or_obj": f"image{index}"})
        label = (image[:1] > 0.5).float() if dense else index % 3
        result.append({"image": image, "label": label})
    return result


def trainer(network, update=None, loss=None, dense=False, epochs=1, kind=SupervisedTrainer, **keywords):
    torch.manual_seed(3)
    return kind(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(items(dense), batch_size=4, shuffle=False),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
        loss_function=loss or nn.CrossEntropyLoss(),
        **({} if update is None else {"iteration_update": update}),
        **keywords,
    )


def fresh(**keywords):
    torch.manual_seed(1)
    return TinyNet(**keywords)


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_equal_weights(first, second):
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


LOSSES = {
    "cross_entropy": (nn.CrossEntropyLoss(), False),
    "class_weights": (nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0])), False),
    "batch_dice": (DiceLoss(sigmoid=True, batch=True), True),
}


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("accumulation", [1, 2])
def test_erm_ends_with_the_weights_of_the_stock_trainer_bit_for_bit(name, accumulation):
    loss, dense = LOSSES[name]
    results = []
    for update in (None, RobustUpdate("erm")):
        network = fresh(classes=1 if dense else 3, dense=dense)
        trainer(network, update, loss, dense, epochs=4, accumulation_steps=accumulation).run()
        results.append(weights(network))
    assert_equal_weights(*results)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "erm"])
def test_every_recipe_trains_by_its_loss_on_its_views(name):
    network = fresh()
    network.dropout.p = 0.0
    radii = WarmupRadius(0.5, 1e-6) if RECIPES[name].margins else None
    update = RobustUpdate(name, PGD(eps=0.5, steps=2), views=VIEWS, shared_forward=False, margins=radii)
    engine = trainer(network, update, train_handlers=[radii] if radii else None)
    attack = PGD(eps=0.5, steps=2)
    if RECIPES[name].objective is PredictionDivergence:
        attack = PGD(eps=0.5, steps=2, random_start="ball", task=PredictionDivergence(Classification()))
    seen = {}

    def remember(engine):
        seen.setdefault("state", torch.get_rng_state())

    def compare(engine):
        if engine.state.iteration > 1:
            return
        twin = fresh()
        twin.dropout.p = 0.0
        x, y = engine.state.output["image"].as_tensor(), engine.state.output["label"]
        torch.set_rng_state(seen["state"])
        adversarial = attack(twin, x, y)
        inputs = {"clean": x, "adv": adversarial, "aug": x.flip(-1), "aug1": x.flip(-1), "aug2": x.flip(-1)}
        twin.train()
        outputs = {view: twin(value) for view, value in inputs.items()}
        seen["expected"] = update.recipe.loss(outputs, y, nn.CrossEntropyLoss()).item()
        seen["actual"] = engine.state.output["loss"].item()

    engine.add_event_handler(Events.ITERATION_STARTED, remember)
    engine.add_event_handler(IterationEvents.LOSS_COMPLETED, compare)
    engine.run()
    assert seen["actual"] == pytest.approx(seen["expected"], rel=1e-4)


def test_output_holds_what_the_documentation_promises():
    network = fresh()
    engine = trainer(network, RobustUpdate("advl", PGD(eps=0.5, steps=2)), decollate=False)
    outputs = []
    engine.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda engine: outputs.append(dict(engine.state.output)))
    engine.run()
    output = outputs[0]
    assert set(output) == {
        "image", "label", "pred", "loss", "adv_image", "adv_pred", "eps", "adv_norm", "clean_loss", "adv_loss"
    }  # fmt: skip
    for key in ("eps", "adv_norm", "clean_loss", "adv_loss"):
        assert output[key].shape == (4,), key
    assert torch.allclose(output["adv_norm"], torch.full((4,), 0.5), atol=1e-3)
    assert torch.allclose(output["eps"], torch.full((4,), 0.5))
    assert isinstance(output["adv_image"], MetaTensor)
    assert output["loss"].item() == pytest.approx((output["clean_loss"].mean() + output["adv_loss"].mean()).item())


def test_pred_is_adversarial_for_a_recipe_without_a_clean_view():
    engine = trainer(fresh(), RobustUpdate("at", PGD(eps=0.5, steps=2)), decollate=False)
    engine.run()
    assert torch.equal(engine.state.output["pred"], engine.state.output["adv_pred"])


def test_views_share_one_forward_pass_unless_told_otherwise():
    for shared, passes in ((True, 1), (False, 3)):
        network = fresh()
        calls = []
        network.register_forward_hook(lambda module, args, output, calls=calls: calls.append(module.training))
        update = RobustUpdate("rtda", PGD(eps=0.5, steps=2), views=VIEWS, shared_forward=shared)
        engine = trainer(network, update)
        engine.run()
        assert calls == ([False] * 2 + [True] * passes) * 3


def test_views_that_are_the_same_batch_entry_are_computed_once():
    network = fresh()
    sizes = []
    network.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    trainer(network, RobustUpdate("augmix", views={"aug": "image"})).run()
    assert sizes == [8, 8, 8]  # clean and one augmented view, though the recipe names aug1 and aug2


def test_numbered_views_are_fresh_draws_of_one_transform():
    draws = []

    def noise(image):
        draws.append(torch.rand(()))
        return image + draws[-1]

    trainer(fresh(), RobustUpdate("augmix", views={"aug": noise})).run()
    assert len(draws) == 2 * 12


@pytest.mark.parametrize("recipe", ["erm", "sat", "rtda"])
def test_events_fire_as_often_as_in_the_stock_trainer_and_not_inside_the_attack(recipe):
    counts = []
    for update in (None, RobustUpdate(recipe, PGD(eps=0.5, steps=3), views=VIEWS)):
        engine = trainer(fresh(), update, epochs=2)
        seen = {event: 0 for event in (*IterationEvents, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED)}
        for event in seen:
            engine.add_event_handler(
                event, lambda engine, event=event, seen=seen: seen.update({event: seen[event] + 1})
            )
        engine.run()
        counts.append(seen)
    assert counts[0] == counts[1]


def run_with_all_handlers(folder: Path, update) -> tuple[list[str], dict[str, int]]:
    network = fresh()
    counts: dict[str, int] = {}
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items(), batch_size=4),
        network=network,
        postprocessing=Compose([Activationsd("pred", softmax=True), AsDiscreted("label", to_onehot=3)]),
        key_val_metric={"auc": ROCAUC(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[StatsHandler(iteration_log=False)],
    )
    engine = trainer(network, update, epochs=2)
    saver = CheckpointSaver(str(folder / "models"), {"network": network}, save_final=True, save_interval=1)
    early = EarlyStopHandler(patience=5, score_function=lambda engine: engine.state.metrics["auc"], trainer=engine)
    logger = MetricLogger(evaluator=evaluator)
    handlers = [
        saver,
        StatsHandler(tag_name="loss", output_transform=from_engine("loss", first=True)),
        TensorBoardStatsHandler(
            log_dir=str(folder / "events"), tag_name="loss", output_transform=from_engine("loss", first=True)
        ),
        ValidationHandler(interval=1, validator=evaluator),
        LrScheduleHandler(torch.optim.lr_scheduler.StepLR(engine.optimizer, 1), print_lr=False),
        logger,
    ]
    early.attach(evaluator)
    for handler in handlers:
        handler.attach(engine)
    for event in (*IterationEvents, Events.EPOCH_COMPLETED, Events.COMPLETED):
        engine.add_event_handler(event, lambda engine, name=event.name: counts.update({name: counts.get(name, 0) + 1}))
    engine.run()
    (final,) = (folder / "models").glob("*final_iteration=6.pt")
    CheckpointLoader(str(final), {"network": fresh()})(engine)
    counts["logged losses"] = len(logger.loss)
    counts["logged metrics"] = len(logger.metrics["auc"])
    counts["evaluations"] = evaluator.state.epoch
    files = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "tfevents" not in path.name
    )
    assert list(folder.glob("events/*tfevents*"))
    return files, counts


def test_all_of_monais_usual_handlers_work_as_on_the_stock_trainer(tmp_path):
    stock = run_with_all_handlers(tmp_path / "stock", None)
    robust = run_with_all_handlers(tmp_path / "robust", RobustUpdate("rtda", PGD(eps=0.5, steps=2), views=VIEWS))
    assert stock == robust
    assert stock[0]


def test_a_custom_inferer_and_prepare_batch_reach_attack_and_training():
    calls = []

    class Counting(SimpleInferer):
        def __call__(self, inputs, network, *args, **kwargs):
            calls.append(len(inputs))
            return super().__call__(inputs, network, *args, **kwargs)

    def doubled(batchdata, device, non_blocking, **kwargs):
        image, label = default_prepare_batch(batchdata, device, non_blocking, **kwargs)
        return 2 * image, label

    update = RobustUpdate("sat", PGD(eps=0.5, steps=3, bounds=(0, 2)))
    engine = trainer(fresh(), update, inferer=Counting(), prepare_batch=doubled, decollate=False)
    engine.run()
    assert calls == [4, 4, 4, 8] * 3
    assert engine.state.output["image"].max() > 1


def test_amp_and_compile_are_honoured():
    update = RobustUpdate("sat", PGD(eps=0.5, steps=2))
    engine = trainer(fresh(), update, amp=True)
    engine.run()
    assert torch.isfinite(torch.as_tensor(engine.state.output[0]["loss"]))
    engine = trainer(fresh(), update, compile=True, compile_kwargs={"backend": "eager"}, decollate=False)
    engine.run()
    assert isinstance(engine.state.output["pred"], MetaTensor)
    assert engine.state.output["adv_norm"].min() > 0


def test_accumulation_steps_only_move_the_weights_when_due():
    network = fresh()
    moved = []
    engine = trainer(network, RobustUpdate("sat", PGD(eps=0.5, steps=2)), accumulation_steps=2)
    before = [network.head.weight.detach().clone()]

    def note(engine):
        moved.append(not torch.equal(before[0], network.head.weight))
        before[0] = network.head.weight.detach().clone()

    engine.add_event_handler(Events.ITERATION_COMPLETED, note)
    engine.run()
    assert moved == [False, True, True]  # the third batch ends the epoch, whose gradients are not thrown away


def test_any_supervised_loss_can_be_attacked_and_trained_on():
    network = fresh(classes=2, dense=True)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    engine = trainer(network, RobustUpdate("sat", PGD(eps=0.5, steps=2)), loss, dense=True, decollate=False)
    engine.run()
    assert engine.state.output["adv_loss"].shape == (4,)
    assert (engine.state.output["adv_loss"] > 0).all()


def test_robust_trainer_is_the_same_in_one_call():
    networks = fresh(), fresh()
    trainer(networks[0], RobustUpdate("sat", PGD(eps=0.5, steps=2))).run()
    trainer(networks[1], kind=RobustTrainer, recipe="sat", attack=PGD(eps=0.5, steps=2)).run()
    assert_equal_weights(weights(networks[0]), weights(networks[1]))


def test_what_cannot_work_is_refused():
    with pytest.raises(BadInputError, match="give an attack"):
        RobustUpdate("rtda")
    with pytest.raises(BadInputError, match="there is no recipe"):
        RobustUpdate("rdta")
    with pytest.raises(BadInputError, match=r"needs the view 'aug'.*image, label"):
        trainer(fresh(), RobustUpdate("dataaug")).run()
    with pytest.raises(BadInputError, match="no key 'image_aug'"):
        trainer(fresh(), RobustUpdate("dataaug", views={"aug": "image_aug"})).run()

    def attacked(*args, **kwargs):
        raise AssertionError("a training that cannot go on has begun")

    with pytest.raises(BadInputError, match=r"'rtda' needs the view 'aug'"):
        trainer(fresh(), RobustUpdate("rtda", attacked)).run()
    with pytest.raises(BadInputError, match="belong to a recipe given by name"):
        RobustUpdate(RECIPES["erm"], weight=3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": Classification}, r"the task is the class Classification; make one: Classification\(\)"),
        ({"task": "classification"}, "the task is 'classification'; give a task"),
        ({"task": nn.CrossEntropyLoss()}, "the task is a CrossEntropyLoss; give a task"),
        ({"attack": PGD}, r"the attack is the class PGD; make one, such as PGD\("),
        ({"attack": "pgd"}, "the attack is 'pgd'; it must be one, such as"),
        ({"recipe": {"adv": 1}}, r"the recipe is \{'adv': 1\}"),
        ({"recipe": None}, "the recipe is None"),
        ({"views": [1]}, r"the views are \[1\]; give each a transform"),
        ({"views": AugMix()}, r"the views are .*AugMix.*; give each a transform"),
        ({"views": {"aug": 1}}, "the view 'aug' is 1; it must be a key of the batch or a transform"),
        ({"views": {"aug": AugMix}}, "the view 'aug' is the class AugMix; make one"),
        ({"views": {"aug": RandFlipd("image")}}, "the view 'aug' is RandFlipd, which takes a dictionary"),
        ({"views": {"aug": Compose([RandFlipd("image")])}}, "the view 'aug' is RandFlipd, which takes a dictionary"),
        ({"views": {"clean": "image"}}, "the view 'clean' is the batch as it is"),
        ({"views": {"adv": AugMix()}}, "the view 'adv' is what the attack makes"),
        ({"margins": 0.5}, "margins are 0.5; they give every sample its radius, such as"),
        ({"starts": True}, r"starts are True; give KeptStarts\(\)"),
        ({"agreement": "sigmoid"}, "agreement is 'sigmoid'; it must be one of"),
    ],
)
def test_arguments_of_another_kind_are_refused_with_what_would_do(arguments, message):
    with pytest.raises(BadInputError, match=message):
        RobustUpdate(**{"recipe": "sat", "attack": PGD(eps=0.5, steps=2), **arguments})


@pytest.mark.parametrize("channels", [None, [0]])
@pytest.mark.parametrize(
    ("made", "what"), [(None, "None"), ({"image": torch.zeros(1, 8, 8)}, "a dict"), ("flipped", "a str")]
)
def test_a_view_that_makes_no_image_is_refused_with_what_it_made(made, what, channels):
    def view(image):
        return made

    update = RobustUpdate("dataaug", views={"aug": view}, channels=channels)
    with pytest.raises(BadInputError, match=f"the transform view made {what} of an image; it must return the image"):
        trainer(fresh(), update).run()


def test_erm_calls_a_random_loss_once_an_iteration_as_the_stock_trainer_does():
    def noisy(outputs, targets):
        return nn.functional.cross_entropy(outputs + torch.randn_like(outputs), targets)

    results = []
    for update in (None, RobustUpdate("erm")):
        network = fresh()
        trainer(network, update, noisy, epochs=3).run()
        results.append(weights(network))
    assert_equal_weights(*results)


AGREEING = [name for name, recipe in RECIPES.items() if recipe.consistent]


def test_the_recipes_with_agreement_are_those_of_their_papers():
    assert set(AGREEING) >= {"augmix", "robustaugmix", "rtda"}


@pytest.mark.parametrize("name", AGREEING)
@pytest.mark.parametrize("inferred", [False, True])
def test_views_of_outputs_that_are_no_class_distributions_cannot_agree(name, inferred):
    task = Inferred(Landmarks(), lambda inputs, network: network(inputs)) if inferred else Landmarks()
    with pytest.raises(BadInputError, match=rf"'{name}'.*landmarks.*'sat'"):
        RobustUpdate(name, PGD(eps=0.5), views=VIEWS, task=task)
    with pytest.raises(BadInputError, match=rf"'{name}'.*landmarks"):
        trainer(fresh(), kind=RobustTrainer, recipe=name, attack=PGD(eps=0.5), views=VIEWS, task=task)


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_fit_tasks_whose_views_may_agree_and_all_tasks_where_none_have_to(name):
    margins = WarmupRadius(0.5, 1e-6) if RECIPES[name].margins else None
    for task in (None, Classification(), Segmentation(), *([] if RECIPES[name].consistent else [Landmarks()])):
        RobustUpdate(name, PGD(eps=0.5), views=VIEWS, margins=margins, task=task)


# --- views that make no sense for a task ------------------------------------------------------------------------------


def landmark_trainer(update):
    items = [{"image": torch.rand(1, 8, 8), "label": torch.full((2, 4), 3.0), "sample_id": str(i)} for i in range(2)]
    network = nn.Conv2d(1, 6, 3, padding=1)
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(items, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        loss_function=LandmarkLoss(radius=2.0),
        iteration_update=update,
    )


@pytest.mark.parametrize("recipe", ["augmix", "rtda"])
def test_agreement_is_refused_where_the_trainers_own_loss_knows_no_classes(recipe):
    update = RobustUpdate(recipe, PGD(eps=0.1, steps=1), views={"aug": AugMix(operations="intensity")})
    with pytest.raises(BadInputError, match="LandmarkLoss are not; use a recipe without agreement"):
        landmark_trainer(update).run()


@pytest.mark.parametrize("operations", ["geometric", "geometric+intensity", "flips"])
def test_views_that_move_the_image_are_refused_where_labels_are_places(operations):
    update = RobustUpdate("dataaug", views={"aug": AugMix(operations=operations)})
    with pytest.raises(BadInputError, match="moves the image and not the places"):
        landmark_trainer(update).run()
    landmark_trainer(RobustUpdate("dataaug", views={"aug": AugMix(operations="intensity")})).run()


def test_a_sample_without_any_loss_term_keeps_its_margin():
    margins = AdaptiveMargins(0.5, {"heatmap": 10.0, "offset_x": 10.0, "offset_y": 10.0})
    task = Landmarks(LandmarkLoss(radius=2.0))
    trainer = landmark_trainer(RobustUpdate("amat", PGD(eps=1.0, steps=1), task=task, margins=margins))
    trainer.data_loader.dataset[0]["label"][:, :2] = torch.nan
    margins.attach(trainer)
    trainer.run()
    assert [margins.margins[name] for name in "01"] == [0.5, 1.0]


def test_what_is_recorded_of_a_training_is_what_it_has():
    attack, views, radii = PGD(eps=0.5, steps=2), VIEWS, WarmupRadius(0.5, 1)
    found = {
        name: RobustUpdate(name, attack, views=views, margins=radii if RECIPES[name].margins else None).settings
        for name in RECIPES
    }
    assert {name for name, own in found.items() if own["weight"] is None} == {"erm", "at", "sat", "amat"}
    assert {name for name, own in found.items() if own["attack"] is None} == {"erm", "dataaug", "augmix"}
    assert {name for name, own in found.items() if own["eps"] is None} == {"erm", "dataaug", "augmix", "amat"}
    assert found["sat"]["attack"] == attack.settings()
    assert found["rtda"]["weight"] == 12.0
    assert "eps" not in found["amat"]["attack"]
    margins = AdaptiveMargins(0.25, {"loss": 1.0})
    assert RobustUpdate("amat", attack, margins=margins).settings["step"] == 0.25
    assert RobustUpdate("at", lambda network, inputs, targets, eps=None, task=None: inputs).settings["eps"] is None


class InPlace(nn.Module):
    """A network that normalises what it is given in place."""

    def __init__(self):
        super().__init__()
        self.network = fresh()

    def forward(self, x):
        return self.network(x.sub_(0.5).div_(0.25))


@pytest.mark.parametrize(("recipe", "shared"), [("erm", True), ("at", True), ("sat", True), ("sat", False)])
def test_a_network_that_writes_into_its_inputs_leaves_the_views_as_they_were(recipe, shared):
    attack = None if recipe == "erm" else PGD(eps=0.5, steps=2, bounds=(0, 1))
    engine = trainer(InPlace(), RobustUpdate(recipe, attack, shared_forward=shared), decollate=False)
    engine.run()
    clean = torch.stack([one["image"].as_tensor() for one in items()[-4:]])
    assert torch.equal(engine.state.output["image"].as_tensor(), clean)
    if attack is not None:
        delta = engine.state.output["adv_image"].as_tensor() - clean
        torch.testing.assert_close(delta.flatten(1).norm(dim=1), engine.state.output["adv_norm"])


def test_the_trainer_takes_all_that_the_update_takes():
    update, own = (inspect.signature(kind.__init__).parameters for kind in (RobustUpdate, RobustTrainer))
    assert {name: one.default for name, one in update.items()} == {
        name: one.default for name, one in own.items() if name != "supervised"
    }


@pytest.mark.parametrize(
    "setting",
    [{"amp": True}, {"compile": True, "compile_kwargs": {"backend": "eager"}, "decollate": False}],
    ids=["amp_on_a_cpu", "compile"],
)
@pytest.mark.parametrize("recipe", ["sat", "rtda"])
def test_amp_on_a_cpu_and_compile_end_with_the_weights_of_plain_training(setting, recipe):
    """MONAI's autocast is CUDA's, so a CPU trains as ever; what is compiled computes the same in the same order."""
    results = []
    for keywords in ({}, setting):
        network = fresh()
        network.dropout.p = 0.0
        update = RobustUpdate(recipe, PGD(eps=0.5, steps=2), views=VIEWS)
        trainer(network, update, epochs=2, **keywords).run()
        results.append(weights(network))
    for name, value in results[0].items():
        assert torch.allclose(value, results[1][name], rtol=1e-6, atol=1e-7), name


def test_accumulated_gradients_are_those_of_the_whole_batch():
    results = []
    for size, steps in ((12, 1), (4, 3)):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))  # each sample by itself
        torch.manual_seed(2)
        nn.init.normal_(network[1].weight, std=0.1)
        nn.init.zeros_(network[1].bias)
        torch.manual_seed(3)
        engine = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=2,
            train_data_loader=DataLoader(items(), batch_size=size, shuffle=False),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
            loss_function=nn.CrossEntropyLoss(),
            iteration_update=RobustUpdate("sat", PGD(eps=0.5, steps=2)),
            accumulation_steps=steps,
        )
        engine.run()
        results.append(weights(network))
    for name, value in results[0].items():
        assert torch.allclose(value, results[1][name], atol=1e-6), name


def test_erm_makes_as_many_passes_as_the_stock_trainer():
    counts = []
    for update in (None, RobustUpdate("erm", PGD(eps=0.5, steps=2))):
        network, passes = fresh(), {"forward": 0, "backward": 0}
        network.register_forward_hook(lambda *_, passes=passes: passes.update(forward=passes["forward"] + 1))
        network.head.weight.register_hook(lambda g, passes=passes: passes.update(backward=passes["backward"] + 1))
        trainer(network, update, epochs=2).run()
        counts.append(passes)
    assert counts[0] == counts[1] == {"forward": 6, "backward": 6}
