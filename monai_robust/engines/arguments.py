"""Arguments of a training by views, checked where they enter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monai.transforms import Compose, MapTransform

from monai_robust.errors import BadInputError

__all__ = ["checked_views"]

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
