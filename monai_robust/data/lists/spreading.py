"""A part of a data list that stands for all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["spread"]


def spread(items: Sequence[Mapping[str, Any]], limit: int | None) -> list[Mapping[str, Any]]:
    """At most ``limit`` items, of patients evenly spread over the list, with all items of a patient.

    Args:
        items: of a data list, with ``patient_id``.
        limit: None for all of them.

    Raises:
        BadInputError: for a limit below 0.

    Example:
        >>> spread([{"patient_id": name} for name in "aabbccdd"], 5)
        [{'patient_id': 'a'}, {'patient_id': 'a'}, {'patient_id': 'c'}, {'patient_id': 'c'}]
    """
    if limit is None:
        return list(items)
    if not is_whole(limit, 0):
        raise BadInputError(f"a limit of {limit!r} items makes no sense; give 0 for none, or more")
    if limit >= len(items):
        return list(items)
    patients: dict[str, int] = {}
    for item in items:
        patients[str(item["patient_id"])] = patients.get(str(item["patient_id"]), 0) + 1
    names = list(patients)
    for count in range(limit, 0, -1):
        chosen = {names[place * len(names) // count] for place in range(min(count, len(names)))}
        if sum(patients[name] for name in chosen) <= limit:
            return [item for item in items if str(item["patient_id"]) in chosen]
    return []
