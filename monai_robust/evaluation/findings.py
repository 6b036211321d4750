"""What sanity checks found, under the name by which it was first read; it lives in ``tables/sanity_file.py``."""

from __future__ import annotations

from monai_robust.evaluation.tables.sanity_file import CHECKS, Finding, Sanity, read_sanity, write_sanity

__all__ = ["CHECKS", "Finding", "Sanity", "read_sanity", "write_sanity"]
