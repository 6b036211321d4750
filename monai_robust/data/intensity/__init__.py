"""What a unit of a file's intensities, such as a HU or a grey level, is in units of a network's input."""

from __future__ import annotations

from monai_robust.data.intensity.radius import (
    UNITS,
    checked_radius,
    in_one_unit,
    radii_by_unit,
    radius_in_input_units,
)
from monai_robust.data.intensity.samples import SampleScales, dataset_scaling
from monai_robust.data.intensity.scaling import Scaling, scaling_of

__all__ = [
    "UNITS",
    "SampleScales",
    "Scaling",
    "checked_radius",
    "dataset_scaling",
    "in_one_unit",
    "radii_by_unit",
    "radius_in_input_units",
    "scaling_of",
]
