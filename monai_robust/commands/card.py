"""Write a robustness card of finished evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["card"]


def card(
    runs: Annotated[list[Path], typer.Argument(help="Folders with outcomes.csv and run.json, one a run.")],
    output: Annotated[Path, typer.Option("--output", help="The Markdown file to write.")] = Path("ROBUSTNESS.md"),
    bundle: Annotated[
        Path | None,
        typer.Option(help="Write into this bundle's metadata.json and README instead, in the place of an older card."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Name of the run that the others are compared with; by default the one trained by erm."),
    ] = None,
) -> None:
    """Write a robustness card, what evaluations found in the manner of a model card, from their tables alone.

    Example: monai-robust card results/erm results/rtda --output ROBUSTNESS.md
    """
    from monai_robust.evaluation.report.card import write_card, write_card_into_bundle

    if bundle is None:
        print(f"card: {write_card(runs, output, baseline=baseline)}")
    else:
        for path in write_card_into_bundle(runs, bundle, baseline=baseline):
            print(f"card: {path}")
