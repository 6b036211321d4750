"""The plan of a data set: read where there is one, made where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_robust.data import SegmentationDatalist, load_volume
from monai_robust.errors import BadInputError
from monai_robust.planning.fingerprint import fingerprint_of
from monai_robust.planning.plan import Plan
from monai_robust.planning.plan_file import read_plan
from monai_robust.planning.rules import make_plan

__all__ = ["data_set_plan"]


def data_set_plan(
    data: SegmentationDatalist,
    plan_file: str | Path | None = None,
    *,
    patch: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Plan:
    """The plan to train and test on a data set by.

    Args:
        data: of which the training volumes are looked at.
        plan_file: a plan to follow; without one it is made from the training volumes.
        patch: in place of the plan's.
        batch_size: in place of the plan's.

    Raises:
        BadInputError: when ``plan_file`` is missing, a plan is wrong or of other classes, or has a patch that the
            network cannot halve as often as the plan says.
    """
    if plan_file is not None:
        plan = read_plan(plan_file)
    else:
        volumes = (load_volume(item, classes=len(data.classes)) for item in data.items["train"])
        plan = make_plan(fingerprint_of(volumes, modality=data.modalities, classes=data.classes))
    if tuple(plan.classes) != tuple(data.classes):
        raise BadInputError(
            f"{plan_file} is a plan for the classes {', '.join(plan.classes)}, but the data set has "
            f"{', '.join(data.classes)}; name another plan_file"
        )
    changes: dict[str, Any] = {}
    if patch is not None:
        changes["patch"] = tuple(int(size) for size in patch)
    if batch_size is not None:
        changes["batch_size"] = int(batch_size)
    return replace(plan, **changes)
