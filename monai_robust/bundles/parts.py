"""A part of one configuration, made for another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.utils import ensure_tuple

from monai_robust.configuration import check_ids, read_configuration
from monai_robust.errors import BadInputError

__all__ = ["part_of"]

_GIVEN = "given_values"


def part_of(files: str | Path | Sequence[str | Path], name: str, **ids: Any) -> Any:
    """What stands at an id of configuration files, made with other ids set; so inference has the training's network.

    MONAI's macro ``%file::id`` does so too, for files below the current folder and before ids are set.

    Args:
        files: the configuration, or several in their order.
        name: the id.
        **ids: values, which are taken as they are: what reads like an expression in them is not run.

    Raises:
        BadInputError: for a file that is not there or cannot be read, or an id that it has not.
    """
    missing = next((file for file in ensure_tuple(files) if not Path(file).is_file()), None)
    if missing is not None:
        raise BadInputError(f"there is no configuration {missing}; name the bundle's folder with --bundle_root")
    configuration = read_configuration([str(file) for file in ensure_tuple(files)])
    check_ids(configuration, {name: None, **ids})
    parser = ConfigParser(configuration, globals={_GIVEN: ids})
    for one in ids:
        parser[one] = f"${_GIVEN}[{one!r}]"
    return parser.get_parsed_content(name)
