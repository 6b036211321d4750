"""Show inputs made against one checkpoint of a bundle to the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_robust.commands.words import Presets, overrides

__all__ = ["transfer"]


def transfer(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder with a configuration robustness.")],
    checkpoints: Annotated[str, typer.Option("--checkpoints", help="Two or more trained weights, commas between.")],
    output_dir: Annotated[
        Path, typer.Option("--output_dir", help="Where transfer.json goes; in a run's folder its report shows it.")
    ],
    radius: Annotated[
        float | None, typer.Option("--radius", help="Of the attack; by default the middle one of the bundle's radii.")
    ] = None,
    names: Annotated[
        str | None, typer.Option("--names", help="Of the networks, commas between; by default their folders.")
    ] = None,
    presets: Presets = None,
) -> None:
    """Try inputs made against each of some networks on all of them, and write the scores as a matrix.

    The attack is the first one of the bundle's configuration robustness; every other option is an id of it, such as
    --dataset_dir, --limit or --attack_steps.

    Example: monai-robust transfer bundles/chest_xray_classification --checkpoints erm/model.pt,rtda/model.pt
    --radius 1 --dataset_dir radiographs --output_dir results/erm
    """
    from monai_robust.commands.bundles import transfer_of_bundle

    files = [Path(part.strip()) for part in checkpoints.split(",") if part.strip()]
    given = None if names is None else [part.strip() for part in names.split(",")]
    words = overrides(context.args)
    path, found = transfer_of_bundle(bundle, files, output_dir, words, presets or (), radius=radius, names=given)
    print(
        f"{found.score} under {found.perturbation} at radius {found.radius:g}, made against (rows), shown to (columns):"
    )
    width = max(map(len, ["clean", *found.networks]))
    print(" " * width, *(f"{name:>{max(len(name), 6)}}" for name in found.networks))
    for name, line in zip(["clean", *found.networks], found.matrix(), strict=True):
        cells = (f"{value:>{max(len(own), 6)}.3f}" for own, value in zip(found.networks, line, strict=True))
        print(f"{name:<{width}}", *cells)
    print(f"transfer: {path}")
