"""One data set of each task, as a table and as a JSON list of the same twelve samples."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_robust.data import classification_datalist, detection_datalist, landmark_datalist, segmentation_datalist

Rows = list[dict[str, str]]
XML = """<annotation><object><name>RBC</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>7</xmax><ymax>7</ymax></bndbox>
</object></annotation>"""


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).save(path)


def table(rows: Rows, delimiter: str = ",") -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def names(splits: tuple[str, str, str] = ("train", "val", "test")) -> list[tuple[str, str]]:
    """Twelve samples with the name of their split."""
    return [(f"s {n:02d}", splits[0 if n < 6 else 1 if n < 9 else 2]) for n in range(12)]


class Task:
    """A data set of one task: a table and a JSON list of the same twelve samples."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def table(self, splits: tuple[str, str, str]) -> tuple[Path, Rows]:
        raise NotImplementedError

    def json(self, splits: tuple[str, str, str]) -> tuple[Path, Any]:
        raise NotImplementedError

    def found(self, path: Path, **more: Any) -> Any:
        raise NotImplementedError


class Classification(Task):
    def table(self, splits: tuple[str, str, str]) -> tuple[Path, Rows]:
        rows = [
            {"file": f"{name}.png", "label": "ab"[place % 2], "split": split}
            for place, (name, split) in enumerate(names(splits))
        ]
        for row in rows:
            (self.root / row["file"]).touch()
        return self.root / "list.csv", rows

    def json(self, splits: tuple[str, str, str]) -> tuple[Path, Any]:
        content: dict[str, Any] = {split: [] for split in splits}
        for row in self.table(splits)[1]:
            content[row["split"]].append({"image": row["file"], "label": row["label"]})
        return self.root / "list.json", content

    def found(self, path: Path, **more: Any) -> Any:
        return classification_datalist(self.root, datalist=path, **more)


class Detection(Task):
    def table(self, splits: tuple[str, str, str]) -> tuple[Path, Rows]:
        rows = [
            {"image": f"p/{name}.png", "annotation": f"x/{name}.xml", "split": split} for name, split in names(splits)
        ]
        for row in rows:
            picture(self.root / row["image"])
            (self.root / "x").mkdir(exist_ok=True)
            (self.root / row["annotation"]).write_text(XML)
        return self.root / "list.csv", rows

    def json(self, splits: tuple[str, str, str]) -> tuple[Path, Any]:
        rows = self.table(splits)[1]
        images = [{"id": n, "file_name": row["image"], "split": row["split"]} for n, row in enumerate(rows)]
        annotations = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 5, 5]} for n in range(12)]
        categories = [{"id": 1, "name": "RBC"}]
        return self.root / "list.json", {"images": images, "annotations": annotations, "categories": categories}

    def found(self, path: Path, **more: Any) -> Any:
        return detection_datalist(self.root, datalist=path, **more)


class Landmarks(Task):
    def table(self, splits: tuple[str, str, str]) -> tuple[Path, Rows]:
        rows = [{"file": f"{name}.png", "a_x": "1.5", "a_y": "2.25", "split": split} for name, split in names(splits)]
        for row in rows:
            picture(self.root / row["file"])
        return self.root / "landmarks.csv", rows

    def json(self, splits: tuple[str, str, str]) -> tuple[Path, Any]:
        path, rows = self.table(splits)
        path.write_text(table(rows))
        return self.root / "landmarks.json", {"names": ["a"]}

    def found(self, path: Path, **more: Any) -> Any:
        return landmark_datalist(self.root, **more)


class Segmentation(Task):
    def table(self, splits: tuple[str, str, str]) -> tuple[Path, Rows]:
        path, content = self.json(("training", "training ", "training  "))
        path.write_text(json.dumps(content))
        return self.root / "index.csv", [{"case_id": name, "split": split} for name, split in names(splits)]

    def json(self, splits: tuple[str, str, str]) -> tuple[Path, Any]:
        content: dict[str, Any] = {split: [] for split in splits}
        for name, split in names(splits):
            for folder in ("i", "l"):
                (self.root / folder).mkdir(exist_ok=True)
                (self.root / folder / f"{name}.nii.gz").touch()
            content[split].append({"image": f"i/{name}.nii.gz", "label": f"l/{name}.nii.gz"})
        return self.root / "dataset.json", {**content, "modality": {"0": "MRI"}, "labels": {"0": "no", "1": "a"}}

    def found(self, path: Path, **more: Any) -> Any:
        return segmentation_datalist(self.root, **more)


TASKS = (Classification, Detection, Landmarks, Segmentation)
tasks = pytest.mark.parametrize("task", TASKS, ids=[one.__name__ for one in TASKS])


def divided(found: Any) -> dict[str, list[str]]:
    return {
        split: sorted(Path(item["image"]).name.partition(".")[0] for item in items)
        for split, items in found.items.items()
    }


EXPECTED = {split: [name for name, own in names() if own == split] for split in ("train", "val", "test")}
