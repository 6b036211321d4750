"""A robustness card: what an evaluation found, in Markdown, in the manner of a model card, and within a bundle.

Source of the sections: Mitchell et al. 2019, Model Cards for Model Reporting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_robust import __version__
from monai_robust.data.files.side_files import read_object
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.report.contents import Contents
from monai_robust.evaluation.sections.parts import MISSING, ReportTable, listed

__all__ = ["robustness_card", "write_card", "write_card_into_bundle"]

BEGIN, END = "<!-- robustness card: written by monai-robust, do not edit -->", "<!-- end of robustness card -->"
KEY = "robustness"
_USE = (
    "The numbers tell how these networks answered to these images, as they are and changed in these ways. They do not "
    "tell whether a network may be used on patients: that is for its makers and for those who are liable to say."
)


def robustness_card(folders: Sequence[str | Path], *, baseline: str | None = None) -> str:
    """The card of evaluations, Markdown that names neither samples nor patients.

    Args:
        folders: of finished evaluations.
        baseline: as of a report.

    Raises:
        BadInputError: as of a report.
    """
    return _card(Contents.read(folders, baseline=baseline))


def write_card(folders: Sequence[str | Path], output: str | Path, *, baseline: str | None = None) -> Path:
    """Write the card of evaluations to a Markdown file.

    Args:
        folders: of finished evaluations.
        output: the file, ``.md``.
        baseline: as of a report.

    Raises:
        BadInputError: as of a report, and for a file with another ending.
    """
    output = Path(output)
    if output.suffix.lower() != ".md":
        raise BadInputError(f"the card is Markdown, so its name must end in .md, not {output.name!r}")
    return write_whole(output, robustness_card(folders, baseline=baseline).encode())


def write_card_into_bundle(
    folders: Sequence[str | Path], bundle: str | Path, *, baseline: str | None = None
) -> list[Path]:
    """Write the card into a bundle: its numbers to ``metadata.json``, key ``robustness``, and its text to the README.

    What stands there already is left as it is but for an older card, which is replaced.

    Args:
        folders: of finished evaluations.
        bundle: its folder.
        baseline: as of a report.

    Returns:
        The files that were written.

    Raises:
        BadInputError: as of a report, and for a folder without ``configs/metadata.json``.
    """
    metadata, readme = Path(bundle) / "configs" / "metadata.json", Path(bundle) / "docs" / "README.md"
    if not metadata.exists():
        raise BadInputError(f"there is no {metadata}; a card is written into the folder of a bundle")
    found = Contents.read(folders, baseline=baseline)
    told = read_object(metadata, "metadata of a bundle")
    text = json.dumps({**told, KEY: _numbers(found)}, indent=2, ensure_ascii=False, allow_nan=False)
    card = _card(found).replace("# Robustness card", "## Robustness card", 1).replace("\n## ", "\n### ")
    card = card.replace("### Robustness card", "## Robustness card", 1)
    before = readme.read_text(encoding="utf-8") if readme.exists() else ""
    return [
        write_whole(metadata, f"{text}\n".encode()),
        write_whole(readme, _with_card(before, card).encode()),
    ]


def _card(found: Contents) -> str:
    runs, style = found.runs, found.style
    lines = [
        "# Robustness card",
        "",
        f"**Networks.** {_networks(found)}",
        "",
        f"**Task.** {runs[0].task.replace('_', ' ')}"
        + (f" ({', '.join(runs[0].classes)})" if runs[0].classes else "")
        + f", judged by {style.name}{f' in {style.unit}' if style.unit else ''}"
        + ("." if style.higher_is_better else ", of which less is better."),
        "",
        f"**Images.** {found.samples}.",
        "",
        f"**Use.** {_USE}",
        "",
        "## Results",
        "",
        *[line for sentence in found.headline for line in (sentence, "")],
        *_markdown(found.verdict.tables[0]),
        f"{found.verdict.text}",
        "",
    ]
    if found.pilot:
        lines += [f"**Pilot.** {found.pilot}.", ""]
    lines += ["## What limits them", "", *[f"- {caveat}" for caveat in found.caveats], ""]
    lines += ["## How it was measured", "", *_perturbations(found), ""]
    lines += [f"Made by monai-robust {__version__} from finished evaluations; not a medical device.", ""]
    return "\n".join(lines)


def _with_card(text: str, card: str) -> str:
    """A README with this card in the place of an older one, or at its end."""
    block = f"{BEGIN}\n{card.strip()}\n{END}\n"
    start, end = text.find(BEGIN), text.find(END)
    if start < 0 or end < start:
        return f"{text.rstrip()}\n\n{block}" if text.strip() else block
    return text[:start] + block + text[end + len(END) :].lstrip("\n")


def _networks(found: Contents) -> str:
    parts = []
    for name in found.names:
        runs = [run for run in found.runs if run.name == name]
        recipe = runs[0].info.get("recipe")
        seeds = f", {len(runs)} runs" if len(runs) > 1 else ""
        parts.append(f"{name}{f' (trained by {recipe})' if recipe and recipe != name else ''}{seeds}")
    return f"{listed(parts)}."


def _perturbations(found: Contents) -> list[str]:
    lines = []
    for name, norm, severities, settings in found.perturbations:
        of_norm = f", {norm} norm" if norm != MISSING else ""
        lines.append(f"- {name}{of_norm}: {severities}" + (f" ({settings})" if settings != MISSING else ""))
    return lines or ["- clean images alone"]


def _markdown(table: ReportTable) -> list[str]:
    """A table as Markdown, intervals in brackets."""
    header = [*table.stub, *table.headers]
    lines = ["| " + " | ".join(map(_cell, header)) + " |", "|" + " --- |" * len(header)]
    for stub, cells in table.cells():
        numbers = [f"{mean} ({interval})" if interval else mean for mean, interval in cells]
        lines.append("| " + " | ".join(map(_cell, [*stub, *numbers])) + " |")
    return [*lines, "", *([table.note, ""] if table.note else [])]


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _numbers(found: Contents) -> dict[str, Any]:
    """What goes into a bundle's metadata: the verdict as numbers, and where it comes from."""
    summary = found.machine_summary
    kept = ("version", "monai_robust", "task", "measure", "baseline", "pilot", "caveats", "runs", "perturbations")
    frames = {name: summary["frames"][name] for name in ("breaking_radii",) if name in summary["frames"]}
    clean = [row for row in summary["frames"].get("means_over_severities", []) if row["group"] == ""]
    column = found.style.column
    scores = [
        {"name": row["name"], "perturbation": row["perturbation"], column: row.get(column, row.get("score"))}
        for row in clean
    ]
    return {**{key: summary[key] for key in kept}, "means_over_severities": scores, **frames}
