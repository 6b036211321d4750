"""Which of the files in a bundle's folder train it, and which evaluate it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from monai.engines import Evaluator, Trainer

from monai_robust.configuration.components import Component, components
from monai_robust.configuration.macros import expanded
from monai_robust.errors import BadInputError, in_one_line
from monai_robust.pipelines.place import inside

__all__ = ["BundleFolder", "Metadata"]

_SUFFIXES = (".json", ".yaml", ".yml")
_LARGEST = 2_000_000  # bytes; what is larger is a data list
_OTHER_WORK = re.compile(r"eval|infer|valid|test")
_SEVERAL_GPUS = ("multi_gpu", "multigpu", "ddp")


@dataclass(frozen=True)
class Metadata:
    """What a bundle's ``metadata.json`` says, if it says anything.

    Attributes:
        content: as it stands there; empty without one.
        problem: why it could not be read, as one sentence, or None.
    """

    content: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def packages(self) -> dict[str, str]:
        """The packages a bundle asks for, and their versions."""
        names = ("required_packages_version", "optional_packages_version")
        listed = [self.content.get(name) for name in names]
        return {str(key): str(value) for one in listed if isinstance(one, Mapping) for key, value in one.items()}

    def channels(self) -> list[str]:
        """Names of the channels of the first output, in their order; none where it names none."""
        described = self.content.get("network_data_format")
        outputs = described.get("outputs") if isinstance(described, Mapping) else None
        first = next(iter(outputs.values()), None) if isinstance(outputs, Mapping) else None
        named = first.get("channel_def") if isinstance(first, Mapping) else None
        if not isinstance(named, Mapping) or not all(str(key).isdigit() for key in named):
            return []
        return [str(named[key]) for key in sorted(named, key=lambda key: int(str(key)))]

    def missing_packages(self) -> str | None:
        """A sentence about packages that the bundle asks for and that are not installed, with the line that does it;
        None where all are."""
        missing = [(name, version) for name, version in self.packages.items() if not _installed(name)]
        if not missing:
            return None
        names, line = ", ".join(name for name, _ in missing), " ".join(f"{name}=={one}" for name, one in missing)
        return f"the bundle's metadata asks for {names}, which this environment lacks; pip install {line}"

    def image_format(self) -> tuple[str, Mapping[str, Any]] | None:
        """Name and description of the first input that is an image."""
        described = self.content.get("network_data_format")
        inputs = described.get("inputs") if isinstance(described, Mapping) else None
        for name, one in inputs.items() if isinstance(inputs, Mapping) else ():
            if isinstance(one, Mapping):
                return str(name), one
        return None


@dataclass(frozen=True)
class BundleFolder:
    """A bundle's folder and its configuration files, by what they are for.

    Attributes:
        path: the folder, absolute.
        training: files that train, in the order of a ``--config_file`` list; none where nothing trains.
        evaluation: files that evaluate, in that order; none where nothing does.
        several_gpus: files that change a training or an evaluation to one on several GPUs.
        others: the other configuration files, such as for inference.
        metadata: what the bundle says of itself.
    """

    path: Path
    training: tuple[Path, ...]
    evaluation: tuple[Path, ...]
    several_gpus: tuple[Path, ...]
    others: tuple[Path, ...]
    metadata: Metadata

    @classmethod
    def read(cls, folder: str | Path, config_files: Sequence[str | Path] = ()) -> BundleFolder:
        """Look into a folder.

        Args:
            folder: the bundle's, with its configurations in ``configs`` or by themselves.
            config_files: files that train, in their order, where the folder has several trainings.

        Raises:
            BadInputError: for no folder, one without configurations, a damaged one, or several trainings to choose
                from.
        """
        path = Path(folder)
        if not path.is_dir():
            raise BadInputError(f"there is no folder {folder}; name the folder of a MONAI bundle")
        path = path.resolve()
        configs = path / "configs" if (path / "configs").is_dir() else path
        with inside(path):  # where the files are that macros name
            contents = dict(_configurations(configs))
        if not contents:
            raise BadInputError(
                f"{folder} is no MONAI bundle: neither it nor its folder configs holds a configuration file (JSON or "
                "YAML) with components"
            )
        given = tuple(_given(one, path) for one in config_files)
        several = tuple(one for one in contents if one.stem.startswith(_SEVERAL_GPUS) or "multi_gpu" in one.stem)
        single = {one: content for one, content in contents.items() if one not in several}
        with inside(path):  # whose own modules engines may come from
            training = given or _training(folder, single)
            evaluation = _evaluation(single, training)
        used = {*training, *evaluation, *several}
        others = tuple(one for one in contents if one not in used)
        return cls(path, training, evaluation, several, others, _metadata(configs))

    @property
    def measures_itself(self) -> bool:
        """Whether it has a configuration ``robustness``, which says how ``monai-robust evaluate`` measures it."""
        return any(one.stem == "robustness" for one in self.others)

    @property
    def trains_on_several(self) -> tuple[Path, ...]:
        """The files that make the training one in several processes."""
        return tuple(one for one in self.several_gpus if not _OTHER_WORK.search(one.stem)) if self.training else ()

    @property
    def measuring(self) -> tuple[Path, ...]:
        """The files whose ids can be set where it is measured."""
        own = tuple(one for one in self.others if one.stem == "robustness")
        return (*self.training, *own) if own else self.evaluation or self.training

    def shown(self, files: Sequence[Path]) -> list[str]:
        """Files as they are named from within the folder."""
        return [_relative(one, self.path) for one in files]


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _given(file: str | Path, folder: Path) -> Path:
    for one in (Path(file), folder / file, folder / "configs" / file):
        if one.is_file():
            return one.resolve()
    raise BadInputError(f"there is no configuration file {file}, neither here nor in {folder}")


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def _configurations(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Files of a folder that hold components, and what they hold, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.suffix not in _SUFFIXES or not path.is_file() or path.stem.startswith("metadata"):
            continue
        if path.stat().st_size > _LARGEST:
            continue
        try:
            text = path.read_text()
            content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        except (UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
            raise BadInputError(f"{path} cannot be read as {path.suffix[1:].upper()}: {error}") from error
        if isinstance(content, Mapping) and (_changes(content) or next(components(content), None) is not None):
            named = {str(key): value for key, value in content.items()}
            with suppress(Exception):  # of a macro that names what another file has
                named = expanded(named)
            yield path, named


def _changes(content: Mapping[Any, Any]) -> bool:
    """Whether a file changes ids of another one, or runs something."""
    return any("#" in str(key) or "::" in str(key) or str(key) == "run" for key in content)


def _engines(content: Mapping[str, Any], *kinds: type) -> list[Component]:
    """Engines of a file, also those whose class cannot be imported, by their names."""
    suffixes = tuple(kind.__name__ for kind in kinds)
    made = [one for one in components(content) if not one.disabled]
    return [one for one in made if one.is_a(*kinds) or one.name.endswith(suffixes)]


def _training(folder: str | Path, contents: Mapping[Path, Mapping[str, Any]]) -> tuple[Path, ...]:
    able = [path for path, content in contents.items() if _engines(content, Trainer)]
    usual = [path for path in able if path.stem == "train"]
    if len(usual) == 1:
        return (usual[0],)
    if len(able) > 1:
        names = ", ".join(path.name for path in able)
        raise BadInputError(f"{folder} has several trainings ({names}); name one by --config_file")
    return tuple(able)


def _evaluation(contents: Mapping[Path, Mapping[str, Any]], training: tuple[Path, ...]) -> tuple[Path, ...]:
    """``evaluate``, by itself where it has an evaluator of its own, else after the training's files; else those, where
    they hold an evaluator; else an inference."""
    named = {path.stem: path for path in contents}
    evaluate = next((named[name] for name in ("evaluate", "evaluation", "eval", "validate") if name in named), None)
    if evaluate is not None and evaluate not in training:
        alone = bool(_engines(contents[evaluate], Evaluator)) and not _changes_others(contents[evaluate])
        return (evaluate,) if alone else (*training, evaluate)
    if any(_engines(contents[path], Evaluator) for path in training if path in contents):
        return training
    inference = named.get("inference")
    return (inference,) if inference is not None and _engines(contents[inference], Evaluator) else ()


def _changes_others(content: Mapping[str, Any]) -> bool:
    tops = {key for key in content if "#" not in key and "::" not in key}
    return any(key.replace("::", "#").split("#")[0].removeprefix("+") not in tops for key in content)


def _metadata(folder: Path) -> Metadata:
    path = next(
        (folder / f"metadata{suffix}" for suffix in _SUFFIXES if (folder / f"metadata{suffix}").is_file()), None
    )
    if path is None:
        return Metadata(problem="the bundle has no metadata.json, so that nothing is known of what its channels are")
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        return Metadata(problem=in_one_line(f"{path.name} cannot be read and is left out: {error}"))
    if not isinstance(content, Mapping):
        return Metadata(problem=f"{path.name} holds no names and values and is left out")
    return Metadata(content)
