"""Radii that do not learn, to compare adaptive margins with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_robust.data.agreed_folder import agreed_folder
from monai_robust.data.files.side_files import numbers, read_table
from monai_robust.data.sample_ids import batch_ids, names_now
from monai_robust.errors import BadInputError
from monai_robust.margins.radii import SampleRadii
from monai_robust.scalars import is_above_zero

__all__ = ["RecordedMargins", "WarmupRadius"]


class WarmupRadius(SampleRadii):
    """One radius for all samples, growing linearly from nothing over the first epochs.

    Args:
        eps: the radius after the warm-up, in intensity units of the network's input.
        epochs: how long it grows.

    Raises:
        BadInputError: for a radius or a number of epochs that is no positive number.
    """

    def __init__(self, eps: float, epochs: float) -> None:
        super().__init__()
        if not is_above_zero(eps) or not is_above_zero(epochs):
            raise BadInputError(f"the warm-up is to {eps!r} over {epochs!r} epochs; both must be positive numbers")
        self.eps, self.epochs = float(eps), float(epochs)

    def radii(self, engine: Any, batch: Any, size: int) -> Tensor:
        length = engine.state.epoch_length or 1
        share = min(1.0, engine.state.iteration / (self.epochs * length))
        return torch.full((size,), self.eps * share, dtype=torch.float32)


class RecordedMargins(SampleRadii):
    """The margins an earlier training learned, epoch by epoch; with ``shuffle``, each sample gets another's.

    Shuffled, every epoch has the distribution of margins over samples with which the adaptive training began that
    epoch, but not on the samples that earned them: the control that tells whether margins must be per *sample*. Where
    margins go with something visible, such as slices with and without foreground, give ``groups``: the shuffle then
    stays within them.

    Args:
        path: ``margins_by_sample.csv`` of that training (``AdaptiveMargins(history=True)``).
        shuffle: give every sample the margins of another one, the same throughout.
        seed: of the shuffle.
        groups: the group of each sample id; margins are shuffled within groups.
        key: as for ``AdaptiveMargins``.

    Raises:
        BadInputError: when there is no such table, or (while training) for a sample it does not know.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        shuffle: bool = False,
        seed: int = 0,
        groups: Mapping[str, Any] | None = None,
        key: str = "sample_id",
    ) -> None:
        super().__init__()
        self.path, self.key = Path(path), key
        wide = _recorded(self.path)
        names = wide.index.to_numpy(dtype=str)
        owners = np.arange(len(names))
        if shuffle:
            drawn = np.random.default_rng(seed)
            member = pd.factorize(pd.Series([str((groups or {}).get(name)) for name in names]))[0]
            for group in np.unique(member):
                rows = np.flatnonzero(member == group)
                owners[rows] = drawn.permutation(rows)
        self._values = wide.to_numpy(dtype=np.float64)[owners]
        self._epochs = wide.columns.to_numpy(dtype=np.int64)
        if bool(np.isnan(self._values).any()):
            raise BadInputError(
                f"{path} lacks the margins of some samples in some epochs; record a training from its start"
            )
        self._row = {name: index for index, name in enumerate(names)}
        self._folder = ""  # that samples are named from by their files

    def attach(self, engine: Engine) -> None:
        super().attach(engine)
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Any) -> None:
        dataset = getattr(engine.data_loader, "dataset", None)
        self._folder = agreed_folder(dataset)
        now = names_now(self._row, dataset, self.key, self._folder)
        self._row = {now.get(name, name): row for name, row in self._row.items()}

    def radii(self, engine: Any, batch: Any, size: int) -> Tensor:
        ids = self.ids(batch, size)
        unknown = [name for name in ids if name not in self._row]
        if unknown:
            raise BadInputError(
                f"{self.path} has no margins for {len(unknown)} of {size} samples, such as {unknown[0]!r}"
            )
        # Margins after an epoch are those of the next; epoch 0 has those before the first.
        column = int(np.searchsorted(self._epochs, engine.state.epoch - 1, side="right")) - 1
        if column < 0:
            raise BadInputError(f"{self.path} begins after epoch {self._epochs[0]}; record a training from its start")
        return torch.tensor([self._values[self._row[name], column] for name in ids], dtype=torch.float32)

    def ids(self, batch: Any, size: int) -> list[str]:
        return batch_ids(batch, self.key, size, self._folder)


def _recorded(path: Path) -> pd.DataFrame:
    """Margins by sample id (rows) and epoch (columns), NaN where a sample has none."""
    try:
        texts = read_table(path, "table of recorded margins")
        if "sample_id" not in texts or texts.empty:
            raise BadInputError("it has no sample_id, or no rows")
        table = pd.DataFrame({name: numbers(texts, name, path) for name in ("epoch", "margin")})
        table["sample_id"] = texts["sample_id"].to_numpy()
        if (table[["epoch", "margin"]] < 0).any(axis=None) or (table["epoch"] % 1 != 0).any():
            raise BadInputError("epochs are whole numbers, and no margin is below 0")
        if table.duplicated(["sample_id", "epoch"]).any():
            raise BadInputError("it gives a sample two margins in one epoch")
    except BadInputError as error:
        raise BadInputError(f"{path} is no table of recorded margins: {error}") from None
    return table.pivot(index="sample_id", columns="epoch", values="margin").sort_index()
