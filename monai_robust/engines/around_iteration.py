"""Training by a recipe around an iteration of somebody's own, which steps, clips and logs as before."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_robust.attacks.common.guard import bare
from monai_robust.engines.around import AroundOwn
from monai_robust.engines.common import Batch, infer_with, with_metadata
from monai_robust.engines.starting import require_moved
from monai_robust.errors import BadInputError
from monai_robust.tasks.tensors import plain

__all__ = ["AroundIteration", "takes_loss_once"]

_TAKES_LOSS = re.compile(r"\bloss_function\(")


@dataclass
class _Seen:
    """What an iteration gave its network and its loss."""

    inputs: Tensor | None = None
    passes: int = 0
    losses: int = 0


class AroundIteration(AroundOwn):
    """A recipe for a trainer with an iteration of its own: hand it to the trainer as ``iteration_update``.

    The iteration runs as it always did, but where it takes the trainer's ``loss_function`` of its prediction, it is
    given the recipe's loss: the attack is made then, on what the network was just given, and the other views go
    through the network in passes of their own. What the iteration does with the loss, such as to clip gradients, it
    does with the recipe's. The recipe ``erm`` ends with the very weights of the iteration alone. (Running statistics of
    BatchNorm have seen the clean pass before the attack here, and after it in :class:`RobustUpdate`.)

    It must run the network once and take its loss once; MONAI's keys of the adversarial view are added to its output,
    if that is a dictionary.

    Args:
        recipe: as for :class:`RobustUpdate`.
        attack: as there.
        iteration: ``(engine, batchdata) -> output``; by default the trainer's own ``_iteration``, which its class
            defines.
        **settings: everything else :class:`RobustUpdate` takes.

    Raises:
        BadInputError: as there, and (in training) for an iteration that runs its network or takes its loss more than
            once, or not at all.
    """

    def __call__(self, engine: Any, batchdata: Any) -> Any:
        added: dict[str, Any] = {}
        with self._within(engine, batchdata, added) as seen:
            output = self._iterate(engine, batchdata)
        if seen.losses != 1:
            raise _refusal(f"takes its loss {seen.losses} times")
        self._tell(engine, output, added)
        return output

    @contextmanager
    def _within(self, engine: Any, batchdata: Any, added: dict[str, Any]) -> Iterator[_Seen]:
        """Have the engine's loss be the recipe's, of what its network is given within."""
        seen, own_loss = _Seen(), engine.loss_function
        network = bare(engine.network)

        def note(_: Any, given: tuple[Any, ...]) -> None:
            seen.passes += 1
            seen.inputs = given[0] if given else None

        watching: Any = network.register_forward_pre_hook(note)  # type: ignore[attr-defined]

        def loss(outputs: Any, targets: Any) -> Any:
            seen.losses += 1
            if seen.losses > 1:
                raise _refusal("takes its loss more than once")
            if seen.passes != 1 or seen.inputs is None:
                raise _refusal(f"runs its network {seen.passes} times before it takes its loss")
            watching.remove()
            engine.loss_function = own_loss
            try:
                return self._recipes_loss(engine, batchdata, seen.inputs, (outputs, targets), added)
            finally:
                engine.loss_function = loss

        engine.loss_function = loss
        try:
            yield seen
        finally:
            watching.remove()
            engine.loss_function = own_loss

    def _recipes_loss(self, engine: Any, batchdata: Any, inputs: Tensor, found: Any, added: dict[str, Any]) -> Any:
        """The recipe's loss of a batch whose clean prediction is there, and what there is to tell of its attack."""
        prediction, targets = found
        batch = replace(Batch.prepare(engine, batchdata), inputs=inputs.detach(), targets=targets)
        task = self._task_of(engine)
        self._begin(engine, task, batch)
        told: dict[str, Any] = {Keys.IMAGE: batch.inputs, Keys.LABEL: targets}
        watched = None
        if "adv" in self.recipe.views:
            attacked, watched = self._attacked(engine, batch, task)
            added |= self._adversarial(engine, batchdata, batch, attacked)
            if self.recipe.objective is not None:
                require_moved(self.recipe.name, told | added)
        self._seed_views(engine)
        views = self._inputs(batchdata, batch, added.get("adv_image"))
        infer = infer_with(engine, batch)
        outputs = {
            name: prediction if view is batch.inputs else infer(plain(view), engine.network)
            for name, view in views.items()
        }
        total = self.recipe.loss(outputs, targets, engine.loss_function, task.agreeing)
        if "adv" in outputs:
            added |= self._told(engine, task, outputs, targets, added)
            added["adv_pred"] = with_metadata(outputs["adv"], batch.inputs)
        if watched is not None:
            self._observe(engine, batchdata, watched, told | added)
        return total


def takes_loss_once(iteration: Any) -> bool:
    """Whether the text of an iteration, a function or a class whose objects are called, takes ``loss_function`` once.

    What has no text, such as a builtin, does not.
    """
    function = iteration.__call__ if isinstance(iteration, type) else iteration
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        return False
    return len(_TAKES_LOSS.findall(text)) == 1


def _refusal(what: str) -> BadInputError:
    return BadInputError(
        f"the trainer's own iteration {what}; a recipe can be put around one that runs the network once and then takes "
        "its loss once"
    )
