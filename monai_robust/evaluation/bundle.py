"""Run a bundle's own robustness configuration on a checkpoint."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, run

from monai_robust.data import read_record
from monai_robust.data.schemas import as_data
from monai_robust.errors import BadInputError

__all__ = ["bundle_configs", "measure_bundle", "run_bundle"]


def bundle_configs(bundle: str | Path, *names: str) -> list[str]:
    """Paths of a bundle's configurations by name, whether YAML or JSON.

    Raises:
        BadInputError: when the folder is no bundle, or lacks one of them.
    """
    folder = Path(bundle) / "configs"
    if not folder.is_dir():
        raise BadInputError(f"{bundle} is no bundle: it has no folder configs")
    found = []
    for name in names:
        paths = [
            folder / f"{name}{suffix}"
            for suffix in (".yaml", ".yml", ".json")
            if (folder / f"{name}{suffix}").is_file()
        ]
        if not paths:
            have = ", ".join(sorted(path.name for path in folder.iterdir()))
            raise BadInputError(f"{bundle} has no configuration {name!r}; configs holds {have}")
        found.append(str(paths[0]))
    return found


def run_bundle(bundle: str | Path, configs: Sequence[str], settings: Mapping[str, Any]) -> None:
    """``python -m monai.bundle run`` of a bundle's configurations in a process of its own, as a user would start it.

    Raises:
        BadInputError: when the run failed; it said why itself.
    """
    bundle = Path(bundle)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(bundle_configs(bundle, *configs))]
    command += ["--bundle_root", str(bundle)]
    logging = bundle / "configs" / "logging.conf"
    command += ["--logging_file", str(logging)] if logging.is_file() else []
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    status = subprocess.run(command, env={**os.environ, "PYTHONWARNINGS": "ignore"}, check=False).returncode
    if status == 130 or status < 0:
        raise KeyboardInterrupt
    if status:
        raise BadInputError(f"`monai.bundle run` of {', '.join(configs)} ended with exit status {status}; see above")


def measure_bundle(
    bundle: str | Path,
    checkpoint: str | Path,
    output_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    presets: Sequence[str | Path] = (),
) -> Path:
    """Measure a checkpoint by the ``robustness`` configuration of its bundle.

    Args:
        bundle: the bundle's folder, with ``configs/train`` and ``configs/robustness``.
        checkpoint: the trained weights, with the ``training.json`` of their training beside them.
        output_dir: where ``outcomes.csv`` and ``run.json`` go; a stopped measurement there is continued.
        overrides: ids of the configuration and their values, which may be text as on a command line.
        presets: further configurations that the network was trained with, read after ``train``.

    Returns:
        ``output_dir``.
    """
    train, robustness = bundle_configs(bundle, "train", "robustness")
    gone = next((path for path in presets if not Path(path).is_file()), None)
    if gone is not None:
        raise BadInputError(f"there is no preset {gone}; name a configuration file")
    configs = [train, *map(str, presets), robustness]
    if not Path(checkpoint).is_file():
        raise BadInputError(f"there is no checkpoint {checkpoint}; train one first")
    values = {name: _parsed(name, value) for name, value in (overrides or {}).items()}
    record = read_record(checkpoint)
    given = {"bundle_root": str(bundle), "checkpoint": str(checkpoint), "evaluation_dir": str(output_dir)}
    known = _known_ids(configs)
    _check_ids(values, known, given)
    for name in ("image_size", "split_seed", "fold"):
        if name in known and record.get(name) is not None:
            values.setdefault(name, as_data(record[name], str(Path(checkpoint).with_name("training.json")), name))
    run(config_file=configs, **given, **values)
    return Path(output_dir)


def _known_ids(configs: list[str]) -> list[str]:
    """Top-level ids of configurations."""
    parser = ConfigParser()
    parser.read_config(configs)
    return [str(name) for name in parser.get() if name != "_meta_"]


def _check_ids(values: Mapping[str, Any], known: Sequence[str], given: Mapping[str, Any]) -> None:
    """Refuse an id that no configuration has: MONAI would take a misspelt one without a word."""
    for name in values:
        if name in given or name == "config_file":
            raise BadInputError(f"--{name} is set by this command; leave it out")
        first = name.replace("::", "#").split("#")[0].lstrip("+")
        if first not in known:
            close = difflib.get_close_matches(first, known, n=1)
            hint = f"did you mean --{close[0]}?" if close else f"its ids are {', '.join(known)}"
            raise BadInputError(f"--{name} is no id of the bundle's configuration; {hint}")


def _parsed(name: str, value: Any) -> Any:
    """A value as YAML reads it, where it came as text; MONAI's references and macros stay text."""
    if not isinstance(value, str) or value.startswith(("@", "%")):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BadInputError(f"the value {value!r} of {name!r} is no YAML; check its brackets and quotes") from error
