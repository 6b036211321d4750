"""The augmented views of a training step: what they can be, whether they move the image, and their random states."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from monai.transforms import Compose, MapTransform, Randomizable
from monai.utils import MAX_SEED, get_seed
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.transforms import OnChannels
from monai_robust.transforms.operations import AugMixOperation

__all__ = ["View", "base_name", "checked_views", "moves", "names_places", "of_inputs_shape", "own_seed"]

View = str | Callable[[Tensor], Tensor]
"""A key of the batch, or a transform of one image."""

_MOVING = ("monai.transforms.spatial", "monai.transforms.croppad")
_MADE = {"clean": "the batch as it is", "adv": "what the attack makes of the batch"}


def checked_views(views: Any) -> dict[str, str | Callable[..., Any]]:
    """What each augmented view is, by name: a key of the batch, or a transform of one image.

    Raises:
        BadInputError: for anything else, and for a name that is no augmented view's.
    """
    if views is None:
        return {}
    if not isinstance(views, Mapping):
        raise BadInputError(
            f"the views are {views!r:.80}; give each a transform or a key of the batch by its name, such as "
            "{'aug': AugMix()}"
        )
    for name, view in views.items():
        if name in _MADE:
            raise BadInputError(f"the view {name!r} is {_MADE[name]}; call one of your own otherwise, such as 'aug'")
        if isinstance(view, type):
            raise BadInputError(f"the view {name!r} is the class {view.__name__}; make one: {view.__name__}(...)")
        if not isinstance(view, str) and not callable(view):
            raise BadInputError(
                f"the view {name!r} is {view!r:.80}; it must be a key of the batch or a transform of one image"
            )
        taking = _of_dictionaries(view)
        if taking is not None:
            raise BadInputError(
                f"the view {name!r} is {type(taking).__name__}, which takes a dictionary; give a transform of one "
                "image (C, *spatial), or a key of the batch that your data pipeline made"
            )
    return dict(views)


def _of_dictionaries(view: Any) -> MapTransform | None:
    """The transform of dictionaries that a view is or holds, if any."""
    if isinstance(view, Compose):
        return next((taking for one in view.transforms if (taking := _of_dictionaries(one)) is not None), None)
    return view if isinstance(view, MapTransform) else None


def base_name(name: str) -> str:
    """A numbered view's kind."""
    return name.rstrip("0123456789")


def moves(view: Any) -> bool:
    """Whether a view is known to move what is in the image, as operations of AugMix and transforms of MONAI do."""
    if isinstance(view, OnChannels):
        return moves(view.transform)
    if isinstance(view, Compose):  # and what is made like it, such as OneOf
        return any(map(moves, view.transforms))
    if any(kind.__module__.startswith(_MOVING) for kind in type(view).__mro__):
        return True
    operations = getattr(view, "operations", ())
    return any(isinstance(one, AugMixOperation) and one.geometric for one in operations)


def names_places(targets: Any, inputs: Tensor) -> bool:
    """Whether labels have an entry for each place of the inputs (B, C, *spatial), such as label maps."""
    size = inputs.shape[2:]
    return (
        isinstance(targets, Tensor)
        and len(size) > 0
        and targets.ndim > len(size)
        and targets.shape[-len(size) :] == size
    )


def of_inputs_shape(view: Tensor, inputs: Tensor, key: str) -> Tensor:
    """A view that the batch holds, in the precision of the inputs; refused where its shape is another."""
    if view.shape != inputs.shape:
        raise BadInputError(
            f"the view {key!r} of the batch is {tuple(view.shape)}, and the network's inputs are "
            f"{tuple(inputs.shape)}; give it their shape"
        )
    return view.to(inputs.dtype)


def own_seed(view: View) -> int | None:
    """A number that follows from the state that a view was given, left as it is; None where nobody gave any."""
    if not isinstance(view, Randomizable) or "R" not in vars(view):
        return None
    # A Compose has a state from the start: MONAI's seed, where there is one, or one that follows from nothing.
    if isinstance(view, Compose) and get_seed() is None:
        return None
    return int(copy.deepcopy(view.R).randint(MAX_SEED))
