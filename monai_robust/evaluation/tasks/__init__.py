"""What a report says of each task: its statistics, tables, figures and captions."""

from __future__ import annotations

__all__: list[str] = []
