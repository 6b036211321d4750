"""One self-contained HTML page about one or more finished evaluations, and its tables as CSV files beside it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import jinja2
import matplotlib
import pandas as pd

from monai_robust import __version__
from monai_robust.data.files.csv_cells import csv_text
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.report.nearest import nearest_frames, nearest_sections
from monai_robust.evaluation.report.sanity import sanity_caveat, sanity_frames, sanity_sections
from monai_robust.evaluation.report.training import training_frames, training_sections
from monai_robust.evaluation.sections.comparisons import of_kind
from monai_robust.evaluation.sections.drawing import STYLE
from monai_robust.evaluation.sections.figures import gallery_figure
from monai_robust.evaluation.sections.parts import MISSING, Picture, Section, listed, number
from monai_robust.evaluation.sections.perturbations import NORMS, perturbation_label
from monai_robust.evaluation.statistics.summary import mean_input_norm
from monai_robust.evaluation.tables.baseline import baseline_name
from monai_robust.evaluation.tables.gallery import MOST, Caption, Gallery, spread
from monai_robust.evaluation.tables.run_folder import INFO, Run, check_comparable, read_run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.registry import TaskReport, report_of

__all__ = ["write_report"]

DPI = 170
PIXELS_PER_INCH = 96
PATH_LIKE = re.compile(r"(?<!\S)['\"]?(?:[A-Za-z]:|~|\.{1,2})?[\\/][^\s:;,]*")
NORM_TOLERANCE = 0.01
SKIPPED_COLUMNS = ["run", "file", "reason"]


@dataclass(frozen=True)
class Setting:
    """A setting and its value in every run."""

    name: str
    values: Sequence[str]

    @property
    def shared(self) -> bool:
        return len(set(self.values)) == 1


def write_report(folders: Sequence[str | Path], output: str | Path, *, baseline: str | None = None) -> Path:
    """Write a report on evaluations, from their tables alone.

    The page needs no other file and no network, runs no script, and names neither samples nor patients. All its numbers
    are written to ``<stem of output>_tables/`` as CSV; only ``skipped.csv`` there holds file names.

    Args:
        folders: folders of finished evaluations, in the order in which they are shown; runs of one name are replicates.
        output: the HTML file.
        baseline: name of the runs that the others are compared with
            (:func:`~monai_robust.evaluation.tables.baseline.baseline_name` says which by default).

    Returns:
        The path of the report.

    Raises:
        BadInputError: if a folder is no finished evaluation, the runs cannot be compared, or none of them is the
            baseline.
    """
    output = Path(output)
    if output.is_dir() or output.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"the report is one HTML file, so its name must end in .html, not {output.name!r}")
    runs = [read_run(folder) for folder in folders]
    check_comparable(runs)
    baseline = baseline_name(runs, baseline)
    task_report = _task_report(runs[0])
    for run in runs:
        task_report.check(run)
    frames = {**task_report.frames(runs), **nearest_frames(runs), **training_frames(runs), **sanity_frames(runs)}
    sections = [
        *task_report.sections(runs, frames),
        *nearest_sections(runs, frames),
        *sanity_sections(runs),
        *training_sections(runs, frames),
    ]
    _write_tables(output.with_name(f"{output.stem}_tables"), runs, frames, sections)
    return write_whole(output, _page(runs, baseline, task_report, frames, sections, output.stem).encode())


def _task_report(run: Run) -> TaskReport:
    try:
        return report_of(run.task)
    except BadInputError as error:
        raise BadInputError(f"{run.folder / INFO}: {error}") from None


def _page(
    runs: Sequence[Run],
    baseline: str,
    task_report: TaskReport,
    frames: Mapping[str, pd.DataFrame],
    sections: Sequence[Section],
    stem: str,
) -> str:
    loader = jinja2.PackageLoader("monai_robust.evaluation.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"data_uri": _data_uri, "css_width": _css_width}
    settings = list(_settings(runs))
    return environment.get_template("report.html.j2").render(
        names=_names(runs),
        runs=runs,
        baseline=baseline,
        task=runs[0].task,
        samples=_samples(runs),
        headline=task_report.headline(runs, frames),
        pilot=task_report.pilot(runs, frames),
        caveats=_caveats(runs),
        sections=[*sections, *_gallery_sections(runs)],
        skipped=_skipped_in_words(runs),
        perturbations=_perturbations(runs[0]),
        settings=[one for one in settings if not one.shared],
        shared=[one for one in settings if one.shared],
        glossary=task_report.glossary,
        tables=f"{stem}_tables",
        version=__version__,
    )


def _write_tables(
    folder: Path, runs: Sequence[Run], frames: Mapping[str, pd.DataFrame], sections: Sequence[Section]
) -> None:
    tables = {table.name: table.frame() for section in sections for table in section.tables}
    skipped = [
        {"run": run.name, "file": entry.get("file", ""), "reason": entry.get("reason", "")}
        for run in runs
        for entry in (run.info.get("skipped") or [])
    ]
    tables["skipped"] = pd.DataFrame(skipped, columns=SKIPPED_COLUMNS).drop_duplicates()
    for name, frame in {**frames, **tables}.items():
        stem = re.sub(r"[^\w.-]+", "_", name)
        write_whole(folder / f"{stem}.csv", csv_text(frame).encode())


def _samples(runs: Sequence[Run]) -> str:
    clean = pd.concat([run.clean for run in runs]).drop_duplicates("sample_id")
    known = clean["patient_id"][clean["patient_id"] != ""].nunique()
    patients = f" of {known} patient{'s' * (known != 1)}" if known else ""
    return f"{len(clean)} image{'s' * (len(clean) != 1)}{patients}"


def _caveats(runs: Sequence[Run]) -> list[str]:
    """What limits the results, as sentences."""
    warned = sanity_caveat(runs)
    found = [warned] if warned else []
    kinds = {one.kind for run in runs for one in run.perturbations}
    if "attack" in kinds:
        found.append(
            "A stronger attack may mislead a network where these did not: the true performance under attack is at most "
            "the one shown here."
        )
    if "nearest" in kinds:
        found.append("A smaller change than the nearest one that was found may mislead a network, too.")
    found += [
        f"The results hold for these {_samples(runs)} and say nothing certain about other scanners or hospitals.",
    ]
    single = [name for name in _names(runs) if sum(run.name == name for run in runs) == 1]
    if single:
        found.append(
            f"There is one training run only of {listed(single)}, and so no spread: how far another seed or fold would "
            "differ is unknown."
        )
    if any((run.clean["patient_id"] == "").any() for run in runs):
        found.append("Images without a known patient count as patients of their own; intervals may then be too short.")
    norms = [mean_input_norm(run) for run in runs]
    if max(norms) > (1 + NORM_TOLERANCE) * min(norms):
        found.append(
            f"The runs were shown inputs of different norm (on average {number(min(norms))} to {number(max(norms))}), "
            "so that one radius does not mean the same to all of them."
        )
    if any(run.info.get("skipped") for run in runs):
        found.append("Some samples were skipped; see below.")
    return found


def _gallery_sections(runs: Sequence[Run]) -> list[Section]:
    pictures, kept = [], 0
    for name in _names(runs):
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
    answers = [_answer(one, gallery) for one in gallery.captions[shown]]
    nearest = of_kind([run], "nearest")
    name = shown.partition("@")[0]
    what = "clean" if attack is None else f"under {perturbation_label(name)}{'' if name in nearest else ' attack'}"
    alt = f"Pictures of {len(answers)} samples shown to {run.name}; {what}, {listed(answers)}."
    return Picture(gallery_figure(gallery, attack, nearest), alt, f"Shown to {run.name}.")


def _answer(caption: Caption, gallery: Gallery) -> str:
    if gallery.truth is not None:
        return caption.prediction
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


def _skipped_in_words(runs: Sequence[Run]) -> list[str]:
    """Why samples were skipped, without the file's name, in which a patient's may hide."""
    entries = [
        (str(entry.get("file", "")), str(entry.get("reason", "")))
        for run in runs
        for entry in (run.info.get("skipped") or [])
    ]
    return [_without_file(reason, file) or "no reason was given" for file, reason in dict.fromkeys(entries)]


def _without_file(reason: str, file: str) -> str:
    path = PurePath(file.replace("\\", "/"))
    if path.name:
        reason = re.sub(rf"\S*[\\/].*{re.escape(path.name)}['\"]?", "the file", reason)
    for name in sorted({file, path.name, path.stem} - {""}, key=len, reverse=True):
        reason = re.sub(rf"(?<!\w)['\"]?{re.escape(name)}['\"]?(?!\w)", "the file", reason)
    return PATH_LIKE.sub("the file", reason)


def _perturbations(run: Run) -> list[tuple[str, str, str, str]]:
    """Name, norm, severities and settings of every perturbation but the clean one."""
    rows = []
    for one in run.perturbations:
        if one.kind == CLEAN:
            continue
        settings = ", ".join(f"{name} {value}" for name, value in _flat(one.settings) if name not in ("eps", "search"))
        settings = ", ".join(part for part in (settings, "radii searched" if "search" in one.settings else "") if part)
        severities = ", ".join(number(severity) for severity in one.severities)
        severities = f"up to {severities}" if one.kind == "nearest" else severities
        rows.append(
            (perturbation_label(one.name), NORMS.get(one.norm, one.norm) or MISSING, severities, settings or MISSING)
        )
    return rows


def _settings(runs: Sequence[Run]) -> Iterator[Setting]:
    """Everything ``run.json`` says of how a network was trained and evaluated, row by row."""
    columns = [dict(_flat(_told(run.info))) for run in runs]
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


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested dictionaries as ``outer inner`` and a text; empty ones are left out."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name} {key}".strip())
    elif value not in (None, "", [], ()):
        yield name, _plain(value)


def _plain(value: Any) -> str:
    """A value as text; of a path only its last part, since folders tell of people."""
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(one) for one in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return f"…/{PurePath(text.replace(chr(92), '/')).name}" if PATH_LIKE.fullmatch(text) else text


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.name for run in runs))


def _data_uri(picture: Picture) -> str:
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):  # labels of ticks are made only now
        picture.figure.savefig(buffer, format="png", dpi=DPI)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _css_width(picture: Picture) -> int:
    return round(picture.figure.get_figwidth() * PIXELS_PER_INCH)
