"""What a reader must know of attacks whose radii were searched, beside every table and figure that is about one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from monai_robust.evaluation.measure.perturbations import SEARCHED
from monai_robust.evaluation.sections.parts import Picture, ReportTable, Section, listed
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.run_folder import Perturbation, Run

__all__ = ["is_searched", "search_note", "with_search_notes"]


def is_searched(one: Perturbation) -> bool:
    """Whether the radii of an attack were searched."""
    return one.kind == "attack" and one.settings.get("search") == SEARCHED


def search_note(attacks: Sequence[str], *, again: bool = False) -> str:
    """What the numbers of these attacks are, "" without any.

    Args:
        attacks: labels.
        again: whether it is only recalled, where the whole note stands at the verdict.
    """
    if not attacks:
        return ""
    if again:
        return f"{listed(attacks)}: radii were searched, see the note to the verdict."
    return (
        f"{listed(attacks)}: radii were searched; from its first success on, an image is shown as that success at "
        "every larger radius, which is no attack's worst, so that probabilities look better than they are. --faithful "
        "true of evaluate, AttackSweep(faithful=True) in a script, attacks anew at each radius."
    )


def with_search_notes(sections: Sequence[Section], runs: Sequence[Run], *, again: bool = True) -> list[Section]:
    """The sections, with a note at each table and figure that names an attack whose radii were searched.

    Args:
        sections: of a report.
        runs: that it is about.
        again: whether the whole note stands elsewhere, at the verdict.
    """
    labels = [perturbation_label(one.name) for one in runs[0].perturbations if is_searched(one)]
    if not labels:
        return list(sections)

    def note(texts: Sequence[str]) -> str:
        words = " ".join(texts)
        named = [label for label in labels if re.search(rf"(?<!\w){re.escape(label)}", words)]
        return search_note(named, again=again)

    def table(one: ReportTable) -> ReportTable:
        cells = [text for stub, values in one.rows for text in (*stub, *values) if isinstance(text, str)]
        return replace(one, note=_joined(one.note, note([one.title, one.note, *one.stub, *one.headers, *cells])))

    def picture(one: Picture) -> Picture:
        return replace(one, caption=_joined(one.caption, note([one.alt, one.caption])))

    return [
        replace(section, tables=list(map(table, section.tables)), pictures=list(map(picture, section.pictures)))
        for section in sections
    ]


def _joined(*texts: str) -> str:
    return " ".join(filter(None, texts))
