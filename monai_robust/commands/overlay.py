"""Print an overlay's path, or fit one to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["overlay"]


def overlay(
    name: Annotated[str, typer.Argument(help="A recipe (erm, at, ..., rtda), fast (after a recipe's), or attack.")],
    configs: Annotated[
        list[Path] | None,
        typer.Option("--for", help="A config file of the bundle to fit, in order; may be given several times."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where a fitted overlay goes [robust_NAME.yaml]")
    ] = None,
    sample_ids: Annotated[
        bool,
        typer.Option("--sample_ids", help="Let the training data say which sample is which, where batches do not."),
    ] = False,
) -> None:
    """Print the path of an overlay that trains a bundle robustly, or evaluates it under attack.

    Called where a bundle is run from, whose engines have other names or whose evaluation needs a loss, it writes an
    overlay that fits, as --for does. `monai-robust attach` prints whole commands.

    Example: python -m monai.bundle run --config_file "['configs/train.json', '$(monai-robust overlay rtda)']"
    """
    from monai_robust.errors import BadInputError
    from monai_robust.overlays import overlay_path
    from monai_robust.overlays.here import files_to_fit

    shipped = overlay_path(name)
    if sample_ids and not configs:
        raise BadInputError("--sample_ids changes how a bundle's data is loaded; name its configuration files by --for")
    configs = configs or files_to_fit(name, Path())
    if not configs:
        print(shipped)
        return
    from monai_robust.overlays.fitting import fit_overlay

    print(fit_overlay(name, configs, output, sample_ids=sample_ids))
