"""Every tutorial runs from top to bottom in an empty folder, as its notebook does; the two cheapest run always."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml
from conftest import REPOSITORY, environment
from warm_python import WarmPython

from monai_robust.commands.bundle import write_bundle
from monai_robust.data import write_radiograph_phantoms

TUTORIALS = sorted((REPOSITORY / "docs" / "tutorials").glob("*.md"))
ALWAYS = ("08_write_your_own", "09_read_the_report")
SHELL = "%%bash\n"


def cells(page: Path) -> list[str]:
    return re.findall(r"^```\{code-cell\}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_there_are_ten_tutorials_and_each_is_a_notebook_with_a_download() -> None:
    assert [page.name[:2] for page in TUTORIALS] == [f"{number:02}" for number in range(1, 11)]
    for page in TUTORIALS:
        head = yaml.safe_load(page.read_text().split("---")[1])
        assert head["file_format"] == "mystnb", page.name
        assert f"{{nb-download}}`{page.stem}.ipynb`" in page.read_text(), page.name
        assert 'Path("' in cells(page)[0] or page.stem == "08_write_your_own", (
            f"{page.name}: its first cell names paths"
        )


def test_tutorials_link_to_pages_that_are_there() -> None:
    for page in TUTORIALS:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


EACH = [
    pytest.param(
        page,
        id=page.stem,
        marks=[pytest.mark.xdist_group(page.stem), *([] if page.stem in ALWAYS else [pytest.mark.full])],
    )
    for page in TUTORIALS
]


@pytest.mark.parametrize("page", EACH)
def test_a_tutorial_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    try:
        for cell in cells(page):
            if cell.startswith(SHELL):
                run_shell(cell.removeprefix(SHELL), request.getfixturevalue("warm_python"))
            else:
                exec(compile(cell, str(page), "exec"), namespace)
    finally:
        plt.close("all")


def test_the_difference_between_the_training_scripts_is_the_one_that_is_shown() -> None:
    folder = REPOSITORY / "examples"
    names = ("training_script.py", "training_script_robust.py")
    before, after = ((folder / name).read_text().splitlines() for name in names)
    difference = "\n".join(difflib.unified_diff(before, after, *names, n=1, lineterm=""))
    assert f"```diff\n{difference}\n```" in (folder / "README.md").read_text()


@pytest.mark.full
@pytest.mark.parametrize(
    "words",
    [
        ["training_script.py", "--epochs", "2"],
        ["training_script_robust.py", "--epochs", "2"],
        ["sliding_window_3d.py", "--steps", "2", "--limit", "2"],
    ],
    ids=lambda words: words[0],
)
def test_an_example_runs_as_it_is(words: list[str], tmp_path: Path, warm_python: WarmPython) -> None:
    done = warm_python.run(REPOSITORY / "examples" / words[0], *words[1:], cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.full
def test_the_job_for_a_cluster_runs_on_one_machine(tmp_path: Path, warm_python: WarmPython) -> None:
    write_bundle("chest_xray_classification", tmp_path / "bundle")
    write_radiograph_phantoms(tmp_path / "films", patients=12, size=32)
    script = REPOSITORY / "examples" / "slurm_torchrun.sbatch"
    words = ["bundle", "films", "sat", "--epochs", "1", "--image_size", "32", "--batch_size", "4"]
    words += ["--robust#attack#steps", "2", "--radii", "[0.5]"]
    path = f"{warm_python.folder}{os.pathsep}{os.environ['PATH']}"
    env = {**environment(PATH=path, PROCESSES="2", PYTHONWARNINGS="ignore")}
    env = {name: value for name, value in env.items() if not name.startswith("SLURM")}
    done = subprocess.run(["bash", script, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "bundle" / "output" / "sat" / "report.html").is_file()


def run_shell(cell: str, warm_python: WarmPython) -> None:
    path = f"{warm_python.folder}{os.pathsep}{os.environ['PATH']}"
    script = "set -euo pipefail\n" + cell.replace("2>/dev/null", "")  # what went wrong is shown here
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment(PATH=path, PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{cell}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
