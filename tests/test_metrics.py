"""Metrics against independent computations, by hand and in MONAI's engines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor, decollate_batch
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, brier_score_loss

from monai_robust.errors import BadInputError
from monai_robust.metrics import (
    AdversarialAccuracy,
    BrierScore,
    ExpectedCalibrationError,
    PredictiveEntropy,
    RMSCalibrationError,
    adversarial_accuracy,
    brier_per_sample,
    brier_score,
    expected_calibration_error,
    predictive_entropy,
    reliability_bins,
    rms_calibration_error,
)


def predictions(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random class probabilities and labels that agree with them somewhat."""
    random = np.random.default_rng(seed)
    rows = random.dirichlet([0.6] * classes, size=count)
    labels = np.array([random.choice(classes, p=(row + 1 / classes) / 2) for row in rows])
    return rows, labels


def calibrated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes whose probabilities are exactly right."""
    random = np.random.default_rng(seed)
    positive = random.uniform(0.05, 0.95, count)
    return np.stack([1 - positive, positive], axis=1), (random.uniform(size=count) < positive).astype(int)


# accuracy


def test_accuracy_agrees_with_scikit_learn_for_scores_and_predictions() -> None:
    rows, labels = predictions(200, 4)
    expected = accuracy_score(labels, rows.argmax(1))
    assert adversarial_accuracy(rows, labels) == pytest.approx(expected)
    assert adversarial_accuracy(torch.tensor(rows).log(), torch.tensor(labels)[:, None]) == pytest.approx(expected)
    assert adversarial_accuracy(rows.argmax(1), np.eye(4)[labels]) == pytest.approx(expected)
    assert adversarial_accuracy(pd.Series(rows.argmax(1)), pd.Series(labels)) == pytest.approx(expected)


def test_accuracy_refuses_what_predicts_no_class() -> None:
    with pytest.raises(BadInputError, match="NaN"):
        adversarial_accuracy([[math.nan, 0.0]], [1])
    with pytest.raises(BadInputError, match="threshold"):
        adversarial_accuracy([[0.3], [0.7]], [0, 1])
    with pytest.raises(BadInputError, match="at least one sample"):
        adversarial_accuracy(np.zeros((0, 3)), np.zeros(0))
    with pytest.raises(BadInputError, match="name classes by their index"):
        adversarial_accuracy(["covid"], ["normal"])


# Brier score


def test_binary_brier_score_agrees_with_scikit_learn_and_is_half_the_multiclass_one() -> None:
    rows, labels = predictions(100, 2)
    expected = brier_score_loss(labels, rows[:, 1])
    assert brier_score(rows, labels, form="binary") == pytest.approx(expected)
    assert brier_score(rows, labels) == pytest.approx(2 * expected)


def test_multiclass_brier_score_agrees_with_scikit_learn() -> None:
    rows, labels = predictions(100, 4)
    expected = brier_score_loss(labels, rows, labels=[0, 1, 2, 3], scale_by_half=False)
    assert brier_score(torch.tensor(rows), torch.tensor(labels)) == pytest.approx(expected)


def test_brier_score_of_single_samples_by_hand() -> None:
    rows = [[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]
    torch.testing.assert_close(
        brier_per_sample(rows, [0, 1, 0]), torch.tensor([0.0, 0.04 + 0.49 + 0.25, 2.0], dtype=torch.float64)
    )


def test_binary_brier_score_of_three_classes_is_refused() -> None:
    with pytest.raises(BadInputError, match="two classes, got 3"):
        brier_score(*predictions(5, 3), form="binary")


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        ([[2.0, -1.0]], [0], "softmax"),
        ([[0.5, 0.4]], [0], "softmax"),
        ([[math.nan, 0.5]], [0], "not finite"),
        ([[0.5], [0.5]], [0, 1], "two or more classes"),
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [0.5], "from 0 to 1"),
        ([[0.5, 0.5]], [0, 1], "labels must have shape"),
        ([[0.5, 0.5]], [[1, 1]], "one-hot"),
    ],
)
def test_probabilities_and_labels_that_cannot_be_are_refused(rows: Any, labels: Any, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        brier_score(rows, labels)


# calibration


def equal_mass_squares(scores: np.ndarray, hits: np.ndarray, bins: int, debiased: bool) -> float:
    """Weighted squared errors of equal-mass bins for distinct scores, by slicing the sorted samples."""
    order = np.argsort(scores)
    total = 0.0
    for part in np.array_split(order, bins):
        error = (scores[part].mean() - hits[part].mean()) ** 2
        if debiased:
            error -= np.var(hits[part], ddof=1) / len(part)
        total += len(part) / len(scores) * error
    return total


@pytest.mark.parametrize("estimator", ["plugin", "debiased"])
def test_top_label_error_agrees_with_slices_of_the_sorted_samples(estimator: str) -> None:
    rows, labels = predictions(600, 3)
    expected = equal_mass_squares(rows.max(1), (rows.argmax(1) == labels).astype(float), 12, estimator == "debiased")
    assert rms_calibration_error(rows, labels, bins=12, estimator=estimator) == pytest.approx(math.sqrt(expected))


@pytest.mark.parametrize("estimator", ["plugin", "debiased"])
def test_marginal_error_is_the_root_of_the_mean_square_over_classes(estimator: str) -> None:
    rows, labels = predictions(600, 3)
    squares = [
        equal_mass_squares(rows[:, c], (labels == c).astype(float), 15, estimator == "debiased") for c in range(3)
    ]
    found = rms_calibration_error(rows, labels, kind="marginal", estimator=estimator)
    assert found == pytest.approx(math.sqrt(np.mean(squares)))


def test_calibration_errors_by_hand() -> None:
    rows = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    labels = [0, 1, 1, 1]
    gaps = (0.9 - 0.5, 1.0 - 0.6)
    assert rms_calibration_error(rows, labels, bins=2) == pytest.approx(math.sqrt((gaps[0] ** 2 + gaps[1] ** 2) / 2))
    debiased = (gaps[0] ** 2 - 0.25 + gaps[1] ** 2) / 2
    assert rms_calibration_error(rows, labels, bins=2, estimator="debiased") == pytest.approx(math.sqrt(debiased))
    assert expected_calibration_error(rows, labels, bins=10) == pytest.approx(sum(gaps) / 2)


def test_expected_calibration_error_agrees_with_a_loop_over_half_open_intervals() -> None:
    rows, labels = predictions(500, 3)
    scores, hits = rows.max(1), rows.argmax(1) == labels
    expected = 0.0
    for step in range(15):
        inside = (scores > step / 15) & (scores <= (step + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(scores[inside].mean() - hits[inside].mean())
    assert expected_calibration_error(rows, labels) == pytest.approx(expected)


def test_debiased_estimate_is_nearer_to_zero_than_the_plugin_on_calibrated_predictions() -> None:
    sets = [calibrated(300, seed) for seed in range(40)]
    plugin = np.mean([rms_calibration_error(*given) for given in sets])
    debiased = np.mean([rms_calibration_error(*given, estimator="debiased") for given in sets])
    assert debiased < 0.6 * plugin


def test_debiased_estimate_recovers_a_known_error_where_the_plugin_is_too_large() -> None:
    """Probabilities that are 0.1 too high everywhere: the true error is 0.1."""
    squares: dict[str, list[float]] = {"plugin": [], "debiased": []}
    for seed in range(60):
        random = np.random.default_rng(seed)
        truth = random.uniform(0.55, 0.85, 400)
        rows = np.stack([truth + 0.1, 0.9 - truth], axis=1)
        labels = (random.uniform(size=400) >= truth).astype(int)
        for estimator, found in squares.items():
            found.append(rms_calibration_error(rows, labels, estimator=estimator) ** 2)
    assert np.mean(squares["debiased"]) == pytest.approx(0.01, rel=0.15)
    assert np.mean(squares["plugin"]) > 0.015


@pytest.mark.parametrize("bins", [3, 15])
@pytest.mark.parametrize("binning", ["equal_mass", "equal_width"])
def test_order_of_the_samples_does_not_matter_even_with_ties(binning: str, bins: int) -> None:
    rows, labels = predictions(200, 3)
    rows = np.round(rows * 5) / 5
    rows[:, 2] = 1 - rows[:, 0] - rows[:, 1]
    shuffled = np.random.default_rng(1).permutation(200)
    rows = rows.clip(0, 1)
    for kind in ("top_label", "marginal"):
        one = rms_calibration_error(rows, labels, bins=bins, binning=binning, kind=kind)
        other = rms_calibration_error(rows[shuffled], labels[shuffled], bins=bins, binning=binning, kind=kind)
        assert one == pytest.approx(other, rel=1e-12)


def test_equal_confidences_share_a_bin() -> None:
    rows = np.array([[0.7, 0.3]] * 30 + [[0.9, 0.1]] * 10)
    found = reliability_bins(rows, np.zeros(40), bins=4, binning="equal_mass")
    assert sorted(found.samples.tolist()) == [0, 0, 10, 30]


def test_bins_without_ties_hold_equal_numbers_and_average_what_they_hold() -> None:
    rows, labels = predictions(90, 3)
    found = reliability_bins(rows, labels, bins=9, binning="equal_mass")
    assert found.samples.tolist() == [10] * 9
    assert (np.diff(found.confidence) > 0).all()
    assert found.confidence.mean() == pytest.approx(rows.max(1).mean())
    assert found.accuracy.mean() == pytest.approx((rows.argmax(1) == labels).mean())


def test_reliability_bins_of_the_marginal_kind_have_a_row_for_each_class_and_mark_empty_bins() -> None:
    found = reliability_bins([[1.0, 0.0], [0.0, 1.0]], [0, 1], bins=5, kind="marginal")
    assert found.samples.tolist() == [[1, 0, 0, 0, 1]] * 2
    assert np.isnan(found.accuracy[:, 1:4]).all()
    np.testing.assert_array_equal(found.accuracy[:, [0, 4]], [[0, 1], [0, 1]])


def test_bins_of_single_samples_leave_the_debiased_estimate_open() -> None:
    rows, labels = predictions(10, 3)
    assert math.isnan(rms_calibration_error(rows, labels, estimator="debiased"))
    assert rms_calibration_error(rows, labels) == pytest.approx(
        math.sqrt(((rows.max(1) - (rows.argmax(1) == labels)) ** 2).mean())
    )


def test_calibration_settings_that_cannot_work_are_refused() -> None:
    rows, labels = predictions(10, 3)
    with pytest.raises(BadInputError, match="bins must be"):
        expected_calibration_error(rows, labels, bins=0)
    with pytest.raises(BadInputError, match="top_label, marginal"):
        rms_calibration_error(rows, labels, kind="all")
    with pytest.raises(BadInputError, match="plugin, debiased"):
        RMSCalibrationError(estimator="biased")
    with pytest.raises(BadInputError, match="equal_mass, equal_width"):
        ExpectedCalibrationError(binning="quantile")
    with pytest.raises(BadInputError, match="at least one sample"):
        reliability_bins(np.zeros((0, 2)), np.zeros(0))


# entropy


def test_entropy_agrees_with_scipy_and_is_zero_for_certain_predictions() -> None:
    rows, _ = predictions(50, 3)
    np.testing.assert_allclose(predictive_entropy(rows).numpy(), entropy(rows, axis=1), rtol=1e-10)
    assert predictive_entropy([[1.0, 0.0]]).item() == 0
    assert predictive_entropy([[0.25] * 4]).item() == pytest.approx(math.log(4))


# accumulation

METRICS: list[tuple[Callable[[], CumulativeIterationMetric], Callable[[np.ndarray, np.ndarray], float]]] = [
    (AdversarialAccuracy, adversarial_accuracy),
    (BrierScore, brier_score),
    (RMSCalibrationError, rms_calibration_error),
    (
        lambda: RMSCalibrationError(kind="marginal", estimator="debiased", bins=5, binning="equal_width"),
        lambda p, y: rms_calibration_error(p, y, kind="marginal", estimator="debiased", bins=5, binning="equal_width"),
    ),
    (ExpectedCalibrationError, expected_calibration_error),
    (PredictiveEntropy, lambda p, y: predictive_entropy(p).mean().item()),
]


@pytest.mark.parametrize(("make", "function"), METRICS)
def test_uneven_batches_and_decollated_lists_give_the_value_of_the_whole_set(
    make: Callable[[], CumulativeIterationMetric], function: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    rows, labels = predictions(70, 3)
    metric = make()
    probabilities, truth = MetaTensor(torch.tensor(rows)), torch.tensor(labels)
    metric(probabilities[:40], truth[:40])
    metric(probabilities[40:47], torch.nn.functional.one_hot(truth[40:47], 3))
    metric(list(decollate_batch(torch.tensor(rows[47:]))), list(truth[47:, None]))
    value = metric.aggregate()
    assert value.ndim == 0
    assert value.item() == pytest.approx(function(rows, labels))


@pytest.mark.parametrize("make", [make for make, _ in METRICS])
def test_a_metric_without_samples_says_so(make: Callable[[], CumulativeIterationMetric]) -> None:
    metric = make()
    metric(torch.tensor([[0.2, 0.8]]), torch.tensor([1]))
    metric.reset()
    with pytest.raises(BadInputError, match="no sample"):
        metric.aggregate()


@pytest.mark.parametrize("kind", [BrierScore, RMSCalibrationError, ExpectedCalibrationError, PredictiveEntropy])
def test_logits_are_turned_into_probabilities_on_request(kind: Callable[..., CumulativeIterationMetric]) -> None:
    rows, labels = predictions(40, 3)
    of_logits, of_probabilities = kind(softmax=True), kind()
    of_logits(torch.tensor(rows).log() + 3.0, torch.tensor(labels))
    of_probabilities(torch.tensor(rows), torch.tensor(labels))
    assert of_logits.aggregate().item() == pytest.approx(of_probabilities.aggregate().item())


def test_metrics_work_as_handlers_of_a_monai_engine() -> None:
    rows, labels = predictions(12, 3)
    batches = [
        {"image": torch.tensor(rows[i : i + 4]).log(), "label": torch.tensor(labels[i : i + 4])} for i in (0, 4, 8)
    ]
    handlers = {
        "accuracy": IgniteMetricHandler(AdversarialAccuracy(), output_transform=from_engine(["pred", "label"])),
        "brier": IgniteMetricHandler(BrierScore(softmax=True), output_transform=from_engine(["pred", "label"])),
        "ece": IgniteMetricHandler(
            ExpectedCalibrationError(softmax=True),
            output_transform=from_engine(["pred", "label"]),
            save_details=False,
        ),
    }
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=batches, network=torch.nn.Identity(), key_val_metric=handlers
    )
    evaluator.run()
    assert evaluator.state.metrics["accuracy"] == pytest.approx(adversarial_accuracy(rows, labels))
    assert evaluator.state.metrics["brier"] == pytest.approx(brier_score(rows, labels))
    assert evaluator.state.metrics["ece"] == pytest.approx(expected_calibration_error(rows, labels))
    assert evaluator.state.metric_details["brier"].shape == (12,)
