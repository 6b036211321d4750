"""All kinds of files that the product reads."""

from __future__ import annotations

from hostile import lists, pictures

__all__ = ["KINDS"]

KINDS = [*pictures.KINDS, *lists.KINDS]
