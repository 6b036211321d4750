"""The page of a study in Markdown: its tables, figures and claims, and what was not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.studies.adequate import adequate_sentence
from monai_robust.studies.claims import claims_of
from monai_robust.studies.description import DataSet, Study
from monai_robust.studies.figures import draw_figure, drawable, spread_of
from monai_robust.studies.kept import Kept
from monai_robust.studies.tables import Cells, Measured, measured, table_cells

__all__ = ["write_page"]

NOT_RUN = "*not run*"
NO_VALUE = "–"
"""Of a run that was measured, but for this."""


def write_page(study: Study, output: Path, page: Path, command: str, kept: Kept | None = None) -> Path:
    """Write a study's page from what has been measured so far; what has not is marked.

    Args:
        study: by a preset.
        output: the folder of its results.
        page: the Markdown file; figures go into a folder ``images`` beside it.
        command: that makes the results, without paths of anybody's machine.
        kept: numbers of earlier runs, for those that are not among the results.

    Returns:
        ``page``.
    """
    parts = [f"# {study.title}", ""]
    parts += [study.source, ""] if study.source else []
    parts += [
        f"Preset `{study.preset}`{': ' + study.summary if study.summary else ''}.",
        "",
        "```bash",
        command,
        "```",
        "",
    ]
    parts += [study.notes.strip(), ""] if study.notes else []
    for dataset in study.all_sets.values():
        parts += _of_data_set(study, dataset, measured(study, dataset, output, kept), page)
    parts += ["## What was made of it", "", study.remarks.strip()] if study.remarks else []
    return write_whole(page, ("\n".join(parts).rstrip() + "\n").encode())


def _of_data_set(study: Study, dataset: DataSet, found: Measured | None, page: Path) -> list[str]:
    lines = [f"## {dataset.title}", ""]
    if found is None:
        return [*lines, NOT_RUN, ""]
    tables = {name: one for name, one in study.tables.items() if dataset.name in one.get("sets", [dataset.name])}
    cells = {name: table_cells(one, found) for name, one in tables.items()}
    lines += _circumstances(study, dataset, found)
    for name, one in tables.items():
        lines += [f"### {one['title']}", "", *_table(study, dataset, one, cells[name], found), ""]
        if drawable(one, cells[name]):
            file = f"study_{study.name}_{dataset.name}_{name}.png"
            draw_figure(study, one, cells[name], page.parent / "images" / file)
            lines += [f"![{one['title']}](images/{file})", ""]
    judged = claims_of(study, dataset, cells)
    if judged:
        lines += ["### The paper's claims", "", "| claim | here | numbers |", "| --- | --- | --- |"]
        lines += [f"| {one.text} | {one.verdict} | {one.numbers} |" for one in judged]
        lines += [""]
    sentence = adequate_sentence(study, dataset, cells)
    return [*lines, sentence, ""] if sentence else lines


def _circumstances(study: Study, dataset: DataSet, found: Measured) -> list[str]:
    """What stands above the tables of a data set: images, replicates, machine, and whether it is a pilot."""
    runs = list(found.runs.values())
    first = runs[0]
    whose = " (patients are not named)" if first.patients is None else f" of {first.patients} patients"
    machines = ", ".join(dict.fromkeys(one.machine for one in runs))
    wanted = len(study.replicates)
    text = f"{first.samples} test samples{whose}; mean ± standard deviation over the replicates; {machines}."
    text += f" Replicates of an arm: {wanted} ({', '.join(one.name for one in study.replicates)})."
    text += " Arms with fewer were screened only." if study.own_replicates else ""
    text += f" Of {len(runs)} runs, {found.kept} were measured earlier and kept." if found.kept else ""
    lines = [text, ""]
    pilot = _pilot(dataset, found)
    return [*lines, pilot, ""] if pilot else lines


def _pilot(dataset: DataSet, found: Measured) -> str:
    """Why the tables are a pilot only, or nothing: robustness of an undertrained network says little."""
    rule = dataset.standard
    if not rule:
        return ""
    clean = found.summary[found.summary["perturbation"] == CLEAN]
    if rule["statistic"] not in clean:
        raise BadInputError(
            f"the standard of the set {dataset.name} asks for {rule['statistic']!r}, and runs have "
            f"{', '.join(map(str, clean.columns))}"
        )
    own = [place for place, (arm, _) in enumerate(found.runs) if arm == rule["arm"]]
    values = clean[clean["run"].isin(own)][rule["statistic"]]
    if not len(values):
        return f"*Pilot*: its standard network ({rule['arm']}) has not been measured yet."
    mean = float(values.mean())
    reached = mean >= rule["at_least"] if "at_least" in rule else mean <= rule["at_most"]
    wanted = rule.get("at_least", rule.get("at_most"))
    what = f"*Pilot*: the standard network has a clean {rule['statistic']} of {mean:.3g}"
    if not reached:
        return f"{what}, not {wanted:g}."
    commonest = next(iter(found.runs.values())).commonest
    if rule["statistic"] == "accuracy" and mean <= commonest:
        return f"{what}, and to say the commonest class of every sample has {commonest:.3g}."
    return ""


def _table(study: Study, dataset: DataSet, table: Mapping[str, Any], cells: Cells, found: Measured) -> list[str]:
    """One row an arm; where the paper has numbers, a second row of them."""
    digits = int(table.get("digits", 3))
    paper = (table.get("paper") or {}).get(dataset.name) or {}
    lines = [
        f"| training | replicates | {' | '.join(map(cells.title, cells.labels))} |",
        f"| {' | '.join(['---'] * (len(cells.labels) + 2))} |",
    ]
    for arm in study.all_arms.values():
        if arm.name not in dataset.arms:
            continue
        counts = {len(cells.of(label, arm.name)) for label in cells.labels} or {0}
        missing = NO_VALUE if any(name == arm.name for name, _ in found.runs) else NOT_RUN
        numbers = [_number(list(cells.of(label, arm.name).values()), digits) or missing for label in cells.labels]
        lines.append(f"| {arm.title} | {max(counts)} | {' | '.join(numbers)} |")
        if arm.name in paper:
            printed = [str(paper[arm.name].get(label, "")) for label in cells.labels]
            whose = f"*the paper's {arm.printed}*" if arm.printed else "*the paper's*"
            lines.append(f"| {whose} | | {' | '.join(printed)} |")
    if not cells.labels:
        return [NOT_RUN]
    return lines


def _number(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    mean = float(np.mean(values))
    if abs(mean) >= 10_000:
        return f"{mean:,.0f}"
    spread = f" ± {spread_of(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"
