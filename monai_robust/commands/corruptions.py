"""List the corruptions that there are."""

from __future__ import annotations

from typing import Annotated

import typer

from monai_robust.errors import require_choice

__all__ = ["corruptions"]


def corruptions(
    group: Annotated[
        str | None,
        typer.Option(help="common, radiograph, ct, mr, ultrasound, oct, dermoscopy or microscopy [all]"),
    ] = None,
) -> None:
    """List the corruptions with their five levels, in Markdown.

    Example: monai-robust corruptions --group mr
    """
    from monai_robust.transforms import CORRUPTION_GROUPS, severity_table

    if group is not None:
        require_choice("--group", group, list(CORRUPTION_GROUPS))
    print(severity_table(group), end="")
