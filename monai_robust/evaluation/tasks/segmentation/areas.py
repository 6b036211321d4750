"""What a report says of segmented areas beside their Dice: surfaces, volumes, lesions; of each class and patient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_robust.errors import BadInputError
from monai_robust.evaluation.sections.comparisons import whole
from monai_robust.evaluation.sections.parts import ReportTable, Section, listed, measured, number
from monai_robust.evaluation.sections.several_measures import (
    Column,
    measured_runs,
    measures_pictures,
    measures_tables,
)
from monai_robust.evaluation.statistics.bootstrap import Drawable, Sums, ratios
from monai_robust.evaluation.tables.run_folder import INFO, OUTCOMES, Run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.segmentation.outcomes import COUNTS, LESIONS, SURFACES
from monai_robust.metrics import intersection_over_union, relative_volume_difference
from monai_robust.scalars import is_number

__all__ = ["GLOSSARY", "area_drawable", "area_sections", "area_statistics", "check_areas"]

GLOSSARY = {
    "IoU": "the intersection over union: the area that prediction and truth share, divided by the area that either of "
    "them covers; 1 is perfect. It is Dice / (2 - Dice) of the same area.",
    "HD95": "the Hausdorff distance at the 95th percentile: 95 % of each surface lies no farther than this from the "
    "other one; 0 is perfect. It does not exist where a class is missing in truth or prediction, so read it beside the "
    "number of those that were left out.",
    "NSD": "the normalised surface distance (surface Dice): the share of both surfaces that lies within the stated "
    "tolerance of the other one; 1 is perfect. It is 0 where a class is missing in truth or prediction alone.",
    "Relative volume difference": "how much larger the predicted volume is than the true one, as a share of that: -1 "
    "means nothing was predicted. Its absolute value does not let too much in one patient make up for too little in "
    "another.",
    "Lesion sensitivity": "the share of the connected areas of the truth that the prediction meets.",
    "False components": "connected areas of the prediction that meet no true one, per image.",
}


def check_areas(run: Run) -> None:
    """Refuse columns of surfaces or lesions that are there in part, or hold what is none.

    Raises:
        BadInputError: naming the file and the column.
    """
    path, table = run.folder / OUTCOMES, run.outcomes
    for names in (SURFACES, LESIONS):
        columns = [f"{name}_{index}" for index in range(1, len(run.classes) + 1) for name in names]
        there = [name for name in columns if name in table]
        if there and there != columns:
            lacking = next(name for name in columns if name not in table)
            raise BadInputError(f"{path} has {there[0]}, but no column {lacking}; measure again")
        for name in there:
            values = pd.to_numeric(table[name], errors="coerce")
            most = 1 if name.startswith("nsd") else math.inf
            odd = (values < 0) | (values > most) | np.isinf(values) | (values.isna() & (names == LESIONS))
            if bool(odd.any()):
                line = int(np.flatnonzero(odd)[0]) + 2
                what = "a count" if names == LESIONS else "a share from 0 to 1" if most == 1 else "a distance"
                raise BadInputError(f"{path}, line {line}: {name} must be {what}")


def area_statistics(run: Run, rows: pd.DataFrame) -> dict[str, float]:
    """Numbers about the areas in some rows of a table; each is also there for class c, as ``<name>_<c>``.

    Returns:
        ``iou``, ``rvd`` (relative volume difference) and ``absolute_rvd`` of whole volumes; where surfaces were
        measured, ``hd95`` and ``nsd`` of images, and ``without_hd95``, the number of images in which a class is in
        truth or prediction alone; where lesions were, ``lesion_sensitivity`` of all lesions together and
        ``false_components`` per image. The first five are means over patients, each with the mean of their volumes or
        images; a mean over classes is that of those which have a value.
    """
    patients = _patients(rows)
    found: dict[str, float] = {}
    counts, of_volume = _of_volumes(run, rows, patients)
    differences = relative_volume_difference(*counts).numpy()
    found |= _named("iou", _per_patient(intersection_over_union(*counts).numpy(), of_volume))
    found |= _named("rvd", _per_patient(differences, of_volume))
    found |= _named("absolute_rvd", _per_patient(np.abs(differences), of_volume))
    if f"{SURFACES[0]}_1" in rows:
        hd95, nsd = (_columns(run, rows, name) for name in SURFACES)
        found |= _named("hd95", _per_patient(hd95, patients)) | _named("nsd", _per_patient(nsd, patients))
        without = (np.isnan(hd95) & ~np.isnan(nsd)).sum(axis=0)
        found |= _named("without_hd95", without.astype(float)) | {"without_hd95": float(without.sum())}
    if f"{LESIONS[0]}_1" in rows:
        lesions, hit, _, false = (_columns(run, rows, name).sum(axis=0) for name in LESIONS)
        with np.errstate(invalid="ignore"):
            found |= _named("lesion_sensitivity", hit / lesions)
            found["lesion_sensitivity"] = float(hit.sum() / lesions.sum())
        found |= _named("false_components", false / max(len(rows), 1))
        found["false_components"] = float(false.sum() / max(len(rows), 1))
    return found


def area_drawable(run: Run, rows: pd.DataFrame) -> list[Drawable]:
    """How the numbers of :func:`area_statistics` are drawn anew, but for the count ``without_hd95``."""
    patients = _patients(rows)
    counts, of_volume = _of_volumes(run, rows, patients)
    differences = relative_volume_difference(*counts).numpy()
    parts = {
        "iou": (intersection_over_union(*counts).numpy(), of_volume),
        "rvd": (differences, of_volume),
        "absolute_rvd": (np.abs(differences), of_volume),
    }
    if f"{SURFACES[0]}_1" in rows:
        parts |= {name: (_columns(run, rows, name), patients) for name in SURFACES}
    found: list[Drawable] = [_drawn_by_patient(name, *part, patients) for name, part in parts.items()]
    if f"{LESIONS[0]}_1" in rows:
        lesions, hit, _, false = (_columns(run, rows, name) for name in LESIONS)
        shares = {
            "lesion_sensitivity": (hit.sum(axis=1), lesions.sum(axis=1)),
            "false_components": (false.sum(axis=1), 1),
        }
        for place in range(len(run.classes)):
            shares[f"lesion_sensitivity_{place + 1}"] = (hit[:, place], lesions[:, place])
            shares[f"false_components_{place + 1}"] = (false[:, place], 1)
        found.append(ratios(shares))
    return found


def area_sections(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
    """Surfaces and volumes, and lesions where they were counted."""
    return [_area_section(runs, frames), *_lesion_sections(runs, frames)]


def _area_section(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> Section:
    summary = frames["summary"]
    names = measured_runs(runs, summary, "hd95")
    measured_ones = [run for run in runs if f"{SURFACES[0]}_1" in run.outcomes]
    columns = [
        Column("IoU", "iou"),
        Column("Relative volume difference", "rvd", bounded=False),
        Column("Absolute volume difference", "absolute_rvd", bounded=False),
    ]
    text = "IoU and the relative volume difference are of whole volumes, averaged over patients. "
    if not measured_ones:
        text += "Surfaces were not measured (surfaces: true does)."
        tables = [_class_table(runs, frames, columns, "volumes", "IoU and volumes of clean images", "")]
        return Section("Volumes", text, [*tables, *measures_tables(runs, frames, columns, "volumes", "Volumes", "")])
    text += _of_surfaces(measured_ones)
    unit, tolerance = _unit(measured_ones)
    surfaces = [
        Column(f"HD95 [{unit}]", "hd95", 2, bounded=False),
        Column(f"NSD ({number(tolerance)} {unit})", "nsd"),
        Column("Without HD95", "without_hd95", 0, bounded=False),
    ]
    if len(names) < len({run.name for run in runs}):
        text += f" Surfaces were measured in {listed([f'“{name}”' for name in names])} alone."
    columns = [*surfaces[:2], *columns, surfaces[2]]
    note = (
        "Without HD95: images times classes where a class is in truth or prediction alone; they are left out of HD95, "
        "and their NSD is 0."
    )
    tables = [
        _class_table(runs, frames, columns, "areas", "Surfaces and volumes of each class, clean images", note),
        *measures_tables(runs, frames, columns, "areas", "Surfaces and volumes", f"Means over classes. {note}"),
    ]
    drawn = [surfaces[1], surfaces[0], Column("Absolute volume difference", "absolute_rvd", bounded=False)]
    caption = "HD95 leaves out what has no surface, so it may fall where nothing is predicted any more; NSD is 0 there."
    return Section("Surfaces and volumes", text, tables, measures_pictures(runs, summary, drawn, caption))


def _lesion_sections(runs: Sequence[Run], frames: Mapping[str, pd.DataFrame]) -> list[Section]:
    own = [run for run in runs if f"{LESIONS[0]}_1" in run.outcomes]
    if not own:
        return []
    iou = float((own[0].info.get("settings") or {}).get("lesion_iou", 0.0))
    met = f"an intersection over union of at least {number(iou)}" if iou else "at least one shared pixel"
    lesions = int(_columns(own[0], own[0].clean, LESIONS[0]).sum())
    text = (
        f"{lesions} lesions, connected areas of one class{_of_slices(own)} (pixels that touch at a corner are "
        f"connected). One is found by {met}. All lesions are put together, without regard to patients."
    )
    columns = [
        Column("Lesion sensitivity", "lesion_sensitivity"),
        Column("False components per image", "false_components", 2, bounded=False),
    ]
    tables = [
        _class_table(runs, frames, columns, "lesions", "Lesions of each class, clean images", ""),
        *measures_tables(runs, frames, columns, "lesions", "Lesions", ""),
    ]
    return [Section("Lesions", text, tables, measures_pictures(runs, frames["summary"], columns))]


def _class_table(
    runs: Sequence[Run],
    frames: Mapping[str, pd.DataFrame],
    columns: Sequence[Column],
    stem: str,
    title: str,
    note: str,
) -> ReportTable:
    """Clean images: a row for each class and name, and of several classes first one for all."""
    classes = runs[0].classes
    places = ({"All": ""} if len(classes) > 1 else {}) | {name: f"_{place}" for place, name in enumerate(classes, 1)}
    clean = whole(frames["means_over_severities"], CLEAN)
    rows = [
        ([label, str(row["name"])], [measured(row, f"{column.statistic}{place}") for column in columns])
        for label, place in places.items()
        for _, row in clean.iterrows()
    ]
    headers, digits = [column.header for column in columns], [column.digits for column in columns]
    return ReportTable(f"table_{stem}_of_classes", title, ["Class", "Run"], headers, rows, 1.0, digits, note)


def _of_surfaces(runs: Sequence[Run]) -> str:
    unit, tolerance = _unit(runs)
    clean = runs[0].clean
    hd95, nsd = (_columns(runs[0], clean, name) for name in SURFACES)
    neither, alone = int(np.isnan(nsd).sum()), int((np.isnan(hd95) & ~np.isnan(nsd)).sum())
    per = "slice" if _of_slices(runs) else "image"
    text = (
        f"Surfaces are those of each {per}, in {unit}, averaged over a patient's {per}s and then over patients; NSD "
        f"has a tolerance of {number(tolerance)} {unit}. Of {nsd.size} clean {per}s times classes, {neither} hold the "
        f"class neither in truth nor in prediction and count for nothing, and {alone} hold it in one alone."
    )
    if per == "slice":
        text += " A slice knows nothing of the surfaces above and below it: in 3-D distances may be smaller."
    if unit == "pixels":
        text += " The size of a pixel was not known, so that distances are in pixels of the network's input."
    return text


def _unit(runs: Sequence[Run]) -> tuple[str, float]:
    """The unit of distances and the tolerance, which all runs must share.

    Raises:
        BadInputError: if they do not.
    """
    known = {}
    for run in runs:
        settings: Mapping[str, Any] = run.info.get("settings") or {}
        unit, tolerance = settings.get("distance_unit", "pixels"), settings.get("surface_tolerance", 1.0)
        if unit not in ("mm", "pixels") or not is_number(tolerance, 0):
            raise BadInputError(f"{run.folder / INFO}: distance_unit must be mm or pixels, surface_tolerance a number")
        known[unit, float(tolerance)] = run
    if len(known) > 1:
        told = listed([f"{run.folder} {number(tolerance)} {unit}" for (unit, tolerance), run in known.items()])
        raise BadInputError(
            f"the runs' surfaces were measured with other tolerances or units: {told}; measure them alike"
        )
    return next(iter(known))


def _of_slices(runs: Sequence[Run]) -> str:
    return " within a slice" if any(sample.rpartition("/")[0] for sample in runs[0].clean["sample_id"]) else ""


def _of_volumes(
    run: Run, rows: pd.DataFrame, patients: NDArray[np.intp]
) -> tuple[list[NDArray[np.float64]], NDArray[np.intp]]:
    """tp, fp and fn of each volume, (V, K) each, and its patient, (V,); a volume is what a sample id names before its
    last slash."""
    names = rows["sample_id"]
    volumes = names.str.rpartition("/")[0].where(names.str.contains("/", regex=False), names)
    place, known = pd.factorize(volumes)
    of_volume = np.zeros(len(known), dtype=np.intp)
    of_volume[place] = patients
    counts = []
    for name in COUNTS:
        sums = np.zeros((len(known), len(run.classes)))
        np.add.at(sums, place, _columns(run, rows, name))
        counts.append(sums)
    return counts, of_volume


def _patients(rows: pd.DataFrame) -> NDArray[np.intp]:
    """A number for the patient of each row; a sample whose patient is unknown counts as a patient of its own."""
    unknown = rows["patient_id"] == ""
    return pd.factorize(rows["patient_id"].where(~unknown, "\0" + rows["sample_id"]))[0]


def _columns(run: Run, rows: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """(N, K)."""
    return rows[[f"{name}_{index}" for index in range(1, len(run.classes) + 1)]].to_numpy(dtype=np.float64)


def _per_patient(values: NDArray[np.float64], patients: NDArray[np.intp]) -> NDArray[np.float64]:
    """(K,) the mean over patients of the mean of each one's values, (N, K), NaN left out; NaN where nothing is."""
    known = ~np.isnan(values)
    count = int(patients.max(initial=-1)) + 1
    sums, times = np.zeros((count, values.shape[1])), np.zeros((count, values.shape[1]))
    np.add.at(sums, patients, np.where(known, values, 0.0))
    np.add.at(times, patients, known)
    with np.errstate(invalid="ignore"):
        means = sums / times
        held = times > 0
        return np.where(held, means, 0.0).sum(axis=0) / held.sum(axis=0)


def _drawn_by_patient(
    name: str, values: NDArray[np.float64], owner: NDArray[np.intp], patients: NDArray[np.intp]
) -> Drawable:
    """A mean over patients as sums over rows: each patient's own mean is put down to the first of its rows.

    Args:
        name: of the statistic.
        values: (V, K) of volumes or images.
        owner: (V,) the patient of each.
        patients: (N,) the patient of each row.
    """
    known, first = ~np.isnan(values), np.unique(patients, return_index=True)[1]
    sums, times = (np.zeros((len(first), values.shape[1])) for _ in range(2))
    np.add.at(sums, owner, np.where(known, values, 0.0))
    np.add.at(times, owner, known)
    rows = np.zeros((len(patients), 2 * values.shape[1]))
    rows[first] = np.concatenate([sums / np.maximum(times, 1), times > 0], axis=1)

    def of(totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        above, held = np.split(totals, 2, axis=-1)
        classes = np.divide(above, held, out=np.full(held.shape, np.nan), where=held > 0)
        there = ~np.isnan(classes)
        count = there.sum(axis=-1)
        mean = np.divide(
            np.where(there, classes, 0).sum(axis=-1), count, out=np.full(count.shape, np.nan), where=count > 0
        )
        return {name: mean} | {f"{name}_{place + 1}": classes[..., place] for place in range(classes.shape[-1])}

    return Sums(rows, of)


def _named(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    """The mean over classes that have a value, and each class."""
    known = values[~np.isnan(values)]
    return dict(_numbered(name, values)) | {name: float(known.mean()) if len(known) else math.nan}


def _numbered(name: str, values: NDArray[np.float64]) -> Iterator[tuple[str, float]]:
    yield from ((f"{name}_{place}", float(value)) for place, value in enumerate(values, 1))
