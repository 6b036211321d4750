"""The main job end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where everything goes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of phantoms, weights and batches.")] = 0,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="A bundle's folder [the shipped chest_xray_classification]")
    ] = None,
) -> None:
    """The main job end to end: phantom radiographs, training by ERM and RTDA, evaluation of both, one report.

    Example: monai-robust demo --output_dir demo
    """
    from monai_robust.commands.demonstration import run_demo

    run_demo(output_dir, seed=seed, bundle=bundle)
