"""How well probabilities tell findings apart, and what is said of them at fitted thresholds; of one class or several
labels an image alike."""

from __future__ import annotations

from monai_robust.evaluation.tasks.discrimination.drawable import discrimination_drawable
from monai_robust.evaluation.tasks.discrimination.fitted import (
    RULES,
    Fitted,
    Scored,
    fitted_on_validation,
    prevalence_of,
)
from monai_robust.evaluation.tasks.discrimination.patients import PATIENT_RULES, by_patient
from monai_robust.evaluation.tasks.discrimination.section import (
    curves_frame,
    discrimination_section,
    largest_radii,
    patient_section,
    temperature_note,
    validation_note,
)
from monai_robust.evaluation.tasks.discrimination.statistics import discrimination

__all__ = [
    "PATIENT_RULES",
    "RULES",
    "Fitted",
    "Scored",
    "by_patient",
    "curves_frame",
    "discrimination",
    "discrimination_drawable",
    "discrimination_section",
    "fitted_on_validation",
    "largest_radii",
    "patient_section",
    "prevalence_of",
    "temperature_note",
    "validation_note",
]
