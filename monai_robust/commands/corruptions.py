"""List the corruptions that there are, and show them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure
from PIL import Image

from monai_robust.errors import require_choice

__all__ = ["corruptions"]

_RESOLUTION, _RESOLUTION_OF_COLOURS = 78, 66
_SIZE = 112
_STEPS, _COLOURS = 20, 80


def corruptions(
    group: Annotated[
        str | None,
        typer.Option(help="common, radiograph, ct, mr, ultrasound, oct, dermoscopy or microscopy [all]"),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Where contact sheets go, one PNG for each modality.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what the pictures of a contact sheet draw.")] = 0,
) -> None:
    """List the corruptions with their five levels, in Markdown, or show them on phantoms.

    Example: monai-robust corruptions --group mr --output_dir sheets
    """
    from monai_robust.data.phantoms import modality_phantom
    from monai_robust.evaluation.sections.contact_sheet import contact_sheet
    from monai_robust.transforms import CORRUPTION_GROUPS, corruption_names, severity_table

    if group is not None:
        require_choice("--group", group, list(CORRUPTION_GROUPS))
    if output_dir is None:
        print(severity_table(group), end="")
        return
    output_dir.mkdir(parents=True, exist_ok=True)
    for one in CORRUPTION_GROUPS if group is None else [group]:
        image = modality_phantom("radiograph" if one == "common" else one, _SIZE, seed)
        figure = contact_sheet(image, corruption_names(one), seed)
        path = output_dir / f"{one}.png"
        _save(figure, path, colour=len(image) > 1)
        print(f"contact sheet: {path}")


def _save(figure: Figure, path: Path, colour: bool) -> None:
    """A PNG of few shades or colours: a sheet has some eighty pictures, half of them of noise."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_RESOLUTION_OF_COLOURS if colour else _RESOLUTION, format="png")
    picture = Image.open(buffer).convert("RGB" if colour else "L")
    if colour:
        picture = picture.quantize(_COLOURS, dither=Image.Dither.NONE)
    else:
        picture = picture.point([round(round(grey * _STEPS / 255) * 255 / _STEPS) for grey in range(256)])
        picture = picture.quantize(_STEPS + 1, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
