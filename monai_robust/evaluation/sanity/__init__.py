"""Whether the outcomes of an attack can be trusted."""

from __future__ import annotations

from monai_robust.evaluation.sanity.check import check_sanity

__all__ = ["check_sanity"]
