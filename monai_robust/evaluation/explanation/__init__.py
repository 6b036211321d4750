"""What a network looks at, clean and under attack: saliency, features, and where masks move."""

from __future__ import annotations

from monai_robust.evaluation.explanation.explain import Explanation, check_explanation, explain, save_explanation

__all__ = ["Explanation", "check_explanation", "explain", "save_explanation"]
