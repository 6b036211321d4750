"""Radii in units of the file, of the samples that are measured."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from monai_robust.data.intensity import (
    UNITS,
    SampleScales,
    Scaling,
    dataset_scaling,
    radii_by_unit,
    radius_in_input_units,
    scaling_of,
)
from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.evaluator import EvaluatorSamples, image_key
from monai_robust.evaluation.measure.perturbations import AttackSweep, Sweep

__all__ = ["Scales", "evaluator_scaling", "in_input_units", "sample_scaling", "units_record"]

Scales = dict[str, Callable[[int], float]]
"""By unit, units of the network's input for one of them, of the sample at a place."""


def evaluator_scaling(evaluator: Any) -> Scaling:
    """What the pipeline of an evaluator's data does to intensities."""
    return _scaling(getattr(evaluator.data_loader, "dataset", None), image_key(evaluator))


def sample_scaling(dataset: Any) -> Scaling:
    """What the pipeline of a data set, or of an evaluator's samples, does to intensities."""
    return _scaling(*_source(dataset))


def _scaling(source: Any, key: str | None) -> Scaling:
    if key is None:
        return Scaling(None, None, "which of the data's keys is the network's input is not known")
    return dataset_scaling(source, key)


def units_record(dataset: Any) -> dict[str, Any] | None:
    """What a pipeline does to intensities, for the record; None where nothing scales them, or it is not known.

    ``file_units_per_input`` is how many units of the file one of the network's input is, null where every image has its
    own; ``window`` is what the pipeline clips to.
    """
    scaling = sample_scaling(dataset)
    if not scaling.per_image and (not scaling.factor or scaling == scaling_of(None)):
        return None
    factor = None if not scaling.factor else 1 / abs(scaling.factor)
    return {"file_units_per_input": factor, "window": scaling.bounds and list(scaling.bounds), "by": scaling.why}


def in_input_units(sweeps: Sequence[Sweep], dataset: Any) -> tuple[list[Sweep], Scales]:
    """Sweeps with radii in units of the network's input where the pipeline scales all images alike, and what others
    need for the radius of each sample.

    Raises:
        BadInputError: for radii in a unit that is not known of these samples, which says why.
    """
    scales: Scales = {}
    if not any(isinstance(sweep, AttackSweep) and sweep.unit for sweep in sweeps):
        return list(sweeps), scales
    scaling = sample_scaling(dataset)
    made: list[Sweep] = []
    for sweep in sweeps:
        if not isinstance(sweep, AttackSweep) or not sweep.unit:
            made.append(sweep)
            continue
        unit = sweep.unit
        if unit in radii_by_unit([f"{one}{unit}" for one in sweep.severities], scaling):
            made.append(sweep)
            if unit not in scales:
                source, key = _source(dataset)
                found = SampleScales(source, str(key), unit)
                found(0)  # what cannot be known is refused now
                scales[unit] = cache(found)
        else:
            made.append(_converted(sweep, scaling))
    names = [sweep.name for sweep in made]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"two perturbations are called {twice!r} in units of the network's input; name one of them")
    return made, scales


def _converted(sweep: AttackSweep, scaling: Scaling) -> AttackSweep:
    radii = [radius_in_input_units(f"{one}{sweep.unit}", scaling) for one in sweep.severities]
    made = copy.copy(sweep)
    made.name, made.severities, made.unit = sweep.name.removesuffix(f"_{UNITS[sweep.unit].suffix}"), radii, ""
    return made


def _source(dataset: Any) -> tuple[Any, str | None]:
    """The data set whose transform makes the samples, and the image's key there."""
    if isinstance(dataset, EvaluatorSamples):
        return dataset.dataset, image_key(dataset.evaluator)
    return dataset, "image"
