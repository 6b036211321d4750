"""One page about one or several runs, and a card, made from their folders alone."""

from __future__ import annotations

from monai_robust.evaluation.report.card import robustness_card, write_card, write_card_into_bundle
from monai_robust.evaluation.report.page import write_report

__all__ = ["robustness_card", "write_card", "write_card_into_bundle", "write_report"]
