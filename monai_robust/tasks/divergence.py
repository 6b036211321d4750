"""Attack a prediction itself, whatever the label: lead it as far from the clean one as it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses import kullback_leibler
from monai_robust.tasks.agreement import named, require_agreement
from monai_robust.tasks.base import Task

__all__ = ["PredictionDivergence"]


class PredictionDivergence(Task):
    """How far the class distributions of ``task`` have moved from those of the clean input: no label is asked.

    The only loss term is ``divergence``, KL(p(x) || p(x')) in nats, of an image or as a mean over its pixels, and over
    its labels where they are independent. It is the
    inner maximum of TRADES (Zhang et al. 2019). The clean prediction is made once an attack, without a gradient and by
    the network as the attack runs it, in evaluation mode by default.

    At the clean input the divergence is least, and its gradient 0: an attack must start elsewhere
    (``random_start="ball"``). There are no other goals than to raise it, and no outcomes to write down.

    Args:
        task: runs the network, and says which of its outputs are the prediction.

    Raises:
        BadInputError: for a task whose outputs are no class distributions, or that does not say whether they are.
    """

    name = "divergence"

    def __init__(self, task: Task) -> None:
        if task.agreement == "none":
            raise BadInputError(
                f"the outputs of {named(task)} are no class distributions, which an attack could lead away from the "
                "clean ones; attack the task itself"
            )
        require_agreement(task, "an attack on the prediction itself")
        self.task = task
        self.agreement = task.agreement

    def prepared(self, inputs: Tensor, targets: Any) -> dict[str, Any]:
        # A dictionary, so that rows of it can be selected as of any targets.
        return {"targets": self.task.prepared(inputs, targets), "clean_inputs": inputs, "clean_prediction": None}

    def forward(self, network: Callable[..., Any], inputs: Tensor, targets: Any) -> Any:
        if not _is_prepared(targets):
            return self.task.forward(network, inputs, targets)
        own = targets["targets"]
        if targets["clean_prediction"] is None:
            with torch.no_grad():
                outputs = self.task.forward(network, targets["clean_inputs"], own)
                targets["clean_prediction"] = self.task.agreeing(outputs, own)
        return self.task.forward(network, inputs, own)

    def prediction(self, outputs: Any, targets: Any) -> Any:
        return self.task.prediction(outputs, _own(targets))

    def agreeing(self, outputs: Any, targets: Any) -> Any:
        return self.task.agreeing(outputs, _own(targets))

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        if not _is_prepared(targets) or targets["clean_prediction"] is None:
            raise BadInputError(
                "the divergence needs the clean prediction; call prepared(inputs, targets) once an attack, and forward "
                "and terms with what it returns, as the attacks of monai_robust do"
            )
        return {"divergence": kullback_leibler([targets["clean_prediction"], self.agreeing(outputs, targets)])}


def _own(targets: Any) -> Any:
    return targets["targets"] if _is_prepared(targets) else targets


def _is_prepared(targets: Any) -> bool:
    return isinstance(targets, Mapping) and {"targets", "clean_inputs", "clean_prediction"} == set(targets)
