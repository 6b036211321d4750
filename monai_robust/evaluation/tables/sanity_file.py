"""What sanity checks found of an evaluation, and the file ``sanity.json`` in which it lies beside the outcomes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from monai_robust.data.files.schemas import Name, Rule, one_line
from monai_robust.data.files.side_files import read_fields
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError

__all__ = ["CHECKS", "SANITY", "Finding", "Sanity", "read_sanity", "write_sanity"]

SANITY = "sanity.json"
Status = Literal["pass", "warn", "not_applicable"]

CHECKS: Mapping[str, str] = {
    "loss_grows_with_steps": "A longer search does more harm",
    "loss_grows_with_radius": "A larger change does more harm",
    "succeeds_at_large_radius": "A change without limit defeats the network",
    "black_box_does_not_win": "Guessing does not beat the search",
    "gradients_alive": "The network shows the search a way",
    "start_does_not_win": "The search does the harm, not noise",
    "travels_radius": "The search can go as far as it may",
    "deterministic_network": "The same image gets the same answer",
    "outputs_are_logits": "The outputs are logits",
}
"""What a sound evaluation shows, by the id of the check, in the words of a report."""


# Outside the class, whose annotations are evaluated among its own names.
_Sentence = Annotated[str, Rule("a sentence in one line", lambda text: one_line(text) and len(text) < 2000)]


@dataclass(frozen=True)
class Finding:
    """What one check says of one attack.

    Attributes:
        perturbation: the attack's name in the outcomes table.
        check: one of ``CHECKS``.
        status: ``"pass"``, ``"warn"`` or ``"not_applicable"``.
        sentence: what was seen, with its numbers, or why the check does not apply.
        numbers: those numbers, as primitives.
    """

    perturbation: Name
    check: str
    status: Status
    sentence: _Sentence
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sanity:
    """What all checks say of an evaluation.

    Attributes:
        samples: how many samples were asked for; there may be fewer in the data set.
        findings: one for each attack and check.
    """

    samples: Annotated[int, Rule("a whole number from 0 on", lambda samples: samples >= 0)]
    findings: list[Finding]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == "warn"]


def write_sanity(folder: str | Path, sanity: Sanity) -> Path:
    """Write ``sanity.json`` into a run's folder."""
    text = json.dumps(_plain(asdict(sanity)), indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(Path(folder) / SANITY, f"{text}\n".encode())


def read_sanity(folder: str | Path) -> Sanity | None:
    """The findings in a run's folder, ``None`` where it was not checked.

    Raises:
        BadInputError: for a file that holds something else.
    """
    path = Path(folder) / SANITY
    if not path.exists():
        return None
    try:
        sanity = read_fields(path, Sanity, "record of sanity checks")
    except BadInputError as error:
        raise BadInputError(
            f"{path} is no record of sanity checks ({error}); delete it and start that evaluation again"
        ) from None
    for finding in sanity.findings:
        if finding.check not in CHECKS:
            raise BadInputError(f"{path} holds {finding.check[:60]!r}: {finding.status!r}, which no check of ours says")
    return sanity


def _plain(value: Any) -> Any:
    """``value`` as JSON has it, which knows no NaN: a number that does not exist is null."""
    if isinstance(value, Mapping):
        return {name: _plain(own) for name, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
