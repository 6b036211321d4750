"""The page of cases beside a report: one image at a time, under every perturbation, in a browser without a network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from monai_robust import __version__
from monai_robust.data.files.csv_cells import csv_text
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.nearest import radii_found
from monai_robust.evaluation.report.searched import is_searched, search_note
from monai_robust.evaluation.sections.parts import number
from monai_robust.evaluation.sections.perturbations import NORMS, perturbation_label
from monai_robust.evaluation.tables.cases import MOST_CASES, TRUTH, read_cases
from monai_robust.evaluation.tables.run_folder import INFO, Perturbation, Run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["LARGEST_PAGE", "cases_path", "write_cases_page"]

LARGEST_PAGE = 30_000_000
"""Bytes of the page."""
_OTHERS = 1_500_000  # of them what is no picture, at most
_MOST_CLASSES = 30
_QUARTERS = (0.25, 0.5, 0.75, 1.0)

Row = Mapping[str, Any]


def cases_path(report: str | Path) -> Path:
    """Where the page of cases stands: ``cases.html`` beside ``report.html``, ``NAME_cases.html`` beside another."""
    report = Path(report)
    return report.with_name("cases.html" if report.stem == "report" else f"{report.stem}_cases.html")


def write_cases_page(runs: Sequence[Run], report: str | Path) -> Path | None:
    """Write the page of cases of some comparable runs, and a table of the samples that its numbers stand for.

    Of the cases that the runs have kept those with the first numbers are shown, as many as make no more than 200 and
    30 MB. The page names neither samples nor patients; ``case_ids.csv`` among the report's tables does.

    Args:
        runs: finished evaluations.
        report: the HTML file of the report.

    Returns:
        The page; None where no run has kept cases, and nothing is written.

    Raises:
        BadInputError: for cases that are damaged, or contradict their table.
    """
    report = Path(report)
    kept = [_kept(run) for run in runs]
    if not any(kept):
        return None
    names = _numbered(runs, kept)
    page = _Page(runs, kept)
    shown = [sample for sample in names if page.take(sample, names[sample])]
    ids = pd.DataFrame(
        [
            {"case": names[sample], "sample_id": sample, "patient_id": patient}
            for sample, patient in _patients(runs, kept).items()
            if sample in names
        ],
        columns=["case", "sample_id", "patient_id"],
    )
    order = {sample: place for place, sample in enumerate(names)}
    ids = ids.sort_values("sample_id", key=lambda column: column.map(order))
    write_whole(report.with_name(f"{report.stem}_tables") / "case_ids.csv", csv_text(ids).encode())
    return write_whole(cases_path(report), _rendered(runs, page, len(names) - len(shown), report).encode())


def _kept(run: Run) -> dict[str, list[Row]]:
    """The rows of each sample that a run has kept, in the order of their numbers."""
    table = read_cases(run.folder)
    found: dict[str, list[Row]] = {}
    for row in [] if table is None else table.to_pylist():
        found.setdefault(row["sample_id"], []).append(row)
    unknown = found.keys() - set(run.clean["sample_id"])
    if unknown - run.failed:
        raise BadInputError(
            f"{run.folder / 'cases.parquet'} holds a sample that is none of the outcomes table; delete it to do "
            "without cases"
        )
    found = {sample: rows for sample, rows in found.items() if sample not in unknown}
    planned = {(one.name, severity) for one in run.applied for severity in one.severities}
    for rows in found.values():
        lacking = planned - {(row["perturbation"], row["severity"]) for row in rows}
        if lacking:
            name, severity = min(lacking)
            raise BadInputError(
                f"{run.folder / 'cases.parquet'} lacks case {rows[0]['case']} under {name} at severity {severity:g}; "
                "delete it to do without cases"
            )
    return found


def _numbered(runs: Sequence[Run], kept: Sequence[Mapping[str, Sequence[Row]]]) -> dict[str, str]:
    """What each case is called: its number, with fold and split where cases of several of them have it; first numbers
    first."""
    numbers: dict[str, tuple[int, tuple[Any, Any]]] = {}
    for run, own in zip(runs, kept, strict=True):
        for sample, rows in own.items():
            numbers.setdefault(sample, (int(rows[0]["case"]), run.split))
    times = Counter(case for case, _ in numbers.values())
    ordered = sorted(numbers, key=lambda sample: (numbers[sample][0], str(numbers[sample][1])))
    named = {}
    for sample in ordered:
        case, split = numbers[sample]
        of = [f"{what} {one}" for what, one in zip(("fold", "split"), split, strict=True) if one is not None]
        named[sample] = str(case) if times[case] == 1 or not of else f"{case} of {', '.join(of)}"
    return named


def _patients(runs: Sequence[Run], kept: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for run, own in zip(runs, kept, strict=True):
        clean = run.clean[run.clean["sample_id"].isin(own.keys())]
        found |= dict(zip(clean["sample_id"], clean["patient_id"], strict=True))
    return found


@dataclass
class _Page:
    """What the page shows, put together case by case."""

    runs: Sequence[Run]
    kept: Sequence[Mapping[str, Sequence[Row]]]
    cases: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._full = False
        self._read = [_Outcomes.of(run, list(own)) for run, own in zip(self.runs, self.kept, strict=True)]

    def take(self, sample: str, name: str) -> bool:
        """Add a case if there is place for it, and for all with lower numbers."""
        rows = [row for own in self.kept for row in own.get(sample, [])]
        new = {content for row in rows for content in (row["picture"], row["mask"])} - self._places.keys()
        added = sum(4 * math.ceil(len(content) / 3) + 3 for content in new)
        full = len(self.cases) >= MOST_CASES or self.size + added > LARGEST_PAGE - _OTHERS
        self._full = self._full or full
        if self._full:
            return False
        self.size += added
        first = next(index for index, own in enumerate(self.kept) if sample in own)
        truth = next((row for row in self.kept[first][sample] if row["perturbation"] == TRUTH), None)
        clean = next(row for row in self.kept[first][sample] if row["perturbation"] == CLEAN)
        self.cases.append(
            {
                "name": name,
                "label": clean["label"],
                "holds": _held(self.runs[first], clean, truth),
                "groups": self._read[first].groups[sample],
                **json.loads(clean["geometry"]),
                "truth": None if truth is None else self._drawn(truth),
                "runs": [
                    self._case(index, sample, own[sample]) if sample in own else None
                    for index, own in enumerate(self.kept)
                ],
            }
        )
        return True

    def _case(self, index: int, sample: str, rows: Sequence[Row]) -> dict[str, Any]:
        """A case in one run: what was shown under each perturbation and severity, and at which it gave way."""
        known = {(row["perturbation"], row["severity"]): row for row in rows}
        read = self._read[index]
        return {
            "shown": [
                [
                    self._shown(known[(one.name, severity)], read.values[(sample, one.name, severity)])
                    for severity in one.rising
                ]
                for one in self.runs[index].applied
            ],
            "gives_way": [read.gives_way(sample, one) for one in self.runs[index].applied],
        }

    def _shown(self, row: Row, values: tuple[float, float]) -> dict[str, Any]:
        score, distance = values
        said = {"says": row["prediction"], "confidence": row["confidence"], "score": _finite(score)}
        return {**self._drawn(row), **said, "distance": _finite(distance)}

    def _drawn(self, row: Row) -> dict[str, Any]:
        drawn = {"picture": self._place(row["picture"]), "low": row["low"], "high": row["high"]}
        return {**drawn, "mask": self._place(row["mask"]), "marks": json.loads(row["marks"] or "null")}

    def _place(self, content: bytes) -> int | None:
        """The place of a picture among those of the page, each of which stands there once."""
        if not content:
            return None
        if content not in self._places:
            self._places[content] = len(self.pictures)
            self.pictures.append(base64.b64encode(content).decode())
        return self._places[content]


@dataclass(frozen=True)
class _Outcomes:
    """What the table of a run says of the cases.

    Attributes:
        run: the run.
        values: score and distance by sample, perturbation and severity.
        groups: of each sample its value in every group column.
        radii: of each search for a smallest radius, by perturbation and sample.
    """

    run: Run
    values: Mapping[tuple[str, str, float], tuple[float, float]]
    groups: Mapping[str, Mapping[str, str]]
    radii: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(cls, run: Run, samples: Sequence[str]) -> _Outcomes:
        rows = run.outcomes[run.outcomes["sample_id"].isin(samples)]
        columns = [rows[name] for name in ("sample_id", "perturbation", "severity", "score", "distance")]
        values = {(a, b, float(c)): (float(d), float(e)) for a, b, c, d, e in zip(*columns, strict=True)}
        clean = rows[rows["perturbation"] == CLEAN].set_index("sample_id")
        groups = {str(sample): {name: str(row[name]) for name in run.groups} for sample, row in clean.iterrows()}
        higher = _higher_is_better(run)
        radii = {}
        for one in run.applied:
            if one.kind == "nearest":
                own = rows[rows["perturbation"] == one.name]
                try:
                    found = radii_found(own, own["sample_id"].map(clean["score"]), one.settings, higher)
                except BadInputError as error:
                    raise BadInputError(f"{run.folder / INFO}, {one.name}: {error}") from None
                radii[one.name] = dict(zip(own["sample_id"], found.astype(float), strict=True))
        return cls(run, values, groups, radii)

    def gives_way(self, sample: str, one: Perturbation) -> dict[str, Any]:
        """At which severity a case gives way: ``place`` of the severity, and ``radius``.

        ``when`` is "" where it does, else ``clean`` (wrong before anything was done), ``never`` or ``unknown``.
        """
        if one.kind == "nearest":
            radius = self.radii[one.name][sample]
            if math.isinf(radius):
                return {"when": "never", "place": None, "radius": None}
            return {"when": "clean" if radius == 0 else "", "place": 0, "radius": radius}
        clean = self.values[(sample, CLEAN, 0.0)][0]
        if one.kind == CLEAN or math.isnan(clean):
            return {"when": "unknown", "place": None, "radius": None}
        if self.run.task == "classification" and clean == 0:
            return {"when": "clean", "place": None, "radius": 0.0}
        limit = _limit(self.run, clean)
        if limit is None:
            return {"when": "unknown", "place": None, "radius": None}
        for place, severity in enumerate(one.rising):
            score = self.values[(sample, one.name, severity)][0]
            if score < limit if _higher_is_better(self.run) else score > limit:
                return {"when": "", "place": place, "radius": severity}
        return {"when": "never", "place": None, "radius": None}


def _limit(run: Run, clean: float) -> float | None:
    """The score beyond which a case has given way: wrong for a class, else half as good as when clean."""
    if run.task == "classification":
        return 0.5
    return None if clean <= 0 else clean / 2 if _higher_is_better(run) else 2 * clean


def _rule(run: Run) -> str:
    """What giving way is, as a sentence."""
    score = (run.info.get("score") or {}).get("name", "score")
    if not run.labelled:
        return (
            "The images have no labels: what stands as label or truth is the network's answer for the image as it is."
        )
    if run.task == "classification":
        return "A case gives way at the smallest listed severity at which a right prediction has become a wrong one."
    how = "below half of" if _higher_is_better(run) else "above twice"
    return f"A case gives way at the smallest listed severity at which its {score} is {how} what it was when clean."


def _held(run: Run, clean: Row, truth: Row | None) -> list[str]:
    """Names of the classes that a case holds, or its label."""
    if truth is None or not (truth["mask"] or truth["marks"]):
        return [clean["label"]] if clean["label"] else []
    if truth["mask"]:
        indices = [int(value) - 1 for value in np.unique(np.asarray(Image.open(io.BytesIO(truth["mask"])))) if value]
    else:
        indices = sorted({int(one["class"]) for one in json.loads(truth["marks"])})
    return [run.classes[index] for index in indices if index < len(run.classes)]


def _rendered(runs: Sequence[Run], page: _Page, left_out: int, report: Path) -> str:
    loader = jinja2.PackageLoader("monai_robust.evaluation.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = loader.get_source(environment, "cases.js")[0]
    first = runs[0]
    score = first.info.get("score") or {}
    held = sorted({name for case in page.cases for name in case["holds"]})
    data = {
        "task": first.task,
        "score": str(score.get("name", "score")),
        "percent": first.task == "classification",
        "classes": first.classes,
        "held": held if 1 < len(held) <= _MOST_CLASSES else [],
        "groups": {name: sorted({case["groups"][name] for case in page.cases}) for name in first.groups},
        "runs": _run_names(runs),
        "perturbations": [_perturbation(first, one) for one in first.applied],
        "cases": page.cases,
        "pictures": page.pictures,
    }
    return environment.get_template("cases.html.j2").render(
        names=list(dict.fromkeys(run.name for run in runs)),
        task=first.task,
        data=Markup(_inside_script(data)),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        rule=_rule(first),
        searched=search_note([perturbation_label(one.name) for one in first.applied if is_searched(one)]),
        left_out=left_out,
        count=len(page.cases),
        report=report.name,
        tables=f"{report.stem}_tables",
        version=__version__,
    )


def _inside_script(data: Any) -> str:
    """JSON in which nothing can end the element that holds it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _run_names(runs: Sequence[Run]) -> list[str]:
    """Names that differ: with seed, fold and split where several runs have one name."""
    times = Counter(run.name for run in runs)
    named = []
    for place, run in enumerate(runs, 1):
        about = dict(zip(("seed", "fold", "split"), (run.info.get("seed"), *run.split), strict=True))
        parts = [f"{key} {one}" for key, one in about.items() if one is not None]
        name = run.name if times[run.name] == 1 else ", ".join([run.name, *parts])
        named.append(name if name not in named else f"{name} ({place})")
    return named


def _perturbation(run: Run, one: Perturbation) -> dict[str, Any]:
    radius = bool(one.norm)
    return {
        "label": "Clean" if one.kind == CLEAN else perturbation_label(one.name),
        "kind": one.kind,
        "unit": f"radius ({NORMS.get(one.norm, one.norm)})" if radius else "severity",
        "severities": [number(severity) for severity in one.rising],
        "within": list(_within(run, one)),
    }


def _within(run: Run, one: Perturbation) -> Iterator[dict[str, Any]]:
    """Limits by which cases can be chosen: the severities, of a search for the smallest radius those of an attack."""
    if one.kind != "nearest":
        yield from ({"text": number(severity), "place": place} for place, severity in enumerate(one.rising))
        return
    high = one.severities[0]
    attacks = [other for other in run.perturbations if other.kind == "attack" and other.norm == one.norm]
    radii = [radius for radius in attacks[0].rising if radius < high] if attacks else []
    yield from (
        {"text": number(radius), "radius": radius}
        for radius in ([*radii, high] if radii else [high * share for share in _QUARTERS])
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _higher_is_better(run: Run) -> bool:
    return bool((run.info.get("score") or {}).get("higher_is_better", True))
