"""Write the data list of a data set's folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_robust.errors import BadInputError, require_choice

__all__ = ["datalist"]


def datalist(
    dataset_dir: Annotated[Path, typer.Argument(help="The data set's folder, in one of the usual layouts.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="The data list to write [datalist.json, or .csv for landmarks]")
    ] = None,
    task: Annotated[str, typer.Option(help="classification, detection or landmarks.")] = "classification",
    seed: Annotated[int, typer.Option(help="Of the splits that the data set does not define.")] = 0,
    relabel: Annotated[
        str | None,
        typer.Option(help="Classes as abnormal=benign+malignant,normal; labels that are not named are left out."),
    ] = None,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw all splits, whatever the data set says.")] = False,
    test_per_class: Annotated[
        int | None, typer.Option("--test_per_class", help="At most so many test images of each class, drawn.")
    ] = None,
) -> None:
    """Write the data list (splits, patients, and labels, boxes or points) of a data set's folder.

    It is JSON in MONAI's form for classification, a COCO file for detection and CSV for landmarks; each can be edited
    and given back to a bundle as --datalist. --relabel, --redraw and --test_per_class are for classification.

    Example: monai-robust datalist radiographs --output datalist.json
    """
    from monai_robust import data

    listers: dict[str, tuple[Any, Any]] = {
        "classification": (data.classification_datalist, data.write_datalist),
        "detection": (partial(data.detection_datalist, on_bad_sample="drop_boxes"), data.write_detection_datalist),
        "landmarks": (data.landmark_datalist, data.write_landmark_datalist),
    }
    require_choice("--task", task, list(listers))
    find, write = listers[task]
    if task == "classification":
        found = find(dataset_dir, seed=seed, redraw=redraw)
        found = found if relabel is None else data.with_classes(found, data.read_classes(relabel))
        found = found if test_per_class is None else data.with_test_images(found, test_per_class, seed)
    elif relabel is not None or redraw or test_per_class is not None:
        raise BadInputError(f"--relabel, --redraw and --test_per_class are for classification, not for {task}")
    else:
        found = find(dataset_dir, seed=seed)
    target = output or Path(f"datalist.{'csv' if task == 'landmarks' else 'json'}")
    write(found, dataset_dir, target)
    counts = ", ".join(f"{len(items)} {split}" for split, items in found.items.items())
    print(f"{target}: {counts}; classes {', '.join(found.classes)}")
