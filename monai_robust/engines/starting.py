"""Attacks that raise what has no gradient at the clean input must start elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from torch import Tensor

from monai_robust.errors import BadInputError

__all__ = ["require_moved", "starting_away"]


def starting_away(attack: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``attack``, or a copy with ``random_start="ball"`` where it, or the attack inside it, starts at the input."""
    if getattr(attack, "random_start", None) is False:
        changed = copy.copy(attack)
        changed.random_start = "ball"  # type: ignore[attr-defined]
        return changed
    inner = getattr(attack, "attack", None)  # an attack window by window
    if not callable(inner) or starting_away(inner) is inner:
        return attack
    changed = copy.copy(attack)
    changed.attack = starting_away(inner)  # type: ignore[attr-defined]
    return changed


def require_moved(recipe: str, output: Mapping[str, Tensor]) -> None:
    """Refuse an attack that left a whole batch where it was, though it was allowed a radius.

    Raises:
        BadInputError: for a batch none of whose samples has moved.
    """
    allowed = output.get("eps")
    if bool((output["adv_norm"] == 0).all()) and (allowed is None or bool((allowed > 0).any())):
        raise BadInputError(
            f"the attack of the recipe {recipe!r} has not left the clean inputs, where the divergence that it raises "
            "has no gradient; give an attack with a random start, such as PGD(random_start='ball')"
        )
