"""AMAT's rule by itself, against numbers made by hand and against the printed algorithm."""

from __future__ import annotations

import dataclasses
import doctest

import pytest
import torch
from torch import Tensor

import monai_robust.margins.rule
from monai_robust.errors import BadInputError
from monai_robust.margins.radii import AttackTrace
from monai_robust.margins.rule import MarginRule
from monai_robust.margins.store import MarginStore

EPS = [2.0, 2.0, 4.0]


def trace(final: dict[str, list[float]], size: list[float] = EPS, clean: float = -1.0) -> AttackTrace:
    """An attack on three samples within the radii ``EPS``, whose only other iterate was the clean sample."""
    return AttackTrace(
        ["a", "b", "c"],
        torch.tensor(EPS),
        torch.tensor(size),
        torch.zeros(1, 3),
        {name: torch.full((1, 3), clean) for name in final},
        {name: torch.tensor(values) for name, values in final.items()},
        at=no_pass,
    )


def no_pass(share: Tensor, rows: Tensor) -> dict[str, Tensor]:
    raise AssertionError("no forward pass is needed")


def algorithm_1(margin: float, losses: list[float], thresholds: list[float], norm: float, step: float) -> float:
    """Lines 9 to 12 of the paper's algorithm, with its equation (2) for several terms."""
    if all(loss < threshold for loss, threshold in zip(losses, thresholds, strict=True)):
        return margin + step
    return (norm + margin) / 2


def test_the_papers_mode_is_algorithm_1():
    generator = torch.Generator().manual_seed(0)
    thresholds = {"dice": 0.4, "cross_entropy": 0.6}
    rule = MarginRule(thresholds, step=0.5, mode="paper")
    for _ in range(20):
        drawn = torch.rand(2, 3, generator=generator)
        size = (torch.tensor(EPS) * torch.rand(3, generator=generator)).tolist()
        final = {"dice": drawn[0].tolist(), "cross_entropy": drawn[1].tolist()}
        wanted = [algorithm_1(EPS[row], drawn[:, row].tolist(), [0.4, 0.6], size[row], 0.5) for row in range(len(EPS))]
        assert rule(trace(final, size)).margins.tolist() == pytest.approx(wanted)


def test_by_default_a_margin_is_refined_to_where_the_first_term_crosses():
    # From -1 where clean: a stays below; b reaches 0 a quarter of the way to 2; c by its second term half way to 4.
    found = MarginRule({"one": 0.0, "two": 0.0}, step=0.5)(trace({"one": [-0.5, 3.0, -0.2], "two": [-0.1, -0.5, 1.0]}))
    assert found.margins.tolist() == pytest.approx([2.5, (0.5 + 2) / 2, (2.0 + 4) / 2])
    assert found.crossed.tolist() == [False, True, True]


def test_a_rule_keeps_nothing_between_attacks():
    rule, attack = MarginRule({"loss": 0.0}, step=0.5), trace({"loss": [-1.0, 1.0, 3.0]})
    first = rule(attack)
    rule(trace({"loss": [9.0, 9.0, 9.0]}, clean=5.0))
    assert torch.equal(first.margins, rule(attack).margins)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.step = 1.0  # type: ignore[misc]
    assert dataclasses.replace(rule, thresholds={"loss": 9.0})(attack).margins.tolist() == [2.5, 2.5, 4.5]


def test_floor_and_cap_come_last_and_follow_from_step_and_mode():
    assert (MarginRule({}, 0.5).floor, MarginRule({}, 0.5, mode="paper").floor) == (0.5, 0.0)
    assert (MarginRule({}, 0.5).check, MarginRule({}, 0.5, mode="paper").check) == ("path", "final")
    found = MarginRule({"loss": 0.0}, step=0.5, floor=1.9, cap=2.2)(trace({"loss": [-1.0, 999.0, 999.0]}))
    assert found.margins.tolist() == pytest.approx([2.2, 1.9, 2.0], rel=1e-2)
    with pytest.raises(BadInputError, match="between 3 and 2, their floor and cap"):
        MarginRule({}, 0.5, floor=3, cap=2)


def test_the_example_of_the_rule_is_right():
    assert doctest.testmod(monai_robust.margins.rule).failed == 0
    assert doctest.testmod(monai_robust.margins.rule).attempted > 0


# --- what many visits make of it -------------------------------------------------------------------------------------


def test_a_store_settles_visits_and_remembers_what_was_ever_smaller():
    store = MarginStore(2.0, repeats="mean", update="iteration")
    store.visit(["a", "a", "b"], [1.0, 2.0, 2.5], [True, True, False], [True, True, True])
    store.visit(["c"], [9.0], [False], [False])  # an attack that told nothing
    assert store.margins == {"a": 1.5, "b": 2.5}
    assert store.margin("c") == 2.0
    assert (store.visited, store.shrunk) == ({"a", "b", "c"}, {"a"})
    assert store.merge() == 2
    assert store.end_counts() == {"enlarged": 1, "refined": 2}
    assert store.counts == {"enlarged": 0, "refined": 0}


def test_a_store_comes_back_from_its_state():
    store = MarginStore(2.0)
    store.visit(["b", "a"], [1.0, 2.5], [True, False], [True, True])
    again = MarginStore(9.0)
    again.load_state_dict(store.state_dict())
    assert (again.margins, again.visited, again.shrunk) == (store.margins, store.visited, store.shrunk)
    anonymous = store.state_dict_without_ids()
    assert anonymous["margins"].tolist() == [1.0, 2.5]
    assert "ids" not in anonymous
    with pytest.raises(KeyError):
        again.load_state_dict(anonymous)
    assert again.margins == store.margins
