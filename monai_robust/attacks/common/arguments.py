"""Arguments of attacks, checked where they enter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.errors import BadInputError, BadSamplesError
from monai_robust.scalars import is_above_zero, is_whole
from monai_robust.tasks.base import Goal

__all__ = ["GOALS", "checked_attack", "checked_goal", "checked_inputs", "one_of", "positive"]

GOALS = ("untargeted", "least_likely", "vanishing", "mislabelling")


def checked_attack(attack: Any) -> Callable[..., Tensor]:
    """An attack, or any function that is called as one is; neither its name nor its class.

    Raises:
        BadInputError: for anything else, with what would do.
    """
    if isinstance(attack, type):
        name = attack.__name__
        raise BadInputError(f"the attack is the class {name}; make one, such as {name}(eps=1.0)")
    if not callable(attack):
        raise BadInputError(f"the attack is {attack!r}; it must be one, such as monai_robust.attacks.PGD(eps=1.0)")
    return attack


def checked_inputs(inputs: Tensor) -> Tensor:
    """A plain, detached copy of a batch (B, C, *spatial), in single precision at least.

    Raises:
        BadInputError: for what is no batch of floating images.
        BadSamplesError: for images that are not finite.
    """
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.ndim < 2:
        what = f"{inputs.dtype} {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise BadInputError(f"an attack takes floating inputs of shape (B, C, *spatial), not {what}")
    clean = (inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs).detach().clone()
    clean = clean.float() if clean.dtype in (torch.float16, torch.bfloat16) else clean
    if len(clean) and not clean[0].numel():
        raise BadInputError(f"an attack takes images with pixels, and these have shape {tuple(inputs.shape)}")
    if not bool(torch.isfinite(clean).all()):
        bad = torch.nonzero(~torch.isfinite(clean).flatten(1).all(dim=1)).flatten().tolist()
        raise BadSamplesError("the inputs hold NaN or infinite values", bad)
    return clean


def positive(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    """``value`` as a whole number of at least 1, or as a positive number.

    Raises:
        BadInputError: for anything else.
    """
    if not is_above_zero(value) or kind(value) != value:
        what = "a whole number of at least 1" if kind is int else "a positive number"
        raise BadInputError(f"the attack's {name} is {value!r}; it must be {what}")
    return kind(value)


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """``value``, if it is one of the choices; words are compared, anything else must be the very same.

    Raises:
        BadInputError: for anything else.
    """
    if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in choices):
        raise BadInputError(f"the attack's {name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")
    return value


def checked_goal(goal: Goal) -> Goal:
    """``goal``, if it is one of ``GOALS`` or a class index.

    Raises:
        BadInputError: for anything else.
    """
    if is_whole(goal, 0):
        return int(goal)
    if goal not in GOALS:
        named = ", ".join(map(repr, GOALS))
        raise BadInputError(f"the attack's goal is {goal!r}; it must be one of {named} or a class index")
    return goal
