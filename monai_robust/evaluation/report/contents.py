"""What a report is made of, whatever it is written to: runs, their frames, sections and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

from monai_robust.errors import BadInputError
from monai_robust.evaluation.report.corruption_errors import corruption_error_frames, corruption_error_sections
from monai_robust.evaluation.report.explanation import explanation_frames, explanation_sections
from monai_robust.evaluation.report.machine_summary import machine_summary
from monai_robust.evaluation.report.nearest import nearest_frames, nearest_sections
from monai_robust.evaluation.report.own_metrics import own_metrics_frames, own_metrics_sections
from monai_robust.evaluation.report.sanity import sanity_caveat, sanity_frames, sanity_sections
from monai_robust.evaluation.report.searched import is_searched, with_search_notes
from monai_robust.evaluation.report.training import training_frames, training_sections
from monai_robust.evaluation.report.transfer import transfer_sections
from monai_robust.evaluation.report.triage import triage_frames, triage_sections
from monai_robust.evaluation.report.verdict import verdict_section
from monai_robust.evaluation.sections.comparisons import ScoreStyle, names_of, of_kind
from monai_robust.evaluation.sections.paired import paired_section
from monai_robust.evaluation.sections.parts import MISSING, Section, listed, number
from monai_robust.evaluation.sections.perturbations import NORMS, perturbation_label
from monai_robust.evaluation.sections.replicates import replicate_sections
from monai_robust.evaluation.sections.shifts import shift_sections
from monai_robust.evaluation.sections.subgroups import subgroup_sections
from monai_robust.evaluation.statistics.bootstrap import MINIMUM_PATIENTS
from monai_robust.evaluation.statistics.paired import paired_differences
from monai_robust.evaluation.statistics.shifts import shift_differences
from monai_robust.evaluation.statistics.subgroups import MINIMUM_GROUP, subgroup_gaps
from monai_robust.evaluation.statistics.summary import mean_input_norm
from monai_robust.evaluation.tables.baseline import baseline_name
from monai_robust.evaluation.tables.comparable import check_comparable
from monai_robust.evaluation.tables.run_folder import INFO, Run, read_run
from monai_robust.evaluation.tables.schema import CLEAN
from monai_robust.evaluation.tasks.registry import Choosing, TaskReport, report_of
from monai_robust.evaluation.tasks.unlabelled import UnlabelledReport
from monai_robust.scalars import is_above_zero, is_number, is_whole

__all__ = ["Contents", "flat", "plain_text"]

# What may hold a slash and is no path: "n/a", a fraction, a unit. Anything else with a slash may be a folder's name.
_NO_PATH = re.compile(
    r"n/a|\d+(\.\d+)?/\d+(\.\d+)?|([kmuµ]?g|[m]?mol|[m]?l|IU|mm|cm|counts?|images?)/([dm]?l|kg|h|min|s|mm|cm|voxel|pixel)",
    re.IGNORECASE,
)
NORM_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Contents:
    """What is said of finished evaluations; everything is made once, when it is first asked for.

    Attributes:
        runs: in the order in which they are shown; runs of one name are replicates.
        baseline: the name that the others are compared with.
        task_report: what is particular to the task.
        noninferiority_margin: by how much clean performance may be worse than that of the baseline, in units of the
            score, if that was stated beforehand.
        minimum_group: patients that a group needs to be rated.
    """

    runs: Sequence[Run]
    baseline: str
    task_report: TaskReport
    noninferiority_margin: float | None = None
    minimum_group: int = MINIMUM_GROUP

    @classmethod
    def read(
        cls,
        folders: Sequence[str | Path],
        *,
        baseline: str | None = None,
        prevalence: float | None = None,
        patient_rule: str | None = None,
        noninferiority_margin: float | None = None,
        minimum_group: int = MINIMUM_GROUP,
    ) -> Contents:
        """Read finished evaluations.

        Args:
            folders: in the order in which they are shown.
            baseline: name of the runs that the others are compared with
                (:func:`~monai_robust.evaluation.tables.baseline.baseline_name` says which by default).
            prevalence: share of cases, at which predictive values of classification are shown; by default the data's.
            patient_rule: how the images of a patient are put together, ``"mean"`` (default) or ``"max"`` of
                probabilities.
            noninferiority_margin: by how much clean performance may be worse than that of the baseline, in units of the
                score.
            minimum_group: patients that a group needs to be rated.

        Raises:
            BadInputError: if a folder is no finished evaluation, the runs cannot be compared, or none of them is the
                baseline.
        """
        if noninferiority_margin is not None and not is_above_zero(noninferiority_margin):
            raise BadInputError(
                f"the non-inferiority margin is {noninferiority_margin!r}; it must be above 0, in units of the score"
            )
        if not is_whole(minimum_group, 1):
            raise BadInputError(f"the smallest group to be rated has {minimum_group!r} patients; it must be 1 or more")
        runs = [read_run(folder) for folder in folders]
        check_comparable(runs)
        task_report = _choosing(_task_report(runs[0]), prevalence, patient_rule)
        found = cls(runs, baseline_name(runs, baseline), task_report, noninferiority_margin, minimum_group)
        if noninferiority_margin is not None and len(found.names) < 2:
            raise BadInputError(
                f"a non-inferiority margin compares runs with those of a baseline, and all are of {found.names[0]!r}; "
                "give the others too, or leave the margin"
            )
        for run in runs:
            found.task_report.check(run)
        return found

    @property
    def names(self) -> list[str]:
        """Of the runs, each once."""
        return names_of(self.runs)

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """Everything as numbers, by the stem of its CSV file."""
        runs = self.runs
        own = {**nearest_frames(runs), **training_frames(runs)}
        own |= triage_frames(runs, self.task_report) if runs[0].labelled else {}
        own |= {**sanity_frames(runs), **own_metrics_frames(runs)}
        if len(self.names) > 1:
            own["paired_differences"] = paired_differences(runs, self.baseline, self.task_report.drawable)
        if runs[0].shifts:
            own["shift_differences"] = shift_differences(runs, self.task_report.drawable)
        found = {**self.task_report.frames(runs), **own, **explanation_frames(runs)}
        if runs[0].groups:
            found["subgroup_gaps"] = subgroup_gaps(
                runs,
                found["means_over_severities"],
                self.task_report.drawable,
                column=self.style.column,
                higher_is_better=self.style.higher_is_better,
                minimum=self.minimum_group,
            )
        return {**found, **corruption_error_frames(runs, self.baseline, found, self.style)}

    @cached_property
    def style(self) -> ScoreStyle:
        """Of the measure that networks are first of all judged by."""
        return self.task_report.style(self.runs)

    @cached_property
    def verdict(self) -> Section:
        """The first table."""
        section = verdict_section(self.runs, self.baseline, self.frames, self.style)
        return with_search_notes([section], self.runs, again=False)[0]

    @cached_property
    def paired(self) -> list[Section]:
        """What is said of the differences to the baseline, if there is one other name."""
        if len(self.names) < 2:
            return []
        differences = self.frames["paired_differences"]
        section = paired_section(differences, self.baseline, self.names, self.style, self.noninferiority_margin)
        return with_search_notes([section], self.runs)

    @cached_property
    def sections(self) -> list[Section]:
        """Tables and figures, the verdict first."""
        outcomes = [
            *replicate_sections(self.runs, self.frames, self.style),
            *self.task_report.sections(self.runs, self.frames),
            *shift_sections(self.runs, self.frames, self.style),
            *subgroup_sections(self.runs, self.frames, self.style, self.minimum_group),
            *corruption_error_sections(self.runs, self.baseline, self.frames, self.style),
            *own_metrics_sections(self.runs),
        ]
        return [
            self.verdict,
            *self.paired,
            *with_search_notes(outcomes, self.runs),
            *nearest_sections(self.runs, self.frames),
            *(triage_sections(self.runs, self.frames, self.task_report) if self.runs[0].labelled else []),
            *explanation_sections(self.runs),
            *transfer_sections(self.runs),
            *sanity_sections(self.runs),
            *training_sections(self.runs, self.frames),
        ]

    @cached_property
    def headline(self) -> list[str]:
        """The results in sentences."""
        return self.task_report.headline(self.runs, self.frames)

    @cached_property
    def pilot(self) -> str:
        """Why the results are a pilot only, "" if they are not."""
        return self.task_report.pilot(self.runs, self.frames)

    @property
    def samples(self) -> str:
        """How many there are, in words."""
        return _samples(self.runs)

    @cached_property
    def caveats(self) -> list[str]:
        """What limits the results, as sentences."""
        return _caveats(self.runs)

    @cached_property
    def machine_summary(self) -> dict[str, Any]:
        """Everything as primitives, for machines."""
        return machine_summary(self.runs, self.baseline, self.frames, self.style, self.pilot, self.caveats)

    @property
    def perturbations(self) -> list[tuple[str, str, str, str]]:
        """Name, norm, severities and settings of every perturbation but the clean one."""
        return _perturbations(self.runs[0])


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested dictionaries as ``outer inner`` and a text; empty ones are left out."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name} {key}".strip())
    elif value not in (None, "", [], ()):
        yield name, plain_text(value)


def plain_text(value: Any) -> str:
    """A value as text; of a path or an address only its last part, since folders tell of people."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in flat(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(plain_text(one) for one in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    whole = text.replace("\\", "/")
    if "/" not in whole or _NO_PATH.fullmatch(text.strip()):
        return text
    _, address, rest = whole.rpartition("://")  # a host may follow a name and a password, a file a token
    path = rest.partition("?")[0].partition("/")[2] if address else whole
    return f"…/{PurePath(path).name}"


def _choosing(task_report: TaskReport, prevalence: float | None, patient_rule: str | None) -> TaskReport:
    """A report of classification with what was chosen for it."""
    if prevalence is None and patient_rule is None:
        return task_report
    if not isinstance(task_report, Choosing):
        raise BadInputError("--prevalence and --patient_rule are of reports on classification; leave them out")
    if prevalence is not None and not is_number(prevalence, 0, 1):
        raise BadInputError(f"--prevalence is {prevalence!r}; it must be a share from 0 to 1, such as 0.05")
    return task_report.choosing(prevalence, patient_rule or "mean")


def _task_report(run: Run) -> TaskReport:
    if not run.labelled:
        return UnlabelledReport(run.task)
    try:
        return report_of(run.task)
    except BadInputError as error:
        raise BadInputError(f"{run.folder / INFO}: {error}") from None


def _samples(runs: Sequence[Run]) -> str:
    clean = pd.concat([run.clean for run in runs]).drop_duplicates("sample_id")
    named = any(run.names_patients for run in runs)
    known = clean["patient_id"][clean["patient_id"] != ""].nunique() if named else 0
    patients = f" of {known} patient{'s' * (known != 1)}" if known else ""
    return f"{len(clean)} image{'s' * (len(clean) != 1)}{patients}"


def _caveats(runs: Sequence[Run]) -> list[str]:
    """What limits the results, as sentences."""
    warned = sanity_caveat(runs)
    found = [warned] if warned else []
    kinds = {one.kind for run in runs for one in run.perturbations}
    if "attack" in kinds:
        found.append(
            "A stronger attack may mislead a network where these did not: the true performance under attack is at most "
            "the one shown here."
        )
    if "nearest" in kinds:
        found.append("A smaller change than the nearest one that was found may mislead a network, too.")
    shifts = of_kind(runs, "shift")
    where = f" other than {listed(shifts)}" if shifts else ""
    found += [
        f"The results hold for these {_samples(runs)} and say nothing certain about other scanners or hospitals"
        f"{where}.",
    ]
    single = [name for name in names_of(runs) if sum(run.name == name for run in runs) == 1]
    if single:
        found.append(
            f"There is one training run only of {listed(single)}, and so no spread: how far another seed or fold would "
            "differ is unknown."
        )
    patients = min(
        (len(np.unique(run.patients[run.places[CLEAN, 0.0]])) for run in runs if run.name in single),
        default=MINIMUM_PATIENTS,
    )
    if patients < MINIMUM_PATIENTS:
        found.append(
            f"{patients} patient{'s are' if patients != 1 else ' is'} too few for intervals, which need "
            f"{MINIMUM_PATIENTS}; none is shown."
        )
    if any((run.clean["patient_id"] == "").any() for run in runs):
        found.append("Images without a known patient count as patients of their own; intervals may then be too short.")
    elif not all(run.names_patients for run in runs):
        found.append(
            "Every image counts as a patient of its own, as where nothing names patients: intervals are too short if "
            "some are of one patient."
        )
    made = list(dict.fromkeys(str((run.info.get("versions") or {}).get("monai-robust")) for run in runs))
    if len(made) > 1:
        found.append(
            f"The runs were measured by different versions of monai-robust ({listed(made)}), whose attacks or "
            "corruptions may differ."
        )
    norms = [mean_input_norm(run) for run in runs]
    if max(norms) > (1 + NORM_TOLERANCE) * min(norms):
        found.append(
            f"The runs were shown inputs of different norm (on average {number(min(norms))} to {number(max(norms))}), "
            "so that one radius does not mean the same to all of them."
        )
    if any(run.info.get("skipped") for run in runs):
        found.append("Some samples were skipped; see below.")
    return found


def _perturbations(run: Run) -> list[tuple[str, str, str, str]]:
    """Name, norm, severities and settings of every perturbation but the clean one."""
    rows = []
    for one in run.perturbations:
        if one.kind == CLEAN:
            continue
        settings = ", ".join(f"{name} {value}" for name, value in flat(one.settings) if name not in ("eps", "search"))
        settings = ", ".join(part for part in (settings, "radii searched" if is_searched(one) else "") if part)
        severities = ", ".join(number(severity) for severity in one.severities)
        severities = f"up to {severities}" if one.kind == "nearest" else severities
        severities = "other samples, as they are" if one.kind == "shift" else severities
        rows.append(
            (perturbation_label(one.name), NORMS.get(one.norm, one.norm) or MISSING, severities, settings or MISSING)
        )
    return rows
