"""What a report says of replicates: how each of them did, and whether they were tested on the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from monai_robust.evaluation.sections.comparisons import ScoreStyle, names_of, of_kind
from monai_robust.evaluation.sections.parts import MISSING, Measure, ReportTable, Section, listed
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.statistics.defined import means_of_all
from monai_robust.evaluation.statistics.summary import rated_by
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["FOLDS", "missing_folds", "patients_tested", "replicate_sections"]

FOLDS = 5
"""Into how many parts data lists divide a data set where ``folds`` in a run's settings does not say."""


def replicate_sections(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], style: ScoreStyle) -> list[Section]:
    """A row for each run where names have several; empty where none has.

    Args:
        runs: finished evaluations.
        frames: ``summary_of_runs``.
        style: of the measure that is shown.
    """
    if len(names_of(runs)) == len(runs):
        return []
    summary = rated_by(frames["summary_of_runs"], style.column)
    summary = summary[summary["group"] == ""]
    perturbations = [CLEAN, *(name for kind in ("attack", "corruption", "shift") for name in of_kind(runs, kind))]
    means = means_of_all(summary.groupby(["run", "perturbation"])["score"])
    rows = []
    for index, run in enumerate(runs):
        stub = [run.name, *(_told(value) for value in (run.info.get("seed"), *run.split))]
        stub += [str(len(run.clean)), str(_patients(run))]
        rows.append((stub, [Measure(float(means[index, name])) for name in perturbations]))
    stub_headers = ["Run", "Seed", "Fold", "Split seed", "Images", "Patients"]
    told = [at for at in range(len(stub_headers)) if any(stub[at] != MISSING for stub, _ in rows)]
    rows = [([stub[at] for at in told], cells) for stub, cells in rows]
    headers = [perturbation_label(name) for name in perturbations]
    title = f"{style.title} of each run, means over radii or severities"
    stub_names = [stub_headers[at] for at in told]
    table = ReportTable("table_replicates", title, stub_names, headers, rows, style.scale, style.digits)
    return [Section("Replicates", " ".join([patients_tested(runs), *missing_folds(runs)]), [table])]


def patients_tested(runs: Sequence[Run]) -> str:
    """Whether the runs of a name were tested on the same patients, in a sentence."""
    own = [run for run in runs if run.name == runs[0].name]
    tested = list(dict.fromkeys(frozenset(run.clean["sample_id"]) for run in own))
    if len(tested) < 2:
        return "All runs were tested on the same images: the spread over runs of a name is that of training alone."
    together, times = len(frozenset().union(*tested)), sum(map(len, tested))
    again = "no image in more than one" if together == times else f"{times - together} of them again"
    return (
        f"Each of {len(tested)} splits or folds tests other patients ({together} images in all, {again}): the spread "
        "over runs of a name is that of training and of the choice of patients together."
    )


def missing_folds(runs: Sequence[Run]) -> list[str]:
    """A sentence for each name and split seed whose folds are not all there; none where there are no folds."""
    found = []
    for name in names_of(runs):
        own = [run for run in runs if run.name == name and isinstance(run.info.get("fold"), int)]
        for seed in dict.fromkeys(run.split[1] for run in own):
            there = {int(run.split[0]) for run in own if run.split[1] == seed}
            settings = [(run.info.get("settings") or {}).get("folds") for run in own]
            count = next((one for one in settings if isinstance(one, int)), max(FOLDS, *(fold + 1 for fold in there)))
            gone = [str(fold) for fold in range(count) if fold not in there]
            if gone and len(there) > 1:
                word = "fold" if len(gone) == 1 else "folds"
                verb = "is" if len(gone) == 1 else "are"
                found.append(f"Of {count} folds of {name}, {word} {listed(gone)} {verb} missing.")
    return found


def _patients(run: Run) -> int:
    return len(np.unique(run.patients[run.places[CLEAN, 0.0]]))


def _told(value: object) -> str:
    return MISSING if value is None else str(value)
