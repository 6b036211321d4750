"""Measures of classification that clinicians read, against scikit-learn and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn import metrics as reference
from test_metrics import predictions

from monai_robust.errors import BadInputError
from monai_robust.evaluation.statistics.bootstrap import Sums, Weighted
from monai_robust.evaluation.tasks.discrimination import discrimination_drawable
from monai_robust.evaluation.tasks.discrimination.fitted import Fitted, Scored
from monai_robust.metrics import (
    AUROC,
    AveragePrecisionOfFindings,
    BalancedAccuracy,
    ClassConfusion,
    F1Score,
    Sensitivity,
    Specificity,
    auroc,
    average_precision,
    balanced_accuracy,
    brier_decomposition,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    f1_score,
    fitted_temperature,
    fitted_threshold,
    predictive_values,
    ranking,
    sensitivity_and_specificity,
    tempered,
)


def cases(count: int = 300, seed: int = 0, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.uniform(size=count) < 0.3).astype(int)
    scores = random.normal(labels, 1.0)
    return (np.round(scores, 1) if ties else scores), labels


@pytest.mark.parametrize("ties", [True, False])
def test_areas_of_a_binary_score_are_those_of_scikit_learn(ties: bool) -> None:
    scores, labels = cases(ties=ties)
    assert auroc(scores, labels) == pytest.approx(reference.roc_auc_score(labels, scores))
    assert average_precision(scores, labels) == pytest.approx(reference.average_precision_score(labels, scores))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=2, max_size=30))
def test_areas_of_few_samples_with_many_ties(rows: list[tuple[int, int]]) -> None:
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    area, precision = auroc(scores, labels), average_precision(scores, labels)
    if labels.all() or not labels.any():
        assert math.isnan(area)
    else:
        assert area == pytest.approx(reference.roc_auc_score(labels, scores))
    if labels.any():
        assert precision == pytest.approx(reference.average_precision_score(labels, scores))
    else:
        assert math.isnan(precision)


def test_each_class_against_the_rest_is_that_of_scikit_learn() -> None:
    rows, labels = predictions(200, 4)
    expected = reference.roc_auc_score(labels, rows, multi_class="ovr", average=None)
    assert auroc(rows, labels) == pytest.approx(expected)
    one_hot = np.eye(4)[labels]
    assert average_precision(rows, labels) == pytest.approx(
        reference.average_precision_score(one_hot, rows, average=None)
    )
    macro = reference.roc_auc_score(labels, rows, multi_class="ovr")
    metric = AUROC(activation="softmax")
    for part in (slice(0, 70), slice(70, 200)):
        metric(torch.tensor(rows[part]).log(), torch.tensor(labels[part]))
    assert metric.aggregate().item() == pytest.approx(macro)
    each = AveragePrecisionOfFindings(average="none")
    each(torch.tensor(rows), torch.tensor(one_hot))
    assert each.aggregate().numpy() == pytest.approx(average_precision(rows, labels))


def test_findings_that_nobody_knows_are_left_out() -> None:
    random = np.random.default_rng(0)
    scores, labels = random.uniform(size=(60, 3)), random.integers(-1, 2, (60, 3)).astype(float)
    labels[labels[:, 0] == -1, 0] = np.nan
    labels[:, 2] = np.minimum(labels[:, 2], 0)
    known = labels >= 0
    expected = [reference.roc_auc_score(labels[known[:, c], c], scores[known[:, c], c]) for c in range(2)]
    found = auroc(scores, labels)
    assert found[:2] == pytest.approx(expected)
    assert math.isnan(found[2])
    macro = AUROC()
    macro(torch.tensor(scores), torch.tensor(labels))
    assert macro.aggregate().item() == pytest.approx(np.mean(expected))


def test_a_threshold_is_where_youdens_index_is_largest() -> None:
    scores, labels = cases()
    false, true, thresholds = reference.roc_curve(labels, scores, drop_intermediate=False)
    threshold = fitted_threshold(scores, labels)
    assert threshold == pytest.approx(thresholds[np.argmax(true - false)])
    point = sensitivity_and_specificity(scores, labels, threshold)
    assert sum(point) - 1 == pytest.approx((true - false).max())


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 1.0])
def test_a_fixed_sensitivity_is_reached_and_not_by_a_larger_threshold(level: float) -> None:
    scores, labels = cases()
    threshold = fitted_threshold(scores, labels, "sensitivity", level)
    assert sensitivity_and_specificity(scores, labels, threshold).sensitivity >= level
    larger = scores[scores > threshold].min()
    assert sensitivity_and_specificity(scores, labels, larger).sensitivity < level


def test_sensitivity_and_specificity_are_recalls_of_both_classes() -> None:
    scores, labels = cases()
    called = scores >= 0.6
    point = sensitivity_and_specificity(scores, labels, 0.6)
    assert point.sensitivity == pytest.approx(reference.recall_score(labels, called))
    assert point.specificity == pytest.approx(reference.recall_score(labels, called, pos_label=0))
    for metric, value in ((Sensitivity(0.6), point.sensitivity), (Specificity([0.6]), point.specificity)):
        metric(torch.tensor(scores)[:100, None], torch.tensor(labels)[:100, None])
        metric(torch.tensor(scores)[100:, None], torch.tensor(labels)[100:, None])
        assert metric.aggregate().item() == pytest.approx(value)


def test_predictive_values_at_the_datas_own_prevalence_are_precisions() -> None:
    scores, labels = cases()
    called = scores >= 0.6
    positive, negative = predictive_values(*sensitivity_and_specificity(scores, labels, 0.6), labels.mean())
    assert positive == pytest.approx(reference.precision_score(labels, called))
    assert negative == pytest.approx(reference.precision_score(labels, called, pos_label=0))
    assert predictive_values(0.9, 0.9, 0.0) == (0.0, 1.0)
    assert math.isnan(predictive_values(0.0, 1.0, 0.5)[0])


@pytest.mark.parametrize("classes", [2, 4])
def test_what_follows_from_the_confusion_matrix_is_that_of_scikit_learn(classes: int) -> None:
    rows, labels = predictions(150, classes)
    said = rows.argmax(axis=1)
    matrix = confusion_matrix(said, labels, classes)
    assert matrix.tolist() == reference.confusion_matrix(labels, said).tolist()
    assert balanced_accuracy(matrix) == pytest.approx(reference.balanced_accuracy_score(labels, said))
    average = "binary" if classes == 2 else "macro"
    assert f1_score(matrix) == pytest.approx(reference.f1_score(labels, said, average=average))
    for metric, expected in (
        (ClassConfusion(softmax=True), matrix),
        (BalancedAccuracy(softmax=True), balanced_accuracy(matrix)),
        (F1Score(softmax=True), f1_score(matrix)),
    ):
        metric(torch.tensor(rows).log()[:40], torch.tensor(labels)[:40])
        metric(torch.tensor(rows).log()[40:], torch.tensor(labels)[40:])
        assert metric.aggregate().numpy() == pytest.approx(np.asarray(expected))


def test_classes_that_do_not_occur_are_left_out() -> None:
    matrix = confusion_matrix([0, 1, 1], [0, 0, 1], 4)
    assert balanced_accuracy(matrix) == pytest.approx(0.75)
    assert f1_score(matrix) == pytest.approx(2 / 3)
    assert math.isnan(f1_score(confusion_matrix([0, 0], [0, 0], 2)))


@pytest.mark.parametrize("classes", [2, 3])
def test_parts_of_the_brier_score_add_up_to_it(classes: int) -> None:
    rows, labels = predictions(400, classes)
    found = brier_decomposition(rows, labels, bins=10)
    assert found.reliability - found.resolution + found.uncertainty + found.within_bins == pytest.approx(
        brier_score(rows, labels)
    )
    shares = np.bincount(labels) / len(labels)
    assert found.uncertainty == pytest.approx((shares * (1 - shares)).sum())


def test_probabilities_of_few_values_leave_nothing_within_bins() -> None:
    random = np.random.default_rng(1)
    positive = random.choice([0.05, 0.35, 0.65, 0.95], 500)
    labels = (random.uniform(size=500) < positive**2).astype(int)
    found = brier_decomposition(np.stack([1 - positive, positive], axis=1), labels, bins=10)
    assert found.within_bins == pytest.approx(0, abs=1e-12)
    expected = sum((positive == p).mean() * (p - labels[positive == p].mean()) ** 2 for p in np.unique(positive))
    assert found.reliability == pytest.approx(2 * expected)  # of both classes alike


def test_a_temperature_is_found_again_and_calibrates() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (4000, 3))
    labels = np.array([random.choice(3, p=row) for row in np.exp(log_softmax(logits, axis=1))])
    overconfident = np.exp(log_softmax(3 * logits, axis=1))
    temperature = fitted_temperature(overconfident, labels)
    assert temperature == pytest.approx(3, rel=0.1)

    def loss(value: np.ndarray) -> float:
        return reference.log_loss(labels, np.exp(log_softmax(3 * logits / value[0], axis=1)))

    best = minimize(loss, [2.0], method="Nelder-Mead").x[0]
    assert temperature == pytest.approx(best, rel=1e-3)
    softer = tempered(overconfident, temperature)
    assert (softer.argmax(axis=1) == overconfident.argmax(axis=1)).all()
    assert expected_calibration_error(softer, labels) < 0.03 < expected_calibration_error(overconfident, labels)


@pytest.mark.parametrize(("right", "end"), [(True, 0.01), (False, 100.0)])
def test_a_temperature_at_an_end_of_the_search_is_said(right: bool, end: float) -> None:
    labels = np.arange(40) % 2
    shares = np.where(np.eye(2)[labels if right else 1 - labels], 0.8, 0.2)
    found = Fitted({}, fitted_temperature(shares, labels), 40, 40)
    assert found.temperature == pytest.approx(end, rel=1e-3)
    assert found.bounded.startswith(f"{end:g}, an end of the search (0.01 to 100)")
    assert not replace(found, temperature=1.3).bounded


def test_a_temperature_of_findings_leaves_unknown_ones_out() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (3000, 2))
    labels = (random.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    sure = 1 / (1 + np.exp(-2 * logits))
    wrong = random.uniform(size=logits.shape) < 0.2
    temperature = fitted_temperature(sure, np.where(wrong, -1, labels), independent=True)
    assert temperature == pytest.approx(2, rel=0.1)
    assert tempered(sure, 2.0, independent=True) == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-9)


def test_probabilities_that_are_certain_stay_finite() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    temperature = fitted_temperature(rows, [0, 1, 1])
    assert np.isfinite(tempered(rows, temperature)).all()
    assert np.isfinite(tempered(rows, 50.0, independent=True)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auroc([[[0.1]]], [1]), r"shape \(N,\) or \(N, C\)"),
        (lambda: auroc([0.1, np.nan], [0, 1]), "not finite"),
        (lambda: auroc([0.1, 0.2], [0, 2]), "must be 1"),
        (lambda: auroc([0.1, 0.2], [0, 1, 1]), "shape of the scores"),
        (lambda: auroc(np.empty(0), np.empty(0)), "at least one sample"),
        (lambda: fitted_threshold([0.1, 0.2], [0, 1], "best"), "rule of an operating point"),
        (lambda: fitted_threshold([0.1, 0.2], [0, 1], "sensitivity", 95), "must be above 0 and at most 1"),
        (lambda: fitted_threshold([[0.1, 0.2]], [[0, 1]]), "one class"),
        (lambda: predictive_values(0.5, 0.5, 5), "prevalence is 5"),
        (lambda: confusion_matrix([0, 3], [0, 1], 2), "class indices from 0 to 1"),
        (lambda: balanced_accuracy(np.zeros((2, 2), dtype=int)), "at least one sample"),
        (lambda: tempered([[0.5, 0.5]], 0.0), "must be above 0"),
        (lambda: tempered([[0.5, 1.5]], 1.0, independent=True), "lie in"),
        (lambda: Sensitivity([0.5, 0.5])._measure(np.zeros((2, 3)), np.zeros((2, 3), dtype=np.int8)), "2 thresholds"),
        (lambda: AUROC().aggregate(), "no sample was given"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        call()


def test_what_cannot_be_fitted_has_no_threshold() -> None:
    assert math.isnan(fitted_threshold([0.1, 0.2], [0, 0]))
    assert all(map(math.isnan, sensitivity_and_specificity([0.1, 0.2], [0, 1], math.nan)))
    assert math.isnan(fitted_temperature(np.empty((0, 2)), np.empty(0, dtype=int)))
    assert ranking(np.array([0.1]), np.array([-1], dtype=np.int8)).cases == 0


def test_findings_without_threshold_or_label_are_drawn_as_undefined() -> None:
    scores, labels = cases(count=20)
    truth = np.stack([labels, labels, np.full(20, -1)], axis=1).astype(np.int8)
    scores = np.stack([scores] * 3, axis=1)
    found = Scored((0, 1, 2), scores, truth, scores, truth, independent=True)
    shares, areas = discrimination_drawable(found, Fitted({"youden": np.array([np.nan, 0.5, 0.5])}, 1.0, 9, 9))
    assert isinstance(shares, Sums)
    assert isinstance(areas, Weighted)
    told = shares.of(shares.values.sum(axis=0))
    assert list(told) == [f"{kind}_youden_{c}" for c in range(3) for kind in ("sensitivity", "specificity")]
    assert [bool(np.isnan(one)) for one in told.values()] == [True, True, False, False, True, True]
    assert told["sensitivity_youden_1"] == pytest.approx((scores[labels == 1, 1] >= 0.5).mean())
    drawn = areas.of(np.ones((2, 20)), *areas.columns)
    assert np.isnan(drawn["auroc_2"]).all()
    assert np.isnan(drawn["average_precision_2"]).all()
    assert drawn["auroc"] == pytest.approx(auroc(scores[:, 0], labels))
