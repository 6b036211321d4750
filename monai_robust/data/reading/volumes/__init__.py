"""Files that hold a volume with its place in millimetres: NIfTI, MetaImage and NRRD."""

from __future__ import annotations

from monai_robust.data.reading.volumes.itk_volumes import itk_header, read_itk_volume
from monai_robust.data.reading.volumes.nifti import nifti_header, read_nifti

__all__ = ["itk_header", "nifti_header", "read_itk_volume", "read_nifti"]
