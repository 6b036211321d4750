"""What all attacks share: samples, masks, random numbers, the guard around a network, and the worst case so far."""

from __future__ import annotations

__all__: list[str] = []
