"""What is left to a network when a person reads the images that it takes little to turn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from monai_robust.errors import BadInputError
from monai_robust.evaluation.statistics.triage import (
    mean_over_coverages,
    scores_over_coverage,
    threshold_of_share,
)


def test_a_threshold_sets_aside_a_share_and_never_more():
    radii = [0.4, 0.1, math.inf, 0.2, 0.3]
    assert threshold_of_share(radii, 0.2) == 0.2
    assert threshold_of_share(radii, 0.0) == 0.1
    assert threshold_of_share([0.1, 0.1, 0.1, 0.2, 0.3], 0.4) == 0.1  # one more than two would go
    assert math.isinf(threshold_of_share([0.1, math.inf, math.inf], 0.34))


def by_every_order(trust, scores, kept):
    """The mean over all orders that respect the trust, by hand."""
    orders = [
        order
        for order in itertools.permutations(range(len(trust)))
        if all(trust[a] >= trust[b] for a, b in itertools.pairwise(order))
    ]
    return np.mean([np.mean([scores[place] for place in order[:kept]]) for order in orders])


@pytest.mark.parametrize("trust", [[3, 1, 2, 5, 4], [1, 1, 2, 2, 2], [math.inf, 1, math.inf, 1, 0], [1] * 5])
def test_the_score_of_what_is_left_is_the_mean_over_orders_of_equal_trust(trust):
    scores = [1.0, 0.0, 0.5, 1.0, 0.0]
    expected = [by_every_order(trust, scores, kept) for kept in range(1, 6)]
    found = scores_over_coverage(trust, scores, [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(found, expected)
    assert mean_over_coverages(trust, scores) == pytest.approx(np.mean(expected))


def test_what_cannot_be_ordered_is_refused():
    with pytest.raises(BadInputError, match="1 and 0 missing"):
        scores_over_coverage([math.nan, 1.0], [1.0, 0.0], [0.5])
    with pytest.raises(BadInputError, match="above 0"):
        scores_over_coverage([1.0, 2.0], [1.0, 0.0], [0.0])
    with pytest.raises(BadInputError, match="share of 1"):
        threshold_of_share([0.1], 1.0)
    with pytest.raises(BadInputError, match="of 0 images"):
        threshold_of_share([], 0.2)
    assert math.isnan(mean_over_coverages([], []))
