"""Arguments of a measurement, checked where they enter."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.perturbations import CleanSweep, Sweep

__all__ = [
    "checked_classes",
    "checked_evaluator",
    "checked_folder",
    "checked_perturbations",
    "require_clean",
]


def checked_evaluator(evaluator: Any) -> Any:
    """A MONAI engine that runs a network over a loader.

    Raises:
        BadInputError: for anything else.
    """
    if isinstance(evaluator, type) or not all(hasattr(evaluator, name) for name in ("data_loader", "prepare_batch")):
        what = f"the class {evaluator.__name__}" if isinstance(evaluator, type) else f"a {type(evaluator).__name__}"
        raise BadInputError(
            f"the evaluator is {what}; give a SupervisedEvaluator of MONAI, which has a network and a loader, or for a "
            "network and a data set, Measurement(network, dataset, ...)"
        )
    return evaluator


def checked_perturbations(perturbations: Sequence[Sweep]) -> list[Sweep]:
    """Sweeps of different names.

    Raises:
        BadInputError: for anything else.
    """
    perturbations = list(perturbations) if isinstance(perturbations, Iterable) else [perturbations]
    odd = [
        f"the class {one.__name__}" if isinstance(one, type) else f"a {type(one).__name__}"
        for one in perturbations
        if not isinstance(one, Sweep)
    ]
    if odd:
        raise BadInputError(
            f"{odd[0]} is among the perturbations; they are sweeps such as CleanSweep() and AttackSweep(PGD(), radii)"
        )
    names = [sweep.name for sweep in perturbations]
    if len(set(names)) != len(names):
        raise BadInputError(f"two perturbations have the same name among {', '.join(names)}; give one another name")
    return perturbations


def require_clean(perturbations: Sequence[Sweep]) -> None:
    """Refuse perturbations without the clean sweep, which all others are compared with.

    Raises:
        BadInputError: there is none.
    """
    if not any(isinstance(one, CleanSweep) for one in perturbations):
        names = ", ".join(sweep.name for sweep in perturbations)
        raise BadInputError(
            f"there is no CleanSweep among the perturbations ({names or 'there are none'}), and what is perturbed is "
            "compared with what is not; add one"
        )


def checked_classes(classes: Sequence[str]) -> list[str]:
    """Names of classes, no two alike.

    Raises:
        BadInputError: for a name that is there twice.
    """
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise BadInputError(f"two classes are called {twice[0]!r}, and tables tell them by their names; rename one")
    return list(classes)


def checked_folder(output_dir: str | Path) -> Path:
    """The folder of the results, which may be there or not.

    Raises:
        BadInputError: for what is no path, and where a file is in the way.
    """
    if not isinstance(output_dir, (str, os.PathLike)):
        raise BadInputError(f"output_dir is {output_dir!r}; it takes a folder's path")
    folder = Path(output_dir)
    blocked = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if blocked is not None:
        raise BadInputError(f"{blocked} is a file, so that no results can go to {folder}; name another folder")
    return folder
