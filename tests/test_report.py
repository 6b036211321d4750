"""The report: one self-contained page that says what the tables say, names nobody, and opens in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import PERTURBATIONS, write_run

from monai_robust.errors import BadInputError
from monai_robust.evaluation import write_report
from monai_robust.evaluation.report.contents import Contents, plain_text
from monai_robust.evaluation.tasks.registry import report_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARTIFACTS = Path(__file__).resolve().parents[1] / "test-artifacts"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]
SKIPPED = [
    {"file": "smith_john_17.dcm", "reason": "cannot read '/data/john smith/smith_john_17.dcm': it is cut short"},
    {"file": "list.json", "reason": "list.json: image SMITH_JOHN_018: box 3 is flat"},
    {"file": "x.dcm", "reason": "PatientID 'SMITH^JANE' is of two patients"},
]


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of erm and one of rtda, with galleries and skipped samples."""
    folder = tmp_path_factory.mktemp("report")
    folders = [
        write_run(folder / f"{name}{seed}", name, seed=seed, falls=falls, gallery=True, info={"skipped": SKIPPED})
        for name, seed, falls in (("erm", 0, 1.0), ("erm", 1, 1.0), ("rtda", 0, 0.2))
    ]
    return write_report(folders, folder / "report.html")


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "base")]
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "url(" not in page.text


def test_every_picture_has_words_for_it(page: Page) -> None:
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    # pairs, groups, ROC curves, confusion, radius, noise, mCE, bars, densities, reliability, a gallery of each name
    assert len(pictures) == 12
    assert all(len(picture["alt"] or "") > 40 for picture in pictures)
    assert len({picture["src"] for picture in pictures}) == 12


def test_nobody_is_named(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    # the synthetic ids all hold this word; the other is in paths of the settings and in a skipped file's name
    for word in ("secret", "somebody", "smith", "SMITH", "/data"):
        assert word not in text
    for table in report.with_name("report_tables").glob("*.csv"):
        assert table.name == "skipped.csv" or "secret" not in table.read_text(), table.name


def test_skipped_samples_are_counted_and_named_in_their_table_only(report: Path, page: Page) -> None:
    assert "3 samples were skipped; why stands in report_tables/skipped.csv, which names them." in page.text
    table = (report.with_name("report_tables") / "skipped.csv").read_text()
    for one in SKIPPED:
        assert one["file"] not in page.text
        assert one["reason"] in table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/jane doe/my data/list.csv", "…/list.csv"),
        ("C:\\Users\\Jane Doe\\d.csv", "…/d.csv"),
        ("s3://bucket/DOE/d.csv", "…/d.csv"),
        ("https://jane:word@host", "…/"),
        ("https://host/d.csv?token=jane", "…/d.csv"),
        ("file:///home/jane/x", "…/x"),
        (["doe/d.csv", {"folder": "a/jane/", "share": 0.5}], "…/d.csv, folder …/jane, share 0.5"),
        ("n/a", "n/a"),
        ("8/255", "8/255"),
        ("mg/dl", "mg/dl"),
        ("Jane/01", "…/01"),
    ],
)
def test_of_a_path_only_the_last_part_is_shown(value: Any, shown: str) -> None:
    assert plain_text(value) == shown


def test_tables_beside_the_page_hold_its_numbers(report: Path, page: Page) -> None:
    folder = report.with_name("report_tables")
    table = pd.read_csv(folder / "table_accuracy.csv").set_index("Run")
    outcomes = [pd.read_csv(report.with_name(name) / "outcomes.csv") for name in ("erm0", "erm1", "rtda0")]
    clean = [100 * (rows["label"] == rows["prediction"])[rows["perturbation"] == "clean"].mean() for rows in outcomes]
    attacked = [100 * rows["score"][rows["perturbation"] == "pgd_l2"].mean() for rows in outcomes]
    assert table.loc["erm", "Clean"] == pytest.approx(np.mean(clean[:2]))
    assert table.loc["erm", "Adversarial, standard deviation"] == pytest.approx(np.std(attacked[:2], ddof=1))
    assert table.loc["rtda", "Adversarial"] == pytest.approx(attacked[2])
    assert pd.isna(table.loc["rtda", "Clean, standard deviation"])
    assert f"{np.mean(attacked[:2]):.1f} ± {np.std(attacked[:2], ddof=1):.1f}" in page.text
    calibration = (folder / "table_calibration.csv").read_text()
    assert "top label, debiased, 15 equal-mass bins" in calibration


def test_the_headline_is_computed_from_the_numbers(report: Path, page: Page) -> None:
    table = pd.read_csv(report.with_name("report_tables") / "table_accuracy.csv").set_index("Run")
    radii = pd.read_csv(report.with_name("report_tables") / "breaking_radii.csv").set_index("name")
    assert f"“erm” is right in {table.loc['erm', 'Clean']:.1f} %" in page.text
    assert f"of “erm” at radius {radii.loc['erm', 'radius_at_half_score']:.3g}" in page.text
    assert "of “rtda” at none of the radii up to 2" in page.text


def test_the_page_says_how_it_was_measured_and_what_it_cannot_say(page: Page) -> None:
    for words in ("steps 20", "1.6.1", "2.13.0", "learning_rate", "48 images of 24 patients", "multi-class form"):
        assert words in page.text
    assert "one training run only of rtda, and so no spread" in page.text
    assert "Within source" in page.text
    assert "Pilot." not in page.text


def test_where_no_patient_is_named_none_is_counted_and_other_versions_are_told(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, name, count=16) for name in ("erm", "rtda")]
    for folder, version in zip(folders, ("0.1.0", "0.2.0"), strict=True):
        table = pd.read_csv(folder / "outcomes.csv")
        table.assign(patient_id=table["sample_id"]).to_csv(folder / "outcomes.csv", index=False)
        info = json.loads((folder / "run.json").read_text()) | {"versions": {"monai-robust": version}}
        (folder / "run.json").write_text(json.dumps(info))
    contents = Contents.read(folders)
    assert contents.samples == "16 images"
    assert any(one.startswith("Every image counts as a patient of its own") for one in contents.caveats)
    assert any("different versions of monai-robust (0.1.0 and 0.2.0)" in one for one in contents.caveats)
    assert contents.caveats != Contents.read([write_run(tmp_path / "named", count=16)]).caveats


def searching(folder: Path, name: str) -> Path:
    one, *others = PERTURBATIONS[1:]
    told = [PERTURBATIONS[0], one | {"settings": {**one["settings"], "search": "smallest_radius"}}, *others]
    return write_run(folder / name, name, falls=1.0 if name == "erm" else 0.2, info={"perturbations": told})


@pytest.mark.full
def test_each_table_and_figure_about_searched_radii_says_so_and_how_to_do_without(tmp_path: Path) -> None:
    contents = Contents.read([searching(tmp_path, "erm"), searching(tmp_path, "rtda")])
    tables = {table.name: table.note for section in contents.sections for table in section.tables}
    note = "PGD (L2): radii were searched"
    assert f"{note}; from its first success on" in tables["table_verdict"]
    assert sum("first success" in words for words in tables.values()) == 1  # the others say where that stands
    told = {name for name, words in tables.items() if note in words}
    assert told >= {
        "table_verdict",
        "table_paired",
        "table_accuracy",
        "table_auroc",
        "table_discrimination_pgd_l2",
        "table_findings",
        "table_pgd_l2",
        "table_pgd_l2_within_source",
        "table_radius_at_half_accuracy",
    }
    assert not told & {"table_calibration", "table_brier_parts", "table_brier_multiclass", "table_sanity"}
    pictures = [picture for section in contents.sections for picture in section.pictures]
    for picture in pictures:
        assert (note in picture.caption) == ("PGD (L2)" in picture.alt)
    assert sum(note in picture.caption for picture in pictures) >= 3
    assert [one["radii_searched"] for one in contents.machine_summary["perturbations"]] == [False, True, *[False] * 5]
    assert not any("radii were searched" in words for words in _notes(write_run(tmp_path / "faithful")))


def _notes(folder: Path) -> list[str]:
    return [table.note for section in Contents.read([folder]).sections for table in section.tables]


@pytest.mark.full
def test_an_undertrained_network_is_marked_as_a_pilot_in_every_table(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm", clean=0.5, count=16)
    page = Page(write_report([folder], tmp_path / "weak.html").read_text(encoding="utf-8"))
    assert "says little" in page.text
    tables = sum(tag == "caption" for tag, _ in page.tags)
    badges = sum(attributes.get("class") == "badge" for _, attributes in page.tags)
    # the title and every table of results; perturbations and settings are none
    assert badges == tables - 2 + 1


@pytest.mark.full
def test_a_report_of_the_same_tables_is_the_same_and_replaces_the_old_one_whole(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm", count=16)
    output = tmp_path / "report.html"
    output.write_text("old")
    first = write_report([folder], output).read_bytes()
    assert write_report([folder], output).read_bytes() == first
    assert not list(tmp_path.rglob("*.part"))


def test_a_report_without_attacks_noise_groups_or_gallery_is_written(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm", count=16)
    table = pd.read_csv(folder / "outcomes.csv", dtype=str, keep_default_na=False)
    table[table["perturbation"] == "clean"].to_csv(folder / "outcomes.csv", index=False)
    info = json.loads((folder / "run.json").read_text())
    info |= {"perturbations": info["perturbations"][:1], "groups": [], "checkpoint": None}
    (folder / "run.json").write_text(json.dumps(info))
    page = Page(write_report([folder], tmp_path / "clean.html").read_text(encoding="utf-8"))
    assert "Attacks" not in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 4


def test_names_cannot_inject_markup(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "erm", "<script>alert(1)</script>", count=16)
    page = Page(write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert "alert(1)" in page.text


@pytest.mark.full
def test_the_baseline_is_the_one_asked_for_else_the_usual_training_else_the_first(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, name, count=16) for name in ("rtda", "erm")]
    text = [
        Page(write_report(folders, tmp_path / "report.html", baseline=name).read_text()).text for name in (None, "rtda")
    ]
    assert "compared with erm." in text[0]
    assert "compared with rtda." in text[1]
    others = [write_run(tmp_path / name, name, count=16) for name in ("trades", "mart")]
    assert "compared with trades." in Page(write_report(others, tmp_path / "report.html").read_text()).text
    with pytest.raises(BadInputError, match=r"no run is named 'at', .*there are rtda, erm"):
        write_report(folders, tmp_path / "other.html", baseline="at")
    assert not (tmp_path / "other.html").exists()


def test_runs_on_different_samples_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "a", "erm", count=16), write_run(tmp_path / "b", "rtda", count=18)]
    with pytest.raises(BadInputError, match="different samples"):
        write_report(folders, tmp_path / "report.html")
    assert not list(tmp_path.glob("report*"))


@pytest.mark.parametrize(
    ("output", "folders", "message"), [("report.pdf", [], "end in .html"), ("report.html", [], "no run to report on")]
)
def test_impossible_requests_are_refused(tmp_path: Path, output: str, folders: list[Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        write_report(folders, tmp_path / output)


def test_a_task_without_a_reading_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInputError, match="'juggling'; there is one for classification"):
        report_of("juggling")


def browse(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


PROBE = """<script>
addEventListener("load", () => {
  const pictures = [...document.images];
  document.body.dataset.pictures = pictures.length;
  document.body.dataset.missing = pictures.filter(p => !p.complete || p.naturalWidth < 100).length;
  document.body.dataset.overflow = document.documentElement.scrollWidth - innerWidth;
});
</script>"""


@pytest.mark.browser
def test_the_report_opens_in_a_browser_with_all_pictures_and_no_error(report: Path, tmp_path: Path) -> None:
    if CHROMIUM is None:
        if os.environ.get("MONAI_ROBUST_REQUIRE_BROWSER") == "1":
            pytest.fail("MONAI_ROBUST_REQUIRE_BROWSER=1, but there is no Chromium on the path")
        pytest.skip("there is no Chromium on the path")
    ARTIFACTS.mkdir(exist_ok=True)
    picture = ARTIFACTS / "report.png"
    picture.unlink(missing_ok=True)
    shown = browse(report, tmp_path / "one", "--window-size=1000,7400", f"--screenshot={picture}")
    assert "CONSOLE" not in shown.stderr
    assert picture.stat().st_size > 100_000
    # the page forbids scripts, so that the probe needs a copy that allows them
    text = report.read_text(encoding="utf-8").replace("default-src 'none';", "script-src 'unsafe-inline';")
    probe = tmp_path / "probe.html"
    probe.write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dom = browse(probe, tmp_path / "two", "--window-size=520,900", "--dump-dom")
    assert "CONSOLE" not in dom.stderr
    found = dict(re.findall(r'data-(pictures|missing|overflow)="(-?\d+)"', dom.stdout))
    assert found == {"pictures": "12", "missing": "0", "overflow": "0"}
