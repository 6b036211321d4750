"""The table of ``docs/corruptions.md``, written anew from the code by ``make corruptions-page``."""

from __future__ import annotations

from pathlib import Path

from monai_robust.transforms import severity_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "corruptions.md"
BEGIN, END = "<!-- table: make corruptions-page -->\n", "<!-- end of table -->\n"


def written(page: str) -> str:
    """The page with the table as the code has it."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}{severity_table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
