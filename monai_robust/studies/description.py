"""A study's configuration file: data sets, arms and replicates, and the settings that each training and evaluation has.

Settings are ids of a bundle's configuration. They stand in layers of which the later win: the study's own, the data
set's, the arm's, the arm's on that data set, and the same four of the preset that was chosen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from monai_robust.errors import BadInputError, require_choice
from monai_robust.studies.keys import (
    check_adequate,
    check_claim,
    check_standard,
    check_table,
    mapping,
    require_known,
    with_keys,
)

__all__ = ["WEIGHTS", "Arm", "DataSet", "Replicate", "Study", "read_study"]

WEIGHTS = "model.pt"
"""The file of a training's weights."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_LAYER = ("common", "training", "evaluation")
_STUDY = {"title", "source", "notes", "sets", "arms", "replicates", "presets", "tables", "claims", "adequate", *_LAYER}
_SET = {
    "title", "bundle", "folder", "made", "phantoms", "presets", "list", "arms", "settings_of_arms", "standard", *_LAYER,
}  # fmt: skip
_ARM = {"title", "from", *_LAYER}
_PRESET = {
    "summary", "remarks", "sets", "arms", "replicates", "replicates_of_arms", "titles", "presets", "settings_of_sets",
    "settings_of_arms", *_LAYER,
}  # fmt: skip
_REPLICATES = {"seeds", "folds", "split_seeds"}
_MADE = ("digits",)
_PHANTOMS = ("radiographs", "volumes", "cephalograms", "smears")


@dataclass(frozen=True)
class Layer:
    """Settings of trainings and evaluations; those in common go into both."""

    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any], where: str) -> Layer:
        """The layer that a part of a study's file has."""
        parts = {name: mapping(content.get(name), f"{where}: {name}") for name in _LAYER}
        return cls({**parts["common"], **parts["training"]}, {**parts["common"], **parts["evaluation"]})


@dataclass(frozen=True)
class DataSet:
    """A data set of a study.

    Attributes:
        name: in folders and tables.
        title: what a reader calls it.
        bundle: whose configurations train and evaluate on it.
        folder: its name in the folder of data sets; empty where there is only a phantom of it.
        made: what makes it, where no folder is needed: ``digits`` (:mod:`monai_robust.studies.digits`), or nothing.
        phantoms: the kind of phantoms that stands for it.
        presets: configuration files of the bundle (``configs/presets``) that are read after its own.
        list: options of ``monai-robust datalist``, where its own list is not the study's; None for its own list.
        arms: names of the arms that are trained on it.
        standard: ``arm``, ``statistic`` and ``at_least`` (or ``at_most``) of the clean score without which its tables
            are pilots.
        layer, layers_of_arms: its own settings, and those of arms on it.
    """

    name: str
    title: str
    bundle: str
    folder: str
    phantoms: str
    presets: tuple[str, ...]
    list: Mapping[str, Any] | None
    arms: tuple[str, ...]
    standard: Mapping[str, Any] | None
    layer: Layer
    layers_of_arms: Mapping[str, Layer]
    made: str = ""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: in folders.
        title: in tables.
        printed: its title where a preset of other radii, say, calls it otherwise: that of the paper's own row.
        files: ids that take a file of another arm's training on the same data set and in the same replicate, as arm and
            name of the file; its weights are ``model.pt``.
        layer: its settings.
    """

    name: str
    title: str
    files: Mapping[str, tuple[str, str]]
    layer: Layer
    printed: str = ""


@dataclass(frozen=True, order=True)
class Replicate:
    """One of the trainings of an arm: of a seed, of a fold, or of a draw of the splits."""

    seed: int = 0
    fold: int | None = None
    split_seed: int | None = None

    @property
    def name(self) -> str:
        """Its folder, such as ``fold1-seed0``."""
        parts = {"split": self.split_seed, "fold": self.fold, "seed": self.seed}
        return "-".join(f"{name}{value}" for name, value in parts.items() if value is not None)

    @property
    def settings(self) -> dict[str, Any]:
        """The ids that make it."""
        found: dict[str, Any] = {"seed": self.seed, "fold": self.fold, "split_seed": self.split_seed}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Study:
    """A study by one preset.

    Attributes:
        name: of its file.
        preset: that was chosen.
        summary: what the preset is, in a line.
        title, source, notes: for its page.
        remarks: at the end of its page, what was made of the numbers of this preset.
        sets, arms: by name; those that are run.
        all_sets, all_arms: by name; those of the page, on which what is not run is marked.
        replicates: of an arm on every data set.
        own_replicates: of arms that have others, by name, such as one seed of what was only screened.
        tables: by name, what its page shows, see :mod:`monai_robust.studies.tables`.
        claims: see :mod:`monai_robust.studies.claims`; each names its table.
        adequate: see :mod:`monai_robust.studies.adequate`.
    """

    name: str
    preset: str
    summary: str
    title: str
    source: str
    notes: str
    remarks: str
    sets: Mapping[str, DataSet]
    arms: Mapping[str, Arm]
    all_sets: Mapping[str, DataSet]
    all_arms: Mapping[str, Arm]
    replicates: Sequence[Replicate]
    own_replicates: Mapping[str, Sequence[Replicate]]
    tables: Mapping[str, Mapping[str, Any]]
    claims: Sequence[Mapping[str, Any]]
    adequate: Mapping[str, Any]
    layer: Layer
    preset_layer: Layer
    preset_sets: Mapping[str, Layer]
    preset_arms: Mapping[str, Layer]

    def replicates_of(self, arm: Arm) -> Sequence[Replicate]:
        """Those that an arm is trained in."""
        return self.own_replicates.get(arm.name, self.replicates)

    @property
    def runs(self) -> list[tuple[DataSet, Arm, Replicate]]:
        """Every training of the page, each of which is evaluated."""
        return [
            (dataset, arm, replicate)
            for dataset in self.all_sets.values()
            for arm in self.all_arms.values()
            if arm.name in dataset.arms
            for replicate in self.replicates_of(arm)
        ]

    def training(self, dataset: DataSet, arm: Arm, replicate: Replicate) -> dict[str, Any]:
        """Ids of a training and their values, without paths of data, weights and results."""
        return {**self._merged("training", dataset, arm), **replicate.settings}

    def evaluation(self, dataset: DataSet, arm: Arm, replicate: Replicate) -> dict[str, Any]:
        """Ids of an evaluation and their values, likewise."""
        return {**self._merged("evaluation", dataset, arm), "seed": replicate.seed, "name": arm.title}

    def _merged(self, part: str, dataset: DataSet, arm: Arm) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for layer in (
            self.layer,
            dataset.layer,
            arm.layer,
            dataset.layers_of_arms.get(arm.name, Layer()),
            self.preset_layer,
            self.preset_sets.get(dataset.name, Layer()),
            self.preset_arms.get(arm.name, Layer()),
        ):
            merged |= getattr(layer, part)
        return merged


def read_study(path: str | Path, preset: str, sets: Sequence[str] = (), arms: Sequence[str] = ()) -> Study:
    """Read a study's file.

    Args:
        path: of the YAML file.
        preset: one of its presets.
        sets: names of data sets, in place of the preset's.
        arms: names of arms, in place of the preset's.

    Raises:
        BadInputError: for a file, a name or a key that there is none of, with those there are.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(f"the study {path} cannot be read: {error}") from error
    content = with_keys(content, _STUDY, str(path))
    for name in ("title", "sets", "arms", "presets"):
        if not content.get(name):
            raise BadInputError(f"the study {path} has no {name}; write them down")
    presets = mapping(content["presets"], f"{path}: presets")
    require_choice("--preset", preset, list(presets))
    chosen = with_keys(presets[preset], _PRESET, f"{path}: preset {preset}")
    all_arms = {
        name: _arm(name, one, f"{path}: arm {name}") for name, one in _named(content["arms"], f"{path}: arms").items()
    }
    for name, title in mapping(chosen.get("titles"), f"{path}: titles").items():
        require_choice(f"{path}: title of the arm", name, list(all_arms))
        all_arms[name] = replace(all_arms[name], title=str(title), printed=all_arms[name].title)
    twice = Counter(arm.title for arm in all_arms.values()).most_common(1)
    if twice and twice[0][1] > 1:
        raise BadInputError(f"{path}: two arms have the title {twice[0][0]!r}, by which tables tell them apart")
    named = _named(content["sets"], f"{path}: sets")
    found = {name: _data_set(name, one, chosen, all_arms, f"{path}: set {name}") for name, one in named.items()}
    wanted_sets = _chosen("set", sets or chosen.get("sets") or list(found), found, path)
    wanted_arms = _chosen("arm", arms or chosen.get("arms") or list(all_arms), all_arms, path)
    wanted_arms = _with_those_they_need([name for name in all_arms if name in wanted_arms], all_arms)
    replicates = _replicates(chosen.get("replicates", content.get("replicates")), f"{path}: replicates")
    own_replicates = _own_replicates(chosen.get("replicates_of_arms"), replicates, all_arms, path)
    tables = {
        name: check_table(table, found, all_arms, f"{path}: table {name}")
        for name, table in _named(content.get("tables"), f"{path}: tables").items()
    }
    claims = [check_claim(claim, found, all_arms, tables, str(path)) for claim in content.get("claims") or []]
    adequate = check_adequate(content.get("adequate"), all_arms, tables, f"{path}: adequate")
    return Study(
        name=path.stem,
        preset=preset,
        summary=str(chosen.get("summary", "")),
        title=str(content["title"]),
        source=str(content.get("source", "")),
        notes=str(content.get("notes", "")),
        remarks=str(chosen.get("remarks", "")),
        sets={name: found[name] for name in wanted_sets},
        arms={name: all_arms[name] for name in wanted_arms},
        all_sets=found,
        all_arms=all_arms,
        replicates=replicates,
        own_replicates=own_replicates,
        tables=tables,
        claims=claims,
        adequate=adequate,
        layer=Layer.of(content, str(path)),
        preset_layer=Layer.of(chosen, f"{path}: preset {preset}"),
        preset_sets=_layers(chosen.get("settings_of_sets"), list(found), "set", path),
        preset_arms=_layers(chosen.get("settings_of_arms"), list(all_arms), "arm", path),
    )


def _data_set(name: str, content: Any, preset: Mapping[str, Any], arms: Mapping[str, Arm], where: str) -> DataSet:
    content = with_keys(content, _SET, where)
    if "bundle" not in content:
        raise BadInputError(f"{where} names no bundle")
    require_choice(f"{where}: phantoms", content.get("phantoms"), _PHANTOMS)
    if "made" in content:
        require_choice(f"{where}: made", content["made"], _MADE)
    own = list(content.get("arms") or arms)
    require_known(where, "arm", own, arms)
    files = preset.get("presets", content.get("presets")) or []
    return DataSet(
        name,
        str(content.get("title", name)),
        str(content["bundle"]),
        str(content.get("folder", "")),
        str(content["phantoms"]),
        tuple(map(str, files)),
        content.get("list"),
        tuple(own),
        check_standard(content.get("standard"), arms, where),
        Layer.of(content, where),
        _layers(content.get("settings_of_arms"), list(arms), "arm", where),
        str(content.get("made", "")),
    )


def _arm(name: str, content: Any, where: str) -> Arm:
    content = with_keys(content or {}, _ARM, where)
    files = {id_: _file(str(source)) for id_, source in mapping(content.get("from"), where).items()}
    return Arm(name, str(content.get("title", name)), files, Layer.of(content, where))


def _file(source: str) -> tuple[str, str]:
    """Arm and file: ``erm`` means its weights, ``erm/margins.csv`` another file of its training."""
    arm, _, file = source.partition("/")
    return arm, file or WEIGHTS


def _layers(content: Any, names: Sequence[str], what: str, where: object) -> dict[str, Layer]:
    found = {}
    for name, one in mapping(content, f"{where}: settings_of_{what}s").items():
        require_choice(f"{where}: settings of the {what}", name, names)
        found[name] = Layer.of(with_keys(one, set(_LAYER), f"{where}: {what} {name}"), f"{where}: {what} {name}")
    return found


def _with_those_they_need(names: Sequence[str], arms: Mapping[str, Arm]) -> list[str]:
    """The arms, and before them those whose weights they take."""
    found: list[str] = []
    for name in names:
        for needed, _ in arms[name].files.values():
            if needed not in arms:
                raise BadInputError(f"the arm {name!r} takes the weights of {needed!r}, which there is none of")
            found += [] if needed in found else _with_those_they_need([needed], arms)
        found += [] if name in found else [name]
    return list(dict.fromkeys(found))


def _replicates(content: Any, where: str) -> list[Replicate]:
    content = with_keys({} if content is None else content, _REPLICATES, where)
    for name, values in content.items():
        if not isinstance(values, list) or not values or not all(type(one) is int for one in values):
            raise BadInputError(f"{where}: {name} is {values!r}; it takes a list of whole numbers")
        if len(set(values)) < len(values):
            raise BadInputError(f"{where}: {name} is {values!r}, which has one twice; leave it out")
    draws = content.get("split_seeds") or [None]
    folds = content.get("folds") or [None]
    return [Replicate(seed, fold, draw) for seed in content.get("seeds") or [0] for fold in folds for draw in draws]


def _own_replicates(
    content: Any, others: Sequence[Replicate], arms: Mapping[str, Arm], path: Path
) -> dict[str, list[Replicate]]:
    """Replicates of single arms, each of which finds the weights that it takes."""
    found = {}
    for name, one in mapping(content, f"{path}: replicates_of_arms").items():
        require_choice(f"{path}: replicates of the arm", name, list(arms))
        found[name] = _replicates(one, f"{path}: replicates of the arm {name}")
    for name, arm in arms.items():
        for needed, _ in arm.files.values():
            missing = [one for one in found.get(name, others) if one not in found.get(needed, others)]
            if missing:
                raise BadInputError(
                    f"{path}: the arm {name!r} takes the weights of {needed!r}, which has no replicate "
                    f"{missing[0].name}; give it that one too"
                )
    return found


def _chosen(what: str, names: Sequence[str], known: Mapping[str, Any], path: Path) -> list[str]:
    for name in names:
        if name not in known:
            raise BadInputError(f"the study {path} has no {what} {name!r}; it has {', '.join(known)}")
    return list(names)


def _named(content: Any, where: str) -> dict[str, Any]:
    found = mapping(content, where)
    odd = next((name for name in found if not _NAME.fullmatch(name)), None)
    if odd is not None:
        raise BadInputError(f"{where}: {odd!r} is to be the name of a folder; use small letters, digits, - and _")
    return found
