"""What a report says of the sanity checks: whether its numbers can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from monai_robust.evaluation.sections.parts import ReportTable, Section, listed
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.sanity_file import CHECKS, Finding

__all__ = ["TITLE", "sanity_caveat", "sanity_frames", "sanity_sections"]

TITLE = "Can these numbers be trusted?"
_MARKS = {"pass": "passed", "warn": "warning", "not_applicable": "does not apply"}
_INTRODUCTION = (
    "A network looks robust, too, where the attack on it fails. So each attack was tried in other ways on a few "
    "images: with fewer steps, without limit, by guessing, and from its start alone. A warning means that the true "
    "performance under that attack may be lower than shown."
)

Key = tuple[str, str]


def sanity_frames(runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """``sanity``: every finding of every run that was checked."""
    rows = [
        {
            "run": index,
            "name": run.name,
            "perturbation": one.perturbation,
            "check": one.check,
            "status": one.status,
            "sentence": one.sentence,
        }
        for index, run in enumerate(runs)
        for one in _findings(run)
    ]
    return {"sanity": pd.DataFrame(rows)} if rows else {}


def sanity_sections(runs: Sequence[Run]) -> list[Section]:
    """One section for all runs with an attack: a row for each check, a column for each name and attack, and the
    warnings in full."""
    if not any(one.kind == "attack" for run in runs for one in run.perturbations):
        return []
    columns = dict(_by_column(runs))
    unchecked = _names_of([run for run in runs if run.sanity is None])
    if not columns:
        return [Section(TITLE, "The attacks were not checked, so that is not known: the runs hold no sanity checks.")]
    headers = [f"{name}, {perturbation_label(attack)}" for name, attack in columns]
    rows = [
        ([question], [_mark([one for one in findings if one.check == check]) for findings in columns.values()])
        for check, question in CHECKS.items()
    ]
    note = "All sentences, also of the checks that were passed, stand in sanity.csv."
    if unchecked:
        note = f"The attacks on {listed(unchecked)} were not all checked. {note}"
    table = ReportTable("table_sanity", "Sanity checks", ["Check"], headers, rows, note=note)
    return [Section(TITLE, _INTRODUCTION, [table], points=list(_sentences(runs, columns)))]


def sanity_caveat(runs: Sequence[Run]) -> str:
    """A sentence for the head of the report, "" where no check warns."""
    warned = _names_of([run for run in runs if any(one.status == "warn" for one in _findings(run))])
    return f"Sanity checks warn of an attack on {listed(warned)}; see “{TITLE}” below." if warned else ""


def _sentences(runs: Sequence[Run], columns: Mapping[Key, Sequence[Finding]]) -> Iterator[tuple[str, str]]:
    """For each column its warnings, or one line that there are none, as a mark and a text."""
    for (name, attack), findings in columns.items():
        who = f"{name}, {perturbation_label(attack)}"
        warned = list(dict.fromkeys(one.sentence for one in findings if one.status == "warn"))
        if not warned:
            apart = len({one.check for one in findings if one.status == "not_applicable"})
            rest = f"; {apart} do{'es' * (apart == 1)} not apply" if apart else ""
            checked = len({one.check for one in findings})
            yield "passed", f"{who}: all of {checked - apart} checks{rest}."
        for sentence in warned:
            yield "warning", f"{who}: {sentence}"


def _by_column(runs: Sequence[Run]) -> Iterator[tuple[Key, list[Finding]]]:
    """The findings of all runs of a name on an attack."""
    found: dict[Key, list[Finding]] = {}
    for name in _names_of(runs):
        for run in runs:
            for one in _findings(run) if run.name == name else ():
                found.setdefault((name, one.perturbation), []).append(one)
    yield from found.items()


def _mark(found: Sequence[Finding]) -> str:
    """One word for the replicates together: the worst of them."""
    statuses = [one.status for one in found]
    warned = statuses.count("warn")
    if warned and len(statuses) > 1:
        return f"warning ({warned} of {len(statuses)})"
    return _MARKS["warn" if warned else "pass" if "pass" in statuses else "not_applicable"]


def _findings(run: Run) -> Sequence[Finding]:
    return run.sanity.findings if run.sanity is not None else ()


def _names_of(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.name for run in runs))
