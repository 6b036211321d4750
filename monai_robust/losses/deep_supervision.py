"""A loss for networks that answer at several resolutions while they train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["DeepSupervised", "deep_supervision_weights"]


def deep_supervision_weights(heads: int) -> tuple[float, ...]:
    """nnU-Net's weights of ``heads`` outputs: proportional to 1, 1/2, 1/4, ..., the last one 0, with sum 1.

    Source: Isensee et al. 2021 (nnU-Net); the coarsest output is left out unless it is the only one.

    Raises:
        BadInputError: for no output.

    Example:
        >>> deep_supervision_weights(1), deep_supervision_weights(3)
        ((1.0,), (0.6666666666666666, 0.3333333333333333, 0.0))
    """
    if not is_whole(heads, 1):
        raise BadInputError(f"deep supervision needs one output or more, got {heads}")
    halves = [0.5**head for head in range(heads)]
    if heads > 1:
        halves[-1] = 0.0
    return tuple(weight / sum(halves) for weight in halves)


class DeepSupervised(nn.Module):
    """The weighted sum of a loss over the outputs of a network with deep supervision: sum over i of w_i * loss_i.

    Takes what ``DynUNet`` returns in training, (B, heads, C, *spatial) with full resolution first and the coarser
    outputs enlarged to it, or a list of heads; and what it returns in evaluation, (B, C, *spatial), for which it is
    the loss itself. So one object trains a network and is attacked, in either mode. Outputs of weight 0 are not looked
    at. nnU-Net itself shrinks the labels to each output instead of enlarging the outputs.

    Args:
        loss: ``(outputs (B, C, *spatial), targets)`` to a scalar, (B,), or a dictionary of either.
        weights: of each head; without them :func:`deep_supervision_weights`.

    Raises:
        BadInputError: for weights that are negative or all 0.
    """

    def __init__(self, loss: Callable[..., Any], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.weights = None if weights is None else tuple(float(weight) for weight in weights)
        if self.weights is not None and (not sum(self.weights) > 0 or min(self.weights) < 0):
            raise BadInputError(f"weights of deep supervision are {list(self.weights)}; they need a positive sum")

    def forward(self, outputs: Tensor | Sequence[Tensor], targets: Tensor) -> Any:
        """The loss of outputs (B, C, *spatial), (B, heads, C, *spatial) or a list, for (B, 1 or C, *spatial) targets.

        Raises:
            BadInputError: for heads that do not fit the targets or the weights.
        """
        if _is_one_head(outputs, targets):
            return self.loss(outputs, targets)
        heads = _heads(outputs, targets)
        weights = deep_supervision_weights(len(heads)) if self.weights is None else self.weights
        if len(weights) != len(heads):
            raise BadInputError(f"the network has {len(heads)} outputs, but {len(weights)} have a weight")
        return _sum(
            [_scaled(self.loss(head, targets), weight) for head, weight in zip(heads, weights, strict=True) if weight]
        )

    def first_head(self, outputs: Tensor | Sequence[Tensor], targets: Tensor) -> Tensor | Sequence[Tensor]:
        """The output of full resolution, (B, C, *spatial), of what :meth:`forward` takes."""
        return outputs if _is_one_head(outputs, targets) else _heads(outputs, targets)[0]


def _is_one_head(outputs: Tensor | Sequence[Tensor], targets: Tensor) -> bool:
    return isinstance(outputs, Tensor) and outputs.ndim == targets.ndim


def _heads(outputs: Tensor | Sequence[Tensor], targets: Tensor) -> Sequence[Tensor]:
    if isinstance(outputs, Tensor):
        if outputs.ndim != targets.ndim + 1:
            raise BadInputError(
                f"outputs have shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; deep supervision takes "
                "(B, C, *spatial) or (B, heads, C, *spatial) for targets (B, 1 or C, *spatial)"
            )
        return outputs.unbind(dim=1)
    odd = [tuple(head.shape) for head in outputs if head.shape[2:] != targets.shape[2:]]
    if odd:
        raise BadInputError(f"an output has shape {odd[0]}, which has not the targets' size {tuple(targets.shape[2:])}")
    return outputs


def _scaled(loss: Any, weight: float) -> Any:
    return {name: weight * value for name, value in loss.items()} if isinstance(loss, Mapping) else weight * loss


def _sum(losses: Sequence[Any]) -> Any:
    first = losses[0]
    if isinstance(first, Mapping):
        return {name: sum(loss[name] for loss in losses) for name in first}
    return sum(losses)
