"""What the data lists of all tasks share: spellings, splits, tables and what is left out."""

from __future__ import annotations

__all__: list[str] = []
