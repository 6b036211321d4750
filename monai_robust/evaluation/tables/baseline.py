"""Which of several runs the others are compared with."""

from __future__ import annotations

from collections.abc import Sequence

from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["baseline_name"]

USUAL = "erm"


def baseline_name(runs: Sequence[Run], name: str | None = None) -> str:
    """The name of the runs that all others are compared with.

    Args:
        runs: of a report, in the order in which they are shown.
        name: the one that was asked for; by default that of the first run whose recipe is ``erm``, which is training in
            the usual way, else the first run's.

    Raises:
        BadInputError: for a name that no run has.
    """
    names = list(dict.fromkeys(run.name for run in runs))
    if name is not None:
        if name not in names:
            raise BadInputError(f"no run is named {name!r}, which is to be the baseline; there are {', '.join(names)}")
        return name
    return next((run.name for run in runs if str(run.info.get("recipe") or "").lower() == USUAL), names[0])
