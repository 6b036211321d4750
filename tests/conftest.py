from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import pytest
import torch
from torch import nn
from warm_python import WarmPython

if TYPE_CHECKING:
    from bundle_runs import Runs

    from monai_robust.evaluation.report.contents import Contents
    from monai_robust.evaluation.sections.drawing import Picture

matplotlib.use("Agg")
torch.set_num_threads(1)  # tiny tensors: a second thread only waits

REPOSITORY = Path(__file__).resolve().parents[1]
PUBLIC_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-shapes", action="store_true", help="write docs/shapes.md by what test_shapes.py sees")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that no process is left with one at the end; a file's tests go to one process, which makes
    its fixtures once, unless they are grouped otherwise."""
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs an accelerator"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


# Half of a report's time goes into drawing; whose figures are whose own is drawn by these files.
DRAWING = (
    "test_cases",
    "test_corruption_error",
    "test_detection_report",
    "test_explanation",
    "test_landmark_report",
    "test_multi_label",
    "test_paired",
    "test_report",
    "test_segmentation_report",
    "test_shifts",
    "test_subgroups",
    "test_triage",
)
BLANK = "data:image/png;base64,"


@pytest.fixture(scope="session", autouse=True)
def _blank_figures() -> Iterator[None]:
    """Reports made by a test of another file have their figures made, and a blank picture in the place of each."""
    from monai_robust.evaluation.report import page

    drawn = page._data_uri

    def data_uri(picture: Picture) -> str:
        file = Path(os.environ["PYTEST_CURRENT_TEST"].split("::")[0]).stem
        return drawn(picture) if file in DRAWING else BLANK

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_data_uri", data_uri)
        yield


def untold(table: str, columns: Sequence[str], groups: Sequence[str] = ()) -> list[str]:
    """The columns of a report's table of which the reference says nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "docs")
        import report_columns
    return [f"{table}.csv: {one}" for one in columns if one not in groups and report_columns.told(table, one) is None]


@pytest.fixture(scope="session", autouse=True)
def _told_columns() -> Iterator[None]:
    """Every column of every table that a test's report writes stands in the reference."""
    from monai_robust.evaluation.report import page
    from monai_robust.evaluation.tasks.registry import TASKS

    write = page._write_tables
    shipped = {name for name, task in TASKS.items() if task.outcomes.__module__.startswith("monai_robust.")}

    def write_tables(folder: Path, found: Contents) -> None:
        write(folder, found)
        if found.runs[0].task in shipped:
            for name, frame in found.frames.items():
                missing = untold(name, list(map(str, frame.columns)), found.runs[0].groups)
                assert not missing, f"docs/report_columns.py does not tell {missing}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_write_tables", write_tables)
        yield


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    """Runs command lines as a user would, without importing everything anew for each."""
    warm = WarmPython(tmp_path_factory.mktemp("warm"))
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Runs]:
    """The runs of a bundle, by its name; tests share them."""
    from bundle_runs import BUNDLES, Runs

    return cache(lambda name: Runs(BUNDLES[name], tmp_path_factory.mktemp(name)))


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def public_data() -> Path:
    if not PUBLIC_DATA.is_dir():
        pytest.skip("the public data sets are not beside this checkout")
    return PUBLIC_DATA


class TinyNet(nn.Module):
    """Two convolutions with BatchNorm and dropout: all the state that an attack must leave alone."""

    def __init__(self, classes: int = 3, channels: int = 1, dims: int = 2, dense: bool = False) -> None:
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
        self.features = nn.Sequential(
            conv(channels, 6, 3, padding=1), norm(6), nn.SiLU(), conv(6, 6, 3, padding=1), norm(6), nn.SiLU()
        )
        self.dropout = nn.Dropout(0.2)
        self.head = conv(6, classes, 1)
        self.dense = dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.head(self.dropout(self.features(x)))
        return out if self.dense else out.flatten(2).mean(dim=2)


@pytest.fixture
def network() -> TinyNet:
    torch.manual_seed(1)
    return TinyNet()


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    inputs = 0.1 + 0.8 * torch.rand(6, 1, 10, 12, generator=generator)
    return inputs, torch.tensor([0, 1, 2, 2, 1, 0])


def environment(**extra: str) -> dict[str, str]:
    """The environment of a child process that should not fight with its siblings over two cores."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", **extra}
