"""How sure a network is of each image, as far as its task can tell, beside what little it takes to turn it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tasks.registry import Confident, TaskReport

__all__ = ["confidence_note", "confidence_of"]


def confidence_of(run: Run, task: TaskReport) -> pd.Series:
    """The confidence in each clean image, in the order of the table; NaN where there is none."""
    found = task.confidence(run, run.clean) if isinstance(task, Confident) else None
    return pd.Series(np.nan, index=run.clean.index) if found is None else found


def confidence_note(runs: Sequence[Run], task: TaskReport) -> str:
    """What confidence is in this task, or that there is none, and why."""
    if not isinstance(task, Confident):
        return f"There is no confidence to compare with: outcomes of {runs[0].task} do not tell how sure a network is."
    lacking = [run.name for run in runs if confidence_of(run, task).isna().any()]
    if lacking:
        names = ", ".join(f"“{name}”" for name in dict.fromkeys(lacking))
        return f"There is no confidence of {names}: it was measured before confidence was written down; measure again."
    return f"Confidence: {task.confidence_is}."
