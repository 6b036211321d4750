"""Search the step of AMAT's margins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_robust.commands.words import Presets, overrides
from monai_robust.errors import BadInputError

__all__ = ["step_search"]


def step_search(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder, with configs/train and configs/robustness.")],
    steps: Annotated[str, typer.Option("--steps", help="Candidates, separated by commas.")],
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where trainings, table and figure go.")],
    presets: Presets = None,
) -> None:
    """Search the step of AMAT's margins by AUC_robust on the validation split; a stopped search goes on.

    Every other option is an id of the bundle's configuration.

    Example: monai-robust step-search bundles/hippocampus_mri_segmentation --steps 1,2,4 --output_dir steps
    --robust#thresholds model.pt
    """
    from monai_robust.commands.margin_steps import best_step, search_step

    try:
        candidates = [float(step) for step in steps.split(",")]
    except ValueError:
        raise BadInputError(f"--steps is {steps!r}; it takes numbers separated by commas, such as 0.5,1,2") from None
    table = search_step(bundle, candidates, output_dir, overrides(context.args), presets or ())
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    best = best_step(table)
    print(f"best: step {best:g}; table {output_dir / 'step_search.csv'}, figure {output_dir / 'step_search.png'}")
