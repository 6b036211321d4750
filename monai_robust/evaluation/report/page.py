"""One self-contained HTML page about one or more finished evaluations, and its tables as CSV files beside it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import pandas as pd

from monai_robust import __version__
from monai_robust.data.files.csv_cells import csv_text
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.report.cases import write_cases_page
from monai_robust.evaluation.report.contents import Contents, flat
from monai_robust.evaluation.report.machine_summary import write_machine_summary
from monai_robust.evaluation.report.triage import WORKLIST, worklist
from monai_robust.evaluation.sections.comparisons import names_of, of_kind
from monai_robust.evaluation.sections.drawing import STYLE
from monai_robust.evaluation.sections.figures import gallery_figure
from monai_robust.evaluation.sections.parts import MISSING, Picture, Section, listed
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.statistics.subgroups import MINIMUM_GROUP
from monai_robust.evaluation.tables.gallery import MOST, Caption, Gallery, spread
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["write_report"]

DPI = 170
PIXELS_PER_INCH = 96
SKIPPED_COLUMNS = ["run", "file", "reason"]


@dataclass(frozen=True)
class Setting:
    """A setting and its value in every run."""

    name: str
    values: Sequence[str]

    @property
    def shared(self) -> bool:
        return len(set(self.values)) == 1


def write_report(
    folders: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    baseline: str | None = None,
    prevalence: float | None = None,
    patient_rule: str | None = None,
    noninferiority_margin: float | None = None,
    minimum_group: int = MINIMUM_GROUP,
) -> Path:
    """Write a report on evaluations, from their tables alone.

    The page needs no other file and no network, runs no script, and names neither samples nor patients. All its numbers
    are written to ``<stem of output>_tables/`` as CSV; only ``skipped.csv``, ``case_ids.csv`` and
    ``worklist.csv`` there hold names of files and samples. Where runs have kept cases, a page of them stands beside it
    (:func:`~monai_robust.evaluation.report.cases.write_cases_page`).

    Args:
        folders: folders of finished evaluations, in the order in which they are shown; runs of one name are replicates.
        output: the HTML file.
        baseline: name of the runs that the others are compared with
            (:func:`~monai_robust.evaluation.tables.baseline.baseline_name` says which by default).
        prevalence: share of cases, at which predictive values of classification are shown; that of the data by default.
        patient_rule: how the images of a patient are put together, ``"mean"`` (default) or ``"max"`` of probabilities.
        noninferiority_margin: by how much clean performance may be worse than that of the baseline, in units of the
            score, stated before anything was measured.
        minimum_group: patients that a group of samples needs to be rated.

    Returns:
        The path of the report.

    Raises:
        BadInputError: if a folder is no finished evaluation, the runs cannot be compared, or none of them is the
            baseline.
    """
    output = Path(output)
    if output.is_dir() or output.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"the report is one HTML file, so its name must end in .html, not {output.name!r}")
    found = Contents.read(
        [folders] if isinstance(folders, (str, Path)) else folders,
        baseline=baseline,
        prevalence=prevalence,
        patient_rule=patient_rule,
        noninferiority_margin=noninferiority_margin,
        minimum_group=minimum_group,
    )
    _write_tables(output.with_name(f"{output.stem}_tables"), found)
    cases = write_cases_page(found.runs, output)
    return write_whole(output, _page(found, output.stem, "" if cases is None else cases.name).encode())


def _page(found: Contents, stem: str, cases: str) -> str:
    loader = jinja2.PackageLoader("monai_robust.evaluation.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"data_uri": _data_uri, "css_width": _css_width}
    settings = list(_settings(found.runs))
    return environment.get_template("report.html.j2").render(
        names=found.names,
        runs=found.runs,
        baseline=found.baseline,
        task=found.runs[0].task,
        samples=found.samples,
        headline=found.headline,
        pilot=found.pilot,
        caveats=found.caveats,
        sections=[*found.sections, *_gallery_sections(found.runs)],
        skipped=len(_skipped(found.runs).drop_duplicates(["file", "reason"])),
        perturbations=found.perturbations,
        settings=[one for one in settings if not one.shared],
        shared=[one for one in settings if one.shared],
        glossary=found.task_report.glossary,
        tables=f"{stem}_tables",
        cases=cases,
        version=__version__,
    )


def _write_tables(folder: Path, found: Contents) -> None:
    tables = {table.name: table.frame() for section in found.sections for table in section.tables}
    tables["skipped"] = _skipped(found.runs)
    images = worklist(found.runs, found.task_report)
    if len(images):
        tables[WORKLIST] = images
    for name, frame in {**found.frames, **tables}.items():
        stem = re.sub(r"[^\w.-]+", "_", name)
        write_whole(folder / f"{stem}.csv", csv_text(frame).encode())
    write_machine_summary(folder, found.machine_summary)


def _gallery_sections(runs: Sequence[Run]) -> list[Section]:
    pictures, kept = [], 0
    for name in names_of(runs):
        run = next((run for run in runs if run.name == name and run.gallery is not None), None)
        if run is not None and run.gallery is not None:
            pictures.append(_gallery_picture(run, spread(run.gallery)))
            kept = max(kept, len(run.gallery.captions[CLEAN]))
    text = (
        "What the network was shown and what it said. The change that the attack makes is drawn around mid-grey and "
        "amplified by the factor below it, since it would be hard to see otherwise."
    )
    if kept > MOST:
        text += f" Of {kept} samples that were kept, {MOST} are shown, evenly spread."
    return [Section("Examples", text, [], pictures)] if pictures else []


def _gallery_picture(run: Run, gallery: Gallery) -> Picture:
    attack = _telling_attack(run, gallery)
    shown = CLEAN if attack is None else attack
    answers = [_answer(one, gallery, run.labelled) for one in gallery.captions[shown]]
    nearest = of_kind([run], "nearest")
    name = shown.partition("@")[0]
    what = "clean" if attack is None else f"under {perturbation_label(name)}{'' if name in nearest else ' attack'}"
    alt = f"Pictures of {len(answers)} samples shown to {run.name}; {what}, {listed(answers)}."
    return Picture(gallery_figure(gallery, attack, nearest, run.classes), alt, f"Shown to {run.name}.")


def _answer(caption: Caption, gallery: Gallery, labelled: bool) -> str:
    if gallery.truth is not None:
        return caption.prediction
    if not labelled:
        same = caption.label == caption.prediction
        return f"{caption.label} stayed" if same else f"{caption.label} became {caption.prediction}"
    if caption.label == caption.prediction:
        return f"{caption.label} was recognised"
    return f"{caption.label} was taken for {caption.prediction}"


def _telling_attack(run: Run, gallery: Gallery) -> str | None:
    """The smallest radius in the gallery at which an attack misleads the network, or else the largest; of masks, what
    spoils most pixels. Without an attack, the nearest change."""
    kinds = {one.kind for one in run.perturbations}
    attacks = {one.name for one in run.perturbations if one.kind == ("attack" if "attack" in kinds else "nearest")}
    keys = [key for key in gallery.pictures if key.partition("@")[0] in attacks]
    if gallery.truth is not None:
        spoilt = {key: int((gallery.masks[key] != gallery.truth).sum()) for key in keys}
        return max(keys, key=spoilt.__getitem__, default=None)
    keys.sort(key=lambda key: float(key.partition("@")[2]))
    misled = (key for key in keys if any(one.label != one.prediction for one in gallery.captions[key]))
    return next(misled, keys[-1] if keys else None)


def _skipped(runs: Sequence[Run]) -> pd.DataFrame:
    """The samples that were skipped and why; a reason can name a patient, and so none is on the page."""
    rows = [
        {"run": run.name, "file": entry.get("file", ""), "reason": entry.get("reason", "")}
        for run in runs
        for entry in (run.info.get("skipped") or [])
    ]
    return pd.DataFrame(rows, columns=SKIPPED_COLUMNS).drop_duplicates()


def _settings(runs: Sequence[Run]) -> Iterator[Setting]:
    """Everything ``run.json`` says of how a network was trained and evaluated, row by row."""
    columns = [dict(flat(_told(run.info))) for run in runs]
    for name in dict.fromkeys(name for column in columns for name in column):
        yield Setting(name, [column.get(name, MISSING) for column in columns])


def _told(info: Mapping[str, Any]) -> dict[str, Any]:
    checkpoint = info.get("checkpoint") or {}
    return {
        **{key: info.get(key) for key in ("recipe", "seed", "fold", "classes")},
        "checkpoint": checkpoint.get("file"),
        "checkpoint sha256": str(checkpoint.get("sha256") or "")[:12],
        "settings": info.get("settings", {}),
        "data": info.get("data", {}),
        "versions": info.get("versions", {}),
        **{key: info.get(key) for key in ("machine", "started", "finished")},
    }


def _data_uri(picture: Picture) -> str:
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):  # labels of ticks are made only now
        picture.figure.savefig(buffer, format="png", dpi=DPI)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _css_width(picture: Picture) -> int:
    return round(picture.figure.get_figwidth() * PIXELS_PER_INCH)
