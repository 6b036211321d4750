"""Phantom data sets, generated and fictitious, in the file formats of the modalities they imitate."""

from __future__ import annotations

from monai_robust.data.phantoms.blood_smears import phantom_blood_smears, write_blood_smear_phantoms
from monai_robust.data.phantoms.cephalograms import phantom_cephalograms, write_cephalogram_phantoms
from monai_robust.data.phantoms.hippocampi import phantom_hippocampi, write_hippocampus_phantoms
from monai_robust.data.phantoms.modalities import modality_phantom
from monai_robust.data.phantoms.radiographs import phantom_radiographs, write_radiograph_phantoms

__all__ = [
    "modality_phantom",
    "phantom_blood_smears",
    "phantom_cephalograms",
    "phantom_hippocampi",
    "phantom_radiographs",
    "write_blood_smear_phantoms",
    "write_cephalogram_phantoms",
    "write_hippocampus_phantoms",
    "write_radiograph_phantoms",
]
