from __future__ import annotations

import math

import numpy as np
import pytest

from monai_robust.errors import BadInputError
from monai_robust.metrics import mean_radial_error, successful_detection_rate

NAN = math.nan
ERRORS = [[1.0, 2.0, 6.0], [3.5, NAN, NAN], [2.5, 2.0, NAN]]


def test_the_mean_radial_error_is_over_all_landmarks_that_are_there() -> None:
    found = mean_radial_error(ERRORS)
    seen = [1.0, 2.0, 6.0, 3.5, 2.5, 2.0]
    assert found.mean == pytest.approx(sum(seen) / 6)
    assert found.std == pytest.approx(math.sqrt(sum((error - found.mean) ** 2 for error in seen) / 5))
    assert found.landmarks.tolist() == pytest.approx([7 / 3, 2.0, 6.0])
    of_images = np.mean([3.0, 3.5, 2.25])
    assert found.mean != pytest.approx(of_images)


def test_without_missing_landmarks_it_is_the_mean_of_the_images() -> None:
    errors = np.random.default_rng(0).gamma(2.0, 1.0, (7, 5))
    assert mean_radial_error(errors).mean == pytest.approx(np.mean([row.mean() for row in errors]))


def test_a_landmark_at_the_distance_itself_is_detected() -> None:
    found = successful_detection_rate(ERRORS)
    assert found.thresholds == (2.0, 2.5, 3.0, 4.0)
    assert found.rates.tolist() == pytest.approx([3 / 6, 4 / 6, 4 / 6, 5 / 6])
    assert found.landmarks[:, 0].tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1])
    assert found.landmarks[:, 2].tolist() == [0, 0, 0, 0]


def test_a_landmark_that_no_image_has_has_no_error() -> None:
    errors = [[1.0, NAN], [3.0, NAN]]
    radial, rate = mean_radial_error(errors), successful_detection_rate(errors, [2])
    assert radial.landmarks.tolist() == pytest.approx([2.0, NAN], nan_ok=True)
    assert rate.landmarks.tolist() == [pytest.approx([0.5, NAN], nan_ok=True)]
    nothing = np.full((2, 2), NAN)
    assert math.isnan(mean_radial_error(nothing).mean)
    assert math.isnan(successful_detection_rate(nothing).rates[0])
    assert math.isnan(mean_radial_error([[1.0]]).std)


@pytest.mark.parametrize("errors", [[1.0, 2.0], [[-1.0]], [[math.inf]]])
def test_what_is_no_table_of_errors_is_refused(errors: list) -> None:
    with pytest.raises(BadInputError, match="radial errors must"):
        mean_radial_error(errors)
    with pytest.raises(BadInputError, match="radial errors must"):
        successful_detection_rate(errors)


@pytest.mark.parametrize("thresholds", [[], [0.0], [2.0, NAN]])
def test_distances_that_are_none_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(BadInputError, match="above 0 mm"):
        successful_detection_rate(ERRORS, thresholds)
