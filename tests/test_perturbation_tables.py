"""The tables of attacks and of corruptions: what stands in them is measured, labelled and reported, by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import corruptions_page
import pytest
import torch
from conftest import TinyNet
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

import monai_robust.attacks as attacks
from monai_robust.attacks import FMN, PGD, AttackEnsemble, GradientAttack, Square, WindowAttack
from monai_robust.attacks.attack import Attack
from monai_robust.attacks.table import ATTACKS, attack_kind, attack_name
from monai_robust.commands.corruptions import corruptions
from monai_robust.data.phantoms import modality_phantom
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, Measurement, read_run, write_report
from monai_robust.evaluation.sections.figures import score_over_severity
from monai_robust.evaluation.sections.perturbations import perturbation_label
from monai_robust.evaluation.tasks.classification import ClassificationReport
from monai_robust.tasks import Classification
from monai_robust.transforms import CORRUPTION_GROUPS, CORRUPTIONS, Corruption

DOCS = Path(__file__).resolve().parents[1] / "docs"


class Fading(Corruption):
    """x * (1 - severity)."""

    name = "fading"
    label = "Faded film"
    kind = "other"
    severity_label = "share of light lost"
    meaning = "the share of light that is lost"
    lowest = 0.0
    highest = 1.0

    def _corrupted(self, values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return values * (1 - self.severity)


class Films:
    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = [torch.rand(1, 6, 6, generator=generator) for _ in range(6)]
        self.items = [
            {"image": "", "label": index % 3, "sample_id": f"f{index}", "patient_id": str(index)} for index in range(6)
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index] | {"image": self.images[index]}


@pytest.fixture(scope="module")
def faded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a corruption that stands in the table, and nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CORRUPTIONS, Fading.name, Fading)
        folder = Measurement(
            TinyNet(),
            Films(),
            task=Classification(),
            perturbations=[
                CleanSweep(),
                AttackSweep(PGD(steps=2, bounds=(0, 1)), [0.5]),
                CorruptionSweep("fading", [0.25, 1.0]),
                CorruptionSweep("gaussian", [0.1]),
            ],
            output_dir=tmp_path_factory.mktemp("run"),
            name="erm",
            classes=["a", "b", "c"],
            sanity_samples=0,
            progress=False,
        ).run()
        write_report([folder], folder / "report.html")
    return folder


def test_a_corruption_of_the_table_is_measured(faded: Path) -> None:
    rows = read_run(faded).outcomes
    dark = rows[(rows["perturbation"] == "fading") & (rows["severity"] == 1.0)]
    assert len(dark) == 6
    assert (dark["contrast"] == 0).all()  # no light is left
    assert dark["distance"].tolist() == pytest.approx([float(image.norm()) for image in Films().images], rel=1e-5)


def test_a_corruption_of_the_table_is_labelled_and_reported(faded: Path) -> None:
    page = (faded / "report.html").read_text()
    assert "Faded film" in page
    assert "accuracy over the severity of Faded film and Gaussian corruption" in page


def test_the_axis_of_a_figure_says_what_the_severity_means(faded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CORRUPTIONS, Fading.name, Fading)
    summary = ClassificationReport().frames([read_run(faded)])["summary"]
    axes = score_over_severity(summary, ["fading"]).axes[0]
    assert (axes.get_title(), axes.get_xlabel()) == ("Faded film", "share of light lost")


def test_a_run_is_reported_where_its_corruption_is_not_known(faded: Path, tmp_path: Path) -> None:
    assert "fading" not in CORRUPTIONS
    write_report([faded], tmp_path / "report.html")
    assert "over the severity of fading and Gaussian corruption" in (tmp_path / "report.html").read_text()


def test_a_corruption_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"no corruption 'fading'; .*monai-robust corruptions lists all"):
        CorruptionSweep("fading", [0.5])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_docs_name_every_corruption(name: str) -> None:
    assert f"`{name}`" in (DOCS / "corruptions.md").read_text()
    assert perturbation_label(name) != name


def test_the_page_of_corruptions_has_the_table_of_the_code() -> None:
    page = corruptions_page.PAGE.read_text()
    assert corruptions_page.written(page) == page, "make corruptions-page"


def test_every_attack_of_the_package_is_in_the_table() -> None:
    classes = [getattr(attacks, name) for name in attacks.__all__]
    made = {one for one in classes if isinstance(one, type) and issubclass(one, (Attack, WindowAttack))}
    assert made - {Attack, GradientAttack} == {row.made_by for row in ATTACKS.values()} - {None}


def test_attacks_are_called_and_judged_by_the_table() -> None:
    class Patient(PGD):
        pass

    class Both(AttackEnsemble):
        pass

    members = [PGD(steps=1), PGD(steps=2)]
    named = [PGD(), FMN(), Square(), AttackEnsemble(members), Both(members), Patient()]
    assert [attack_name(one) for one in named] == ["pgd", "fmn", "square", "strong", "strong", "patient"]
    kinds = ["white-box", "white-box", "black-box", "ensemble", "ensemble", "white-box"]
    assert [attack_kind(one) for one in named] == kinds
    labels = {"pgd_l2": "PGD (L2)", "square_linf": "Square (L∞)", "patient_l2": "patient_l2", "clean": "Clean"}
    assert {name: perturbation_label(name) for name in labels} == labels


def test_the_command_draws_a_contact_sheet(tmp_path: Path) -> None:
    command = Typer()
    command.command()(corruptions)
    done = CliRunner().invoke(command, ["--group", "oct", "--output_dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["oct.png"]
    with Image.open(tmp_path / "oct.png") as sheet:
        assert sheet.width > 400
        assert len(set(sheet.convert("L").resize((60, 60)).tobytes())) > 10


@pytest.mark.parametrize("group", CORRUPTION_GROUPS)
def test_each_modality_has_a_small_sheet_in_the_docs(group: str) -> None:
    sheet = DOCS / "images" / "corruptions" / f"{group}.png"
    assert sheet.stat().st_size < 300_000
    if group != "common":
        picture = modality_phantom(group, 64)
        assert picture.shape == (3 if group in ("dermoscopy", "microscopy") else 1, 64, 64)
        assert 0 <= float(picture.min()) < float(picture.max()) <= 1
