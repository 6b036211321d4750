"""The words of ``python -m monai.bundle run``, read as the configuration's ids take them.

MONAI hands its command line to Fire, which reads a word by its looks: ``false`` is text and so true, a folder 2024 is a
number, a name 1e3 is 1000.0. A bundle's configuration calls :func:`check_command_line` first of all, before anything is
built: it refuses ids that nothing reads, and where Fire read a word as another kind of value than its id takes, it
starts the run again with the value that was meant.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fire
import monai.bundle
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import ensure_tuple

from monai_robust.configuration.ids import check_ids, read_configuration, read_words

__all__ = ["check_command_line", "check_ids_within", "command_line_files", "shown"]

_ARGUMENTS = {
    name
    for function in (monai.bundle.run, ConfigWorkflow.__init__, monai.bundle.run_workflow)
    for name in inspect.signature(function).parameters
}


def check_command_line() -> None:
    """Refuse unknown ids and read the others' words by kind, in a process that ``monai.bundle run`` started.

    Elsewhere, as where Python calls ``monai.bundle.run``, values have their types already, and nothing is done.

    Raises:
        BadInputError: for an id that nothing reads, or a word that is nothing its id takes.
        SystemExit: with status 0, after a run that was started again has ended.
    """
    command = _command()
    if command is None:
        return
    words, settings = _settings(sys.argv[2:])
    configuration, stored = _configuration(settings)
    if configuration is None:
        return
    tracked = "tracking" in settings or "tracking" in stored  # whose own settings are ids of no configuration
    given = {
        name: text for name, text in settings.items() if _is_id(name) and not (tracked and name not in configuration)
    }
    check_ids(configuration, {**{name: value for name, value in stored.items() if _is_id(name)}, **given})
    meant = {name: value for name, value in read_words(configuration, given).items() if not _same(value, given[name])}
    if meant:
        for name, text in settings.items():
            words.append(f"--{name}={shown(meant[name]) if name in meant else text}")
        sys.argv[2:] = words
        fire.Fire(getattr(monai.bundle, command), command=words)
        raise SystemExit(0)


def check_ids_within(*tops: str) -> None:
    """Refuse ids of a process' command line that lie within these at the top and that nothing reads.

    Raises:
        BadInputError: with the id that was probably meant.
    """
    if _command() is None:
        return
    settings = _settings(sys.argv[2:])[1]
    configuration, stored = _configuration(settings)
    given = {name.replace("::", "#"): value for name, value in {**stored, **settings}.items()}
    own = {name: value for name, value in given.items() if name.split("#")[0] in tops}
    if configuration is not None:
        check_ids(configuration, own)


def command_line_files() -> list[str]:
    """The configuration files of a process that ``monai.bundle run`` started, in their order; none in any other."""
    if _command() is None:
        return []
    files = _files(_settings(sys.argv[2:])[1])[0]
    return [] if files is None else [str(file) for file in ensure_tuple(files)]


def _command() -> str | None:
    """``run`` or ``run_workflow`` in a process that ran MONAI's command line with it; None in any other."""
    if Path(sys.argv[0]).parts[-3:] != ("monai", "bundle", "__main__.py") or len(sys.argv) < 2:
        return None
    command = sys.argv[1].replace("-", "_")
    return command if command in ("run", "run_workflow") else None


def _settings(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Words that set nothing, and the texts of those that do by id, divided as Fire divides them."""
    own, words, settings = list(arguments), [], {}
    if "--" in own:  # what follows is for Fire itself
        own = own[: len(own) - 1 - own[::-1].index("--")]
    while own:
        word = own.pop(0)
        if not _is_flag(word):
            words.append(word)
            continue
        name, equals, text = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if equals:
            settings[name] = text
        elif own and not _is_flag(own[0]):
            settings[name] = own.pop(0)
        elif name.startswith("no"):
            settings[name[2:]] = "False"
        else:
            settings[name] = "True"
    return words, settings


def _is_flag(word: str) -> bool:
    return re.match("--|-[a-zA-Z]", word) is not None


def _is_id(name: str) -> bool:
    """Whether it is neither an argument of MONAI's command nor of its metadata, nor added to a list."""
    return name not in _ARGUMENTS and not name.startswith(("_meta_", "+"))


def _configuration(settings: Mapping[str, str]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What the files of a command line hold, and what its file of arguments sets; None without files."""
    files, stored = _files(settings)
    return (None if files is None else read_configuration(ensure_tuple(files))), stored


def _files(settings: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    """The files of a command line, and what its file of arguments sets."""
    stored = ConfigParser.load_config_file(settings["args_file"]) if "args_file" in settings else {}
    files = DefaultParseValue(settings["config_file"]) if "config_file" in settings else stored.get("config_file")
    if isinstance(files, str) and not Path(files).is_file() and "," in files:
        files = files.split(",")
    return files, stored


def _same(value: Any, text: str) -> bool:
    """Whether Fire reads a word as the value that is meant."""
    read = DefaultParseValue(text)
    if isinstance(read, tuple) and isinstance(value, list):
        read = list(read)
    return type(read) is type(value) and read == value and repr(read) == repr(value)


def shown(value: Any) -> str:
    """A value as the word of a command line that both Fire and :func:`check_command_line` read as that value."""
    if isinstance(value, (str, Path)):
        text = str(value)
        return text if text.startswith(("$", "@", "%")) else repr(text)
    return repr(value)
