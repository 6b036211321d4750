"""The first words of every run of a bundle, and what a training leaves for those after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist

from monai_robust.configuration import check_command_line
from monai_robust.data import write_record
from monai_robust.engines import RobustUpdate
from monai_robust.errors import install_excepthook

__all__ = ["start", "tables_beside", "write_training_record"]


def start() -> None:
    """Before anything is built: a user's error ends in one line, and ids of the command line are checked.

    Raises:
        BadInputError: for an id that nothing reads, or a word that is nothing its id takes.
    """
    install_excepthook()
    check_command_line()


def write_training_record(
    output_dir: str | Path, update: RobustUpdate, *, checkpoint: str | Path | None = None, **settings: Any
) -> None:
    """Write ``training.json`` for whoever evaluates a network or infers with it; of several processes, the first does.

    Args:
        output_dir: where the checkpoints go.
        update: knows recipe, weight, attack, radius and step.
        checkpoint: the weights that training starts from, if any; only whether there were such is written.
        **settings: further ids and their values, among them ``classes``.
    """
    if idist.get_rank() > 0:
        return
    started_from = None if checkpoint is None else "a checkpoint"
    write_record(output_dir, **{**settings, "started_from": started_from, **update.settings})


def tables_beside(checkpoint: str | Path) -> list[str]:
    """Paths of the tables that a training writes beside its checkpoints, also of those that it did not write."""
    return [str(Path(checkpoint).parent / name) for name in ("margins.csv", "epoch_times.csv")]
