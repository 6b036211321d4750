"""Networks that MONAI lacks; there are none yet."""

from __future__ import annotations

__all__: list[str] = []
