"""Compare finished evaluations in one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders with outcomes.csv and run.json, one a run.")],
    output: Annotated[Path, typer.Option("--output", help="The HTML file to write.")] = Path("report.html"),
    baseline: Annotated[
        str | None,
        typer.Option(help="Name of the run that the others are compared with; by default the one trained by erm."),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option("--prevalence", help="Share of cases for predictive values, such as 0.05; the data's by default."),
    ] = None,
    patient_rule: Annotated[
        str | None,
        typer.Option("--patient_rule", help="How a patient's images are put together: mean or max of probabilities."),
    ] = None,
    noninferiority_margin: Annotated[
        float | None,
        typer.Option(
            "--noninferiority_margin",
            help="By how much clean performance may be worse than that of the baseline, in units of the score: 0.05.",
        ),
    ] = None,
    minimum_group: Annotated[
        int, typer.Option("--minimum_group", help="Patients that a group of samples needs to be rated.")
    ] = 10,
) -> None:
    """Compare finished evaluations in one self-contained HTML report, from their tables alone.

    A page of the cases that they have kept, cases.html or NAME_cases.html, is written beside it.

    Example: monai-robust report results/erm results/rtda --output report.html --baseline erm
    """
    from monai_robust.evaluation.report.page import write_report

    page = write_report(
        runs,
        output,
        baseline=baseline,
        prevalence=prevalence,
        patient_rule=patient_rule,
        noninferiority_margin=noninferiority_margin,
        minimum_group=minimum_group,
    )
    print(f"report: {page}")
