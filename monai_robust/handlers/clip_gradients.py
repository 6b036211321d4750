"""Clip the gradients of a trainer's network before its optimizer steps."""

from __future__ import annotations

import math
from typing import Any

from monai.engines import IterationEvents
from torch import nn

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_above_zero

__all__ = ["ClipGradients"]


class ClipGradients:
    """Scale the gradient down to a norm, as nnU-Net does (12); works with mixed precision.

    Args:
        max_norm: the largest L2 norm of all gradients together.

    Raises:
        BadInputError: for a norm that is not positive, or a trainer that accumulates gradients over batches.
    """

    def __init__(self, max_norm: float = 12.0) -> None:
        if not is_above_zero(max_norm) and max_norm != math.inf:
            raise BadInputError(f"max_norm is {max_norm!r}; it must be positive")
        self.max_norm = float(max_norm)

    def attach(self, engine: Any) -> None:
        """Attach to a MONAI trainer."""
        if getattr(engine, "accumulation_steps", 1) > 1:
            raise BadInputError("ClipGradients cannot clip gradients that are accumulated; use accumulation_steps=1")
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)
