"""Measure a bundle that has no configuration for it, by words of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from monai_robust.commands.words import from_here
from monai_robust.configuration import check_ids, read_words
from monai_robust.errors import BadInputError
from monai_robust.evaluation.of_bundle import ForeignEvaluation, measure_pipeline
from monai_robust.pipelines import Pipeline

__all__ = ["has_own_evaluation", "measure_foreign"]

# What others call the options of a measurement.
_OTHER_WORDS = {"eps": "radii", "epsilon": "radii", "radius": "radii", "steps": "attack_steps"}


def has_own_evaluation(bundle: str | Path) -> bool:
    """Whether a bundle has a ``robustness`` configuration, which says itself how it is measured."""
    configs = Path(bundle) / "configs"
    return any((configs / f"robustness{suffix}").is_file() for suffix in (".yaml", ".yml", ".json"))


def measure_foreign(
    bundle: str | Path,
    checkpoint: str | Path | None,
    output_dir: str | Path,
    words: Mapping[str, str],
    config_files: Sequence[str | Path] = (),
    *,
    model: str | None = None,
) -> Path:
    """Measure a checkpoint of any supervised bundle, or a model in place of its network, by its own evaluator.

    Args:
        bundle: its folder.
        checkpoint: the trained weights; None with a model.
        output_dir: the run's folder.
        words: fields of :class:`ForeignEvaluation` as text, lists with commas between; all
            others are ids of the bundle's configuration.
        config_files: the bundle's files that train, where there are several trainings.
        model: a file of ONNX or TorchScript, or ``package.module:function``.

    Returns:
        ``output_dir``.

    Raises:
        BadInputError: for a bundle that cannot be measured so, an id that nothing reads, or a value that is none.
    """
    if "config_file" in words:
        words = dict(words)
        config_files = [*config_files, *_listed(words.pop("config_file"))]
    own = {name: word for name, word in words.items() if name in ForeignEvaluation.__dataclass_fields__}
    settings = ForeignEvaluation(**{name: _value(name, word) for name, word in own.items()})
    pipeline = Pipeline.read(bundle, config_files)
    ids = {name: word for name, word in words.items() if name not in own}
    if ids:
        files = pipeline.folder.evaluation or pipeline.folder.training
        configuration = pipeline.configuration(files)
        for name, word in ids.items():
            _check_id(configuration, name, word)
        pipeline = Pipeline(pipeline.folder, read_words(configuration, {n: from_here(w) for n, w in ids.items()}))
    return measure_pipeline(pipeline, checkpoint, output_dir, settings, model=model)


def _check_id(configuration: Mapping[str, Any], name: str, word: str) -> None:
    """Refuse an option that neither the measurement nor the bundle has, with the one that was probably meant."""
    try:
        check_ids(configuration, {name: word})
    except BadInputError as error:
        own = list(ForeignEvaluation.__dataclass_fields__)
        close = get_close_matches(name.lower(), [*own, *_OTHER_WORDS], n=1)
        if close:
            meant = _OTHER_WORDS.get(close[0], close[0])
            what = "no option of the measurement and no id of the bundle's configuration"
            raise BadInputError(f"--{name} is {what}; did you mean --{meant}?") from error
        known = ", ".join(f"--{one}" for one in own)
        raise BadInputError(f"{error}; of the measurement itself there are {known}") from error


def _value(name: str, word: str) -> Any:
    """A field of :class:`ForeignEvaluation` from the word that was given for it."""
    default = getattr(ForeignEvaluation(), name)
    try:
        if isinstance(default, tuple):
            parts = _listed(word)
            return tuple(int(part) for part in parts) if name == "channels" else tuple(parts)
        if isinstance(default, bool):
            return {"true": True, "false": False}[word.lower()]
        if isinstance(default, float):
            return float(word)
        return int(word) if isinstance(default, int) or name in ("attack_steps", "queries") else word
    except (KeyError, ValueError):
        kinds = {bool: "true or false", float: "a number"}
        what = "indices of channels, such as 0,1" if name == "channels" else kinds.get(type(default), "a whole number")
        raise BadInputError(f"--{name} is {word!r}; it must be {what}") from None


def _listed(word: str) -> list[str]:
    """The parts of a list with commas between."""
    return [part.strip().strip("'\"") for part in word.strip("[]() ").split(",") if part.strip()]
