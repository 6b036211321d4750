"""Every code block of the README and of the documentation runs as it is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPOSITORY, environment
from mini_bundle import write_mini_bundle
from monai.bundle import ConfigParser
from warm_python import WarmPython

from monai_robust.data import (
    write_blood_smear_phantoms,
    write_cephalogram_phantoms,
    write_hippocampus_phantoms,
    write_radiograph_phantoms,
)

PAGES = sorted(
    [
        REPOSITORY / "README.md",
        *REPOSITORY.glob("docs/*.md"),
        *REPOSITORY.glob("docs/results/*.md"),
        *REPOSITORY.glob("bundles/*/docs/README.md"),
    ]
)
# Set-up that continuous integration has already done by running these tests, and hours of training.
NOT_HERE = re.compile(r"^\s*(make|pip|git|monai-robust study)\b|\bbash (benchmarks|studies)\b", re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def identifier(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of: a user's bundle, folders of each kind of data, and the bundles of this project."""
    folder = tmp_path_factory.mktemp("user")
    write_mini_bundle(folder)
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "train.json"))
    (folder / "models").mkdir()
    torch.save(parser.get_parsed_content("network").state_dict(), folder / "models" / "model.pt")
    write_radiograph_phantoms(folder / "radiographs", patients=12, size=64)
    write_hippocampus_phantoms(folder / "volumes", cases=12)
    write_cephalogram_phantoms(folder / "cephalograms", patients=16)
    write_blood_smear_phantoms(folder / "smears", images=16)
    ignore = shutil.ignore_patterns("output", "phantoms")
    shutil.copytree(REPOSITORY / "bundles", folder / "bundles", ignore=ignore)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_yaml_blocks_parse(page: Path) -> None:
    for block in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(block), dict)


# Each page by itself, on whichever process is free.
WITH_COMMANDS = [
    pytest.param(page, id=identifier(page), marks=pytest.mark.xdist_group(identifier(page)))
    for page in PAGES
    if blocks(page, "bash")
]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_bash_blocks_run(page: Path, workplace: Path, warm_python: WarmPython) -> None:
    path = f"{warm_python.folder}{os.pathsep}{os.environ['PATH']}"
    bundle = next((part for part in page.parts if (REPOSITORY / "bundles" / part / "configs").is_dir()), "")
    prelude = f"set -euo pipefail\nBUNDLE=bundles/{bundle}\n"
    for block in blocks(page, "bash"):
        if NOT_HERE.search(block):
            continue
        done = subprocess.run(
            ["bash", "-c", prelude + block],
            cwd=workplace,
            env=environment(PATH=path, PYTHONWARNINGS="ignore"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*PAGES, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md"]
    for page in pages:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{identifier(page)} links to {link}"


@pytest.mark.parametrize("page", sorted(REPOSITORY.glob("bundles/*/docs/README.md")), ids=identifier)
def test_figures_of_a_bundles_page_are_those_of_the_results(page: Path) -> None:
    results = (REPOSITORY / "docs" / "results" / "README.md").read_text()
    part = page.read_text().split("## Performance\n")[1].split("\n## ")[0]
    rows = [line.split("|", 2)[2] for line in part.splitlines() if line.startswith("| `")]
    figures = [figure for row in rows for figure in re.findall(r"\d+\.\d+", row)]
    assert len(figures) >= 9
    assert [one for one in figures if not re.search(rf"(?<![\d.]){re.escape(one)}(?!\d)", results)] == []
