"""What a report says of inputs made against one network and shown to others, from ``transfer.json``."""

from __future__ import annotations

from collections.abc import Sequence

from monai_robust.evaluation.sections.figures_transfer import transfer_figure
from monai_robust.evaluation.sections.parts import Measure, Picture, ReportTable, Section, number
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tables.run_folder import Run
from monai_robust.evaluation.tables.transfer_file import Transfer, read_transfer

__all__ = ["transfer_sections"]


def transfer_sections(runs: Sequence[Run]) -> list[Section]:
    """A section for each transfer in the folders of runs."""
    found = [read_transfer(run.folder) for run in runs]
    return [_section(one, place) for place, one in enumerate(one for one in found if one is not None)]


def _section(found: Transfer, place: int) -> Section:
    attack = f"{perturbation_label(found.perturbation)} at radius {number(found.radius)}"
    better = "higher" if found.higher_is_better else "lower"
    text = (
        f"{found.samples} inputs were made against each network by {attack}, and shown to all of them: the mean "
        f"{found.score} ({better} is better), on the diagonal under the attack on the network itself. A network that "
        "others' inputs mislead more than its own hinders the attack on it, and is weaker than its numbers say."
    )
    values = found.matrix()
    names = ["clean", *found.networks]
    rows = [([name], [Measure(float(value)) for value in line]) for name, line in zip(names, values, strict=True)]
    name = "table_transfer" if place == 0 else f"table_transfer_{place + 1}"
    table = ReportTable(
        name,
        f"{found.score}, by the network that inputs were made against",
        ["Made against"],
        found.networks,
        rows,
        1,
        3,
    )
    alt = (
        f"A matrix of the mean {found.score} of each network on inputs made against each of them; the table has it too."
    )
    return Section("Transfer", text, [table], [Picture(transfer_figure(found), alt, f"Transfer of {attack}.")])
