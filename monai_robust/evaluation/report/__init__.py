"""One page about one or several runs, made from their folders alone."""

from __future__ import annotations

from monai_robust.evaluation.report.page import write_report

__all__ = ["write_report"]
