"""Whatever a pipeline is trained and judged by: its own loss, and its own key metric sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.tasks.loss import LossTask
from monai_robust.tasks.tensors import map_tensors, plain

__all__ = ["KeyMetric"]


class KeyMetric(LossTask):
    """A pipeline of which no more is known than its loss and its metric.

    Attacks raise the loss. The score is the metric of each sample by itself or, without a metric, the loss, of which
    less is better.

    Args:
        loss: ``(outputs, targets) -> scalar | (B,) | dict of either``; as for :class:`LossTask`.
        metric: ``(outputs, targets) -> (B,)``, each value of one sample alone.
        metric_name: what reports call it.
        higher_is_better: of the metric.
    """

    name = "key_metric"

    def __init__(
        self,
        loss: Callable[..., Any],
        metric: Callable[[Any, Any], Tensor] | None = None,
        *,
        metric_name: str = "loss",
        higher_is_better: bool = True,
    ) -> None:
        super().__init__(loss)
        self.metric = metric
        self.score_name = metric_name if metric is not None else "loss"  # type: ignore[misc]
        self.higher_is_better = higher_is_better if metric is not None else False  # type: ignore[misc]

    def losses(self, outputs: Any, targets: Any) -> Tensor:
        """The sum of the loss's terms, (B,)."""
        with torch.no_grad():
            return torch.stack(tuple(self.terms(outputs, targets).values())).sum(dim=0).double()

    def score(self, outputs: Any, targets: Any) -> Tensor:
        if self.metric is None:
            return self.losses(outputs, targets)
        with torch.no_grad():
            values = self.metric(map_tensors(plain, outputs), map_tensors(plain, targets))
        if values.ndim != 1:
            raise BadInputError(
                f"the metric {self.score_name} gives {tuple(values.shape)} values; it must give one for each sample"
            )
        return values.double()
