"""The rows of a run's table of which statistics are told: of all samples or a group, of a perturbation and severity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_robust.evaluation.tables.run_folder import Perturbation, Run

__all__ = ["Block", "blocks", "groups_of"]


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one perturbation and severity.

    Attributes:
        perturbation: what was done to the inputs.
        severity: how strongly.
        places: (N,) where the rows stand in the run's table.
    """

    perturbation: Perturbation
    severity: float
    places: NDArray[np.intp]

    @property
    def key(self) -> tuple[str, float]:
        return self.perturbation.name, self.severity


def groups_of(run: Run) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Name and value of each group, and which rows of the table are in it, (N,); first of all, everything.

    Values that only another site has are no group of the run.
    """
    yield "", "", np.ones(len(run.outcomes), dtype=bool)
    for group in run.groups:
        for value in sorted(run.clean[group].unique()):
            yield group, str(value), (run.outcomes[group] == value).to_numpy(dtype=bool)


def blocks(run: Run, inside: NDArray[np.bool_]) -> Iterator[Block]:
    """Every perturbation and severity in the run's order; a search for nearest changes is left out, and so is another
    site without such rows.

    Args:
        run: a finished evaluation.
        inside: (N,) which rows of its table to look at.
    """
    for one in run.perturbations:
        if one.kind == "nearest":
            continue
        for severity in one.severities:
            own = run.places[one.name, severity]
            places = own[inside[own]]
            if len(places) or one.kind != "shift":
                yield Block(one, severity, places)
