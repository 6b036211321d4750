"""Thresholds as a user gives them: known, in a file, or to be fitted from a trained checkpoint when training starts."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import ignite.distributed as idist

from monai_robust.attacks.common.guard import bare
from monai_robust.data import load_weights
from monai_robust.errors import BadInputError, require_choice
from monai_robust.margins.every_sample import EverySample, require_rereadable
from monai_robust.margins.thresholds import Thresholds, fit_thresholds, read_thresholds
from monai_robust.tasks import Inferred, Task

__all__ = ["ThresholdSource"]

_LOG = logging.getLogger(__name__)


class ThresholdSource:
    """Where the thresholds of a training's margins come from.

    Args:
        given: ``{term: value}``, a JSON file of them, or a trained checkpoint.
        fit: further arguments of ``fit_thresholds``.
        fit_on: ``"samples"``, ``"epoch"``, or a loader, as for ``AdaptiveMargins``.

    Attributes:
        known: the thresholds; None where they are still to be fitted.

    Raises:
        BadInputError: for what can be none of them.
    """

    def __init__(
        self,
        given: Mapping[str, float] | str | Path | None,
        fit: Mapping[str, Any] | None = None,
        fit_on: Literal["samples", "epoch"] | Iterable[Any] = "samples",
    ) -> None:
        if given is None:
            raise BadInputError(
                "adaptive margins need thresholds: a JSON file of them, or a trained checkpoint to fit them from "
                "(in a bundle, --robust#thresholds)"
            )
        if not isinstance(given, (Mapping, str, Path)):
            raise BadInputError(
                f"the margins' thresholds are {given!r}; they must be a file, a checkpoint, or a threshold "
                "for each loss term by name, such as {'loss': 0.3}"
            )
        if isinstance(fit_on, str):
            require_choice("fit_on", fit_on, ["samples", "epoch"])
        elif not isinstance(fit_on, Iterable):
            raise BadInputError(f"fit_on is {fit_on!r}; it must be 'samples', 'epoch' or a loader")
        if fit is not None and not isinstance(fit, Mapping):
            raise BadInputError(f"fit is {fit!r}; it must name further arguments of fit_thresholds and their values")
        self.known: Thresholds | None = None
        self._checkpoint: Path | None = None
        self._fit, self._fit_on = dict(fit or {}), fit_on
        if isinstance(given, Mapping):
            self.known = given if isinstance(given, Thresholds) else Thresholds(given)
        elif Path(given).suffix == ".json":
            self.known = read_thresholds(given)
        elif Path(given).is_file():
            self._checkpoint = Path(given)
        else:
            raise BadInputError(f"there is no checkpoint {given} to fit thresholds from")

    def fitted(self, engine: Any, task: Task) -> Thresholds:
        """Thresholds from the checkpoint, which are also written beside it.

        Args:
            engine: the trainer, whose network has the checkpoint's architecture and whose data is read.
            task: what the network is trained for.

        Raises:
            BadInputError: for a checkpoint, or data, that they cannot be fitted with.
        """
        assert self._checkpoint is not None  # they are not known
        network = load_weights(copy.deepcopy(bare(engine.network)), self._checkpoint)  # type: ignore[arg-type]
        _LOG.info("fitting thresholds of the margins with %s", self._checkpoint.name)
        # A sampler that counts its epochs must give training the batches it would have given without this pass.
        sampler: Any = getattr(engine.data_loader, "batch_sampler", None)
        position = sampler.state_dict() if hasattr(sampler, "state_dict") else None
        found = fit_thresholds(
            network,
            self._data(engine.data_loader),
            Inferred(task, lambda inputs, net: engine.inferer(inputs, net)),
            prepare_batch=engine.prepare_batch,
            device=engine.state.device,
            **self._fit,
        )
        found.fitted["on"] = self._fit_on if isinstance(self._fit_on, str) else "a loader of its own"
        if position is not None:
            sampler.load_state_dict(position)
        if idist.get_rank() == 0:
            _LOG.info("thresholds are in %s", found.write(self._checkpoint.with_suffix(".thresholds.json")))
        return found

    def _data(self, loader: Any) -> Iterable[Any]:
        """What thresholds are fitted on; training must find its own data as it would have without."""
        if self._fit_on == "samples":
            return EverySample(loader)
        return require_rereadable(loader) if self._fit_on == "epoch" else self._fit_on
