"""Inputs of cases as files for a workstation, with the geometry of their source and without who it was."""

from __future__ import annotations

from monai_robust.evaluation.export.exporting import ExportedCase, export_cases

__all__ = ["ExportedCase", "export_cases"]
