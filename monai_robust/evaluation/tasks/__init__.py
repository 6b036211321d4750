"""What is written down of each task, and what a report says of it."""

from __future__ import annotations

__all__: list[str] = []
