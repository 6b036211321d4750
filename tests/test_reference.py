"""The reference tells every public name, column and option."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY, untold

from monai_robust.evaluation.report.page import SKIPPED_COLUMNS
from monai_robust.evaluation.report.triage import COLUMNS as WORKLIST_COLUMNS
from monai_robust.evaluation.tasks.registry import TASKS
from monai_robust.tasks import Classification, MultiLabel, Segmentation


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """The module that writes the pages, which is part of the site and not of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "docs")
        return importlib.import_module("reference_pages")


def test_every_public_name_says_what_it_is(pages: ModuleType) -> None:
    found = pages.documented()
    names = [(module, name) for module, listed in found.items() for name in listed]
    assert {"PGD", "RobustUpdate", "Measurement", "RECIPES"} <= {name for _, name in names}
    assert [f"{module}.{name}" for module, name in names if not pages.described(module, name)] == []


def test_methods_that_users_call_say_what_they_do(pages: ModuleType) -> None:
    silent = []
    for module, names in pages.documented().items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            if inspect.isclass(value) and value.__module__.startswith("monai_robust"):
                own = {key: one for key, one in vars(value).items() if not key.startswith("_")}
                silent += [f"{module}.{name}.{key}" for key in own if not _told(value, key)]
    assert not silent, silent


def _told(owner: type, name: str) -> bool:
    """Whether a public method is described here or where it was first declared; data is told by its class."""
    method = inspect.getattr_static(owner, name)
    if not inspect.isroutine(method) and not isinstance(method, property):
        return True
    return any(getattr(vars(one).get(name), "__doc__", None) for one in owner.__mro__)


def test_pages_are_written_once_and_hold_every_command(pages: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("of a folder that is no more")
    pages.write(tmp_path)
    assert not (tmp_path / "gone.md").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    pages.write(tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    said = (tmp_path / "command_line.md").read_text()
    for command in ("## bundle", "## evaluate", "## step-search", "`--checkpoint`"):
        assert command in said
    assert "`robust#attack#eps`" in (tmp_path / "ids.md").read_text()


def test_the_page_of_a_reports_tables_has_them_all(pages: ModuleType, tmp_path: Path) -> None:
    pages.write(tmp_path)
    said = (tmp_path / "report_tables.md").read_text()
    for heading in ("## summary\n", "## worklist\n", "## triage\n", "### margins.csv\n", "## means_over_severities\n"):
        assert heading in said
    assert "| `xmin` | number |" in (tmp_path / "tables.md").read_text()


def test_a_column_that_is_told_nowhere_is_found() -> None:
    assert untold("summary", ["name", "auroc_12_low", "sensitivity_youden_3_std", "sdr_2.5", "sdr_2_5"]) == []
    assert untold("auc_robust_foreground_dice", ["auc_robust_std", "largest_radius"]) == []
    assert untold("summary", ["name", "sharpness"]) == ["summary.csv: sharpness"]
    assert untold("worklist", ["score"]) == ["worklist.csv: score"]
    assert untold("news", ["name"]) == ["news.csv: name"]
    assert untold("worklist", WORKLIST_COLUMNS) == []
    assert untold("skipped", SKIPPED_COLUMNS) == []


def test_the_columns_of_every_task_are_told(pages: ModuleType, tmp_path: Path) -> None:
    pages.write(tmp_path)
    said = (tmp_path / "tables.md").read_text()
    tasks = {"classification": Classification(), "multi_label": MultiLabel(), "segmentation": Segmentation()}
    for name, task in tasks.items():
        outcomes = TASKS[name].outcomes(task)
        part = said.split(f"## Of {name}\n")[1].split("\n## ")[0]
        for column, kind in outcomes.columns(["a", "b"]).items():
            stem = column.removesuffix("_0").removesuffix("_1").removesuffix("_2")
            rows = [line for line in part.splitlines() if f"`{stem}`" in line or f"`{stem}_" in line]
            assert rows, f"{name}: {column}"
            assert {str: "| text |", int: "| whole number |", float: "| number |"}[kind] in rows[0], f"{name}: {column}"
