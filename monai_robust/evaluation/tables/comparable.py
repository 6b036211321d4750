"""Which finished evaluations may stand side by side in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.run_folder import Run

__all__ = ["check_comparable"]


def check_comparable(runs: Sequence[Run]) -> None:
    """Refuse to compare what cannot be compared.

    All runs must have one task, one list of classes, the same perturbations with the same settings, and be measured on
    the same samples, of which their tables say the same. Replicates may be folds or random splits (other
    ``split_seed``), each with its own test samples; every name then needs the same ones. Samples of another site must
    be the same in all runs.

    Raises:
        BadInputError: in one sentence, for the first difference.
    """
    if not runs:
        raise BadInputError("there is no run to report on; give the folder of at least one evaluation")
    _check_replicates(runs)
    first = runs[0]
    for run in runs[1:]:
        pair = f"{first.folder} and {run.folder} cannot be compared:"
        for what, word in (("task", "tasks"), ("classes", "classes"), ("groups", "groups")):
            ours, theirs = getattr(first, what), getattr(run, what)
            if ours != theirs:
                raise BadInputError(f"{pair} their {word} differ ({ours} and {theirs})")
        if first.labelled != run.labelled:
            raise BadInputError(f"{pair} one was measured with labels, the other without")
        _check_same_perturbations(pair, first, run)
        _check_same_shifts(pair, first, run)
        _check_same_truth(pair, first, run)
    _check_same_samples(runs)


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


def _check_same_shifts(pair: str, first: Run, run: Run) -> None:
    for name, ours in first.shifts.items():
        one, two = (set(shift.clean["sample_id"]) for shift in (ours, run.shifts[name]))
        if one != two:
            raise BadInputError(
                f"{pair} they were shown different samples of {name} ({len(one)} and {len(two)}, {len(one & two)} of "
                "them the same)"
            )


# What a table says of a sample before any network has seen it.
_GIVEN = ("patient_id", "label", "boxes")


def _check_same_truth(pair: str, first: Run, run: Run) -> None:
    """Samples of one id may be others all the same, as where files of two data sets have the same names."""
    ours, theirs = (one.clean.set_index("sample_id") for one in (first, run))
    shared = ours.index.intersection(theirs.index)
    given = [name for name in map(str, ours.columns) if name in _GIVEN or name.startswith("label_")]
    for name in given if first.labelled else _GIVEN[:1]:
        one, two = ours.loc[shared, name], theirs.loc[shared, name]
        other = int(((one != two) & ~(one.isna() & two.isna())).sum())
        if other:
            raise BadInputError(
                f"{pair} {other} of the {len(shared)} samples that both have by id have another {name}, so that they "
                "are other samples, or were read otherwise"
            )


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
