"""Files of text, tables and weights: written whole or not at all, read strictly, nothing of them run."""

from __future__ import annotations

from monai_robust.data.files.whole import write_whole

__all__ = ["write_whole"]
