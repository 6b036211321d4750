"""Images of another site or scanner, for a network that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monai_robust.errors import BadInputError

__all__ = ["other_site"]


def other_site(
    name: str, data: Any, classes: Sequence[str], own: Mapping[str, Iterable[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The samples of another site's data list, with the site in their ids: files of two sites may have one name.

    Args:
        name: of the site.
        data: an undivided data list of any of our tasks.
        classes: that the network was trained on.
        own: the samples that it was trained and tested on, by split.

    Raises:
        BadInputError: for other classes, and for images that are among the network's own.
    """
    if list(data.classes) != list(classes):
        unknown = [f"{one!r} is unknown to the network" for one in data.classes if one not in classes]
        lacking = [f"{one!r} is not there" for one in classes if one not in data.classes]
        what = [*unknown, *lacking, "their order differs"][0]
        raise BadInputError(
            f"the images of {name} have the classes {', '.join(data.classes)}, and the network was trained on "
            f"{', '.join(classes)}: {what}; give a data set with the same ones"
        )
    items = [dict(item) for items in data.items.values() for item in items]
    known = {str(item["image"]) for items in own.values() for item in items}
    both = sum(str(item["image"]) in known for item in items)
    if both:
        raise BadInputError(
            f"{both} of {len(items)} images of {name} are those of the data set that the network was trained and "
            "tested on; give the folder of another site"
        )
    for item in items:
        for key in ("sample_id", "case_id"):
            if key in item:
                item[key] = f"{name}/{item[key]}"
    return items
