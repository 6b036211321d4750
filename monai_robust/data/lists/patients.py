"""Whose a sample is: the columns that say so, one spelling of each patient, and samples of which nobody says it."""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.lists.spellings import NOTHING, heard
from monai_robust.errors import BadInputError

__all__ = ["is_patient_column", "patient_text", "patients_of", "places_of", "with_patient_id"]

_logger = logging.getLogger(__name__)

_COLUMNS = ("patient", "patientid", "subject", "subjectid")
_NOBODY = NOTHING | {"anonymous", "anonymized", "anonymised", "anon", "unk"}
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_ZEROS = re.compile(r"^0+(?=\d+$)")


def is_patient_column(name: str) -> bool:
    """Whether a column, or a key of an entry, tells whose a sample is.

    >>> [is_patient_column(name) for name in ("patient_id", "PatientID", "Subject-ID", "patient", "patient_age")]
    [True, True, True, True, False]
    """
    return re.sub(r"[\s_-]", "", name.casefold()) in _COLUMNS


def with_patient_id(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """An entry of a JSON list, with what tells whose it is under ``patient_id``, however its key is spelt.

    Raises:
        BadInputError: there are two such keys.
    """
    keys = [str(key) for key in entry if is_patient_column(str(key))]
    if len(keys) > 1:
        raise BadInputError(f"{where} has {keys[0]!r} and {keys[1]!r}, which both say whose it is; keep one")
    return {"patient_id" if str(key) in keys else str(key): value for key, value in entry.items()}


def patient_text(value: Any) -> str | None:
    """A patient as text, "" for a word that stands for nobody, None for what can be no id: 7, 7.0 and " 7" are one.

    >>> [patient_text(value) for value in (7, 7.0, " 7.0 ", "P7", "n/a", "Anonymous", None, [7])]
    ['7', '7', '7', 'P7', '', '', '', None]
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = unicodedata.normalize("NFC", str(value)).strip()
    whole = _WHOLE.fullmatch(text)
    text = whole.group(1) if whole else text
    return "" if text.casefold() in _NOBODY else text


def patients_of(
    given: Iterable[Any] | None, own: Sequence[str], source: Path | str, places: Sequence[str], what: str = "samples"
) -> list[str]:
    """The patient of each sample; one of which nobody says whose it is counts as a patient of its own.

    Args:
        given: what the list says of each, or None where it says nothing of any.
        own: names of the samples.
        source: the list, for messages.
        places: where each stands in it, for messages, which name no patient.
        what: samples are called.

    Raises:
        BadInputError: for what can be no id, and for a patient that is spelt in two ways (in case, with zeros in front,
            in how Unicode composes it), whose samples could come to lie in two splits.
    """
    if given is None:
        return list(own)
    ids = []
    for value, place in zip(given, places, strict=True):
        text = patient_text(value)
        if text is None:
            raise BadInputError(
                f"{source}, {place}: the patient_id is a {type(value).__name__}; it takes a name or number"
            )
        ids.append(text)
    _refuse_two_spellings(ids, source, places)
    unnamed = ids.count("")
    if unnamed:
        _logger.warning(
            "%d of %d %s of %s name no patient, so each of them is taken for a patient of its own",
            *(unnamed, len(ids), what, source),
        )
    return [one or name for one, name in zip(ids, own, strict=True)]


def places_of(table: pd.DataFrame) -> list[str]:
    """Where each row of a table stands: ``line 2`` of a file, or ``entry 1`` of a list."""
    if table.index.name == "line":
        return [f"line {line}" for line in table.index]
    return [f"entry {place}" for place in range(1, len(table) + 1)]


def _refuse_two_spellings(ids: Sequence[str], source: Path | str, places: Sequence[str]) -> None:
    known: dict[str, tuple[str, str]] = {}
    for name, place in zip(ids, places, strict=True):
        spelt, first = known.setdefault(_ZEROS.sub("", heard(name)) if name else "", (name, place))
        if spelt != name:
            raise BadInputError(
                f"{source} spells one patient in two ways, in {first} and in {place} (capitals, zeros in front or "
                "blanks differ), which would divide its images between splits; write both alike, or give two patients "
                "ids that differ otherwise"
            )
