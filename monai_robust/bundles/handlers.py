"""The handlers of our bundles' engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import Evaluator
from monai.handlers import LrScheduleHandler, MetricsSaver, MLFlowHandler, StatsHandler, ValidationHandler, from_engine

from monai_robust.checkpoints.places import saves
from monai_robust.handlers import ClipGradients, EpochSeed, EpochTimes, ProgressBar, TrainingLoader, TrainingSaver

__all__ = ["Handlers", "evaluation_handlers", "of_batches", "recording_handlers", "training_handlers"]

_FINAL = "model.pt"


class Handlers:
    """Several handlers as one, for a list in a configuration that others add to, as ``--tracking mlflow`` does.

    Args:
        handlers: attached in their order.
    """

    def __init__(self, handlers: Sequence[Any]) -> None:
        self.handlers = list(handlers)

    def attach(self, engine: Engine) -> None:
        """Attach all of them."""
        for one in self.handlers:
            one.attach(engine)


def of_batches(handlers: Sequence[Any]) -> Sequence[Any]:
    """Handlers for a trainer that leaves its batches whole, among which those of MLflow are fitted to that.

    ``--tracking mlflow`` brings an ``MLFlowHandler`` for outputs that are a dictionary a sample; of one for the whole
    batch it is given a tuple of the loss, which it cannot log.
    """
    for one in handlers:
        if isinstance(one, MLFlowHandler):
            one.output_transform = _alone(one.output_transform)
    return handlers


def _alone(transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A transform of outputs whose tuple of one is that one."""

    def alone(output: Any) -> Any:
        found = transform(output)
        return found[0] if isinstance(found, tuple) and len(found) == 1 else found

    return alone


def training_handlers(
    *,
    seed: int,
    device: str | torch.device,
    state: Mapping[str, Any],
    validator: Evaluator,
    val_interval: int = 1,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    max_norm: float | None = None,
    more: Sequence[Any] = (),
) -> list[Any]:
    """What a training needs in every one of its processes: what an epoch draws, its beginning, schedule and validation.

    Args:
        seed: of what epochs draw.
        device: where checkpoints are loaded to.
        state: what checkpoints hold, among it ``network`` and ``lr_scheduler``.
        validator: runs every ``val_interval`` epochs.
        val_interval: 1 or more.
        checkpoint: weights to start from.
        resume: a checkpoint, or the folder of some, to continue exactly.
        max_norm: gradients above it are scaled down to it.
        more: handlers of one's own, attached last.
    """
    clip = [] if max_norm is None else [ClipGradients(max_norm)]
    return [
        EpochSeed(seed),
        TrainingLoader(_path(checkpoint), {"network": state["network"]}, map_location=device, trainer=False),
        TrainingLoader(_path(resume), dict(state), map_location=device),
        LrScheduleHandler(state["lr_scheduler"], print_lr=False),
        *clip,
        ValidationHandler(interval=val_interval, validator=validator, epoch_level=True),
        *more,
    ]


@saves("output_dir", _FINAL)
def recording_handlers(
    *,
    output_dir: str | Path,
    state: Mapping[str, Any],
    recipe: str,
    validator: Evaluator,
    n_saved: int = 1,
    more: Sequence[Any] = (),
) -> list[Any]:
    """What of a training's processes the first alone does: checkpoints, times of epochs, loss and progress.

    Args:
        output_dir: gets a checkpoint after every epoch, ``model.pt`` at the end, and ``epoch_times.csv``.
        state: what checkpoints hold.
        recipe: its name, for the progress bar.
        validator: its key metric is shown beside the loss.
        n_saved: so many checkpoints of epochs are kept, the newest.
        more: handlers of one's own, attached last.
    """
    saver = TrainingSaver(
        str(output_dir), dict(state), save_final=True, final_filename=_FINAL, save_interval=1, n_saved=n_saved
    )
    return [
        saver,
        EpochTimes(output_dir),
        StatsHandler(iteration_log=False, tag_name="train_loss", output_transform=from_engine("loss", first=True)),
        ProgressBar(f"training by {recipe}", getattr(validator.state, "key_metric_name", None), validator),
        *more,
    ]


def evaluation_handlers(
    *,
    checkpoint: str | Path,
    network: torch.nn.Module,
    device: str | torch.device,
    output_dir: str | Path,
    more: Sequence[Any] = (),
) -> Handlers:
    """What an evaluation needs: its weights, and its metrics told and written to ``metrics.csv``.

    Args:
        checkpoint: the weights.
        network: gets them.
        device: where they are loaded to.
        output_dir: where ``metrics.csv`` goes.
        more: handlers of one's own, attached last.
    """
    return Handlers(
        [
            TrainingLoader(_path(checkpoint), {"network": network}, map_location=device, trainer=False),
            StatsHandler(iteration_log=False),
            MetricsSaver(save_dir=str(output_dir), metrics="*"),
            *more,
        ]
    )


def _path(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
