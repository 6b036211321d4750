"""A bar with the remaining time of a whole run."""

from __future__ import annotations

import sys
from typing import Any

import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

__all__ = ["ProgressBar"]


class ProgressBar:
    """Show how far a whole run is, over all its epochs, and how long it will still take.

    Ignite's ``ProgressBar`` counts the iterations of one epoch at a time, or whole epochs, of which the first says
    nothing of the remaining time until it has ended.

    Args:
        name: what is running.
        metric: name of a validation metric of ``validator`` to show beside the loss.
        validator: the engine that computes it.
    """

    def __init__(self, name: str = "training", metric: str | None = None, validator: Engine | None = None) -> None:
        self.name = name
        self.metric = metric
        self.validator = validator
        self.bar: Any = None

    def attach(self, engine: Engine) -> None:
        """Show the run of an engine."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.describe)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE | Events.INTERRUPT, self.close)

    def start(self, engine: Engine) -> None:
        """Open the bar, at the iteration that the engine has reached."""
        total = (engine.state.max_epochs or 1) * (engine.state.epoch_length or 0)
        # A log file gets a line now and then instead of hundreds of redrawn bars.
        interval = 0.1 if sys.stderr.isatty() else 10.0
        self.bar = tqdm(
            total=total or None, desc=self.name, unit="batch", mininterval=interval, initial=engine.state.iteration
        )

    def update(self, engine: Engine) -> None:
        """Count an iteration."""
        self.bar.update(1)

    def describe(self, engine: Engine) -> None:
        """Show epoch, loss and metric behind the bar."""
        shown = {"epoch": f"{engine.state.epoch}/{engine.state.max_epochs}"}
        output: Any = engine.state.output
        if isinstance(output, list) and output:  # decollated; every sample then carries the loss of its batch
            output = output[0]
        if isinstance(output, dict) and "loss" in output:
            shown["loss"] = f"{float(torch.as_tensor(output['loss']).detach()):.3f}"
        if self.validator is not None and self.metric in self.validator.state.metrics:
            shown[str(self.metric)] = f"{float(self.validator.state.metrics[self.metric]):.3f}"
        self.bar.set_postfix(shown, refresh=False)

    def close(self, engine: Engine) -> None:
        """Close the bar."""
        self.bar.close()
