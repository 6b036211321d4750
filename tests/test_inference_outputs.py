from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, EnsureTyped, LoadImaged, Resized
from PIL import Image
from torch import nn

from monai_robust.data import SimpleITKReader, padded_batch
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.handlers import ChoosePostprocessing, DetectionsJSON, LabelMaps, LandmarksCSV, PredictionsCSV
from monai_robust.transforms import OriginalSized

RECTANGLE = (30, 4, 37, 9)  # xmin, ymin, xmax, ymax in the file: top right
SKIPPED = [{"sample_id": "b", "file": "films/b.png", "reason": "it is constant"}]


class Fixed:
    """A task that finds the same in every image."""

    def __init__(self, boxes=(), labels=(), scores=(), dims=2, points=()):
        self.found = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 2 * dims),
            "labels": torch.tensor(labels, dtype=torch.long),
            "scores": torch.tensor(scores, dtype=torch.float32),
        }
        self.places = torch.tensor(points, dtype=torch.float32)

    def detect(self, outputs, image_size):
        return [self.found for _ in outputs]

    def points(self, outputs):
        return self.places.expand(len(outputs), -1, -1)


class Bright:
    """A task that finds what is bright, in the coordinates of the array's axes."""

    def detect(self, outputs, image_size):
        assert tuple(outputs.shape[2:]) == tuple(image_size)
        found = []
        for image in outputs:
            places = (image[0] > 0.25).nonzero()
            box = torch.cat([places.amin(dim=0), places.amax(dim=0) + 1]).float()[None]
            found.append({"boxes": box, "labels": torch.tensor([0]), "scores": torch.tensor([0.9])})
        return found

    def points(self, outputs):
        return torch.stack([(image[0] > 0.25).nonzero().float().mean(dim=0, keepdim=True) for image in outputs])


def evaluate(samples, *handlers, transform=None, batch_size=2, network=None, decollate=False):
    SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(samples, transform), batch_size=batch_size),
        network=network or nn.Identity(),
        val_handlers=list(handlers),
        decollate=decollate,
    ).run()


def loaded(note: bool = True, track_meta: bool = False) -> Compose:
    """From a file of 40 x 24 pixels to 80 x 72, so that each axis has a scale of its own."""
    return Compose(
        [
            LoadImaged("image", reader=SimpleITKReader(), ensure_channel_first=True),
            *([OriginalSized("image")] if note else []),
            Resized("image", spatial_size=(80, 72), mode="nearest"),
            EnsureTyped("image", dtype=torch.float32, track_meta=track_meta),
            lambda item: {**item, "image": item["image"] / 255},
        ]
    )


@pytest.fixture
def film(tmp_path: Path) -> dict[str, str]:
    """A dark picture with a rectangle of middle grey in it."""
    pixels = np.zeros((24, 40), dtype=np.uint8)
    xmin, ymin, xmax, ymax = RECTANGLE
    pixels[ymin:ymax, xmin:xmax] = 127
    path = tmp_path / "film.png"
    Image.fromarray(pixels).save(path)
    return {"image": str(path), "sample_id": "ward/film.png"}


def samples(*names: str, shape=(1, 20, 10), original=(40, 40)) -> list[dict[str, object]]:
    return [{"image": torch.rand(shape), "sample_id": name, "original_size": torch.tensor(original)} for name in names]


def entries(folder: Path) -> list[dict]:
    return json.loads((folder / "detections.json").read_text())


def pictures(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_the_size_in_the_file_survives_what_the_pipeline_does_to_the_image(film):
    item = loaded()(film)
    assert item["image"].shape == (1, 80, 72)
    assert item["original_size"].tolist() == list(Image.open(film["image"]).size)
    assert not item["original_size"].is_floating_point()


def test_the_size_of_what_is_no_image_or_of_two_sizes_is_refused():
    with pytest.raises(BadInputError, match=r"image is no image yet but 'film\.png'"):
        OriginalSized()({"image": "film.png"})
    with pytest.raises(BadSampleError, match=r"image \(4, 5\), mask \(5, 4\)"):
        OriginalSized(["image", "mask"])({"image": torch.zeros(1, 4, 5), "mask": torch.zeros(1, 5, 4)})
    assert OriginalSized("absent", allow_missing_keys=True)({"image": 1}) == {"image": 1}


@pytest.mark.parametrize("transform", [loaded(), loaded(note=False, track_meta=True)], ids=["noted", "metadata"])
def test_a_detected_box_is_told_in_pixels_of_the_file(film, tmp_path, transform):
    out = tmp_path / "out"
    evaluate([film], DetectionsJSON(out, ["cell"], Bright()), transform=transform)
    (entry,) = entries(out)
    assert {key: entry[key] for key in ("file", "width", "height")} == {
        "file": "ward/film.png",
        "width": 40,
        "height": 24,
    }
    assert entry["detections"] == [{"class": "cell", "score": 0.9, "box": list(RECTANGLE)}]


@pytest.mark.parametrize("transform", [loaded(), loaded(note=False, track_meta=True)], ids=["noted", "metadata"])
def test_a_landmark_is_told_in_pixels_of_the_file(film, tmp_path, transform):
    out = tmp_path / "out"
    evaluate([film], LandmarksCSV(out, ["sella"], Bright()), transform=transform)
    table = pd.read_csv(out / "landmarks.csv")
    xmin, ymin, xmax, ymax = RECTANGLE
    assert table.columns.tolist() == ["file", "sella_x", "sella_y"]
    assert table.iloc[0].tolist() == ["ward/film.png", (xmin + xmax - 1) / 2, (ymin + ymax - 1) / 2]


@pytest.mark.real_data
def test_landmarks_of_reduced_radiographs_come_out_where_they_were_annotated(public_data, tmp_path):
    folder = public_data / "cephalometric19"
    index = pd.read_csv(folder / "index.csv").iloc[0]
    row = pd.read_csv(folder / "landmarks.csv").iloc[0]
    names = [column.removeprefix("orig_")[:-2] for column in row.index if column.startswith("orig_")][::2]
    task = Fixed(points=[[row[f"{name}_x"], row[f"{name}_y"]] for name in names])
    reduced = samples(
        row["file"], shape=(1, index["width"], index["height"]), original=(index["orig_width"], index["orig_height"])
    )
    evaluate(reduced, LandmarksCSV(tmp_path, names, task, pictures=False))
    written = pd.read_csv(tmp_path / "landmarks.csv").iloc[0]
    for name in names:
        for axis in "xy":
            assert written[f"{name}_{axis}"] == pytest.approx(row[f"orig_{name}_{axis}"], abs=0.01)


@pytest.mark.parametrize("handler", [DetectionsJSON, LandmarksCSV])
def test_a_batch_that_does_not_tell_the_size_in_the_file_is_refused(tmp_path, handler):
    sample = {"image": torch.rand(1, 20, 10), "sample_id": "a"}
    with pytest.raises(BadInputError, match="does not tell how large its images are in their files"):
        evaluate([sample], handler(tmp_path, ["a"], Fixed(points=[[1, 2]])))


def test_sizes_in_the_file_of_too_few_axes_are_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"shape \(1, 1\); 1 images with 2 axes need \(1, 2\)"):
        evaluate(samples("a", original=(40,)), DetectionsJSON(tmp_path, ["cell"], Fixed()))


def test_detections_are_listed_from_the_most_certain_down_to_the_threshold_and_clipped_to_the_image(tmp_path):
    task = Fixed([[1, 1, 3, 3], [2, 2, 4, 5], [0, 0, 9, 9], [-2, 8, 30, 12]], [1, 0, 0, 1], [0.5, 0.75, 0.25, 0.625])
    evaluate(samples("a"), DetectionsJSON(tmp_path, ["red", "white"], task, score_threshold=0.5, pictures=False))
    (entry,) = entries(tmp_path)
    assert [one["score"] for one in entry["detections"]] == [0.75, 0.625, 0.5]
    assert [one["class"] for one in entry["detections"]] == ["red", "white", "white"]
    assert [one["box"] for one in entry["detections"]] == [[4, 8, 8, 20], [0, 32, 40, 40], [2, 4, 6, 12]]


def test_an_image_without_detections_has_an_entry_and_a_picture(tmp_path):
    evaluate(samples("a"), DetectionsJSON(tmp_path, ["cell"], Fixed()))
    assert entries(tmp_path) == [{"file": "a", "width": 40, "height": 40, "detections": []}]
    assert pictures(tmp_path) == ["pictures/a.png"]


def test_padding_counts_neither_for_the_scale_nor_as_a_place_of_objects(tmp_path):
    images, masks = padded_batch([torch.rand(1, 20, 10), torch.rand(1, 10, 20)])
    batch = [
        {"image": image, "image_mask": mask, "sample_id": name, "original_size": torch.tensor([40, 40])}
        for image, mask, name in zip(images, masks, "ab", strict=True)
    ]
    task = Fixed([[4, 4, 8, 8], [12, 12, 18, 18]], [0, 0], [0.9, 0.8], points=[[4, 4]])
    evaluate(batch, DetectionsJSON(tmp_path, ["cell"], task), LandmarksCSV(tmp_path, ["tip"], task, pictures=False))
    found = [[one["box"] for one in entry["detections"]] for entry in entries(tmp_path)]
    assert found == [[[8, 16, 16, 32]], [[16, 8, 32, 16]]]
    assert pd.read_csv(tmp_path / "landmarks.csv")[["tip_x", "tip_y"]].to_numpy().tolist() == [[8.5, 17.5], [17.5, 8.5]]


def test_volumes_have_a_depth_and_no_pictures(tmp_path):
    volume = samples("a", shape=(1, 4, 8, 16), original=(8, 8, 8))
    task = Fixed([[1, 2, 4, 3, 6, 12]], [0], [0.9], dims=3, points=[[0, 0, 0]])
    handlers = (
        DetectionsJSON(tmp_path, ["cell"], task, pictures=False),
        LandmarksCSV(tmp_path, ["tip"], task, pictures=False),
    )
    evaluate(volume, *handlers)
    (entry,) = entries(tmp_path)
    assert (entry["width"], entry["height"], entry["depth"]) == (8, 8, 8)
    assert entry["detections"][0]["box"] == [2, 2, 2, 6, 6, 6]
    assert pd.read_csv(tmp_path / "landmarks.csv").iloc[0, 1:].tolist() == [0.5, 0.0, -0.25]
    with pytest.raises(BadInputError, match="set pictures to false"):
        evaluate(volume, DetectionsJSON(tmp_path, ["cell"], task))


def drawn(path: Path) -> np.ndarray:
    """The image in a picture, (rows, columns, 3): what is neither margin nor legend, where most is dark."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    dark = (pixels == 0).all(axis=2)
    rows, columns = (np.flatnonzero(dark.mean(axis=axis) > 0.3) for axis in (1, 0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def of_colour(pixels: np.ndarray, *colour: int) -> np.ndarray:
    """Row and column of the pixels of a colour."""
    return np.argwhere((pixels == colour).all(axis=2))


def test_the_picture_is_upright_and_the_box_lies_around_its_object(film, tmp_path):
    evaluate([film], DetectionsJSON(tmp_path, ["cell"], Bright()), transform=loaded())
    pixels = drawn(tmp_path / "pictures" / "ward" / "film.png.png")
    grey, blue = of_colour(pixels, 127, 127, 127), of_colour(pixels, 31, 119, 180)
    centre = grey.mean(axis=0) / pixels.shape[:2]
    assert centre == pytest.approx([(4 + 9) / 2 / 24, (30 + 37) / 2 / 40], abs=0.01)
    assert blue.min(axis=0) == pytest.approx(grey.min(axis=0), abs=4)
    assert blue.max(axis=0) == pytest.approx(grey.max(axis=0), abs=4)


def test_the_point_is_drawn_where_the_pixel_is(tmp_path):
    sample = samples("a")[0] | {"image": torch.zeros(3, 40, 20)}
    evaluate([sample], LandmarksCSV(tmp_path, ["tip"], Fixed(points=[[29, 4]])))
    pixels = drawn(tmp_path / "pictures" / "a.png")
    expected = np.array([4.5 / 20, 29.5 / 40]) * pixels.shape[:2]
    assert np.abs(of_colour(pixels, 230, 159, 0) - expected).max(axis=1).min() <= 1


def test_samples_of_like_names_have_a_picture_each(tmp_path):
    names = ["ward/film.dcm", "ward/film.png", "ward/FILM.png", "film", "film", "film-2"]
    evaluate(samples(*names), DetectionsJSON(tmp_path, ["cell"], Fixed()))
    assert len({path.casefold() for path in pictures(tmp_path)}) == len(names)
    assert {"pictures/ward/film.dcm.png", "pictures/ward/film.png.png", "pictures/film-2.png"} <= set(
        pictures(tmp_path)
    )


@pytest.mark.parametrize("name", ["../film", "/film"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path, name):
    with pytest.raises(BadInputError, match="leads out of the folder of pictures"):
        evaluate(samples(name), LandmarksCSV(tmp_path / "out", ["tip"], Fixed(points=[[1, 1]])))
    assert pictures(tmp_path) == []


def test_names_that_do_not_fit_the_network_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="class 2 was detected, but only 1 classes have names"):
        evaluate(samples("a"), DetectionsJSON(tmp_path, ["cell"], Fixed([[1, 1, 2, 2]], [2], [0.9])))
    with pytest.raises(BadInputError, match="finds 1 landmarks, but 2 have names"):
        evaluate(samples("a"), LandmarksCSV(tmp_path, ["tip", "base"], Fixed(points=[[1, 1]])))
    with pytest.raises(BadInputError, match="several landmarks are named tip"):
        LandmarksCSV(tmp_path, ["tip", "base", "tip"], Fixed())
    with pytest.raises(BadInputError, match="score_threshold must be a number from 0 to 1, got 30"):
        DetectionsJSON(tmp_path, ["cell"], Fixed(), score_threshold=30)


def test_what_was_skipped_is_listed_beside_every_kind_of_output(tmp_path):
    task = Fixed(points=[[1, 1]])
    for name, handler in {
        "detections": DetectionsJSON(tmp_path / "detections", ["cell"], task, skipped=SKIPPED, pictures=False),
        "landmarks": LandmarksCSV(tmp_path / "landmarks", ["tip"], task, skipped=SKIPPED, pictures=False),
        "predictions": PredictionsCSV(tmp_path / "predictions" / "p.csv", ["a", "b"], skipped=SKIPPED),
    }.items():
        images = (
            [{**sample, "image": torch.rand(2)} for sample in samples("a")] if name == "predictions" else samples("a")
        )
        evaluate(images, handler)
        assert pd.read_csv(tmp_path / name / "skipped.csv").to_dict("records") == SKIPPED
        assert len(list((tmp_path / name).iterdir())) == 2  # no draft is left


@pytest.mark.parametrize(
    "made",
    [
        lambda folder: DetectionsJSON(folder, ["cell"], Fixed(), pictures=False),
        lambda folder: LandmarksCSV(folder, ["tip"], Fixed(points=[[1, 1]]), pictures=False),
        lambda folder: PredictionsCSV(folder / "p.csv", ["a", "b"]),
        lambda folder: LabelMaps(folder, ["organ"]),
        lambda folder: ChoosePostprocessing(folder / "p.json", ["organ"]),
    ],
)
def test_an_evaluator_that_takes_batches_apart_is_refused_with_what_would_do(tmp_path, made):
    with pytest.raises(BadInputError, match="give it decollate=False"):
        evaluate(samples("a", "b"), made(tmp_path), decollate=True)
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_leaves_the_file_of_the_last_one_alone(tmp_path):
    handler = DetectionsJSON(tmp_path, ["cell"], Fixed(), pictures=False)
    evaluate(samples("a", "b", "c"), handler)
    with pytest.raises(BadInputError):
        evaluate([*samples("d", "e"), {"image": torch.rand(1, 20, 10), "sample_id": "f"}], handler)
    assert [entry["file"] for entry in entries(tmp_path)] == ["a", "b", "c"]
    evaluate(samples("g"), handler)
    assert [entry["file"] for entry in entries(tmp_path)] == ["g"]


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_an_image_that_the_network_answers_by_nothing_is_listed_as_skipped_and_called_nothing(tmp_path, odd):
    given = samples("a", "b", "c")
    given[1]["image"][0, 3, 3] = odd
    flat = nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten())
    handlers = {
        "predictions": PredictionsCSV(tmp_path / "p" / "predictions.csv", ["sick", "healthy"]),
        "detections": DetectionsJSON(tmp_path / "d", ["cell"], Bright(), pictures=False),
        "landmarks": LandmarksCSV(tmp_path / "l", ["sella"], Bright(), pictures=False),
    }
    evaluate(given, handlers["predictions"], network=flat)
    evaluate(given, handlers["detections"], handlers["landmarks"])
    assert [entry["file"] for entry in entries(tmp_path / "d")] == ["a", "c"]
    for name in ("p/predictions.csv", "l/landmarks.csv"):
        assert pd.read_csv(tmp_path / name)["file"].tolist() == ["a", "c"]
    for folder in "pdl":
        (skipped,) = pd.read_csv(tmp_path / folder / "skipped.csv").to_dict("records")
        assert skipped == {"sample_id": "b", "file": "b", "reason": "the network's answer is not finite"}


def test_a_network_that_answers_no_image_is_refused_and_leaves_the_last_file(tmp_path):
    handler = PredictionsCSV(tmp_path / "predictions.csv", ["a", "b"])
    evaluate(samples("a"), handler, network=nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten()))
    before = handler.path.read_bytes()
    with pytest.raises(BadInputError, match="not finite for any of 2 images; its weights are damaged"):
        evaluate(
            [{**one, "image": one["image"] * torch.nan} for one in samples("a", "b")],
            handler,
            network=nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten()),
        )
    assert handler.path.read_bytes() == before


def test_what_an_earlier_run_skipped_is_not_said_of_the_next(tmp_path):
    flat = nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten())
    for skipped, listed in ((SKIPPED, True), ((), False)):
        evaluate(
            samples("a"),
            PredictionsCSV(tmp_path / "predictions.csv", ["a", "b"], skipped=skipped),
            network=flat,
        )
        assert (tmp_path / "skipped.csv").exists() == listed


def test_a_volume_that_the_network_answers_by_nan_has_no_label_map(tmp_path):
    volumes = [
        {"image": MetaTensor(torch.rand(2, 4, 5, 3), affine=torch.eye(4)), "case_id": name} for name in ("a", "b")
    ]
    volumes[0]["image"][0, 1, 1, 1] = torch.nan
    maps = LabelMaps(tmp_path, ["organ"])
    evaluate(volumes, maps, batch_size=1)
    assert [path.name for path in maps.written] == ["b_seg.nii.gz"]
    assert pd.read_csv(tmp_path / "skipped.csv")["sample_id"].tolist() == ["a"]
    with pytest.raises(BadInputError, match="not finite for any of 1 images"):
        evaluate(volumes[:1], LabelMaps(tmp_path, ["organ"]), batch_size=1)
