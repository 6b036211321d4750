"""Cases to look at: which are kept, what their pictures show, and the page that shows them in a browser."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from browser import opened
from conftest import TinyNet
from PIL import Image
from test_measure import Films, Killed, Stopping, measurement, network
from torch import Tensor

from monai_robust.attacks import FMN, PGD
from monai_robust.errors import BadInputError
from monai_robust.evaluation import AttackSweep, CleanSweep, CorruptionSweep, NearestSweep, read_run, write_report
from monai_robust.evaluation.measure.cases import _ALL, _spread, _within
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch
from monai_robust.evaluation.report import cases as cases_page
from monai_robust.evaluation.report.cases import _numbered, _run_names, cases_path, write_cases_page
from monai_robust.evaluation.tables import writer
from monai_robust.evaluation.tables.cases import case_numbers, read_cases, read_numbers
from monai_robust.losses import LandmarkLoss
from monai_robust.tasks import Classification, Landmarks, Segmentation

ARTIFACTS = Path(__file__).resolve().parents[1] / "test-artifacts"
RADII = [0.25, 0.5, 1.0]
KEPT = 6


def sweeps() -> list[Any]:
    attack = PGD(norm="l2", steps=3, bounds=(0.0, 1.0), random_start="ball")
    return [
        CleanSweep(),
        AttackSweep(attack, RADII),
        NearestSweep(FMN(norm="l2", steps=8, bounds=(0.0, 1.0)), high=1.0),
        CorruptionSweep("gaussian", [0.1, 0.5]),
    ]


def films(folder: Path, **changes: Any) -> Any:
    return measurement(folder, **{"perturbations": sweeps(), "cases": KEPT, **changes})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films(tmp_path_factory.mktemp("cases") / "erm").run()


def page_of(folder: Path, where: Path) -> Path | None:
    """The page of cases alone, without the report that it stands beside."""
    return write_cases_page([read_run(folder)], where / "report.html")


def rows_of(folder: Path, **which: Any) -> list[dict[str, Any]]:
    table = read_cases(folder)
    assert table is not None
    return [row for row in table.to_pylist() if all(row[name] == value for name, value in which.items())]


def levels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(float)


# Which are kept


def test_cases_are_drawn_evenly_over_classes_and_keep_their_numbers() -> None:
    items = [{"sample_id": f"film{place}", "label": int(place % 10 == 0)} for place in range(60)]
    ten = case_numbers(items, 10)
    assert sorted(ten.values()) == list(range(1, 11))
    rare = [sample for sample in ten if items[int(sample[4:])]["label"]]
    assert len(rare) == 5
    assert case_numbers(items[::-1], 10) == ten
    assert case_numbers(items, 30).items() >= ten.items()
    assert case_numbers(items, 0) == {}


@pytest.mark.parametrize("count", [-1, 201, 2.0, True, "many"])
def test_another_number_of_cases_is_refused(tmp_path: Path, count: Any) -> None:
    with pytest.raises(BadInputError, match="whole number from 0"):
        films(tmp_path / "run", cases=count)


def test_every_case_has_a_row_for_every_perturbation_and_severity(kept: Path) -> None:
    numbers = case_numbers(Films().items, KEPT)
    assert read_numbers(kept) == {number: sample for sample, number in numbers.items()}
    plan = [(one.name, severity) for one in sweeps() for severity in one]
    for number, sample in read_numbers(kept).items():
        rows = rows_of(kept, case=number)
        assert [(row["perturbation"], row["severity"]) for row in rows] == plan
        assert {row["sample_id"] for row in rows} == {sample}
    assert not (kept / "cases").exists()


def test_without_cases_nothing_is_kept_and_no_page_is_written(tmp_path: Path) -> None:
    folder = films(tmp_path / "run", cases=0, perturbations=sweeps()[:1]).run()
    assert not (folder / "cases.parquet").exists()
    assert page_of(folder, tmp_path) is None
    assert not cases_path(tmp_path / "report.html").exists()


class Failing(TinyNet):
    """Raises an error on one image alone."""

    def forward(self, x: Tensor) -> Tensor:
        if bool((x == Films().images[3]).flatten(1).all(dim=1).any()):
            raise RuntimeError("no")
        return super().forward(x)


def test_a_sample_that_fails_is_no_case(tmp_path: Path) -> None:
    folder = films(tmp_path / "run", network=Failing(), cases=11, perturbations=[sweeps()[0], sweeps()[3]]).run()
    assert set(read_numbers(folder).values()) == {f"film{place}" for place in range(11) if place != 3}


@pytest.mark.parametrize("after", [2, 7, 12])
def test_a_killed_measurement_continues_to_the_same_cases(
    tmp_path: Path, kept: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SECONDS", 0.0)
    monkeypatch.setattr(writer, "SHARE", 0.0)
    with pytest.raises(Killed):
        films(tmp_path / "run", task=Stopping(after)).run()
    assert not (tmp_path / "run" / "cases.parquet").exists()
    films(tmp_path / "run").run()
    assert (tmp_path / "run" / "cases.parquet").read_bytes() == (kept / "cases.parquet").read_bytes()


# What pictures show


def test_a_clean_picture_is_the_image_upright_between_its_percentiles(kept: Path) -> None:
    for row in rows_of(kept, perturbation="clean"):
        image = Films().images[int(row["sample_id"][4:])][0].T.double().numpy()
        low, high = np.percentile(image, [0.5, 99.5])
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
        np.testing.assert_allclose(levels(row["picture"]), (255 * (image - low) / (high - low)).clip(0, 255), atol=0.51)


def test_a_perturbed_image_comes_of_its_picture_to_half_a_level(kept: Path) -> None:
    noise = CorruptionSweep("gaussian", [0.1, 0.5])
    for row in rows_of(kept, perturbation="gaussian"):
        image = Films().images[int(row["sample_id"][4:])]
        batch = EvaluatedBatch(network(), image[None], torch.tensor([0]), Classification(), [row["sample_id"]], 0)
        changed = noise.apply(row["severity"], batch)[0, 0] - image[0]
        assert row["high"] == -row["low"] == pytest.approx(float(changed.abs().max()))
        found = (levels(row["picture"]) - 128) / 127 * row["high"]
        np.testing.assert_allclose(found, changed.T.numpy(), atol=row["high"] / 254 * 1.01)


def test_what_is_said_of_a_case_is_what_the_table_says(kept: Path) -> None:
    outcomes = read_run(kept).outcomes.set_index(["sample_id", "perturbation", "severity"])
    classes = ["covid", "normal", "pneumonia"]
    for row in rows_of(kept):
        told = outcomes.loc[(row["sample_id"], row["perturbation"], row["severity"])]
        assert row["prediction"] == classes[int(told["prediction"])]
        assert row["label"] == classes[int(told["label"])]
        assert row["confidence"] == pytest.approx(told[f"probability_{int(told['prediction'])}"])


class Volumes:
    """Volumes (1, 6, 5, 40), of which the first is empty and the others hold something in slices 20 to 25."""

    def __init__(self) -> None:
        self.items = [
            {"sample_id": f"volume{place}", "patient_id": f"volume{place}", "foreground": [1] if place else []}
            for place in range(3)
        ]

    def __len__(self) -> int:
        return 3

    def __getitem__(self, place: int) -> dict[str, Any]:
        label = torch.zeros(1, 6, 5, 40, dtype=torch.long)
        label[:, 1:3, 2:4, 20:26] = int(place > 0)
        image = torch.linspace(0, 1, 40).expand(1, 6, 5, 40) + label
        return {**self.items[place], "image": image, "label": label}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return measurement(
        tmp_path_factory.mktemp("volumes") / "erm",
        network=TinyNet(2, dims=3, dense=True),
        dataset=Volumes(),
        task=Segmentation(),
        perturbations=[CleanSweep(), AttackSweep(PGD(steps=2), [1.0])],
        classes=["lesion"],
        groups=[],
    ).run()


def test_of_a_volume_slices_are_kept_where_it_holds_something(volumes: Path) -> None:
    for row in rows_of(volumes, perturbation="clean"):
        geometry = json.loads(row["geometry"])
        slices, place = geometry["slices"], int(row["sample_id"][6:])
        assert len(slices) == 12
        if place:
            assert {*range(19, 27)} <= set(slices)
        else:
            assert (slices[0], slices[-1]) == (0, 39)
        shown = levels(row["picture"]).reshape(12, 5, 6)
        volume = Volumes()[place]["image"][0]
        for at, index in enumerate(slices):
            expected = (volume[:, :, index].T.double().numpy() - row["low"]) / (row["high"] - row["low"]) * 255
            np.testing.assert_allclose(shown[at], expected.clip(0, 255), atol=0.51)
        truth = rows_of(volumes, case=row["case"], perturbation="truth")[0]
        label = Volumes()[place]["label"][0]
        np.testing.assert_array_equal(
            levels(truth["mask"]).reshape(12, 5, 6), np.stack([label[:, :, index].T.numpy() for index in slices])
        )


class Points:
    """Images (1, 9, 7) with two landmarks, of which the second of the first image is missing."""

    def __init__(self) -> None:
        self.items = [{"sample_id": str(place), "patient_id": str(place), "points": []} for place in range(2)]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> dict[str, Any]:
        points = torch.tensor([[2.0, 5.0, 1.0, 1.0], [8.0 if place else math.nan, 0.0, 1.0, 1.0]])
        generator = torch.Generator().manual_seed(place)
        return {**self.items[place], "image": torch.rand(1, 9, 7, generator=generator), "label": points}


def test_landmarks_are_marked_where_they_are(tmp_path: Path) -> None:
    folder = measurement(
        tmp_path / "run",
        network=TinyNet(6, dense=True),
        dataset=Points(),
        task=Landmarks(LandmarkLoss(radius=2.0)),
        perturbations=[CleanSweep()],
        classes=["sella", "nasion"],
        groups=[],
    ).run()
    truth = {row["sample_id"]: json.loads(row["marks"]) for row in rows_of(folder, perturbation="truth")}
    assert truth["0"] == [{"at": [2.5, 5.5], "class": 0}]
    assert truth["1"] == [{"at": [2.5, 5.5], "class": 0}, {"at": [8.5, 0.5], "class": 1}]
    found = json.loads(rows_of(folder, perturbation="clean", sample_id="1")[0]["marks"])
    error = read_run(folder).outcomes.set_index("sample_id").loc["1", ["error_1", "error_2"]]
    for one, true, expected in zip(found, truth["1"], error, strict=True):
        assert math.dist(one["at"], true["at"]) == pytest.approx(expected, abs=0.02)


def test_large_pictures_are_made_smaller_so_that_a_run_stays_small() -> None:
    rows, columns = _within(3000, 2000, 65_536)
    assert rows * columns <= 65_536
    assert rows / columns == pytest.approx(1.5, rel=0.02)
    assert _within(64, 48, 65_536) == (64, 48)
    assert _within(3000, 100, 65_536)[0] == 256
    assert _spread(100, 12, None)[::11] == (0, 99)
    assert _spread(5, 5, (1, 2)) == (0, 1, 2, 3, 4)
    assert _ALL < 2 * cases_page.LARGEST_PAGE


# The page


@pytest.fixture(scope="module")
def page(kept: Path) -> Path:
    other = films(kept.parent / "rtda", name="rtda", network=network(3), record={"recipe": "rtda", "seed": 0}).run()
    return write_report([kept, other], kept.parent / "report.html")


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_cases_of_random_splits_are_told_apart_by_their_split(kept: Path) -> None:
    run = read_run(kept)
    split = [replace(run, info={**run.info, "fold": None, "settings": {"split_seed": seed}}) for seed in (3, 4)]
    folds = [replace(run, info={**run.info, "fold": fold, "settings": {}}) for fold in (0, 1)]
    cases = [
        {sample: [{"case": place}] for place, sample in enumerate(ids, 1)} for ids in (["a", "b"], ["c", "b", "d"])
    ]
    assert _numbered(split, cases) == {"a": "1 of split 3", "c": "1 of split 4", "b": "2", "d": "3"}
    assert _numbered(folds, cases) == {"a": "1 of fold 0", "c": "1 of fold 1", "b": "2", "d": "3"}
    assert _run_names(split) == ["erm, seed 0, split 3", "erm, seed 0, split 4"]


def test_the_report_points_to_the_page_which_names_nobody(page: Path, kept: Path) -> None:
    assert '<a href="cases.html">Cases to look at</a>' in page.read_text(encoding="utf-8")
    text = cases_path(page).read_text(encoding="utf-8")
    for item in Films().items:
        assert f'"{item["sample_id"]}"' not in text
        assert str(item["patient_id"]) not in text
    assert str(kept.parent) not in text
    ids = pd.read_csv(kept.parent / "report_tables" / "case_ids.csv")
    assert dict(zip(ids["case"], ids["sample_id"], strict=True)) == read_numbers(kept)
    assert set(ids["patient_id"]) <= {item["patient_id"] for item in Films().items}


def test_the_page_loads_nothing_and_runs_its_own_script_alone(page: Path) -> None:
    text = cases_path(page).read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|report\.html)', text)
    assert "default-src 'none'" in text
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'", text)


def test_a_case_gives_way_where_the_table_says_so(page: Path, kept: Path) -> None:
    data, numbers = data_of(cases_path(page)), read_numbers(kept)
    table = read_run(kept).outcomes
    for case in data["cases"]:
        rows = table[table["sample_id"] == numbers[int(case["name"])]].set_index(["perturbation", "severity"])
        right = rows.loc[("clean", 0.0), "score"] == 1
        broken = [place for place, radius in enumerate(RADII) if rows.loc[("pgd_l2", radius), "score"] == 0]
        found = case["runs"][0]["gives_way"]
        assert found[1]["when"] == ("clean" if not right else "" if broken else "never")
        assert found[1]["place"] == (broken[0] if right and broken else None)
        distance = rows.loc[("nearest_l2", 1.0), "distance"]
        assert found[2]["radius"] == (pytest.approx(distance) if distance > 0 else None)


def test_a_case_gives_way_at_the_smallest_radius_in_whatever_order_they_are_listed(
    page: Path, kept: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "run"))
    info = json.loads((folder / "run.json").read_text())
    info["perturbations"][1]["severities"].reverse()
    (folder / "run.json").write_text(json.dumps(info))
    reversed_page = page_of(folder, tmp_path)
    assert reversed_page is not None
    expected, found = data_of(cases_path(page)), data_of(reversed_page)
    assert any(case["runs"][0]["gives_way"][1]["place"] is not None for case in expected["cases"])
    for one, other in zip(expected["cases"], found["cases"], strict=True):
        assert one["runs"][0]["gives_way"] == other["runs"][0]["gives_way"]


def test_the_page_takes_the_first_cases_that_fit(page: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases_page, "MOST_CASES", 4)
    few = write_cases_page([read_run(kept)], kept.parent / "few.html")
    assert few is not None
    assert few.name == "few_cases.html"
    assert [case["name"] for case in data_of(few)["cases"]] == ["1", "2", "3", "4"]
    assert "2 more that were kept are left out" in few.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "</script><b>"])
def test_names_cannot_end_the_script(tmp_path: Path, name: str) -> None:
    folder = films(tmp_path / "run", name=name, classes=[name, "b", "c"], perturbations=sweeps()[:1]).run()
    page_of(folder, tmp_path)
    text = (tmp_path / "cases.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2
    assert data_of(tmp_path / "cases.html")["runs"] == [name]


def test_damaged_cases_are_refused_by_name(tmp_path: Path, kept: Path) -> None:
    folder = films(tmp_path / "run", perturbations=sweeps()[:1]).run()
    content = (folder / "cases.parquet").read_bytes()
    (folder / "cases.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInputError, match=r"cases\.parquet.*delete it to do without"):
        page_of(folder, tmp_path)
    table = pq.read_table(kept / "cases.parquet").replace_schema_metadata({b"cases_version": b"9"})
    pq.write_table(table, folder / "cases.parquet")
    with pytest.raises(BadInputError, match="version 9 of cases"):
        page_of(folder, tmp_path)
    whole = pq.read_table(kept / "cases.parquet")
    pq.write_table(whole.slice(1), folder / "cases.parquet")
    with pytest.raises(BadInputError, match="lacks case 1 under clean at severity 0"):
        page_of(folder, tmp_path)


# In a browser

SHOWN = "document.body.dataset.shown"
PIXELS = "document.getElementById('picture').toDataURL()"


def shown(browser: Any) -> list[str]:
    """Case, view, perturbation, severity and slice that are shown, once nothing changes any more."""
    browser.value("new Promise((done) => setTimeout(done, 60))")
    return str(browser.value(SHOWN)).split("/")


@pytest.mark.browser
def test_a_reader_clicks_slides_filters_and_types_through_the_cases(page: Path, tmp_path: Path) -> None:
    data = data_of(cases_path(page))
    with opened(tmp_path) as browser:
        browser.open(cases_path(page), 1280)
        browser.until(f"{SHOWN} !== undefined")
        assert browser.addresses == [cases_path(page).as_uri()]
        first = shown(browser)
        assert first[1:] == ["perturbed", "1", "0", "0"]
        ranks = {"never": 98, "clean": 99}
        given = [case["runs"][0]["gives_way"][1] for case in data["cases"]]
        order = sorted(
            zip(given, data["cases"], strict=True), key=lambda one: ranks.get(one[0]["when"], one[0]["place"])
        )
        assert first[0] == order[0][1]["name"]
        browser.press("End")
        assert shown(browser)[0] == order[-1][1]["name"]
        browser.press("Home")
        assert shown(browser)[0] == order[0][1]["name"]
        perturbed = browser.value(PIXELS)
        browser.click("#views label:nth-of-type(1)")
        assert shown(browser)[1] == "clean"
        assert browser.value(PIXELS) != perturbed
        browser.press(" ")
        assert shown(browser)[1] == "perturbed"
        assert browser.value(PIXELS) == perturbed
        browser.press("d")
        assert shown(browser)[1] == "difference"
        assert "times as strong" in browser.value("document.getElementById('caption').textContent")
        browser.press("d")
        browser.press("ArrowUp")
        assert shown(browser)[3] == "1"
        browser.value("document.getElementById('severity').focus()")
        browser.press("ArrowRight")
        assert shown(browser)[3] == "2"  # the slider's own key, which leaves the case
        assert shown(browser)[0] == order[0][1]["name"]
        browser.value("document.activeElement.blur()")
        browser.press("ArrowRight")
        assert shown(browser)[0] == order[1][1]["name"]
        browser.click("#before")
        assert shown(browser)[0] == order[0][1]["name"]
        browser.swipe("#stage", -120)
        assert shown(browser)[0] == order[1][1]["name"]
        browser.click("#list li:nth-child(3) button")
        assert shown(browser)[0] == order[2][1]["name"]
        select = (
            "(() => {{ const one = document.querySelectorAll('{} select')[{}]; one.value = {!r}; "
            "one.dispatchEvent(new Event('change')); }})()"
        )
        browser.value(select.format("#fields", 1, "covid"))
        held = [case["name"] for case in data["cases"] if case["holds"] == ["covid"]]
        assert browser.value("document.querySelectorAll('#list li').length") == len(held)
        browser.value(select.format("#fields", 1, ""))
        browser.value(select.format("#fields", 3, "2"))
        within = [one for one, _ in order if one["when"] == ""]
        assert browser.value("document.querySelectorAll('#list li').length") == len(within)
        browser.value(select.format("#fields", 3, ""))
        browser.value(select.format("#what", 0, "1"))
        assert "rtda says" in browser.value("document.getElementById('caption').textContent")
        browser.press("p")
        assert shown(browser)[2] == "2"
        assert browser.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, False), (400, True)])
def test_the_page_fits_its_window(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    with opened(tmp_path) as browser:
        browser.open(cases_path(page), width, dark=dark)
        browser.until(f"{SHOWN} !== undefined")
        assert browser.value("document.documentElement.scrollWidth - innerWidth") <= 0
        picture = browser.picture(ARTIFACTS / f"cases-{width}{'-dark' if dark else ''}.png")
        assert picture.stat().st_size > 20_000
        small = browser.value(
            "[...document.querySelectorAll('button, select, .pick')].filter((one) => one.offsetParent && "
            "one.getBoundingClientRect().height < 24).length"
        )
        assert small == 0
        assert browser.complaints == []


@pytest.mark.browser
def test_slices_of_a_volume_are_leafed_through(volumes: Path, tmp_path: Path) -> None:
    page_of(volumes, tmp_path)
    with opened(tmp_path / "profile") as browser:
        browser.open(tmp_path / "cases.html", 1280)
        browser.until(f"{SHOWN} !== undefined")
        before = browser.value(PIXELS)
        browser.press("PageUp")
        assert shown(browser)[4] == "1"
        assert browser.value(PIXELS) != before
        browser.press("t")
        shown(browser)
        assert browser.value("document.getElementById('slice-text').textContent").endswith("of 40")
        assert browser.complaints == []


@pytest.mark.full
@pytest.mark.browser
def test_a_page_of_30_megabytes_opens_within_two_seconds(
    page: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 25, 60, 60), dtype=np.uint8)

    def kept_rows(run: Any) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for number in range(1, 201):
            sample = f"film{number - 1}"
            rows = rows_of(kept, case=1)
            for at, row in enumerate(rows):
                buffer = io.BytesIO()
                Image.fromarray(np.concatenate(noise[number - 1, 3 * at : 3 * at + 3])).save(buffer, "PNG")
                geometry = {"rows": 180, "columns": 60, "original": [180, 60]}
                row |= {"case": number, "sample_id": sample, "picture": buffer.getvalue()}
                row |= {"geometry": json.dumps(geometry)}
            found[sample] = rows
        return found

    folder = films(tmp_path / "run", dataset=Films(200), perturbations=sweeps(), cases=0).run()
    monkeypatch.setattr(cases_page, "_kept", kept_rows)
    page_of(folder, tmp_path)
    size = cases_path(tmp_path / "report.html").stat().st_size
    assert 15e6 < size < 30e6
    with opened(tmp_path / "profile") as browser:
        begun = time.monotonic()
        browser.open(tmp_path / "cases.html", 1280)
        browser.until(f"{SHOWN} !== undefined")
        taken = time.monotonic() - begun
        assert browser.value("document.querySelectorAll('#list li').length") > 100
        assert taken < 4  # alone on a machine it is half a second
