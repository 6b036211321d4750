"""A paper's study, run again: its configuration, the graph of its jobs, and the page about what came out."""

from __future__ import annotations

from monai_robust.studies.description import Study, read_study
from monai_robust.studies.jobs import Job, jobs_of

__all__ = ["Job", "Study", "jobs_of", "read_study"]
