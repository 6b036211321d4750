"""Cases of an evaluation as files for a workstation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_robust.errors import BadInputError

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Folder of an evaluation that has kept inputs (case_inputs).")],
    cases: Annotated[str, typer.Option("--cases", help="Numbers of cases, as on the page of cases, such as 1,5.")],
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where to write.")],
    dataset_dir: Annotated[Path, typer.Option("--dataset_dir", help="The data set that was measured.")],
    datalist: Annotated[Path | None, typer.Option("--datalist", help="Its data list, if it needs one.")] = None,
    format: Annotated[str, typer.Option("--format", help="dicom or nifti.")] = "dicom",
    perturbation: Annotated[
        str | None, typer.Option("--perturbation", help="Such as pgd_l2; the first attack by default.")
    ] = None,
    severity: Annotated[float | None, typer.Option("--severity", help="Or radius; the largest by default.")] = None,
    allow_burned_in: Annotated[
        bool,
        typer.Option("--allow_burned_in", help="Somebody has looked: no text in the pixels names the patient."),
    ] = False,
) -> None:
    """Write perturbed cases as DICOM or NIfTI, with the geometry of their source, marked as derived and de-identified.

    Example: monai-robust export results/erm --cases 1,5 --format dicom --output_dir exported --dataset_dir radiographs
    """
    from monai_robust.evaluation.export import export_cases

    numbers = [one.strip() for one in cases.split(",") if one.strip()]
    if not all(one.isdecimal() for one in numbers):
        raise BadInputError(f"--cases is {cases!r}; it must be numbers with commas between, such as 1,5")
    written = export_cases(
        run,
        [int(one) for one in numbers],
        output_dir,
        dataset_dir=dataset_dir,
        datalist=datalist,
        format=format,  # type: ignore[arg-type]
        perturbation=perturbation,
        severity=severity,
        allow_burned_in=allow_burned_in,
    )
    for one in written:
        steps = f", stored in steps of {one.step:.2g}" if one.step else ""
        change = (
            f"largest change {one.change:.4g}{steps}" if one.change else "unchanged: this perturbation left it as it is"
        )
        print(f"case {one.case}: {one.path} ({change})")
