"""ADI, TVDI, volume Dice and AUC_robust against MONAI, numpy, and the paper's own tables."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ComponentLocator
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import DiceMetric
from monai.networks import one_hot

import monai_robust.metrics
from monai_robust.errors import BadInputError
from monai_robust.metrics import (
    AverageDiceIndex,
    ForegroundDiceIndex,
    TotalVoxelDiceIndex,
    auc_robust,
    average_dice_index,
    foreground_dice_index,
    total_voxel_dice_index,
    volume_dice,
)

# AMAT, Tables 8 to 12: radii, and for each step size the values at them and AUC_robust as printed
TABLES = {
    "8, heart": (
        [0, 5, 10, 15],
        [
            ([0.8902, 0.8373, 0.7702, 0.6930], 0.8438),
            ([0.9067, 0.8520, 0.7965, 0.7363], 0.8640),
            ([0.9101, 0.8673, 0.8205, 0.7681], 0.8755),
            ([0.9076, 0.8657, 0.8193, 0.7757], 0.8743),
            ([0.9037, 0.8608, 0.8181, 0.7675], 0.8703),
        ],
    ),
    "9, hippocampus": (
        [0, 2, 6, 10],
        [
            ([0.7860, 0.7460, 0.6482, 0.5004], 0.7212),
            ([0.7733, 0.7418, 0.6655, 0.5562], 0.7237),
            ([0.7753, 0.7407, 0.6709, 0.5590], 0.7260),
            ([0.7718, 0.7408, 0.6692, 0.5522], 0.7231),
            ([0.7665, 0.7374, 0.6650, 0.5640], 0.7202),
            ([0.7685, 0.7373, 0.6681, 0.5583], 0.7213),
            ([0.7668, 0.7371, 0.6678, 0.5663], 0.7211),
            ([0.7679, 0.7364, 0.6643, 0.5640], 0.7206),
        ],
    ),
    "10, prostate": (
        [0, 10, 20, 40],
        [
            ([0.8351, 0.7981, 0.7520, 0.6339], 0.7884),
            ([0.8271, 0.7972, 0.7572, 0.6637], 0.7890),
            ([0.8018, 0.7756, 0.7446, 0.6757], 0.7715),
            ([0.8119, 0.7872, 0.7550, 0.6774], 0.7807),
            ([0.8096, 0.7835, 0.7487, 0.6731], 0.7772),
            ([0.8033, 0.7781, 0.7481, 0.6762], 0.7734),
        ],
    ),
    "11, landmarks": (
        [0, 0.5, 1, 2],
        [
            ([1.637, 1.906, 2.247, 3.870], 0.5218),
            ([1.735, 1.918, 2.103, 2.817], 0.5036),
            ([1.773, 1.892, 2.044, 2.426], 0.4947),
            ([1.893, 1.992, 2.117, 2.388], 0.5183),
            ([1.978, 2.081, 2.195, 2.420], 0.5385),
        ],
    ),
    "12, blood cells": (
        [0, 5, 10, 15],
        [
            ([0.7672, 0.5444, 0.3509, 0.2640], 0.6007),
            ([0.7633, 0.5539, 0.3570, 0.2718], 0.6029),
            ([0.7650, 0.5657, 0.3599, 0.2697], 0.6066),
            ([0.7636, 0.5683, 0.3546, 0.2718], 0.6055),
            ([0.7777, 0.5720, 0.3699, 0.2601], 0.6154),
            ([0.7767, 0.5775, 0.3577, 0.2686], 0.6144),
            ([0.7796, 0.5776, 0.3655, 0.2792], 0.6186),
            ([0.7779, 0.5733, 0.3460, 0.2632], 0.6110),
            ([0.7745, 0.5501, 0.3349, 0.2573], 0.6014),
            ([0.7717, 0.5572, 0.3329, 0.2319], 0.5984),
        ],
    ),
}
ROUNDING = 0.7e-4  # the values themselves are printed to four digits, so that the last one may be off


@pytest.mark.parametrize("name", list(TABLES))
def test_auc_robust_reproduces_every_row_of_the_papers_tables(name: str) -> None:
    radii, rows = TABLES[name]
    landmarks = {"higher_is_better": False, "scale": 3.870} if "landmarks" in name else {}
    found = [auc_robust(radii, values, **landmarks) for values, _ in rows]
    assert found == pytest.approx([printed for _, printed in rows], abs=ROUNDING)


def test_auc_robust_of_a_line_is_known_and_does_not_depend_on_the_order() -> None:
    radii = np.array([0.0, 1.0, 4.0])
    assert auc_robust(radii, 1 - radii / 8) == pytest.approx(math.sqrt(0.75))
    assert auc_robust(radii[::-1], (1 - radii / 8)[::-1]) == pytest.approx(math.sqrt(0.75))
    assert auc_robust(100 * radii, 1 - radii / 8) == pytest.approx(math.sqrt(0.75))
    assert auc_robust(radii, 2 - radii / 4, scale=2.0) == pytest.approx(math.sqrt(0.75))


@pytest.mark.parametrize(
    ("radii", "values", "keywords", "message"),
    [
        ([0, 1], [2.0, 3.0], {"higher_is_better": False}, "needs scale"),
        ([0, 1], [2.0, 3.0], {"scale": 0.0}, "scale must be a positive"),
        ([1, 2], [0.5, 0.4], {}, "needs 0 and other radii"),
        ([0], [0.5], {}, "needs 0 and other radii"),
        ([0, 1, 1], [0.5, 0.4, 0.4], {}, "none twice"),
        ([0, -1], [0.5, 0.4], {}, "none twice or negative"),
        ([0, 1], [0.5], {}, "do not fit together"),
        ([0, 1], [0.5, math.nan], {}, "finite"),
    ],
)
def test_curves_without_an_area_are_refused(radii, values, keywords, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        auc_robust(radii, values, **keywords)


def masks(seed: int = 0, count: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, 3, 6, 5) and labels (N, 1, 6, 5) of which one sample is empty and one lacks class 2."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count, 1, 6, 5), generator=generator)
    labels[2] = 0
    labels[4][labels[4] == 2] = 1
    logits = torch.randn(count, 3, 6, 5, generator=generator) + 1.5 * one_hot(labels, 3)
    return logits, labels


def counts(logits: torch.Tensor, labels: torch.Tensor) -> list[np.ndarray]:
    """tp, fp, fn (N, 2), pixel by pixel."""
    found, true = logits.argmax(dim=1).flatten(1).numpy(), labels.flatten(1).numpy()
    table = np.zeros((3, len(found), 2))
    for sample, (ours, theirs) in enumerate(zip(found, true, strict=True)):
        for one, other in zip(ours, theirs, strict=True):
            for index in (1, 2):
                table[0, sample, index - 1] += one == index and other == index
                table[1, sample, index - 1] += one == index and other != index
                table[2, sample, index - 1] += one != index and other == index
    return list(table)


def test_foreground_dice_is_monais_averaged_over_the_samples_that_hold_a_class() -> None:
    logits, labels = masks()
    metric = DiceMetric(include_background=False, reduction="none", ignore_empty=True)
    dice = metric(one_hot(logits.argmax(dim=1, keepdim=True), 3), one_hot(labels, 3))
    found = foreground_dice_index(*counts(logits, labels))
    assert found.classes.tolist() == pytest.approx(dice.nanmean(dim=0).tolist())
    assert found.mean == pytest.approx(dice.nanmean(dim=1).nanmean().item())
    assert found.samples == 6


def test_adi_is_equation_3_with_its_false_positives() -> None:
    logits, labels = masks()
    tp, fp, fn = counts(logits, labels)
    per_class, per_sample = [[], []], []
    for sample in range(len(tp)):
        own = []
        for index in range(2):
            if tp[sample, index] + fp[sample, index] + fn[sample, index]:  # else the equation is 0 / 0
                a, b, c = tp[sample, index], fp[sample, index], fn[sample, index]
                own.append(2 * a / (2 * a + b + c))
                per_class[index].append(own[-1])
        per_sample += [sum(own) / len(own)] if own else []
    found = average_dice_index(tp, fp, fn)
    assert found.mean == pytest.approx(sum(per_sample) / len(per_sample))
    assert found.classes.tolist() == pytest.approx([sum(own) / len(own) for own in per_class])
    assert found.mean < foreground_dice_index(tp, fp, fn).mean


def test_tvdi_is_the_dice_of_all_samples_as_one() -> None:
    logits, labels = masks()
    metric = DiceMetric(include_background=False, reduction="none")
    as_one = [x.permute(1, 0, 2, 3)[None] for x in (one_hot(logits.argmax(1, keepdim=True), 3), one_hot(labels, 3))]
    dice = metric(*as_one)[0]
    found = total_voxel_dice_index(*counts(logits, labels))
    assert found.classes.tolist() == pytest.approx(dice.tolist())
    assert found.mean == pytest.approx(dice.mean().item())


def test_false_positives_in_empty_samples_score_0_and_nothing_in_nothing_does_not_count() -> None:
    tp, fp, fn = [8, 0, 0], [0, 4, 0], [0, 0, 0]
    assert average_dice_index(tp, fp, fn).mean == 0.5
    assert foreground_dice_index(tp, fp, fn).mean == 1.0
    assert total_voxel_dice_index(tp, fp, fn).mean == pytest.approx(16 / 20)
    assert average_dice_index(tp, fp, fn).samples == foreground_dice_index(tp, fp, fn).samples == 1
    volumes = ["a", "b", "b"]
    assert volume_dice(tp, fp, fn, volumes).mean == 0.5


def test_volume_dice_is_the_dice_of_volumes_averaged_over_them() -> None:
    logits, labels = masks(count=6)
    volumes = ["b", "a", "b", "a", "a", "b"]
    metric = DiceMetric(include_background=False, reduction="none")
    dice = []
    for name in ("a", "b"):
        own = torch.tensor([one == name for one in volumes])
        parts = (one_hot(logits[own].argmax(1, keepdim=True), 3), one_hot(labels[own], 3))
        dice.append(metric(*(part.permute(1, 2, 3, 0)[None] for part in parts))[0])
    found = volume_dice(*counts(logits, labels), volumes)
    assert found.classes.tolist() == pytest.approx(torch.stack(dice).mean(dim=0).tolist())
    assert found.samples == 2
    with pytest.raises(BadInputError, match="5 volumes for 6 slices"):
        volume_dice(*counts(logits, labels), volumes[:5])


def test_where_there_is_no_foreground_there_is_no_index() -> None:
    assert average_dice_index([[0, 0]], [[3, 0]], [[0, 0]]).mean == 0.0
    assert math.isnan(average_dice_index([[0, 0]], [[0, 0]], [[0, 0]]).mean)
    empty = foreground_dice_index([[0, 0]], [[3, 0]], [[0, 0]])
    assert math.isnan(empty.mean)
    assert empty.classes.isnan().all()
    assert empty.samples == 0
    partly = total_voxel_dice_index([[4, 0]], [[0, 0]], [[0, 0]])
    assert partly.mean == 1.0
    assert math.isnan(partly.classes[1])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([1, 2], [1], [0, 0]), "one shape"),
        (([], [], []), "at least one sample"),
        (([-1], [0], [0]), "must be counts"),
        (([math.nan], [0], [0]), "must be counts"),
    ],
)
def test_counts_that_are_none_are_refused(parts, message: str) -> None:
    for function in (average_dice_index, foreground_dice_index, total_voxel_dice_index):
        with pytest.raises(BadInputError, match=message):
            function(*parts)


PAIRS = [
    (AverageDiceIndex, average_dice_index),
    (ForegroundDiceIndex, foreground_dice_index),
    (TotalVoxelDiceIndex, total_voxel_dice_index),
]


@pytest.mark.parametrize(("metric", "function"), PAIRS)
def test_a_metric_of_batches_is_the_function_of_all_samples(metric, function) -> None:
    logits, labels = masks()
    expected = function(*counts(logits, labels))
    one = metric()
    for part in (slice(0, 3), slice(3, 7)):
        one(y_pred=logits[part], y=labels[part])
    assert one.aggregate().item() == pytest.approx(expected.mean)
    assert one.index().classes.tolist() == pytest.approx(expected.classes.tolist())
    one.reset()
    one(y_pred=list(one_hot(logits.argmax(1, keepdim=True), 3)), y=list(one_hot(labels, 3)))
    assert one.aggregate().item() == pytest.approx(expected.mean)
    one.reset()
    with pytest.raises(BadInputError, match="no sample was given"):
        one.aggregate()


def test_a_single_channel_is_foreground_above_zero() -> None:
    one = AverageDiceIndex()
    one(y_pred=torch.tensor([[[2.0, 1.0, -1.0, -3.0]]]), y=torch.tensor([[[1, 0, 0, 1]]]))
    assert one.aggregate().item() == pytest.approx(0.5)


@pytest.mark.parametrize(("metric", "function"), PAIRS)
def test_metrics_work_as_the_key_metric_of_an_engine(metric, function) -> None:
    logits, labels = masks()

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for part in (slice(0, 4), slice(4, 7)):
            yield {"pred": logits[part], "label": labels[part]}

    engine = Engine(lambda engine, batch: batch)
    handler = IgniteMetricHandler(metric_fn=metric(), output_transform=from_engine(["pred", "label"]))
    handler.save_details = False
    handler.attach(engine, "dice")
    engine.run(list(batches()))
    assert engine.state.metrics["dice"] == pytest.approx(function(*counts(logits, labels)).mean)


@pytest.mark.parametrize(
    ("predicted", "label", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 5), "predictions must be"),
        (torch.zeros(2, 3, 4, 4), torch.full((2, 1, 4, 4), 3), "from 0 to 2"),
        (torch.zeros(2, 3, 4, 4), torch.full((2, 1, 4, 4), 0.5), "from 0 to 2"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 4, 4), "3 one-hot channels"),
        (torch.zeros(2, 3, 4, 4), None, "needs labels"),
    ],
)
def test_labels_that_do_not_fit_the_predictions_are_refused(predicted, label, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        AverageDiceIndex()(y_pred=predicted, y=label)


def test_no_public_name_is_taken_by_monai() -> None:
    table = ComponentLocator()
    for name in monai_robust.metrics.__all__:
        found = table.get_component_module_name(name)
        modules = [found] if isinstance(found, str) else found or []
        assert all(module.startswith("monai_robust") for module in modules), name
