"""Bundles of every shape, trained and attacked by the commands that ``attach`` prints for them, word for word.

What is seen here is a row of ``docs/shapes.md``; ``make shapes-page`` writes it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, environment
from foreign_bundles import SHAPES, write_bundle
from warm_python import WarmPython

from monai_robust.data import read_table
from monai_robust.evaluation.tables.run_folder import read_run

PAGE = REPOSITORY / "docs" / "shapes.md"
IN_MAKE_TEST = ("segmentation", "gan")


def shapes() -> list:
    return [pytest.param(name, marks=marks(name)) for name in SHAPES]


def marks(name: str) -> list:
    missing = name == "torchvision" and importlib.util.find_spec(name) is not None
    return [
        pytest.mark.xdist_group(name),
        *([] if name in IN_MAKE_TEST else [pytest.mark.full]),
        *([pytest.mark.skip(reason=f"{name} is installed")] if missing else []),
    ]


def printed_commands(text: str) -> dict[str, str]:
    """The command lines that attach printed, by what is said of them."""
    return dict(re.findall(r"^# (?!From)(.+)\n(.+)$", text, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("name", shapes())
def test_the_printed_commands_run_word_for_word(
    name: str, tmp_path: Path, warm_python: WarmPython, request: pytest.FixtureRequest
) -> None:
    shape = SHAPES[name]
    folder = write_bundle(name, tmp_path / "bundle")
    before = {path for path in folder.rglob("*") if "made_up" not in path.parts}
    attached = warm_python.run("-m", "monai_robust", "attach", folder, env=environment())
    if shape.refused is not None:
        assert attached.returncode == 2
        (line,) = attached.stderr.splitlines()
        assert shape.refused in line
        row = f"| {shape.what} | refused | {line.removeprefix('error: ')} | |"
    else:
        assert attached.returncode == 0, attached.stderr
        found = re.sub(r"\s+", " ", attached.stdout)
        assert shape.finds in found
        after = {path for path in folder.rglob("*") if not {"made_up", "__pycache__"} & set(path.parts)}
        assert after == before, "a dry run writes nothing"
        ran = [what for what, line in printed_commands(attached.stdout).items() if runs(line, folder, warm_python)]
        outputs = re.search(r"outputs (.*?) images ", found)
        assert outputs is not None
        row = f"| {shape.what} | works | {outputs[1]} | {'; '.join(ran)} |"
    check_row(shape.what, row, write=request.config.getoption("--write-shapes"))


def runs(line: str, folder: Path, warm: WarmPython) -> bool:
    """Whether a command runs and does what it is for."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        env=environment(PATH=f"{warm.folder}{os.pathsep}{os.environ['PATH']}", PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    recipe = re.search(r"models_(rtda|sat|amat)\b", line)
    by_two = line.startswith("torchrun")
    if re.search(r"monai.robust evaluate", line):
        reports = list((folder / "results").glob("*/report.html"))
        assert len(reports) == 1 + by_two
        tables = [(report.parent / "outcomes.csv").read_bytes() for report in reports]
        assert set(tables) == {tables[0]}, "two processes make the table of one"
        outcomes = read_run(reports[0].parent).outcomes
        assert outcomes["score"].notna().any()
        assert (outcomes["distance"] > 0).any()
    elif recipe is not None and "evaluate.json" not in line:
        trained, stock = (weights(folder / f"models_{one}") for one in (recipe[1], "stock"))
        assert trained.keys() == stock.keys()
        assert any(not torch.equal(value, stock[key]) for key, value in trained.items()), "it was trained as ever"
    if "#thresholds" in line and (folder / "models_amat").is_dir():
        margins = folder / "models_amat" / "margins.csv"
        kept = folder / "margins_of_one.csv"
        if by_two:
            one, two = (read_table(path)[["epoch", "samples", "visited"]].to_numpy() for path in (kept, margins))
            assert (one == two).all(), "every sample has its margin, whichever process saw it"
            assert two[-1].tolist() == ["1", "8", "8"]
        else:
            kept.write_bytes(margins.read_bytes())
    return True


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("*.pt")
    state = torch.load(path, weights_only=True)
    return state.get("model") or state.get("net") or state  # a saver of one object writes it bare


def check_row(what: str, row: str, write: bool) -> None:
    lines = PAGE.read_text().splitlines() if PAGE.is_file() else []
    if write:
        rows = {re.match(r"\| (.+?) \|", line)[1]: line for line in lines if re.match(r"\| (?!-|shape )", line)}
        rows[what] = row
        head = lines[: next((i for i, line in enumerate(lines) if line.startswith("| ---")), len(lines)) + 1]
        ordered = [rows[shape.what] for shape in SHAPES.values() if shape.what in rows]
        PAGE.write_text("\n".join([*head, *ordered]) + "\n")
    else:
        assert row in lines, f"docs/shapes.md does not say what was seen:\n{row}\nmake shapes-page writes it"


def test_the_page_of_shapes_has_a_row_for_each_and_no_other() -> None:
    rows = re.findall(r"^\| (?!-|shape )(.+?) \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [shape.what for shape in SHAPES.values()]
