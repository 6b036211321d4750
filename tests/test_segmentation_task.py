from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TinyNet
from monai.data import DataLoader, MetaTensor
from monai.engines import IterationEvents, SupervisedEvaluator
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss, DiceLoss, FocalLoss
from monai.networks.nets import DynUNet
from sklearn.metrics import confusion_matrix

from monai_robust.attacks import PGD, WindowAttack
from monai_robust.engines import UnderAttack
from monai_robust.errors import BadInputError
from monai_robust.evaluation import outcomes_of
from monai_robust.tasks import LossTask, Segmentation
from monai_robust.tasks.base import total

SHAPES = {"2-D": (6, 5), "3-D": (4, 5, 3)}


def case(dims: str = "2-D", samples: int = 5, classes: int = 3, seed: int = 0):
    """Logits (B, C, *spatial) and labels (B, 1, *spatial): the last sample is empty, the first lacks class 2."""
    generator = torch.Generator().manual_seed(seed)
    shape = SHAPES[dims]
    outputs = 2 * torch.randn(samples, classes, *shape, generator=generator)
    labels = torch.randint(0, classes, (samples, 1, *shape), generator=generator)
    labels[0][labels[0] == 2] = 1
    labels[-1] = 0
    return outputs, labels


def one_hot(labels: torch.Tensor, classes: int = 3) -> torch.Tensor:
    return torch.stack([labels[:, 0] == index for index in range(classes)], dim=1).float()


def terms_by_hand(outputs: torch.Tensor, labels: torch.Tensor) -> dict[str, list[float]]:
    """Soft Dice loss over the foreground classes of each sample, and its mean cross-entropy, in NumPy."""
    result: dict[str, list[float]] = {"dice": [], "cross_entropy": []}
    for logits, truth in zip(outputs.double().numpy(), labels[:, 0].numpy(), strict=True):
        exponentials = np.exp(logits - logits.max(axis=0))
        p = exponentials / exponentials.sum(axis=0)
        losses = [
            1 - 2 * (p[c] * (truth == c)).sum() / (p[c].sum() + (truth == c).sum())
            for c in range(1, len(p))
            if (truth == c).any()
        ]
        result["dice"].append(float(np.mean(losses)) if losses else 0.0)
        result["cross_entropy"].append(float(-np.log(np.take_along_axis(p, truth[None], axis=0)).mean()))
    return result


@pytest.mark.parametrize("dims", list(SHAPES))
@pytest.mark.parametrize("form", ["indices", "float indices", "one-hot", "MetaTensor"])
def test_terms_are_dice_over_the_classes_present_and_cross_entropy(dims, form):
    outputs, labels = case(dims)
    targets = {
        "indices": labels,
        "float indices": labels.float(),
        "one-hot": one_hot(labels),
        "MetaTensor": MetaTensor(labels),
    }[form]
    terms = Segmentation().terms(outputs, targets)
    wanted = terms_by_hand(outputs, labels)
    assert list(terms) == ["dice", "cross_entropy"]
    for name, values in wanted.items():
        assert terms[name].shape == (5,)
        assert terms[name].tolist() == pytest.approx(values, abs=1e-5), name


def test_levels_are_dice_of_labels_and_no_attack_raises_them():
    """A class that is found whole beside one that is missed: the mean is half, the best is whole."""
    labels = torch.tensor([[[[1, 1], [2, 0]]], [[[0, 0], [0, 0]]]])
    outputs = torch.full((2, 3, 2, 2), -5.0).scatter(1, torch.tensor([[[[1, 1], [0, 0]]], [[[0, 0], [0, 0]]]]), 5.0)
    outputs.requires_grad_()
    task = Segmentation(levels=True)
    found = task.terms(outputs, labels)
    assert found["mean_class"].tolist() == [0.5, 0.0]
    assert found["best_class"].tolist() == [0.0, 0.0]
    assert task.defined(outputs, labels)["best_class"].tolist() == [True, False]
    (with_levels,) = torch.autograd.grad(total(found).sum(), outputs)
    (without,) = torch.autograd.grad(total(Segmentation().terms(outputs, labels)).sum(), outputs)
    assert torch.equal(with_levels, without)


def test_where_every_class_is_present_dice_is_monais():
    outputs, labels = case()
    labels[0, 0, 0, 0], labels[-1, 0, 0, :2] = 2, torch.tensor([1, 2])
    loss = DiceLoss(to_onehot_y=True, softmax=True, include_background=False, reduction="none")
    expected = loss(outputs, labels).flatten(1).mean(dim=1)
    assert torch.allclose(Segmentation().terms(outputs, labels)["dice"], expected, atol=1e-5)


def test_an_absent_class_does_not_count_as_a_loss_of_one():
    labels = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    labels[0, 0, :2] = 1
    nearly = 6 * one_hot(labels)
    assert Segmentation().terms(nearly, labels)["dice"].item() == pytest.approx(0, abs=1e-2)
    counted = DiceLoss(to_onehot_y=True, softmax=True, include_background=False)(nearly, labels)
    assert counted.item() == pytest.approx(0.5, abs=1e-2)  # what MONAI's loss would say of it


def test_a_sample_without_foreground_has_no_dice():
    outputs, labels = case()
    assert Segmentation().defined(outputs, labels)["dice"].tolist() == [True] * 4 + [False]
    outputs.requires_grad_(True)
    Segmentation().terms(outputs, labels)["dice"].sum().backward()
    assert (outputs.grad[-1] == 0).all()
    assert (outputs.grad[:-1] != 0).any()


def test_one_channel_stands_for_two_classes():
    generator = torch.Generator().manual_seed(3)
    outputs = torch.randn(3, 1, 6, 5, generator=generator)
    labels = (torch.rand(3, 1, 6, 5, generator=generator) > 0.5).long()
    terms = Segmentation().terms(outputs, labels)
    expected = F.binary_cross_entropy_with_logits(outputs, labels.float(), reduction="none").flatten(1).mean(dim=1)
    assert torch.allclose(terms["cross_entropy"], expected, atol=1e-6)
    p, t = outputs.sigmoid().flatten(1), labels.float().flatten(1)
    dice = 1 - 2 * (p * t).sum(1) / (p.sum(1) + t.sum(1))
    assert torch.allclose(terms["dice"], dice, atol=1e-5)
    assert set(outcomes_of(Segmentation()).values(outputs, labels)) == {
        "tp_1",
        "fp_1",
        "fn_1",
        "hd95_1",
        "nsd_1",
        "confidence",
        "score",
    }


@pytest.mark.parametrize("dims", list(SHAPES))
def test_of_several_heads_the_first_counts(dims):
    outputs, labels = case(dims)
    others = [outputs.flip(0) * 3, outputs - 1]
    plain = Segmentation().terms(outputs, labels)
    for heads in (torch.stack([outputs, *others], dim=1), [outputs, *others], (outputs, others[0])):
        for name, values in Segmentation().terms(heads, labels).items():
            assert torch.equal(values, plain[name])
        assert torch.equal(Segmentation().prediction(heads, labels), outputs)
        assert torch.equal(
            outcomes_of(Segmentation()).values(heads, labels)["tp_1"],
            outcomes_of(Segmentation()).values(outputs, labels)["tp_1"],
        )


def test_the_heads_of_a_dynunet_in_training_are_understood():
    torch.manual_seed(0)
    network = DynUNet(2, 1, 3, (3, 3, 3), (1, 2, 2), (2, 2), filters=(4, 4, 4), deep_supervision=True, deep_supr_num=1)
    inputs, labels = torch.rand(2, 1, 8, 8), torch.randint(0, 3, (2, 1, 8, 8))
    training = Segmentation().terms(network.train()(inputs), labels)
    evaluation = Segmentation().terms(network.eval()(inputs), labels)
    for name, values in training.items():  # instance norm: the same network in both modes
        assert torch.allclose(values, evaluation[name], atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        DiceCELoss(to_onehot_y=True, softmax=True),
        DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False),
        FocalLoss(to_onehot_y=True, use_softmax=True),
    ],
    ids=["DiceCE", "batch Dice", "focal"],
)
def test_any_loss_of_monai_is_one_term_evaluated_sample_by_sample(loss):
    outputs, labels = case()
    terms = Segmentation(loss).terms([outputs, outputs * 0], labels)
    assert list(terms) == ["loss"]
    expected = [loss(outputs[i : i + 1], labels[i : i + 1]).item() for i in range(5)]
    assert terms["loss"].tolist() == pytest.approx(expected, rel=1e-5)
    assert Segmentation(loss).defined(outputs, labels) == {}


def test_a_loss_may_name_its_terms():
    def loss(outputs, targets):
        return {"mean": outputs.mean(), "spread": outputs.std()}

    terms = Segmentation(loss).terms(*case())
    assert list(terms) == ["mean", "spread"]
    assert all(values.shape == (5,) for values in terms.values())


@pytest.mark.parametrize("dims", list(SHAPES))
@pytest.mark.parametrize("loss", [None, DiceCELoss(to_onehot_y=True, softmax=True, batch=True)])
def test_a_samples_terms_and_outcomes_do_not_depend_on_the_rest_of_the_batch(dims, loss):
    outputs, labels = case(dims)
    task = Segmentation(loss)
    together = {
        **task.terms(outputs, labels),
        **outcomes_of(task).values(outputs, labels),
        **task.defined(outputs, labels),
    }
    for i in range(5):
        one, its = outputs[i : i + 1], labels[i : i + 1]
        alone = {**task.terms(one, its), **outcomes_of(task).values(one, its), **task.defined(one, its)}
        for name, value in alone.items():
            assert torch.allclose(value[0].double(), together[name][i].double(), atol=1e-6, equal_nan=True), name


@pytest.mark.parametrize("dims", list(SHAPES))
def test_outcomes_are_the_counts_of_a_confusion_matrix(dims):
    outputs, labels = case(dims)
    outcomes = outcomes_of(Segmentation()).values(outputs, labels)
    assert list(outcomes) == [
        *("tp_1", "fp_1", "fn_1", "tp_2", "fp_2", "fn_2"),
        *("hd95_1", "nsd_1", "hd95_2", "nsd_2", "confidence", "score"),
    ]
    assert list(outcomes) == list(outcomes_of(Segmentation()).columns(["head", "tail"]))
    for i in range(5):
        truth, found = labels[i].flatten().numpy(), outputs[i].argmax(dim=0).flatten().numpy()
        matrix = confusion_matrix(truth, found, labels=[0, 1, 2])
        dice = []
        for c in (1, 2):
            tp, fp, fn = matrix[c, c], matrix[:, c].sum() - matrix[c, c], matrix[c].sum() - matrix[c, c]
            assert [int(outcomes[f"{name}_{c}"][i]) for name in ("tp", "fp", "fn")] == [tp, fp, fn]
            if (truth == c).any():
                dice.append(2 * tp / (2 * tp + fp + fn))
        largest = outputs[i].double().softmax(dim=0).max(dim=0).values.flatten().numpy()
        assert outcomes["confidence"][i].item() == pytest.approx(largest[found > 0].mean())
        score = outcomes["score"][i].item()
        assert score == pytest.approx(np.mean(dice)) if dice else np.isnan(score)
    assert outcomes["score"].isnan().tolist() == [False] * 4 + [True]
    assert torch.equal(Segmentation().score(outputs, labels).nan_to_num(-1), outcomes["score"].nan_to_num(-1))


def test_where_no_foreground_is_said_all_pixels_tell_the_confidence():
    outputs = torch.tensor([[3.0, 1.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)
    found = outcomes_of(Segmentation()).values(outputs, torch.zeros(1, 1, 1, 2, dtype=torch.long))
    assert found["confidence"].item() == pytest.approx(torch.tensor([3.0, 1.0]).sigmoid().mean().item())


def test_a_class_that_is_found_though_absent_lowers_no_score_but_is_counted():
    labels = torch.zeros(1, 1, 2, 4, dtype=torch.long)
    labels[..., 0] = 1
    found = labels.clone()
    found[0, 0, 0, 3] = 2
    outcomes = outcomes_of(Segmentation()).values(9 * one_hot(found), labels)
    assert outcomes["fp_2"].item() == 1
    assert outcomes["score"].item() == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, torch.full_like(y, 3)), "a label is 3, but the network has outputs for classes 0 to 2"),
        (lambda x, y: (x, y - 1), "a label is -1"),
        (lambda x, y: (x, y + 0.5), r"a label is 0\.5"),
        (lambda x, y: (x, y.expand(-1, 2, -1, -1)), "the labels have 2 channels; they need 1, or 3 one-hot ones"),
        (lambda x, y: (x, one_hot(y) * 0.9), "not one-hot; overlapping classes need a loss"),
        (lambda x, y: (x, torch.ones(5, 3, 6, 5)), "not one-hot"),
        (lambda x, y: (x, y[:1]), "there are 1 labels for 5 samples"),
        (lambda x, y: (x, None), "labels are a NoneType, and segmentation takes numbers"),
        (lambda x, y: (x, ["a"] * 5), "labels are a list, and segmentation takes numbers"),
        (lambda x, y: (x, y[..., :4]), r"outputs have shape \(5, 3, 6, 5\), the labels \(5, 1, 6, 4\)"),
        (lambda x, y: (x.mean(dim=(2, 3)), y), r"outputs have shape \(5, 3\)"),
        (lambda x, y: (x.mean(dim=(2, 3)), y[:, 0, 0, 0]), r"segmentation takes \(B, C, \*spatial\)"),
    ],
)
def test_labels_and_outputs_that_do_not_fit_are_refused(change, message):
    with pytest.raises(BadInputError, match=message):
        Segmentation().terms(*change(*case()))


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize(("classes", "loss"), [(2, None), (6, None), (6, DiceCELoss(softmax=True, to_onehot_y=True))])
def test_labels_without_a_channel_are_refused_and_never_taken_for_one_hot_ones(dims, classes, loss):
    outputs, labels = case(dims, classes=classes)
    task = Segmentation(loss)
    with pytest.raises(BadInputError, match=r"without a channel; segmentation takes \(B, 1, \*spatial\)"):
        task.terms(outputs, labels[:, 0])
    with pytest.raises(BadInputError, match="without a channel"):
        task.score(outputs, labels[:, 0])
    stacked = torch.stack([outputs, outputs], dim=1)  # heads, of one-hot labels
    assert torch.equal(task.head(stacked, one_hot(labels, classes)), outputs)


def test_an_attack_can_aim_at_a_class_or_at_the_least_likely_one():
    outputs, labels = case()
    assert torch.equal(Segmentation().aim(outputs, labels, 2), torch.full_like(labels, 2))
    least = Segmentation().aim(outputs, labels, "least_likely")
    assert torch.equal(least[:, 0], outputs.argmin(dim=1))
    with pytest.raises(BadInputError, match="a class from 0 to 2"):
        Segmentation().aim(outputs, labels, 3)


def sharp(dims: int, classes: int = 3) -> TinyNet:
    """An untrained network that tells inputs apart, and labels made of what it says of them."""
    torch.manual_seed(1)
    network = TinyNet(classes, dims=dims, dense=True)
    with torch.no_grad():
        network.head.weight.mul_(40)
        calm = network.eval()(torch.full((1, 1, *[8] * dims), 0.5))
        network.head.bias.sub_(calm.mean(dim=tuple(i for i in range(dims + 2) if i != 1)))
    return network


def scene(dims: int, size: int = 8, samples: int = 3):
    inputs = torch.rand(samples, 1, *[size] * dims, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        labels = sharp(dims).eval()(inputs).argmax(dim=1, keepdim=True)
    return inputs, labels


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("loss", [None, DiceCELoss(to_onehot_y=True, softmax=True)])
def test_an_attack_raises_the_terms_of_every_sample(dims, loss):
    network, (inputs, labels) = sharp(dims).eval(), scene(dims)
    task = Segmentation(loss)
    adversarial = PGD(eps=torch.tensor([0.3, 0.6, 1.2]), steps=5, task=task)(network, inputs, labels)
    with torch.no_grad():
        before = task.terms(network(inputs), labels)
        after = task.terms(network(adversarial), labels)
        assert (total(after) > 1.01 * total(before)).all()
        scores = [task.score(network(x), labels) for x in (inputs, adversarial)]
    assert (scores[1] < scores[0]).all()
    sizes = (adversarial - inputs).flatten(1).norm(dim=1)
    assert sizes.tolist() == pytest.approx([0.3, 0.6, 1.2], rel=1e-3)


def test_a_targeted_attack_draws_the_class_it_aims_at():
    network, (inputs, labels) = sharp(2).eval(), scene(2)
    adversarial = PGD(eps=2.0, steps=10, task=Segmentation(), goal=1)(network, inputs, labels)
    share = [(network(x).argmax(dim=1) == 1).float().mean().item() for x in (inputs, adversarial)]
    assert share[1] > share[0] + 0.1


@pytest.mark.parametrize("dims", [2, 3])
def test_evaluation_under_attack_goes_through_sliding_windows_of_larger_images(dims):
    network = sharp(dims)
    inputs, labels = scene(dims, size=14, samples=2)
    data = [{"image": image, "label": label} for image, label in zip(inputs, labels, strict=True)]
    inferer = SlidingWindowInferer([8] * dims, sw_batch_size=4, overlap=0.25)
    attack, task = PGD(eps=1.0, steps=3), Segmentation()
    engine = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(data, batch_size=2),
        network=network,
        inferer=inferer,
        iteration_update=UnderAttack(attack, task=task),
        decollate=False,
    )
    seen: list[dict] = []
    engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda engine: seen.append(dict(engine.state.output)))
    engine.run()
    network.eval()
    expected = attack(lambda x: inferer(x, network), inputs, labels, task=task)
    assert torch.allclose(seen[0]["adv_image"], expected, atol=1e-6)
    assert seen[0]["adv_norm"].tolist() == pytest.approx([1.0, 1.0], rel=1e-3)
    with torch.no_grad():
        clean = task.terms(inferer(inputs, network), labels)
        hurt = task.terms(seen[0]["pred"], labels)
    assert (total(hurt) > total(clean)).all()
    reached = (expected - inputs).abs().flatten(2).amax(dim=(0, 1)).reshape([14] * dims)
    assert reached[(0,) * dims] > 0
    assert reached[(-1,) * dims] > 0  # the last window too


def test_a_window_attack_gives_every_window_the_radius():
    network, (inputs, labels) = sharp(2).eval(), scene(2, size=16, samples=1)
    task = Segmentation()
    attack = WindowAttack(PGD(eps=1.0, steps=3), (8, 8), overlap=0.0, mode="constant")
    delta = attack(network, inputs, labels, task=task) - inputs
    windows = [delta[..., i : i + 8, j : j + 8].norm().item() for i in (0, 8) for j in (0, 8)]
    assert windows == pytest.approx([1.0] * 4, rel=1e-3)


def test_another_number_of_labels_than_samples_scores_nothing():
    outputs, labels = case()
    with pytest.raises(BadInputError, match="there are 1 labels for 5 samples"):
        Segmentation().score(outputs, labels[:1])


@pytest.mark.parametrize("inputs", [[1.0], torch.zeros(1, 1, 16, 16, dtype=torch.long)], ids=["list", "whole numbers"])
def test_a_window_attack_refuses_what_is_no_batch_of_images(inputs):
    with pytest.raises(BadInputError, match="an attack takes floating inputs"):
        WindowAttack(PGD(eps=1.0, steps=1), (8, 8))(sharp(2), inputs, torch.zeros(1, 1, 16, 16), task=Segmentation())


def test_dense_outputs_without_a_task_are_refused():
    inputs, labels = scene(2)
    with pytest.raises(BadInputError, match="UnderAttack a loss"):
        PGD(eps=1.0, steps=1)(sharp(2), inputs, labels)
    assert LossTask(DiceCELoss(to_onehot_y=True, softmax=True)).terms(*case())["loss"].shape == (5,)


def test_pictures_and_captions_say_what_was_found():
    outputs, labels = case()
    found, truth = outcomes_of(Segmentation()).picture_masks(outputs, one_hot(labels))
    assert torch.equal(found, outputs.argmax(dim=1))
    assert torch.equal(truth, labels[:, 0])
    task, outcomes = Segmentation(), outcomes_of(Segmentation()).values(outputs, labels)
    sizes = [int((labels[1] == c).sum()) for c in (1, 2)]
    caption = outcomes_of(task).caption(outcomes, 1, ["head", "tail"])
    assert caption["label"] == f"head: {sizes[0]}, tail: {sizes[1]} pixels"
    assert caption["prediction"] == f"Dice {outcomes['score'][1].item():.2f}"


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1.5, -1.0, 3.0])
def test_labels_that_are_no_class_are_refused(wrong):
    labels = torch.zeros(1, 1, 4, 4)
    labels[0, 0, 0, 0] = wrong
    with pytest.raises(BadInputError, match="a label is"):
        Segmentation().terms(torch.randn(1, 3, 4, 4), labels)


def test_a_single_term_is_of_samples_with_foreground():
    """Without it there is no Dice in the sum, which lies below any threshold of the others' losses."""
    labels = torch.tensor([[[[1, 0]]], [[[0, 0]]]])
    known = Segmentation(single_term=True).defined(torch.zeros(2, 3, 1, 2), labels)
    assert {name: one.tolist() for name, one in known.items()} == {"loss": [True, False]}


def test_a_single_term_is_the_sum_of_the_two():
    outputs, labels = torch.randn(4, 3, 8, 8), torch.randint(0, 3, (4, 1, 8, 8))
    two = Segmentation().terms(outputs, labels)
    one = Segmentation(single_term=True).terms(outputs, labels)
    assert list(one) == ["loss"]
    assert torch.allclose(one["loss"], two["dice"] + two["cross_entropy"])
