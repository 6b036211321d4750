"""Keep a network's best weights of a training, end it when they have not improved for a while, and restore them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn

from monai_robust.attacks.common.guard import bare
from monai_robust.errors import BadInputError
from monai_robust.scalars import is_whole

__all__ = ["BestWeights"]

_LOG = logging.getLogger(__name__)


class BestWeights:
    """Restore, when a training ends, the weights with the best key metric of validation.

    Sources: model-complexity, "Training procedure" (the checkpoint with the highest validation accuracy is kept);
    oncology-stability, Table S3 (patience, in epochs; as in Keras, whose callback restores the best weights).

    A validation whose metric is NaN is never the best one; where all are, the last weights stay. Attach it among the
    trainer's handlers before what saves the final weights. Its state belongs into checkpoints.

    Args:
        network: that is trained.
        evaluator: validates it; its key metric counts.
        patience: end after so many validations in a row without a better one; None never ends.
        higher_is_better: whether the key metric is a score, or an error.

    Raises:
        BadInputError: for a patience below 1 and, when training starts, an evaluator without a key metric.
    """

    def __init__(
        self, network: nn.Module, evaluator: Any, patience: int | None = None, *, higher_is_better: bool = True
    ) -> None:
        if patience is not None and not is_whole(patience, 1):
            raise BadInputError(f"patience is {patience!r}; it can be a number of validations from 1 on, or null")
        self.network = network
        self.evaluator = evaluator
        self.patience = patience
        self.higher_is_better = higher_is_better
        self.best: float | None = None
        self.epoch = 0
        self.waited = 0
        self.weights: dict[str, Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        if getattr(self.evaluator.state, "key_metric_name", None) is None:
            raise BadInputError("best weights are those of a key metric, and the evaluator has none; give it one")
        self.evaluator.add_event_handler(Events.COMPLETED, self._validated, engine)
        engine.add_event_handler(Events.COMPLETED, self._restore)

    def _validated(self, evaluator: Engine, trainer: Engine) -> None:
        value = float(evaluator.state.metrics[self.evaluator.state.key_metric_name])
        known = not math.isnan(value)  # no weights are better than others by a measure that does not exist
        if known and (self.best is None or (value > self.best if self.higher_is_better else value < self.best)):
            self.best, self.epoch, self.waited = value, trainer.state.epoch, 0
            module: Any = bare(self.network)
            self.weights = {name: one.detach().cpu().clone() for name, one in module.state_dict().items()}
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            best = "any with a number" if self.best is None else f"{self.best:.4g} of epoch {self.epoch}"
            _LOG.info("no better validation than %s in %d more; ended", best, self.waited)
            trainer.terminate()

    def _restore(self, engine: Engine) -> None:
        if self.weights:
            _LOG.info("weights of epoch %d are restored, validated at %.4g", self.epoch, self.best)
            module: Any = bare(self.network)
            module.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and primitives, for a training that goes on."""
        return {"best": self.best, "epoch": self.epoch, "waited": self.waited, "weights": dict(self.weights)}

    def state_dict_without_ids(self) -> dict[str, Any]:
        """What final weights hold of it: nothing, since they are the best ones."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; from final weights, which hold nothing of it, anew."""
        if state:
            self.best, self.epoch, self.waited = state["best"], int(state["epoch"]), int(state["waited"])
            self.weights = dict(state["weights"])
