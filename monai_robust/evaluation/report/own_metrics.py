"""What a report says of an evaluator's own metrics, taken over all samples at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from monai_robust.evaluation.sections.parts import Measure, ReportTable, Section, number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.metrics_file import MetricValue, OwnMetrics
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["TITLE", "own_metrics_frames", "own_metrics_sections"]

TITLE = "The pipeline's own metrics"
_TEXT = (
    "By the evaluator's own handlers, after its own postprocessing, over all images at once: what its own run says on "
    "clean images, and what it would say of these attacked or corrupted ones."
)


def own_metrics_frames(runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """``own_metrics``: every value of every run."""
    rows = [
        {"run": index, "name": run.name, **vars(value)}
        for index, run in enumerate(runs)
        for value in (run.metrics.values if run.metrics is not None else ())
    ]
    return {"own_metrics": pd.DataFrame(rows)} if rows else {}


def own_metrics_sections(runs: Sequence[Run]) -> list[Section]:
    """One section with a row for each run, perturbation and severity and a column for each metric, the key metric
    first; sentences where there is none."""
    known = [(run, run.metrics) for run in runs if run.metrics is not None]
    if not known:
        return []
    problems = [("warning", f"{run.name}: {own.problem}") for run, own in known if own.problem]
    taken = [(run, own) for run, own in known if own.values]
    return [Section(TITLE, _TEXT, [_table(taken)] if taken else [], points=problems)]


def _table(known: Sequence[tuple[Run, OwnMetrics]]) -> ReportTable:
    names = list(dict.fromkeys(value.metric for _, own in known for value in own.values))
    names.sort(key=lambda name: all(name != own.key_metric for _, own in known))  # otherwise as they are
    rows = []
    for run, own in known:
        blocks: dict[tuple[str, float], dict[str, MetricValue]] = {}
        for value in own.values:
            blocks.setdefault((value.perturbation, value.severity), {})[value.metric] = value
        for (perturbation, severity), block in blocks.items():
            stub = [run.name, perturbation_label(perturbation), "" if perturbation == CLEAN else number(severity)]
            rows.append((stub, [_measure(block.get(name)) for name in names]))
    stub = ["Run", "Images", "Radius or severity"]
    note = f"The evaluator's key metric is {known[0][1].key_metric}."
    return ReportTable("table_own_metrics", "The evaluator's own metrics", stub, names, rows, 1.0, 4, note)


def _measure(value: MetricValue | None) -> Measure:
    return Measure(math.nan if value is None or value.value is None else value.value)
