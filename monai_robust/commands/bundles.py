"""Run a bundle's own configurations."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, run

from monai_robust.configuration import check_ids, read_configuration, read_words
from monai_robust.configuration.values import check_signs
from monai_robust.data import read_record
from monai_robust.data.files.schemas import as_data
from monai_robust.errors import BadInputError
from monai_robust.evaluation.tables.transfer_file import Transfer, write_transfer

__all__ = [
    "bundle_configs",
    "check_presets",
    "measure_bundle",
    "read_settings",
    "run_bundle",
    "transfer_of_bundle",
]

_MEASURING = ("train", "robustness")


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


def run_bundle(
    bundle: str | Path, configs: Sequence[str], settings: Mapping[str, Any], presets: Sequence[str | Path] = ()
) -> None:
    """What ``python -m monai.bundle run`` does with a bundle's configurations, its ids checked first.

    Args:
        bundle: the bundle's folder.
        configs: names of its configurations, in their order.
        settings: ids of them and their values; the words of a command line are read by :func:`read_settings` before.
        presets: further configuration files, read last, so that they win.

    Raises:
        BadInputError: for a folder that is no bundle, a preset that is missing, an id that nothing reads, or what the
            run itself refuses.
    """
    files = [*bundle_configs(bundle, *configs), *map(str, check_presets(presets))]
    check_ids(read_configuration(files), settings)
    check_signs("bundle_root", bundle)
    values = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    run(config_file=files, bundle_root=str(bundle), **values)


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
        overrides: ids of the configuration and their values; text is read as on a command line.
        presets: further configurations that the network was trained with, read last, so that they win.

    Returns:
        ``output_dir``.

    Raises:
        BadInputError: for a checkpoint that is missing, and as :func:`run_bundle`.
    """
    configuration = read_configuration([*bundle_configs(bundle, *_MEASURING), *map(str, check_presets(presets))])
    values = _measuring_values(configuration, checkpoint, output_dir, overrides or {})
    run_bundle(bundle, _MEASURING, values, presets)
    return Path(output_dir)


def transfer_of_bundle(
    bundle: str | Path,
    checkpoints: Sequence[str | Path],
    output_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    presets: Sequence[str | Path] = (),
    *,
    radius: float | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Path, Transfer]:
    """Show inputs made against one checkpoint of a bundle to the others, by its ``robustness`` configuration.

    Args:
        bundle: the bundle's folder, with ``configs/train`` and ``configs/robustness``.
        checkpoints: two or more trained weights.
        output_dir: where ``transfer.json`` goes, such as the folder of a run.
        overrides: ids of the configuration and their values; text is read as on a command line.
        presets: further configurations that the networks were trained with.
        radius: of the attack; by default the middle one of the bundle's.
        names: of the networks; by default their folders.

    Returns:
        The file, and what is in it.

    Raises:
        BadInputError: for checkpoints that are missing, fewer than two of them, or networks that cannot be compared.
    """
    from monai_robust.evaluation.transfer import transfer_of_measurements

    if len(checkpoints) < 2:
        raise BadInputError("transfer is between two or more checkpoints; give --checkpoints a.pt,b.pt")
    names = [Path(one).resolve().parent.name for one in checkpoints] if names is None else list(names)
    if len(names) != len(checkpoints) or len(set(names)) < len(names):
        raise BadInputError(
            f"{len(checkpoints)} checkpoints need as many different names, got {', '.join(names)}; give --names"
        )
    configuration = read_configuration([*bundle_configs(bundle, *_MEASURING), *map(str, check_presets(presets))])
    measurements = []
    for checkpoint in checkpoints:
        values = _measuring_values(configuration, checkpoint, output_dir, overrides or {})
        if "validation_limit" in configuration:
            values.setdefault("validation_limit", 0)  # nothing is fitted
        parser = ConfigParser(copy.deepcopy(configuration), globals={"given_values": values})
        for name in values:
            parser[name] = f"$given_values[{name!r}]"
        parser["bundle_root"] = str(bundle)
        measurements.append(parser.get_parsed_content("measurement"))
    found = transfer_of_measurements(measurements, names, radius)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    return write_transfer(output_dir, found), found


def _measuring_values(
    configuration: Mapping[str, Any], checkpoint: str | Path, output_dir: str | Path, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """What a measurement of a checkpoint sets of its configuration, what its training recorded among it."""
    if not Path(checkpoint).is_file():
        raise BadInputError(f"there is no checkpoint {checkpoint}; train one first")
    given: dict[str, Any] = {"checkpoint": str(checkpoint), "evaluation_dir": str(output_dir)}
    values = read_settings(configuration, overrides, taken=[*given, "bundle_root"])
    record = read_record(checkpoint)
    for name in ("image_size", "split_seed", "split_counts", "fold", "task"):
        if name in configuration and record.get(name) is not None:
            values.setdefault(name, as_data(record[name], str(Path(checkpoint).with_name("training.json")), name))
    if values.get("labels") is False and "classes_of_training" in configuration:
        given["classes_of_training"] = list(record["classes"])
    return {**values, **given}


def check_presets(presets: Sequence[str | Path]) -> Sequence[str | Path]:
    """Refuse presets that are not there."""
    gone = next((path for path in presets if not Path(path).is_file()), None)
    if gone is not None:
        raise BadInputError(f"there is no preset {gone}; name a configuration file")
    return presets


def read_settings(
    configuration: Mapping[str, Any], settings: Mapping[str, Any], taken: Collection[str] = ()
) -> dict[str, Any]:
    """Settings with text read by what each id takes; ids that nothing reads, and those ``taken``, are refused."""
    for name in settings:
        if name in taken or name == "config_file":
            raise BadInputError(f"--{name} is set by this command; leave it out")
    check_ids(configuration, settings)
    words = {name: value for name, value in settings.items() if isinstance(value, str)}
    return {**settings, **read_words(configuration, words)}
