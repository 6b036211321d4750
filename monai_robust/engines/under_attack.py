"""An evaluation iteration for MONAI's supervised evaluator, on adversarial inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_robust.attacks.common.arguments import checked_attack
from monai_robust.attacks.common.guard import inputs_copied
from monai_robust.engines.common import Batch, adversarial_view, autocast, infer_with, inferred, with_metadata
from monai_robust.engines.file_units import FileRadius
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, LossTask, Task
from monai_robust.tasks.base import checked_task
from monai_robust.tasks.tensors import plain

__all__ = ["UnderAttack"]


class UnderAttack:
    """An ignite process function that evaluates under attack: every metric of the engine, on adversarial inputs.

    Hand it to a MONAI evaluator as ``iteration_update``. ``engine.state.output`` holds the clean ``image``, ``label``,
    the adversarial ``adv_image`` with ``eps`` (B,) and ``adv_norm`` (B,), and ``pred``, the prediction on it.

    Args:
        attack: makes the adversarial inputs; it needs labels.
        loss: what the attack raises, ``(outputs, targets) -> loss``; an evaluator has none of its own.
        task: in place of ``loss``. With neither, cross-entropy of (B, C) outputs; dense outputs are refused then.

    Raises:
        BadInputError: for what is no attack or no task, for both a loss and a task, or (when evaluation starts) for
            batches without labels.
    """

    def __init__(
        self,
        attack: Callable[..., Tensor],
        *,
        loss: Callable[..., Any] | None = None,
        task: Task | None = None,
    ) -> None:
        checked_attack(attack)
        if loss is not None and task is not None:
            raise BadInputError("UnderAttack takes a loss or a task, not both")
        self.attack = attack
        self._file_radius = FileRadius(attack)
        own = Classification() if loss is None else LossTask(loss)
        self.task = own if task is None else checked_task(task)

    def __call__(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        batch = Batch.prepare(engine, batchdata)
        if batch.targets is None:
            raise BadInputError("the evaluator's batches have no label, without which there is no loss to attack")
        output: dict[str, Any] = {Keys.IMAGE: batch.inputs, Keys.LABEL: batch.targets}
        engine.state.output = output
        radii = self._file_radius.of(engine, batchdata, batch)
        output |= adversarial_view(engine, batch, self.attack, inferred(engine, batch, self.task), radii)
        adversarial = plain(output["adv_image"]) if engine.compile else output["adv_image"]
        with engine.mode(engine.network), autocast(engine), inputs_copied(engine.network) as network:
            outputs = infer_with(engine, batch)(adversarial, network)
        output[Keys.PRED] = with_metadata(outputs, batch.inputs)
        engine.state.output = output
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output
