"""Run a bundle's own robustness configuration on a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import run

from monai_robust.data import read_record
from monai_robust.errors import BadInputError

__all__ = ["bundle_configs", "measure_bundle"]


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


def measure_bundle(
    bundle: str | Path, checkpoint: str | Path, output_dir: str | Path, overrides: Mapping[str, Any] | None = None
) -> Path:
    """Measure a checkpoint by the ``robustness`` configuration of its bundle.

    Args:
        bundle: the bundle's folder, with ``configs/train`` and ``configs/robustness``.
        checkpoint: the trained weights, with the ``training.json`` of their training beside them.
        output_dir: where ``outcomes.csv`` and ``run.json`` go; a stopped measurement there is continued.
        overrides: ids of the configuration and their values, which may be text as on a command line.

    Returns:
        ``output_dir``.
    """
    configs = bundle_configs(bundle, "train", "robustness")
    if not Path(checkpoint).is_file():
        raise BadInputError(f"there is no checkpoint {checkpoint}; train one first")
    values = {name: _parsed(name, value) for name, value in (overrides or {}).items()}
    record = read_record(checkpoint)
    if "image_size" in record:
        values.setdefault("image_size", record["image_size"])
    run(
        config_file=configs,
        bundle_root=str(bundle),
        checkpoint=str(checkpoint),
        evaluation_dir=str(output_dir),
        **values,
    )
    return Path(output_dir)


def _parsed(name: str, value: Any) -> Any:
    """A value as YAML reads it, where it came as text; MONAI's references and macros stay text."""
    if not isinstance(value, str) or value.startswith(("@", "%")):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BadInputError(f"the value {value!r} of {name!r} is no YAML; check its brackets and quotes") from error
