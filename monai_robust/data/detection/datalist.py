"""From a folder of pictures with boxes to the lists of samples a detector is trained, validated and tested on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from monai_robust.data.detection.annotations import AnnotatedImage
from monai_robust.data.detection.checks import CheckedAnnotations
from monai_robust.data.detection.coco import find_coco_files, read_coco
from monai_robust.data.detection.doubts import check_boxes, warn_of_unlisted
from monai_robust.data.detection.voc import read_index, read_voc_folder
from monai_robust.data.lists.division import (
    Division,
    data_set_folder,
    group_columns,
    items_of,
    parts_of,
    require_parts,
)
from monai_robust.data.lists.listed import data_list_file
from monai_robust.data.lists.patients import patients_of
from monai_robust.data.lists.same_files import refuse_same_files
from monai_robust.data.lists.spellings import refuse_nothing, refuse_spellings
from monai_robust.data.lists.split_names import without_trainval
from monai_robust.data.lists.turned import warn_of_turned
from monai_robust.errors import BadInputError, require_choice

__all__ = ["DetectionDatalist", "detection_datalist"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectionDatalist:
    """The samples of a detection data set.

    Args:
        classes: names, in the order of their indices.
        items: for ``"train"``, ``"val"`` and ``"test"`` a list of ``{"image": absolute path, "boxes": list of [xmin,
            ymin, xmax, ymax], "classes": list of as many indices, "sample_id": text, "patient_id": text}`` with the
            group columns that were asked for. Boxes are in pixels of the file, continuous: pixel i covers [i, i + 1).
        skipped: ``{"sample_id", "file", "reason"}`` for each picture or box that was left out.
    """

    classes: tuple[str, ...]
    items: dict[str, list[dict[str, Any]]]
    skipped: list[dict[str, str]] = field(default_factory=list)


def detection_datalist(
    dataset_dir: str | PathLike[str],
    *,
    datalist: str | PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    groups: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    fold: int | None = None,
    folds: int = 5,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.2,
    on_bad_sample: str = "fail",
    empty: str = "bad",
    undivided: bool = False,
    split_counts: Sequence[int] | None = None,
) -> DetectionDatalist:
    """List the pictures of a data set and their boxes, whichever of the usual layouts it has.

    Looked for in this order:

    - the given ``datalist``: a COCO file (.json) or a table like the next (.csv);
    - ``index.csv`` with columns ``image`` and ``annotation``, an XML file as of Pascal VOC, and perhaps ``split``,
      ``patient_id`` and ``sample_id``;
    - Pascal VOC: ``Annotations``, ``JPEGImages`` and perhaps ``ImageSets/Main/{train,val,test,trainval}.txt``;
    - COCO: ``annotations/instances_{train,val,test,trainval}*.json``, or ``{train,valid,test}/_annotations.coco.json``.

    VOC counts pixels from 1 and includes the last, so that its box becomes [xmin - 1, ymin - 1, xmax, ymax]. Many
    tools write XML with pixels counted from 0 instead: a data set in which some xmin or ymin is below 1 is taken as it
    stands, and the log says so. COCO's [x, y, width, height] is continuous. A box that sticks out of its picture by at
    most one pixel is clipped without a word, as rounding does that. Objects that VOC marks as difficult count like all
    others.

    A split that the data set does not define is drawn from the training samples, with all pictures of a patient on
    one side. Without patient ids, and where one is empty, ``unknown`` or the like, every picture is its own patient.

    Bad are: a missing or damaged picture or annotation, one for a picture of another size, one without any object,
    and boxes that are inverted, without area, outside the picture or of an unknown class. A COCO file that lists a
    picture without annotations says that there is nothing to find in it: that is no fault. A crowd (``iscrowd``)
    marks no single object: it is left out and listed, as is what is to be ignored (``ignore``), and a picture that has
    nothing else is bad. Bad, too, are boxes that a COCO file has turned (``attributes.rotation``). Where all boxes lie
    within one pixel, they are shares of the picture's size, and the data set is refused.

    Args:
        dataset_dir: the data set's folder.
        datalist: a file that lists the samples, as it stands or inside the folder.
        classes: names in the order of their indices; by default those found, in the order of a COCO file's categories,
            else sorted.
        groups: further columns of ``index.csv``, or keys of a COCO file's images, to hand on with every picture, such
            as ``"source"``.
        limit: use at most so many pictures of each split, drawn at random with patients kept whole.
        seed: of every draw.
        fold: pool training and validation samples and validate on this one of ``folds`` (0 is the first).
        folds: number of folds, each with patients kept whole.
        validation_fraction: share of the samples to validate on, where the data set does not say.
        test_fraction: share of the samples to test on, where the data set does not say.
        on_bad_sample: ``"fail"`` refuses the data set; ``"skip"`` leaves out each picture with a fault;
            ``"drop_boxes"`` leaves out bad boxes only, and a picture of which none is left or which is bad itself.
        undivided: put all samples, of whatever split, into ``test``: those of another site, on which nobody trains.
            Boxes of none of the ``classes`` are refused there, and ``groups`` that the list does not have are left out.
        empty: ``"keep"`` takes an XML file without objects as a picture without objects, ``"bad"`` as a fault.
        split_counts: so many samples to train, to validate and to test on, drawn, from the data set's own splits first.

    Raises:
        BadSampleError: something is bad and ``on_bad_sample`` is ``"fail"``.
        BadInputError: whatever makes the folder or an argument unusable, in one sentence.
    """
    root = data_set_folder(dataset_dir)
    require_choice("on_bad_sample", on_bad_sample, ("fail", "skip", "drop_boxes"))
    require_choice("empty", empty, ("bad", "keep"))
    division = Division(validation_fraction, test_fraction, seed, fold, folds, limit, undivided, split_counts)
    images = _read(root, None if datalist is None else Path(datalist).expanduser())
    images = _with_patients(_divided(images), root)
    check_boxes(images, root)
    names = _class_names(images, classes, root)
    if undivided:
        _refuse_others(images, names, root)
    groups = group_columns(groups, {name for one in images for name in one.columns}, root, undivided)
    checked = CheckedAnnotations(names, on_bad_sample, empty == "keep")
    checked.check(images)
    warn_of_turned(checked.turned, "boxes")
    # Drawn over all that is listed: a picture must not change sides with the faults of others.
    listed = division.divided(_listed(images, root))
    table = _table(checked, len(images), root).merge(listed.drop(columns="patient_id"), how="left", on="sample_id")
    known = {one.sample_id: one.columns for one in images}
    for group in groups:
        table[group] = [known[sample].get(group, "") for sample in table["sample_id"]]
    faults, first = len(checked.skipped), checked.skipped[:1]
    why = "".join(f"; {faults} boxes or pictures are left out, first {one['reason']}" for one in first)
    if not undivided:
        require_parts(parts_of(table), len(table), root, "samples", why)
    columns = ["image", "boxes", "classes", "sample_id", "patient_id", *groups]
    items = {split: items_of(part, columns) for split, part in parts_of(division.limited(table)).items()}
    if not undivided:
        _warn_of_unseen(items["train"], names)
    return DetectionDatalist(names, items, checked.skipped)


def _read(root: Path, datalist: Path | None) -> list[AnnotatedImage]:
    if datalist is not None:
        path = data_list_file(root, datalist)
        require_choice(f"the suffix of data list {path}", path.suffix.lower(), (".json", ".csv"))
        if path.suffix.lower() == ".csv":
            return read_index(root, path)
        images = read_coco(root, path, split="")
        warn_of_unlisted(images, root)
        return images
    if (root / "index.csv").exists():
        return read_index(root, root / "index.csv")
    if (root / "Annotations").is_dir():
        return read_voc_folder(root)
    files = find_coco_files(root)
    if not files:
        raise BadInputError(
            f"no boxes found in {root}: looked for index.csv, for Annotations and JPEGImages (Pascal VOC), and for "
            "annotations/instances_train*.json or train/_annotations.coco.json (COCO); a COCO file can be given by "
            "datalist="
        )
    images = [image for path, split in files for image in read_coco(root, path, split)]
    warn_of_unlisted(images, root)
    return images


def _class_names(images: list[AnnotatedImage], classes: Sequence[str] | None, root: Path) -> tuple[str, ...]:
    found = sorted({one.name for image in images for one in image.objects if one.name})
    if not found:
        faults = [f"; first {image.annotation}: {image.fault}" for image in images if image.fault]
        raise BadInputError(f"the {len(images)} annotations of {root} hold no object with a name{''.join(faults[:1])}")
    if classes is None:
        refuse_spellings(found, root)
        declared = dict.fromkeys(one.categories for one in images)
        order = list(dict.fromkeys(name for names in declared for name in names))
        refuse_nothing((name for name in found if name not in order), root)
        return tuple(sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name)))
    names = tuple(str(name) for name in classes)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        raise BadInputError(f"classes names {repeated[0]!r} more than once" if names else "classes is empty")
    absent = [name for name in names if name not in found]
    if absent and not set(found) <= set(names):
        # Most likely a slip of the pen, and with drop_boxes all boxes of the class would vanish unseen.
        raise BadInputError(f"no object in {root} is of class {absent[0]!r}; the names there are {', '.join(found)}")
    return names


def _refuse_others(images: list[AnnotatedImage], names: tuple[str, ...], root: Path) -> None:
    """Of another site, boxes of a class that a network does not know would be dropped one by one, and nobody sees."""
    other = next((one.name for image in images for one in image.objects if one.name and one.name not in names), None)
    if other is not None:
        raise BadInputError(f"{root} has boxes of the class {other!r}, which is none of {', '.join(names)}")


def _divided(images: list[AnnotatedImage]) -> list[AnnotatedImage]:
    """Each picture in one split: those of a list "trainval" are for training or validation, once."""
    splits = without_trainval([one.sample_id for one in images], [one.split for one in images])
    return [replace(one, split=split) for one, split in zip(images, splits, strict=True) if split is not None]


def _with_patients(images: list[AnnotatedImage], root: Path) -> list[AnnotatedImage]:
    """Each picture with its patient, who may be told of in several files."""
    own = [one.sample_id for one in images]
    given = [one.patient_id for one in images]
    places = [f"picture {place} of {one.annotation.name}" for place, one in enumerate(images, start=1)]
    patients = patients_of(None if given.count(None) == len(given) else given, own, root, places, "pictures")
    return [replace(one, patient_id=patient) for one, patient in zip(images, patients, strict=True)]


def _listed(images: list[AnnotatedImage], root: Path) -> pd.DataFrame:
    """Every picture, good or bad, with its patient and the split that the data set gives it."""
    table = pd.DataFrame(
        [{"sample_id": one.sample_id, "patient_id": one.patient_id, "split": one.split} for one in images]
    )
    repeated = table["sample_id"][table["sample_id"].duplicated()]
    if len(repeated):
        raise BadInputError(f"{len(repeated)} pictures of {root} are listed twice; first {repeated.iloc[0]}")
    refuse_same_files((one.image for one in images), f"the data list of {root}")
    return table.assign(label=0)  # pictures hold several classes, so there is none to stratify by


def _table(checked: CheckedAnnotations, total: int, root: Path) -> pd.DataFrame:
    if not checked.rows:
        raise BadInputError(
            f"none of the {total} pictures of {root} can be used; first: {checked.skipped[0]['reason']}"
        )
    if checked.skipped:
        _logger.warning(  # without names, which can be a patient's
            "left out %d boxes or pictures; on_bad_sample: fail names the first, "
            "and run.json of an evaluation lists them with the reasons",
            len(checked.skipped),
        )
    return pd.DataFrame(checked.rows)


def _warn_of_unseen(items: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    seen = {index for item in items for index in item["classes"]}
    unseen = [name for index, name in enumerate(names) if index not in seen]
    if unseen:
        _logger.warning("no training picture has a box of class %s: it cannot be learned", ", ".join(unseen))
