"""Attacks, robust training and trustworthy robustness evaluation for MONAI pipelines."""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
