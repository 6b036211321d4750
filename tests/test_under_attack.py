from __future__ import annotations

import pytest
import torch
from conftest import TinyNet
from ignite.metrics import Accuracy
from monai.data import DataLoader, MetaTensor
from monai.engines import IterationEvents, SupervisedEvaluator
from monai.handlers import MeanDice, MetricsSaver, StatsHandler, from_engine
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss
from monai.transforms import Activationsd, AsDiscreted, Compose, Lambdad
from torch import nn

from monai_robust.attacks import PGD
from monai_robust.engines import UnderAttack
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, LossTask

ATTACK = PGD(eps=0.8, steps=4)
BATCH = 4


def items(dense: bool = False, labels: bool = True, count: int = 10) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(7)
    result = []
    for index in range(count):
        image = MetaTensor(torch.rand(1, 8, 8, generator=generator), meta={"filename_or_obj": f"image{index}"})
        result.append({"image": image})
        if labels:
            result[-1]["label"] = (image.as_tensor() > 0.5).float() if dense else index % 3
    return result


def fresh(**keywords) -> TinyNet:
    """A network that answers sharply: an untrained one hardly tells one input from another."""
    torch.manual_seed(1)
    network = TinyNet(**keywords)
    with torch.no_grad():
        network.head.weight.mul_(60)
        calm = network.eval()(torch.full((1, 1, 8, 8), 0.5))
        network.head.bias.sub_(calm.mean(dim=(0, 2, 3)) if network.dense else calm[0])
    return network


def evaluator(network: nn.Module, update, data=None, **keywords) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(items() if data is None else data, batch_size=BATCH),
        network=network,
        iteration_update=update,
        **keywords,
    )


def collected(engine: SupervisedEvaluator) -> list[dict[str, object]]:
    """The output of every iteration as it was before MONAI decollated it."""
    outputs: list[dict[str, object]] = []
    engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda e: outputs.append(dict(e.state.output)))
    engine.run()
    return outputs


def by_hand(network: nn.Module, data, loss=None) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions on adversarial inputs and labels, batch by batch, without any engine."""
    network = network.eval()
    images = torch.stack([item["image"].as_tensor() for item in data])
    labels = torch.stack([torch.as_tensor(item["label"]) for item in data])
    task = Classification() if loss is None else LossTask(loss)
    predictions = []
    for start in range(0, len(images), BATCH):
        x, y = images[start : start + BATCH], labels[start : start + BATCH]
        with torch.no_grad():
            predictions.append(network(ATTACK(network, x, y, task=task)))
    return torch.cat(predictions), labels


def test_a_metric_is_measured_on_the_adversarial_inputs():
    predictions, labels = by_hand(fresh(), items())
    clean = fresh().eval()(torch.stack([item["image"].as_tensor() for item in items()]))
    accuracy = (predictions.argmax(1) == labels).float().mean().item()
    loss = nn.functional.cross_entropy(predictions, labels).item()
    assert loss > nn.functional.cross_entropy(clean, labels).item() + 0.01

    engine = evaluator(
        fresh(), UnderAttack(ATTACK), key_val_metric={"acc": Accuracy(from_engine(["pred", "label"]))}, decollate=False
    )
    outputs = collected(engine)
    assert engine.state.metrics["acc"] == pytest.approx(accuracy)
    assert torch.allclose(torch.cat([o["pred"].as_tensor() for o in outputs]), predictions, atol=1e-6)


def test_the_output_holds_the_clean_image_the_adversarial_one_and_the_radius_it_used():
    for output in collected(evaluator(fresh(), UnderAttack(ATTACK))):
        size = len(output["image"])
        assert set(output) == {"image", "label", "pred", "adv_image", "eps", "adv_norm"}
        distance = (output["adv_image"].as_tensor() - output["image"].as_tensor()).flatten(1).norm(dim=1)
        assert torch.allclose(output["adv_norm"], distance, atol=1e-6)
        assert torch.equal(output["eps"], torch.full((size,), 0.8))
        assert (output["adv_norm"] <= 0.8 + 1e-5).all()
        assert (output["adv_norm"] > 0.79).all()
        names = [f"image{index}" for index in range(10)]
        assert set(output["pred"].meta["filename_or_obj"]) <= set(names)


def test_the_prediction_has_no_graph_and_gradients_stay_off_around_it():
    enabled = []

    class Watching(TinyNet):
        def forward(self, x):
            enabled.append(torch.is_grad_enabled())
            return super().forward(x)

    outputs = collected(evaluator(Watching(), UnderAttack(ATTACK), items(count=BATCH)))
    assert enabled == [True] * ATTACK.steps + [False]
    for name, value in outputs[0].items():
        assert not value.requires_grad, name


def test_the_network_is_left_as_it_was_found():
    network = fresh().train()
    network.head.bias.requires_grad_(False)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    evaluator(network, UnderAttack(ATTACK)).run()
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [name for name, parameter in network.named_parameters() if not parameter.requires_grad] == ["head.bias"]
    assert all(module.training for module in network.modules())


def test_the_iteration_events_are_those_of_the_stock_evaluator():
    counts = {}
    for name, update in (("stock", None), ("attacked", UnderAttack(ATTACK))):
        engine = evaluator(fresh(), update)
        fired: list[str] = []
        for event in IterationEvents:
            engine.add_event_handler(event, lambda e, fired, name: fired.append(name), fired, event.name)
        engine.run()
        counts[name] = fired
    assert counts["attacked"] == counts["stock"] == ["FORWARD_COMPLETED", "MODEL_COMPLETED"] * 3


def test_dense_outputs_without_a_loss_are_refused():
    engine = evaluator(fresh(dense=True, classes=1), UnderAttack(ATTACK), items(dense=True))
    with pytest.raises(BadInputError, match=r"UnderAttack a loss"):
        engine.run()


def test_batches_without_labels_are_refused():
    with pytest.raises(BadInputError, match="no label"):
        evaluator(fresh(), UnderAttack(ATTACK), items(labels=False)).run()


def test_inputs_outside_the_attacks_bounds_are_refused_with_their_range():
    engine = evaluator(fresh(), UnderAttack(PGD(eps=0.5, bounds=(0, 0.5))))
    with pytest.raises(BadInputError, match=r"range from .* outside the attack's bounds \(0, 0\.5\)"):
        engine.run()


def test_a_loss_and_a_task_or_no_attack_are_refused():
    with pytest.raises(BadInputError, match="not both"):
        UnderAttack(ATTACK, loss=nn.CrossEntropyLoss(), task=Classification())
    with pytest.raises(BadInputError, match="the attack is 'pgd'"):
        UnderAttack("pgd")


@pytest.mark.parametrize(
    ("attack", "task", "message"),
    [
        (PGD, None, r"the attack is the class PGD; make one, such as PGD\("),
        (ATTACK, Classification, "the task is the class Classification"),
        (ATTACK, "classification", "the task is 'classification'; give a task"),
        (ATTACK, nn.CrossEntropyLoss(), "the task is a CrossEntropyLoss; give a task"),
    ],
)
def test_classes_names_and_losses_in_place_of_an_attack_or_a_task_are_refused(attack, task, message):
    with pytest.raises(BadInputError, match=message):
        UnderAttack(attack, task=task)


LOSS = DiceCELoss(sigmoid=True)
DISCRETE = Compose([Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.5)])


def test_a_segmentation_is_attacked_through_its_loss_and_its_dice_measured_after_postprocessing():
    data = items(dense=True)
    predictions, labels = by_hand(fresh(dense=True, classes=1), data, LOSS)
    clean = fresh(dense=True, classes=1).eval()(torch.stack([item["image"].as_tensor() for item in data]))
    assert LOSS(predictions, labels) > LOSS(clean, labels) + 0.01
    hit = (predictions > 0).float()
    assert 0.1 < hit.mean() < 0.9
    dice = (2 * (hit * labels).flatten(1).sum(1) / (hit.flatten(1).sum(1) + labels.flatten(1).sum(1))).mean().item()
    engine = evaluator(
        fresh(dense=True, classes=1),
        UnderAttack(ATTACK, loss=LOSS),
        data,
        postprocessing=DISCRETE,
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    engine.run()
    assert engine.state.metrics["dice"] == pytest.approx(dice, abs=1e-5)


def test_the_attack_looks_through_the_same_sliding_window_as_the_evaluation():
    calls = []

    class Window(SlidingWindowInferer):
        def __call__(self, inputs, network, *args, **kwargs):
            calls.append(tuple(inputs.shape))
            return super().__call__(inputs, network, *args, **kwargs)

    engine = evaluator(
        fresh(dense=True, classes=1),
        UnderAttack(ATTACK, loss=LOSS),
        items(dense=True, count=BATCH),
        inferer=Window(roi_size=(6, 6), sw_batch_size=2, overlap=0.5),
    )
    (output,) = collected(engine)
    assert calls == [(BATCH, 1, 8, 8)] * (ATTACK.steps + 1)
    assert torch.allclose(output["adv_norm"], torch.full((BATCH,), 0.8), atol=1e-3)
    network = fresh(dense=True, classes=1).eval()
    window = SlidingWindowInferer(roi_size=(6, 6), sw_batch_size=2, overlap=0.5)
    label = output["label"]
    with torch.no_grad():
        before = LOSS(window(output["image"].as_tensor(), network), label)
        after = LOSS(window(output["adv_image"].as_tensor(), network), label)
    assert after > before


def test_monais_handlers_and_decollated_postprocessing_keep_working(tmp_path):
    seen = []
    postprocessing = Compose([Activationsd("pred", softmax=True), Lambdad("pred", func=lambda x: seen.append(x) or x)])
    engine = evaluator(
        fresh(),
        UnderAttack(ATTACK),
        postprocessing=postprocessing,
        key_val_metric={"acc": Accuracy(lambda output: stacked(output))},
        val_handlers=[
            StatsHandler(iteration_log=False),
            MetricsSaver(save_dir=str(tmp_path), metrics="*"),
        ],
    )
    engine.run()
    assert len(seen) == 10
    assert all(one.shape == (3,) and one.sum().item() == pytest.approx(1) for one in seen)
    predictions, labels = by_hand(fresh(), items())
    accuracy = (predictions.argmax(1) == labels).float().mean().item()
    assert engine.state.metrics["acc"] == pytest.approx(accuracy)
    assert f"{engine.state.metrics['acc']:.2f}"[:3] in (tmp_path / "metrics.csv").read_text()
    assert len(engine.state.output) == 2  # the last batch, decollated
    assert set(engine.state.output[0]) == {"image", "label", "pred", "adv_image", "eps", "adv_norm"}


def stacked(output):
    return torch.stack([one["pred"].as_tensor() for one in output]), torch.tensor([int(one["label"]) for one in output])


def test_the_radius_of_an_evaluation_can_differ_from_sample_to_sample():
    attack = PGD(eps=torch.tensor([0.1, 0.2, 0.3, 0.4]), steps=3)
    (output,) = collected(evaluator(fresh(), UnderAttack(attack), items(count=BATCH)))
    assert torch.allclose(output["adv_norm"], torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=1e-3)
    assert torch.equal(output["eps"], attack.eps)


def test_any_callable_with_the_attacks_signature_will_do():
    def darker(network, inputs, targets, eps=None, *, task=None, generator=None):
        return inputs * 0.5

    (output,) = collected(evaluator(fresh(), UnderAttack(darker), items(count=BATCH)))
    assert set(output) == {"image", "label", "pred", "adv_image", "adv_norm"}
    with torch.no_grad():
        expected = fresh().eval()(0.5 * output["image"].as_tensor())
    assert torch.allclose(output["pred"].as_tensor(), expected, atol=1e-6)
