"""What pages are made of: sections with tables, figures, and what reports of every task say alike."""

from __future__ import annotations

__all__: list[str] = []
