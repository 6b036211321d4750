"""Phantom radiographs: valid files, fair classes, nothing overwritten."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_robust.data import (
    SimpleITKReader,
    classification_datalist,
    phantom_radiographs,
    write_radiograph_phantoms,
)
from monai_robust.data.phantoms.thorax import Anatomy, Opacity, Positioning, thorax
from monai_robust.errors import BadInputError

PATIENTS, SIZE = 150, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_radiograph_phantoms(tmp_path_factory.mktemp("phantoms") / "set", patients=PATIENTS, size=SIZE)


@pytest.fixture(scope="module")
def index(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "index.csv")


@pytest.fixture(scope="module")
def films(folder: Path, index: pd.DataFrame) -> NDArray[np.float32]:
    """All films as shown, ``(n, rows, columns)`` on [0, 1]."""
    reader = SimpleITKReader()
    images = [reader.get_data(reader.read(folder / file))[0].T for file in index["file"]]
    return np.stack(images).astype(np.float32) / 4095


def accuracy(model: Pipeline, features: NDArray[np.float32], index: pd.DataFrame) -> float:
    """Mean accuracy over five folds by patient; three balanced classes, so chance is a third."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(model, features, index["label"], groups=index["patient_id"], cv=folds)
    return float(scores.mean())


def linear(components: int = 0) -> Pipeline:
    reduction = [PCA(components, random_state=0)] if components else []
    return make_pipeline(*reduction, StandardScaler(), LogisticRegression(C=0.05, max_iter=300))


def blurred(films: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(films, (0, sigma, sigma)))


def checksum(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_global_grey_statistics_do_not_tell_the_classes_apart(films: NDArray[np.float32], index: pd.DataFrame) -> None:
    flat = films.reshape(len(films), -1)
    moments = [flat.mean(1), flat.std(1), stats.skew(flat, axis=1), stats.kurtosis(flat, axis=1)]
    deciles = np.quantile(flat, np.arange(0.1, 1, 0.1), axis=1)
    assert accuracy(linear(), np.column_stack([*moments, *deciles]), index) < 0.45


def test_the_high_pass_residual_does_not_tell_the_classes_apart(
    films: NDArray[np.float32], index: pd.DataFrame
) -> None:
    residual = films - blurred(films, 1.0)
    assert accuracy(linear(components=60), residual.reshape(len(films), -1), index) < 0.5


def test_the_blurred_film_carries_the_signal(films: NDArray[np.float32], index: pd.DataFrame) -> None:
    coarse = blurred(films, 2.5)[:, ::2, ::2].reshape(len(films), -1)
    coarse = (coarse - coarse.mean(1, keepdims=True)) / coarse.std(1, keepdims=True)
    assert accuracy(linear(components=60), coarse, index) > 0.6


def test_scanner_storage_and_number_of_films_do_not_go_with_the_class(folder: Path, index: pd.DataFrame) -> None:
    counts = pd.crosstab(index["label"], index["source"])
    assert (counts.max() - counts.min()).max() <= 1
    assert len(counts.columns) == 3
    inverted = [
        pydicom.dcmread(folder / file, stop_before_pixels=True).PhotometricInterpretation == "MONOCHROME1"
        for file in index["file"]
    ]
    assert 0.15 < np.mean(inverted) < 0.25
    shares = pd.Series(inverted).groupby(index["label"]).mean()
    assert shares.max() - shares.min() < 0.02
    films_per_patient = index.groupby(["label", "patient_id"]).size()
    assert set(films_per_patient) == {1, 2, 3}
    means = films_per_patient.groupby("label").mean()
    assert means.max() - means.min() < 0.1


def test_splits_are_by_patient_stratified_and_of_the_stated_shares(index: pd.DataFrame) -> None:
    patients = index.groupby("patient_id")[["label", "split"]].nunique()
    assert (patients == 1).all(axis=None)
    per_patient = index.drop_duplicates("patient_id")
    counts = pd.crosstab(per_patient["label"], per_patient["split"])
    assert (counts["train"] == 30).all()
    assert (counts["val"] == 8).all()
    assert (counts["test"] == 12).all()


def test_the_index_is_a_data_list(folder: Path) -> None:
    datalist = classification_datalist(folder, groups=["source"])
    assert datalist.classes == ("diffuse", "lobar", "normal")
    assert {item["source"] for item in datalist.items["train"]} == {"scanner-a", "scanner-b", "scanner-c"}


def test_films_are_twelve_bit_dicom_with_the_attributes_of_a_secondary_capture(
    folder: Path, index: pd.DataFrame
) -> None:
    identifiers = set()
    for row in index.iloc[:12].itertuples():
        film = pydicom.dcmread(folder / str(row.file))
        assert film.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert film.SOPClassUID.name == "Secondary Capture Image Storage"
        assert film.PatientID == row.patient_id
        assert (film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation) == (16, 12, 11, 0)
        assert (film.RescaleSlope, film.RescaleIntercept, film.WindowWidth) == (1, 0, 4096)
        assert film.SecondaryCaptureDeviceManufacturerModelName == row.source
        assert film.pixel_array.shape == (SIZE, SIZE)
        assert film.pixel_array.max() <= 4095
        assert np.ptp(film.pixel_array) > 2000
        identifiers.add(film.SOPInstanceUID)
    assert len(identifiers) == 12


def test_inverted_films_look_like_the_others_once_read(films: NDArray[np.float32]) -> None:
    heart_and_spine = films[:, 30:44, 29:36].mean((1, 2))
    corners = films[:, :4, :4].mean((1, 2))
    assert (heart_and_spine > corners + 0.2).all()


def test_an_opacity_changes_the_lungs_alone() -> None:
    rng = np.random.default_rng(0)
    x, y = Positioning(0, 0, 0, 1).coordinates(96)
    for finding, sides in (("lobar", 1), ("diffuse", 2), ("normal", 0)):
        anatomy, opacity = Anatomy.draw(rng), Opacity.draw(finding, rng)
        healthy, ill = thorax(anatomy, opacity, 0.2, x, y)
        added = ill - healthy
        assert added.min() >= 0
        assert added.max() <= 0.2 + 1e-6
        assert np.abs(added[:, 46:50]).max() < 0.01
        assert sum(bool(half.max() > 0.05) for half in (added[:, :48], added[:, 48:])) == sides


def test_a_greater_contrast_makes_a_denser_opacity() -> None:
    rng = np.random.default_rng(1)
    x, y = Positioning(0, 0, 0, 1).coordinates(48)
    anatomy, opacity = Anatomy.draw(rng), Opacity.draw("lobar", rng)
    faint, dense = (np.subtract(*thorax(anatomy, opacity, contrast, x, y)[::-1]) for contrast in (0.1, 0.3))
    np.testing.assert_allclose(dense, 3 * faint, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = checksum(write_radiograph_phantoms(tmp_path / "a", patients=12, size=32, seed=3))
    assert len(first) > 12
    assert checksum(write_radiograph_phantoms(tmp_path / "b", patients=12, size=32, seed=3)) == first
    other = checksum(write_radiograph_phantoms(tmp_path / "c", patients=12, size=32, seed=4))
    assert not set(first.values()) & set(other.values())


def test_a_complete_set_is_used_again_untouched(tmp_path: Path) -> None:
    path = phantom_radiographs(tmp_path / "new" / "set", patients=12, size=32)
    assert path == str(tmp_path / "new" / "set")
    before = {file: file.stat().st_mtime_ns for file in Path(path).rglob("*")}
    assert phantom_radiographs(path, patients=12, size=32) == path
    assert {file: file.stat().st_mtime_ns for file in Path(path).rglob("*")} == before
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["set"]


def test_a_set_with_other_settings_is_refused_and_kept(tmp_path: Path) -> None:
    folder = write_radiograph_phantoms(tmp_path / "set", patients=12, size=32)
    before = checksum(folder)
    with pytest.raises(BadInputError, match=r"other settings \({'size': 32}\)"):
        phantom_radiographs(folder, patients=12, size=48)
    with pytest.raises(BadInputError, match="not empty"):
        write_radiograph_phantoms(folder, patients=12, size=32)
    assert checksum(folder) == before


def test_a_set_that_lost_a_file_is_refused(tmp_path: Path) -> None:
    folder = write_radiograph_phantoms(tmp_path / "set", patients=12, size=32)
    lost = sorted((folder / "dicom").iterdir())[0]
    lost.unlink()
    with pytest.raises(BadInputError, match=f"lacks 1 of its phantoms, first dicom/{lost.name}"):
        phantom_radiographs(folder, patients=12, size=32)


def test_a_folder_with_other_content_is_refused_and_an_empty_one_used(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("precious")
    with pytest.raises(BadInputError, match="thesis exists and is not empty"):
        phantom_radiographs(tmp_path / "thesis", patients=12, size=32)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    assert (Path(phantom_radiographs(tmp_path / "empty", patients=12, size=32)) / "index.csv").is_file()


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_robust.data.phantoms.radiographs.write_secondary_capture", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_radiograph_phantoms(tmp_path / "set", patients=12, size=32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patients": 11}, "patients is 11; it must be a whole number of at least 12"),
        ({"size": 16}, "size, in pixels, is 16"),
        ({"seed": -1}, "seed is -1"),
        ({"contrast": 0.0}, "contrast is 0.0; it can be between 0 and 1"),
        ({"contrast": float("nan")}, "contrast is nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, settings: dict[str, float], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        write_radiograph_phantoms(tmp_path / "set", **settings)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_twelve_patients_fill_every_split_with_every_class(tmp_path: Path) -> None:
    folder = write_radiograph_phantoms(tmp_path / "set", patients=12, size=32)
    index = pd.read_csv(folder / "index.csv")
    assert len(index.groupby(["label", "split"])) == 9


def test_thirty_or_more_full_size_films_are_written_per_processor_second(tmp_path: Path) -> None:
    start = time.process_time()
    folder = write_radiograph_phantoms(tmp_path / "set", patients=12)
    films = len(pd.read_csv(folder / "index.csv"))
    assert films / (time.process_time() - start) >= 30
