"""Cases of a run as DICOM or NIfTI files, exactly as the network was given them but for the units of the file."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_robust.data.files.whole import write_whole
from monai_robust.errors import BadInputError, require_choice
from monai_robust.evaluation.export.dicom import Uids, check_burned_in, check_kind, write_slice
from monai_robust.evaluation.export.source import Source, in_file_units, named_file, source_files
from monai_robust.evaluation.sections.parts import number
from monai_robust.evaluation.sections.perturbations import NORMS, perturbation_label
from monai_robust.evaluation.tables.cases import read_input, read_numbers
from monai_robust.evaluation.tables.run_folder import Perturbation, Run, read_run
from monai_robust.evaluation.tables.schema import CLEAN

__all__ = ["ExportedCase", "export_cases"]

Format = Literal["dicom", "nifti"]


@dataclass(frozen=True)
class ExportedCase:
    """What was written of a case.

    Attributes:
        case: its number.
        path: the file, or the folder of a series.
        change: the largest change of a pixel, in units of the file.
        step: what one stored level stands for, in the same units; 0 where numbers are stored as they are.
    """

    case: int
    path: Path
    change: float
    step: float


def export_cases(
    run: str | Path,
    cases: Sequence[int],
    output_dir: str | Path,
    *,
    dataset_dir: str | Path,
    datalist: str | Path | None = None,
    format: Format = "dicom",
    perturbation: str | None = None,
    severity: float | None = None,
    allow_burned_in: bool = False,
) -> list[ExportedCase]:
    """Write perturbed cases of a run for a workstation, with the geometry of their source, derived and de-identified.

    Args:
        run: folder of a finished evaluation that has kept inputs (``case_inputs``).
        cases: numbers of the cases.
        output_dir: where to write.
        dataset_dir: the data set that was measured, in which the sources are found: one that a data list here can be
            made of, or, of an evaluator's samples, which are called by their files, the folder of all images.
        datalist: of the data set, where it needs one.
        format: ``"dicom"``, for which the sources must be DICOM, or ``"nifti"``.
        perturbation: by its name in the outcomes table; the first attack by default.
        severity: its largest radius, or its last severity, by default.
        allow_burned_in: also export images of which nobody has said that no text is burned into them.

    Raises:
        BadInputError: for a case whose input was not kept, whose source is not found, is on another grid, or may name
            the patient in its pixels, and for preprocessing that cannot be undone.
    """
    require_choice("format", format, ["dicom", "nifti"])
    read = read_run(run)
    one = _perturbation(read, perturbation)
    chosen = one.rising[-1] if severity is None else float(severity)
    if chosen not in one.severities:
        known = ", ".join(map(number, one.severities))
        raise BadInputError(f"{one.name} was measured at the severities {known}, not {chosen:g}")
    samples = read_numbers(read.folder)
    unknown = next((case for case in cases if case not in samples), None)
    if unknown is not None or not cases:
        asked = "no case was named" if unknown is None else f"there is no case {unknown}"
        raise BadInputError(f"{asked} in {read.folder}; it has kept {len(samples)}, numbered from 1")
    sources = _sources({case: samples[case] for case in cases}, read.task, dataset_dir, datalist)
    uids, written = Uids(), []
    for case in cases:
        name = f"case {case}"
        source = Source.read(sources[case], name)
        check_burned_in(source.headers, name, allow_burned_in)
        if format == "dicom":
            check_kind(source.headers, name)
        clean, perturbed = (read_input(read.folder, case, *key) for key in ((CLEAN, 0.0), (one.name, chosen)))
        image = in_file_units(source, clean, perturbed, name)
        target = Path(output_dir) / re.sub(r"[^\w.-]+", "_", f"case-{case}_{one.name}_{chosen:g}")
        description = _described(one, chosen)
        if format == "nifti":
            path, step = _write_nifti(target.with_name(f"{target.name}.nii.gz"), source, image, description), 0.0
        else:
            path, step = _write_dicom(target, source, image, case, description, uids)
        written.append(ExportedCase(case, path, float(np.abs(image - source.array).max()), step))
    return written


def _sources(
    samples: Mapping[int, str], task: str, dataset_dir: str | Path, datalist: str | Path | None
) -> dict[int, Path]:
    """The source of each case, by its name below the data set or else by the data set's list.

    Raises:
        BadInputError: for a case whose source is not found.
    """
    found = {} if datalist is not None else {case: named_file(one, dataset_dir) for case, one in samples.items()}
    unnamed = [case for case in samples if found.get(case) is None]
    if not unnamed:
        return {case: path for case, path in found.items() if path is not None}
    try:
        listed = source_files(task, dataset_dir, datalist)
    except BadInputError as error:
        raise BadInputError(
            f"the sample of case {unnamed[0]} is not called by a file below {dataset_dir}, which an evaluator's are if "
            f"that is the folder of all of its images, and no data list can be made of it: {error}"
        ) from error
    lacking = next((case for case in unnamed if samples[case] not in listed), None)
    if lacking is not None:
        raise BadInputError(
            f"the sample of case {lacking} is none of the data set {dataset_dir}; give the one that was measured"
        )
    return {case: found.get(case) or listed[one] for case, one in samples.items()}


def _perturbation(run: Run, name: str | None) -> Perturbation:
    found = {one.name: one for one in run.applied}
    if name is None:
        name = next((one.name for one in run.perturbations if one.kind == "attack"), None)
        name = name or next((one.name for one in run.applied if one.kind != CLEAN), CLEAN)
    require_choice("perturbation", name, list(found))
    return found[name]


def _described(one: Perturbation, severity: float) -> str:
    """How an image was derived, in words that name nobody."""
    if one.kind == CLEAN:
        return "As a network was given it; for research, not for diagnosis"
    size = "up to radius" if one.kind == "nearest" else "radius" if one.norm else "severity"
    norm = f" ({NORMS[one.norm]}, in units of a network's input)" if one.norm in NORMS else ""
    return f"Perturbed by {perturbation_label(one.name)}, {size} {number(severity)}{norm}; not for diagnosis".replace(
        "∞", "inf"
    )


def _write_dicom(
    target: Path, source: Source, image: NDArray[np.float64], case: int, description: str, uids: Uids
) -> tuple[Path, float]:
    levels = float(image.min()), float(image.max())
    single = len(source.headers) == 1
    step, files = 0.0, set()
    for place, header in enumerate(source.headers):
        file = target.with_name(f"{target.name}.dcm") if single else target / f"{place + 1:04d}.dcm"
        step = write_slice(
            file, header, image[:, :, place], levels, case=case, number=place + 1, description=description, uids=uids
        )
        files.add(file)
    for left in target.glob("[0-9][0-9][0-9][0-9].dcm"):  # of an earlier export, whose series had more slices
        if left not in files:
            left.unlink()
    return (target.with_name(f"{target.name}.dcm") if single else target), step


def _write_nifti(path: Path, source: Source, image: NDArray[np.float64], description: str) -> Path:
    """In single precision, with a header of its own."""
    made = nib.Nifti1Image(image.astype(np.float32), source.affine)
    made.header["descrip"] = description.encode("ascii", "replace")[:79]
    made.header.set_xyzt_units("mm")
    return write_whole(path, gzip.compress(made.to_bytes(), mtime=0))
