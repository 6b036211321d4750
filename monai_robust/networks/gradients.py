"""Whether a gradient leads from a network's outputs back to its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.errors import in_one_line
from monai_robust.networks.structures import leaves

__all__ = ["missing_gradient"]


def missing_gradient(
    network: Callable[..., Any], inputs: Tensor, run: Callable[[Callable[..., Any], Tensor], Any] | None = None
) -> str | None:
    """Why a network has no gradient with respect to its inputs, found out by one forward and one backward pass.

    A gradient of zero is a gradient here: that it is of no use is for checks of an attack to say.

    Args:
        network: any callable; what it does to its own state is the caller's to guard.
        inputs: (B, C, *spatial), floating.
        run: ``(network, inputs) -> outputs``, where the network is not simply called.

    Returns:
        The reason as a clause, such as ``its backward pass fails: ...``; None for a network that has a gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        leaf = plain.detach().clone().requires_grad_(True)
        outputs = network(leaf) if run is None else run(network, leaf)
        smooth = [part for part in leaves(outputs) if isinstance(part, Tensor) and part.requires_grad]
        try:
            parts = torch.autograd.grad([part.sum() for part in smooth], leaf, allow_unused=True) if smooth else (None,)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # such as an operation that has no derivative
            return f"its backward pass fails: {in_one_line(error, 200)}"
    return "none leads from its outputs back to its inputs" if parts[0] is None else None
