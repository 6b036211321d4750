"""A finished evaluation: a folder with what was measured (the outcomes table) and how (``run.json``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.data.files.schemas import Line, Name, Rule, checked, fields_of
from monai_robust.data.files.side_files import read_object
from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.gallery import Gallery, read_gallery
from monai_robust.evaluation.tables.metrics_file import OwnMetrics, read_metrics
from monai_robust.evaluation.tables.outcomes import read_outcomes
from monai_robust.evaluation.tables.sanity_file import Sanity, read_sanity
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["Perturbation", "Run", "check_shift_names", "read_failed", "read_run", "write_run_info"]

OUTCOMES = "outcomes.csv"
INFO = "run.json"
GALLERY = "gallery.npz"
VALIDATION = "validation"
SHIFTS = "shifts"
SHIFT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
REQUIRED = ("name", "task", "perturbations")


class _Score(TypedDict, total=False):
    name: Line
    higher_is_better: bool


class _Checkpoint(TypedDict, total=False):
    file: Line
    sha256: Line


class _Skipped(TypedDict, total=False):
    file: str
    reason: str


class _Failed(TypedDict):
    sample_id: str
    perturbation: Name
    severity: float
    reason: str


class _Info(TypedDict, total=False):
    """What ``run.json`` holds, ``perturbations`` apart; what is not listed here is shown and nothing more."""

    name: Name
    task: Name
    labelled: bool
    recipe: Name | None
    seed: int | None
    fold: int | None
    classes: list[Name]
    groups: Annotated[list[Name], Rule("a list of different names", lambda names: len(set(names)) == len(names))]
    score: _Score | None
    settings: dict[str, Any] | None
    units: dict[str, Any] | None
    versions: dict[str, Any] | None
    data: dict[str, Any] | None
    checkpoint: _Checkpoint | None
    weights_sha256: Line | None
    skipped: list[_Skipped] | None
    failed: list[_Failed] | None
    machine: Line | None
    started: Line | None
    finished: Line | None


@dataclass(frozen=True)
class Perturbation:
    """What was done to the inputs.

    Attributes:
        name: its name in the outcomes table.
        kind: ``clean``, ``attack``, ``corruption``, ``nearest``, or ``shift``: nothing was done, but other samples
            were shown, such as those of another site.
        norm: the norm of its severities, "" where they are no radii.
        severities: the ones that were evaluated; of ``nearest`` the largest radius that was looked at.
        settings: whatever else defines it, such as the number of steps.
    """

    name: Name
    kind: Literal["clean", "attack", "corruption", "nearest", "shift"]
    severities: Annotated[tuple[float, ...], Rule("a list of one or more numbers", lambda found: len(found) > 0)]
    norm: Line = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def rising(self) -> tuple[float, ...]:
        """The severities from the smallest change to the largest: radii by their size, all others as they are listed
        (contrast falls with its factor)."""
        return tuple(sorted(self.severities)) if self.kind == "attack" else self.severities

    def differs_from(self, other: Perturbation) -> str:
        """The first thing in which two perturbations of one name differ, "" if they are the same."""
        for what in ("kind", "norm", "severities"):
            if getattr(self, what) != getattr(other, what):
                return what
        # an attack's own radius is not used: its severities are
        names = sorted((self.settings.keys() | other.settings.keys()) - {"eps"})
        return next((name for name in names if self.settings.get(name) != other.settings.get(name)), "")


@dataclass(frozen=True, eq=False)
class Run:
    """One network's evaluation, as read from its folder by :func:`read_run`.

    Attributes:
        folder: where it lies.
        info: ``run.json``.
        outcomes: the outcomes table, from :func:`~monai_robust.evaluation.tables.outcomes.read_outcomes`, and behind it
            the clean rows of ``shifts``, whose perturbation is their name.
        perturbations: what was evaluated, the clean inputs first, shifts last.
        gallery: pictures of a few samples, if any were kept.
        sanity: what sanity checks found, if they were made.
        metrics: what an evaluator's own metrics say, if it has any.
        validation: the same network on the validation split, clean at least, if that was measured: what operating
            points are fitted on.
        shifts: the same network on samples of other sites or scanners, clean, by the name of each.
    """

    folder: Path
    info: Mapping[str, Any]
    outcomes: pd.DataFrame
    perturbations: tuple[Perturbation, ...]
    gallery: Gallery | None = None
    sanity: Sanity | None = None
    metrics: OwnMetrics | None = None
    validation: Run | None = None
    shifts: Mapping[str, Run] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The label in tables and figures; runs of one name are replicates (seeds or folds)."""
        return str(self.info["name"])

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.info["task"])

    @property
    def labelled(self) -> bool:
        """Whether the truth was known; else the network's own answer for each sample as it is stands in its place."""
        return bool(self.info.get("labelled", True))

    @property
    def classes(self) -> list[str]:
        """Names of classes, findings or landmarks, in the order of their indices."""
        return [str(name) for name in self.info.get("classes") or []]

    @property
    def groups(self) -> list[str]:
        """Columns that reports show numbers within."""
        return list(self.info.get("groups") or [])

    @property
    def failed(self) -> frozenset[str]:
        """Ids of the samples on which something failed; they are not among the outcomes."""
        return frozenset(one["sample_id"] for one in self.info.get("failed") or [])

    @property
    def split(self) -> tuple[Any, Any]:
        """Fold and seed of the division into training and test samples; None where that is not known."""
        return self.info.get("fold"), (self.info.get("settings") or {}).get("split_seed")

    @property
    def applied(self) -> tuple[Perturbation, ...]:
        """What was done to the run's own samples: its perturbations without shifts."""
        return tuple(one for one in self.perturbations if one.kind != "shift")

    @property
    def clean(self) -> pd.DataFrame:
        """The rows of clean inputs."""
        return self.outcomes[self.outcomes["perturbation"] == CLEAN]

    @property
    def names_patients(self) -> bool:
        """Whether patients are told from images: data lists call a patient as the image where nothing names any."""
        return bool((self.clean["patient_id"] != self.clean["sample_id"]).any())

    @cached_property
    def places(self) -> Mapping[tuple[str, float], NDArray[np.intp]]:
        """Where the rows of each perturbation and severity are in the table."""
        groups = self.outcomes.groupby(["perturbation", "severity"], sort=False)
        indices: Any = groups.indices
        return {(str(name), float(severity)): np.asarray(own) for (name, severity), own in indices.items()}

    @cached_property
    def patients(self) -> NDArray[np.intp]:
        """(N,) a number for the patient of each row, in the order of their names; a sample whose patient is unknown
        counts as a patient of its own."""
        samples, patients = (pd.factorize(self.outcomes[name])[0] for name in ("sample_id", "patient_id"))
        named = (self.outcomes["patient_id"] != "").to_numpy(dtype=bool)
        codes, first, member = np.unique(
            np.where(named, patients, -1 - samples), return_index=True, return_inverse=True
        )
        keys = self.outcomes[["sample_id", "patient_id"]].iloc[first].astype(str)
        names = [f"patient {patient}" if patient else f"sample {sample}" for sample, patient in keys.to_numpy()]
        ranks = np.empty(len(codes), dtype=np.intp)
        ranks[np.argsort(np.array(names, dtype=str), kind="stable")] = np.arange(len(codes))
        return np.asarray(ranks[member.reshape(-1)])


def read_run(folder: str | Path) -> Run:
    """Read a finished evaluation.

    Raises:
        BadInputError: if a file is missing or malformed, or the evaluation is not finished.
    """
    folder = Path(folder)
    info = _read_info(folder / INFO)
    failed = info.get("failed") or []
    outcomes = read_outcomes(folder, info.get("groups") or [], {one["sample_id"] for one in failed})
    info["skipped"] = [*(info.get("skipped") or []), *map(_as_skipped, failed)]
    perturbations = _perturbations(folder / INFO, info["perturbations"])
    classes = info.get("classes") or []
    if len(set(classes)) < len(classes):
        raise BadInputError(f"{folder / INFO} lists a class twice; each needs a name of its own")
    _check_complete(folder / OUTCOMES, outcomes, perturbations)
    _check_constant(folder / OUTCOMES, outcomes, ["patient_id", *(info.get("groups") or []), "label"])
    gallery = read_gallery(folder / GALLERY) if (folder / GALLERY).exists() else None
    run = Run(folder, info, outcomes, perturbations, gallery, read_sanity(folder), read_metrics(folder))
    if (folder / VALIDATION).exists():
        run = replace(run, validation=_read_validation(run))
    return _with_shifts(run) if (folder / SHIFTS).is_dir() else run


def check_shift_names(names: Iterable[str], perturbations: Iterable[str]) -> None:
    """Refuse names of shifts that are no names of folders, or are those of perturbations.

    Raises:
        BadInputError: with the first.
    """
    taken = {CLEAN, *perturbations}
    for name in names:
        if not isinstance(name, str) or not SHIFT_NAME.fullmatch(name):
            raise BadInputError(
                f"a shift is named {name!r}; its name is that of a folder, of letters, digits, _ and -, such as site_b"
            )
        if name in taken:
            raise BadInputError(f"a shift is named {name}, as a perturbation is; give it another name, such as site_b")


def _with_shifts(run: Run) -> Run:
    """A run with the rows of the other sites within its folder.

    Raises:
        BadInputError: for one that is not finished, or of another task, classes or network, or of samples of the run.
    """
    folders = sorted(one for one in (run.folder / SHIFTS).iterdir() if one.is_dir() and not one.name.startswith("."))
    check_shift_names([one.name for one in folders], [one.name for one in run.perturbations])
    shifts = {one.name: _read_shift(run, one) for one in folders}
    added, rows, skipped = [], [run.outcomes], list(run.info["skipped"])
    for name, found in shifts.items():
        lacking = {group: np.nan for group in run.groups if group not in found.clean}
        rows.append(found.clean.assign(perturbation=name, **lacking).reindex(columns=run.outcomes.columns))
        seen = {"samples": len(found.clean), "patients": len(np.unique(found.patients))}
        added.append(Perturbation(name, "shift", (0.0,), settings=seen))
        skipped += found.info["skipped"]
    return replace(
        run,
        info={**run.info, "skipped": skipped},
        outcomes=pd.concat(rows, ignore_index=True),
        perturbations=(*run.perturbations, *added),
        shifts=shifts,
    )


def _read_shift(run: Run, folder: Path) -> Run:
    found = read_run(folder)
    _check_alike(run, found, "other site")
    units = [(one.info.get("settings") or {}).get("distance_unit") for one in (run, found)]
    if units[0] != units[1]:
        raise BadInputError(
            f"{found.folder} is no other site of {run.folder}: distances are in {units[1]} there and in {units[0]} "
            "here; give both data sets their spacing, or remove the folder"
        )
    for where, other in (("", run), (" for validation", run.validation)):
        both = len(set(other.clean["sample_id"]) & set(found.clean["sample_id"])) if other is not None else 0
        if both:
            raise BadInputError(
                f"{found.folder} holds {both} of the samples of {run.folder}{where}, and another site has samples of "
                "its own; measure others, or remove the folder"
            )
    return found


def _check_alike(run: Run, found: Run, what: str) -> None:
    """Refuse a run within a run's folder that is of another task, classes or network."""
    for key in ("task", "classes", "weights_sha256"):
        ours, theirs = run.info.get(key), found.info.get(key)
        if ours != theirs:
            raise BadInputError(
                f"{found.folder} is no {what} of {run.folder}: their {key} differ ({ours} and {theirs}); measure "
                "it again, or remove the folder"
            )


def _read_validation(run: Run) -> Run:
    """The run of the validation split within a run's folder.

    Raises:
        BadInputError: for one that is not finished, or of another task, classes or network, or of the same samples.
    """
    found = read_run(run.folder / VALIDATION)
    _check_alike(run, found, "validation")
    both = len(set(run.clean["sample_id"]) & set(found.clean["sample_id"]))
    if both:
        raise BadInputError(
            f"{found.folder} holds {both} of the samples of {run.folder}, and nothing may be fitted on the samples "
            "that it is applied to; measure other samples for validation, or remove the folder"
        )
    return found


def read_failed(info: Mapping[str, Any], path: str | Path) -> list[dict[str, Any]]:
    """The samples that failed, as ``run.json`` lists them.

    Raises:
        BadInputError: for a list of another kind.
    """
    return checked(list[_Failed], info.get("failed") or [], str(path), "failed")


def write_run_info(folder: str | Path, info: Mapping[str, Any]) -> Path:
    """Write ``run.json`` into a run's folder."""
    text = json.dumps(info, indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(Path(folder) / INFO, f"{text}\n".encode())


def _read_info(path: Path) -> dict[str, Any]:
    if not path.exists():
        if path.parent.is_file():
            raise BadInputError(f"{path.parent} is a file; name the folder of an evaluation, such as {path.parents[1]}")
        inside = sorted(str(one.parent) for one in path.parent.glob(f"*/{INFO}"))
        found = f"; there are {', '.join(inside[:5])}" if inside else ""
        raise BadInputError(f"there is no {path}; is this the folder of an evaluation?{found}")
    info = read_object(path, "record of an evaluation")
    missing = [key for key in REQUIRED if not info.get(key)]
    if missing:
        raise BadInputError(f"{path} lacks {', '.join(missing)}")
    return fields_of(_Info, info, str(path))


def _as_skipped(failed: _Failed) -> _Skipped:
    where = f"{failed['perturbation']} at severity {failed['severity']:g}"
    return {"file": failed["sample_id"], "reason": f"it failed under {where}: {failed['reason']}"}


def _perturbations(path: Path, entries: Sequence[Any]) -> tuple[Perturbation, ...]:
    found = checked(tuple[Perturbation, ...], entries, str(path), "perturbations")
    names = [one.name for one in found]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise BadInputError(f"{path} lists two perturbations {twice!r}; every one needs a name of its own")
    shift = next((one.name for one in found if one.kind == "shift"), None)
    if shift is not None:
        raise BadInputError(f"{path} lists the shift {shift!r}; samples of another site stand in {SHIFTS}/{shift}")
    for one in found:
        if len(set(one.severities)) < len(one.severities):
            raise BadInputError(f"{path} lists a severity of {one.name} twice; each is one block of the table")
        if one.kind == "attack" and not all(severity > 0 for severity in one.severities):
            raise BadInputError(f"{path} lists the attack {one.name} at a radius that is not above 0; that is 'clean'")
    return found


def _check_complete(path: Path, outcomes: pd.DataFrame, perturbations: Sequence[Perturbation]) -> None:
    blocks: dict[Any, int] = outcomes.groupby(["perturbation", "severity"], sort=False).size().to_dict()
    samples = outcomes["sample_id"].nunique()
    planned = [(one.name, severity) for one in perturbations for severity in one.severities]
    if (CLEAN, 0.0) not in planned:
        raise BadInputError(
            f"{path.with_name(INFO)} lists no perturbation 'clean' at severity 0; nothing to compare with"
        )
    for name, severity in planned:
        count = blocks.pop((name, severity), 0)
        if count < samples:
            raise BadInputError(
                f"{path} holds {count} of {samples} samples for {name} at severity {severity:g}; "
                "start that evaluation again and it continues"
            )
    for name, severity in blocks:
        raise BadInputError(f"{path} holds {name} at severity {severity:g}, which {INFO} beside it does not list")


def _check_constant(path: Path, outcomes: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a sample that has another patient, group or class under one perturbation than under another."""
    for name in columns:
        if name not in outcomes:
            continue
        kinds = outcomes.drop_duplicates(["sample_id", name])
        twice = kinds[kinds.duplicated("sample_id")]
        if len(twice):
            row = twice.iloc[0]
            raise BadInputError(
                f"{path} contradicts itself: {name} of a sample is {str(row[name])[:60]!r} under {row['perturbation']} "
                f"at severity {row['severity']:g}, and something else elsewhere"
            )
