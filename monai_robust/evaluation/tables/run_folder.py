"""A finished evaluation: a folder with what was measured (the outcomes table) and how (``run.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

__all__ = ["Perturbation", "Run", "check_comparable", "read_failed", "read_run", "write_run_info"]

OUTCOMES = "outcomes.csv"
INFO = "run.json"
GALLERY = "gallery.npz"
VALIDATION = "validation"
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
        kind: ``clean``, ``attack``, ``corruption`` or ``nearest``.
        norm: the norm of its severities, "" where they are no radii.
        severities: the ones that were evaluated; of ``nearest`` the largest radius that was looked at.
        settings: whatever else defines it, such as the number of steps.
    """

    name: Name
    kind: Literal["clean", "attack", "corruption", "nearest"]
    severities: Annotated[tuple[float, ...], Rule("a list of one or more numbers", lambda found: len(found) > 0)]
    norm: Line = ""
    settings: dict[str, Any] = field(default_factory=dict)

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
        outcomes: the outcomes table, from :func:`~monai_robust.evaluation.tables.outcomes.read_outcomes`.
        perturbations: what was evaluated, the clean inputs first.
        gallery: pictures of a few samples, if any were kept.
        sanity: what sanity checks found, if they were made.
        metrics: what an evaluator's own metrics say, if it has any.
        validation: the same network on the validation split, clean at least, if that was measured: what operating
            points are fitted on.
    """

    folder: Path
    info: Mapping[str, Any]
    outcomes: pd.DataFrame
    perturbations: tuple[Perturbation, ...]
    gallery: Gallery | None = None
    sanity: Sanity | None = None
    metrics: OwnMetrics | None = None
    validation: Run | None = None

    @property
    def name(self) -> str:
        """The label in tables and figures; runs of one name are replicates (seeds or folds)."""
        return str(self.info["name"])

    @property
    def task(self) -> str:
        return str(self.info["task"])

    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self.info.get("classes") or []]

    @property
    def groups(self) -> list[str]:
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
    def clean(self) -> pd.DataFrame:
        return self.outcomes[self.outcomes["perturbation"] == CLEAN]

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
    _check_complete(folder / OUTCOMES, outcomes, perturbations)
    _check_constant(folder / OUTCOMES, outcomes, ["patient_id", *(info.get("groups") or []), "label"])
    gallery = read_gallery(folder / GALLERY) if (folder / GALLERY).exists() else None
    run = Run(folder, info, outcomes, perturbations, gallery, read_sanity(folder), read_metrics(folder))
    return replace(run, validation=_read_validation(run)) if (folder / VALIDATION).exists() else run


def _read_validation(run: Run) -> Run:
    """The run of the validation split within a run's folder.

    Raises:
        BadInputError: for one that is not finished, or of another task, classes or network, or of the same samples.
    """
    found = read_run(run.folder / VALIDATION)
    for what in ("task", "classes", "weights_sha256"):
        ours, theirs = run.info.get(what), found.info.get(what)
        if ours != theirs:
            raise BadInputError(
                f"{found.folder} is no validation of {run.folder}: their {what} differ ({ours} and {theirs}); measure "
                "it again, or remove the folder"
            )
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


def check_comparable(runs: Sequence[Run]) -> None:
    """Refuse to compare what cannot be compared.

    All runs must have one task, one list of classes, the same perturbations with the same settings, and be measured on
    the same samples. Replicates may be folds or random splits (other ``split_seed``), each with its own test samples;
    every name then needs the same ones.

    Raises:
        BadInputError: in one sentence, for the first difference.
    """
    if not runs:
        raise BadInputError("there is no run to report on; give the folder of at least one evaluation")
    _check_replicates(runs)
    first = runs[0]
    for run in runs[1:]:
        pair = f"{first.folder} and {run.folder} cannot be compared:"
        for what in ("task", "classes", "groups"):
            ours, theirs = getattr(first, what), getattr(run, what)
            if ours != theirs:
                raise BadInputError(f"{pair} their {what} differ ({ours} and {theirs})")
        _check_same_perturbations(pair, first, run)
    _check_same_samples(runs)


def _read_info(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise BadInputError(f"there is no {path}; is this the folder of an evaluation?")
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


# What may differ between replicates of one training: its seed, its split or fold, and how it was evaluated.
_REPLICATE = frozenset({"seed", "fold", "split_seed", "evaluation_seed", "batch_size"})


def _changed_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in (first.keys() | second.keys()) - _REPLICATE if first.get(name) != second.get(name))


def _check_replicates(runs: Sequence[Run]) -> None:
    """Two looks at one network are no two training runs; their spread would be a false one."""
    recipes: dict[str, Run] = {}
    networks: dict[tuple[str, str], Run] = {}
    for run in runs:
        other = recipes.setdefault(run.name, run)
        if other.info.get("recipe") != run.info.get("recipe"):
            raise BadInputError(
                f"{other.folder} and {run.folder} are both named {run.name!r} but were trained by different recipes "
                f"({other.info.get('recipe')} and {run.info.get('recipe')}); give them different names"
            )
        changed = _changed_settings(other.info.get("settings") or {}, run.info.get("settings") or {})
        if changed:
            raise BadInputError(
                f"{other.folder} and {run.folder} are both named {run.name!r} but differ in {', '.join(changed)}, so "
                "they are no replicates; measure one of them under another name"
            )
        checkpoint = run.info.get("checkpoint") or {}
        network = run.info.get("weights_sha256") or checkpoint.get("sha256") or str(run.folder.resolve())
        other = networks.setdefault((run.name, network), run)
        if other is not run:
            raise BadInputError(
                f"{other.folder} and {run.folder} are evaluations of one and the same network; give only one of them"
            )


def _check_same_perturbations(pair: str, first: Run, run: Run) -> None:
    ours = {one.name: one for one in first.perturbations}
    theirs = {one.name: one for one in run.perturbations}
    for name in sorted(ours.keys() ^ theirs.keys()):
        raise BadInputError(f"{pair} only one of them evaluated {name}")
    for name, one in ours.items():
        difference = one.differs_from(theirs[name])
        if difference:
            raise BadInputError(f"{pair} they evaluated {name} with different {difference}")


def _check_same_samples(runs: Sequence[Run]) -> None:
    by_name: dict[str, dict[frozenset[str], Run]] = {}
    by_split: dict[Any, tuple[frozenset[str], Run]] = {}
    for run in runs:
        samples = frozenset(run.clean["sample_id"])
        by_name.setdefault(run.name, {}).setdefault(samples, run)
        known, other = by_split.setdefault(run.split, (samples, run))
        if known != samples:
            raise BadInputError(
                f"{other.folder} and {run.folder} cannot be compared: they were measured on different samples "
                f"({len(known)} and {len(samples)}, {len(known & samples)} of them the same)"
            )
    names = list(by_name)
    for name in names[1:]:
        if by_name[name].keys() != by_name[names[0]].keys():
            raise BadInputError(
                f"{names[0]} and {name} cannot be compared: they were not measured on the same folds or splits"
            )
