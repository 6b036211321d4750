"""Data lists with a column for each finding, and phantoms that show several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monai_robust.data import findings_datalist, write_radiograph_phantoms
from monai_robust.errors import BadInputError


def written(folder: Path, table: pd.DataFrame) -> Path:
    folder.mkdir(exist_ok=True)
    for file in table["file"]:
        (folder / file).touch()
    table.to_csv(folder / "index.csv", index=False)
    return folder


def listed(count: int = 40) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "file": [f"{index}.png" for index in range(count)],
            "patient_id": [f"patient{index // 2}" for index in range(count)],
            "effusion": random.choice(["1", "0", "-1", "", "1.0"], count),
            "nodule": random.choice(["1", "0"], count),
            "age": random.integers(20, 90, count).astype(str),
            "site": random.choice(["north", "south"], count),
        }
    )


def test_columns_of_zeros_and_ones_are_findings_and_open_cells_are_unknown(tmp_path: Path) -> None:
    table = listed()
    found = findings_datalist(written(tmp_path / "data", table), groups=["site"])
    assert found.classes == ("effusion", "nodule")
    items = [item for part in found.items.values() for item in part]
    assert len(items) == len(table)
    by_file = table.set_index("file")
    for item in items:
        row = by_file.loc[Path(item["image"]).name]
        expected = [{"1": 1, "1.0": 1, "0": 0}.get(row[name], -1) for name in found.classes]
        assert item["label"].tolist() == expected
        assert item["label"].dtype == np.float32
        assert item["site"] == row["site"]
    patients = {split: {item["patient_id"] for item in part} for split, part in found.items.items()}
    assert all(patients.values())
    assert not patients["train"] & patients["test"]


def test_findings_may_be_named_and_splits_limited(tmp_path: Path) -> None:
    folder = written(tmp_path / "data", listed(200))
    assert findings_datalist(folder, findings=["nodule"]).classes == ("nodule",)
    limited = findings_datalist(folder, limit=20)
    assert all(0 < len(part) <= 20 for part in limited.items.values())
    assert findings_datalist(folder, fold=1).items["val"] != findings_datalist(folder, fold=2).items["val"]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda table: table.drop(columns=["effusion", "nodule"]), {}, "no column of 0, 1 and -1"),
        (lambda table: table, {"findings": ["mass"]}, "no column 'mass' for a finding"),
        (lambda table: table, {"findings": ["age"]}, "in the column 'age'; a finding is 1"),
        (lambda table: table.assign(nodule="0"), {}, "'nodule' is not both present and absent"),
        (lambda table: table, {"groups": ["ward"]}, "no column 'ward' to group by"),
        (lambda table: table, {"datalist": "list.json"}, "JSON"),
    ],
)
def test_lists_that_cannot_be_used_are_refused_in_a_sentence(
    tmp_path: Path, change, arguments: dict[str, object], message: str
) -> None:
    folder = written(tmp_path / "data", change(listed()))
    (folder / "list.json").write_text("{}")
    with pytest.raises(BadInputError, match=message):
        findings_datalist(folder, **arguments)


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no index\.csv with a column for each finding"):
        findings_datalist(tmp_path)


def test_phantoms_show_findings_independently_and_leave_some_open(tmp_path: Path) -> None:
    folder = write_radiograph_phantoms(tmp_path / "films", patients=40, size=32, several=True)
    found = findings_datalist(folder, groups=["source"])
    assert found.classes == ("lobar", "diffuse", "cardiomegaly")
    labels = np.stack([item["label"] for part in found.items.values() for item in part])
    assert (labels == -1).any()
    shares = (labels == 1).sum(axis=0) / (labels >= 0).sum(axis=0)
    assert ((shares > 0.3) & (shares < 0.7)).all()
    assert len({tuple(row) for row in labels[(labels >= 0).all(axis=1)].tolist()}) == 8


@pytest.mark.parametrize("odd", ["2", "0.5", "yes", "present"])
def test_a_slip_in_a_column_of_a_finding_is_refused_and_does_not_take_the_finding_away(
    tmp_path: Path, odd: str
) -> None:
    table = listed()
    table.loc[3, "nodule"] = odd
    folder = written(tmp_path / "data", table)
    with pytest.raises(BadInputError, match=rf"has '{odd}' in the row of 3\.png, in the column 'nodule', where nearly"):
        findings_datalist(folder)
    with pytest.raises(BadInputError, match=rf"has '{odd}' in the row of 3\.png, in the column 'nodule'; a finding is"):
        findings_datalist(folder, findings=["nodule"])
    assert findings_datalist(folder, findings=["effusion"]).classes == ("effusion",)
    assert findings_datalist(folder, groups=["nodule"]).classes == ("effusion",)


@pytest.mark.parametrize(("cell", "state"), [("?", -1), ("NA", -1), ("u", -1), ("None", -1), ("TRUE", 1), ("False", 0)])
def test_words_for_a_state_of_a_finding_are_read(tmp_path: Path, cell: str, state: int) -> None:
    table = listed()
    table.loc[3, "nodule"] = cell
    found = findings_datalist(written(tmp_path / "data", table))
    assert found.classes == ("effusion", "nodule")
    (item,) = [one for part in found.items.values() for one in part if Path(one["image"]).name == "3.png"]
    assert item["label"][1] == state


def test_one_finding_in_two_spellings_is_refused(tmp_path: Path) -> None:
    table = listed().assign(Effusion=listed()["nodule"])
    with pytest.raises(BadInputError, match="has the column 'effusion' and the column 'Effusion'; give the names"):
        findings_datalist(written(tmp_path / "data", table))


def test_columns_that_are_hardly_findings_are_asked_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = written(tmp_path / "data", listed().assign(Sex=listed()["nodule"], fold=listed()["nodule"]))
    assert findings_datalist(folder).classes == ("effusion", "nodule", "Sex", "fold")
    assert any("are effusion, nodule, Sex, fold: is Sex, fold one?" in said for said in caplog.messages)
    caplog.clear()
    findings_datalist(folder, findings=["nodule", "Sex"])
    assert not caplog.messages
