"""Whether an overlay, as it is shipped, fits the bundle in a folder, without loading torch or MONAI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["files_to_fit"]

_SUFFIXES = (".json", ".yaml", ".yml")


def files_to_fit(name: str, folder: Path) -> list[Path]:
    """The files of the bundle in ``folder`` that an overlay must be fitted to.

    There are none where the shipped overlay fits, or where there is no bundle.

    A shipped overlay sets ``train#trainer#iteration_update`` or ``validate#evaluator#iteration_update``, which MONAI
    answers by a ``KeyError`` where a bundle calls its engines otherwise, and the attack raises cross-entropy of one
    label.

    Args:
        name: of the overlay.
        folder: where a bundle is run from, with its ``configs``.
    """
    train, evaluate = (_file(folder / "configs", one) for one in ("train", "evaluate"))
    if train is None or name == "fast":
        return []
    config = _content(train)
    if name != "attack":
        trainer = _node(config, "train", "trainer")
        usual = isinstance(trainer, Mapping) and (name != "amat" or trainer.get("train_handlers") == "@train#handlers")
        return [] if usual else [train]
    evaluator = _node(config, "validate", "evaluator") or _node(_content(evaluate), "validate", "evaluator")
    loss = _node(config, "train", "trainer", "loss_function")
    loss = config.get(loss[1:]) if isinstance(loss, str) and loss.startswith("@") else loss
    one_label = isinstance(loss, Mapping) and str(loss.get("_target_")).endswith("CrossEntropyLoss")
    if isinstance(evaluator, Mapping) and one_label:
        return []
    return [train] if evaluate is None else [train, evaluate]


def _file(folder: Path, name: str) -> Path | None:
    return next((folder / f"{name}{one}" for one in _SUFFIXES if (folder / f"{name}{one}").is_file()), None)


def _content(path: Path | None) -> Mapping[str, Any]:
    """What a file holds; nothing where it cannot be read, which MONAI says when it runs it."""
    try:
        text = "{}" if path is None else path.read_text()
        content = json.loads(text) if path is None or path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _node(config: Any, *keys: str) -> Any:
    for key in keys:
        config = config.get(key) if isinstance(config, Mapping) else None
    return config
