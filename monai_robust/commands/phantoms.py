"""Write a phantom data set."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from monai_robust.errors import require_choice

__all__ = ["phantoms"]


def phantoms(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="The folder to write.")],
    kind: Annotated[
        str,
        typer.Option(help="radiographs or cephalograms (DICOM), volumes (hippocampus MR, NIfTI), smears (PNG, XML)."),
    ] = "radiographs",
    patients: Annotated[
        int | None,
        typer.Option(help="Number of patients (one to three radiographs each), volumes or smears [160, else 60]"),
    ] = None,
    size: Annotated[int, typer.Option(help="Rows and columns of a film (radiographs).")] = 192,
    contrast: Annotated[float, typer.Option(help="How much a finding absorbs; less is harder (radiographs).")] = 0.22,
    several: Annotated[
        bool, typer.Option("--several", help="Several findings in a film, a column for each (radiographs).")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed writes the same files.")] = 0,
) -> None:
    """Write a phantom data set: chest radiographs, cephalograms, hippocampus volumes or blood smears, with labels.

    Example: monai-robust phantoms --output_dir phantoms --patients 60
    """
    from monai_robust import data

    number = patients if patients is not None else 160 if kind == "radiographs" else 60
    writers = {
        "radiographs": partial(
            data.write_radiograph_phantoms, patients=number, size=size, contrast=contrast, several=several
        ),
        "volumes": partial(data.write_hippocampus_phantoms, cases=number),
        "cephalograms": partial(data.write_cephalogram_phantoms, patients=number),
        "smears": partial(data.write_blood_smear_phantoms, images=number),
    }
    require_choice("--kind", kind, list(writers))
    print(f"phantom {kind} in {writers[kind](output_dir, seed=seed, progress=True)}")
