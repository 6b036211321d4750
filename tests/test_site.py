"""The check of the built site finds what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY

from monai_robust import __version__


@pytest.fixture
def checking(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "docs")
    import check_site

    return check_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text(
        f'<p>{__version__}, Apache License</p><a href="start.html#install">x</a><a href="#">x</a>'
        '<a href="https://monai.io/nowhere">x</a><img src="../a%20picture.png">'
    )
    (tmp_path / "docs" / "start.html").write_text('<h2 id="install">x</h2><a href="../search.html">x</a>')
    (tmp_path / "search.html").write_text("")
    (tmp_path / "a picture.png").write_bytes(b"")
    (tmp_path / "searchindex.js").write_text('Search.setIndex({"docnames":["docs/index","docs/start"]})')
    return tmp_path


def test_a_site_that_holds_together_has_no_faults(checking: ModuleType, site: Path) -> None:
    assert checking.faults(site) == []


def test_lost_pages_places_and_pictures_are_named(checking: ModuleType, site: Path) -> None:
    start = site / "docs" / "start.html"
    start.write_text(start.read_text().replace("install", "installation"))
    (site / "a picture.png").unlink()
    (site / "search.html").unlink()
    (site / "docs" / "new.html").write_text("")
    assert checking.faults(site) == [
        "docs/index.html links to start.html#install, a place that is not there",
        "docs/index.html links to ../a%20picture.png, which is not there",
        "docs/start.html links to ../search.html, which is not there",
        "the search does not know docs/new",
    ]


def test_the_first_page_says_version_and_licence(checking: ModuleType, site: Path) -> None:
    index = site / "docs" / "index.html"
    index.write_text(index.read_text().replace("Apache License", ""))
    assert checking.faults(site) == ["the first page does not say Apache License"]
