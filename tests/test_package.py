"""What is shipped: the bundles by a command, the wheel and the sdist, and what an empty environment makes of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY

from monai_robust import __version__
from monai_robust.commands.bundle import shipped_bundles, write_bundle

PAPERS = 5
LEFT_BY_A_RUN = re.compile(r"^bundles/[^/]+/(output|phantoms)/|^studies/output/|^docs/_build/|/generated/|__pycache__")


def tracked(name: str) -> set[str]:
    """Files of a bundle that belong to the project, relative to its folder."""
    command = ["git", "ls-files", "-z", f"bundles/{name}"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    names = {entry.removeprefix(f"bundles/{name}/") for entry in listed.stdout.split("\0") if entry}
    if listed.returncode or not names:
        pytest.skip("this is no git checkout")
    return names


def test_a_written_bundle_is_the_whole_one_and_its_pages_lead_nowhere_else(tmp_path: Path) -> None:
    assert len(shipped_bundles()) == 4
    for name, source in shipped_bundles().items():
        folder = write_bundle(name, tmp_path / name)
        written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert written == tracked(name)
        page = (folder / "docs" / "README.md").read_text()
        assert "](../" not in page
        assert "](../" in (source / "docs" / "README.md").read_text()
        for config in (folder / "configs").iterdir():
            assert config.is_dir() or config.read_bytes() == (source / "configs" / config.name).read_bytes()


def test_the_citation_names_the_version_and_every_paper() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert len({paper["title"] for paper in citation["references"]}) == PAPERS
    assert all(paper["authors"] and paper["year"] for paper in citation["references"])


def run(*words: object, **options: Any) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and an sdist, by ``python -m build``: the wheel is built from the sdist."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, REPOSITORY)
    return folder


@pytest.mark.full
def test_wheel_and_sdist_hold_the_bundles_and_nothing_that_a_run_left(dist: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if "bundles/shipped/" in name}
    expected = {f"monai_robust/bundles/shipped/{name}/{path}" for name in shipped_bundles() for path in tracked(name)}
    assert inside == expected
    with tarfile.open(sdist) as archive:
        names = {re.sub(r"^[^/]*/", "", name) for name in archive.getnames()}
    assert {"CITATION.cff", "SECURITY.md", "CHANGELOG.md", "LICENSE", "docs/index.md", "setup.py"} <= names
    assert {f"bundles/{name}/{path}" for name in shipped_bundles() for path in tracked(name)} <= names
    assert [name for name in names if LEFT_BY_A_RUN.search(name)] == []


@pytest.mark.full
def test_a_wheel_alone_trains_and_measures_a_bundle_in_an_empty_environment(dist: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "-c", REPOSITORY / "constraints.txt", wheel)
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    script = """set -euo pipefail
    monai-robust --version
    monai-robust bundle chest_xray_classification my_bundle
    monai-robust phantoms --patients 12 --size 64 --output_dir films
    TRY="--dataset_dir films --image_size 32"
    TRAIN="--config_file my_bundle/configs/train.yaml --bundle_root my_bundle --recipe rtda --epochs 1"
    python -m monai.bundle run $TRAIN $TRY --robust#attack#steps 2
    QUICK="--attack_steps 2 --measurement#sanity_samples 2"
    monai-robust evaluate my_bundle --checkpoint my_bundle/output/rtda/model.pt --output_dir results $TRY $QUICK
    monai-robust card results --output ROBUSTNESS.md
    """
    said = run("bash", "-c", script, cwd=tmp_path, env={**clean, "PATH": path, "PYTHONWARNINGS": "ignore"})
    assert said.startswith(__version__)
    assert "verdict" in (tmp_path / "results" / "report.html").read_text().lower()
    assert "rtda" in (tmp_path / "ROBUSTNESS.md").read_text()
