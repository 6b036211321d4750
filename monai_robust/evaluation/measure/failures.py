"""Samples on which something fails while a measurement runs: they are listed and left out, and the rest goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from monai_robust.errors import BadInputError, BadSampleError

__all__ = ["Alone", "Failures", "alone", "attempt", "first_whole", "given", "named"]

_LOG = logging.getLogger(__name__)
_SHARE = 10  # at most every tenth sample may fail: more of them are no exceptions
_LONGEST = 300


@dataclass(frozen=True)
class Alone:
    """What a sample gives by itself, as far as it goes, and what stopped it."""

    measured: list[Any]
    error: Exception | None


class Failures:
    """What failed on which sample, kept in a file before its empty rows are written to the table.

    Args:
        known: what a stopped measurement listed before.
        samples: number of samples of the data set; a tenth of them, or one, may fail.
        save: writes the list.
        elsewhere: what other processes list, asked for where one more fails here.
    """

    def __init__(
        self,
        known: Sequence[Mapping[str, Any]],
        samples: int,
        save: Callable[[list[dict[str, Any]]], object],
        elsewhere: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        self.listed = [dict(one) for one in known]
        self.most = max(samples // _SHARE, 1)
        self._save = save
        self._elsewhere = elsewhere

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(str(one["sample_id"]) for one in self.listed)

    def add(self, sample_id: str, perturbation: str, severity: float, error: Exception) -> None:
        """List a sample.

        Raises:
            BadSampleError: with its name, where more samples fail than can be left out.
        """
        reason = f"{error}" if isinstance(error, BadInputError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:_LONGEST]
        entry = {"sample_id": sample_id, "perturbation": perturbation, "severity": severity, "reason": reason}
        others = {str(one["sample_id"]) for one in self._elsewhere()}
        if len(self.ids | others | {sample_id}) > self.most:
            raise named(sample_id, perturbation, severity, error) from error
        if entry not in self.listed:
            self.listed.append(entry)
            self._save(self.listed)

    def judge(
        self,
        found: Mapping[int, Alone],
        names: Mapping[int, str],
        perturbation: str,
        severities: Sequence[float],
        error: Exception,
    ) -> None:
        """List the samples that failed by themselves, too, after ``error`` in a batch of them.

        Raises:
            BadInputError: where every sample meets an error that is not its own, and where :meth:`add` raises.
        """
        failed = {place: one for place, one in found.items() if one.error is not None}
        if len(failed) == len(found) > 1 and not isinstance(error, BadSampleError):
            if isinstance(error, BadInputError):
                raise error
            raise named(names[next(iter(failed))], perturbation, severities[0], error) from error
        for place, one in failed.items():
            self.add(names[place], perturbation, severities[len(one.measured)], cast(Exception, one.error))

    def tell(self) -> None:
        """Warn of how many there are; their names stand in ``run.json``."""
        if self.listed:
            _LOG.warning("%d samples failed and are left out; run.json lists them with the reasons", len(self.ids))


def alone(measured: Iterator[Any]) -> Alone:
    """What an iterator over a sample's severities gives until it ends or fails."""
    found: list[Any] = []
    try:
        for one in measured:
            found.append(one)
    except Exception as error:
        return Alone(found, error)
    return Alone(found, None)


def attempt(loaded: Iterator[Any]) -> Any:
    """The next batch, or what loading it met; the batches after it can still be loaded."""
    try:
        return next(loaded)
    except Exception as error:
        return error


def first_whole(loaded: Iterator[Any]) -> Any:
    """The first batch that can be loaded; None where none can."""
    found = attempt(loaded)
    while isinstance(found, Exception) and not isinstance(found, StopIteration):
        found = attempt(loaded)
    return None if isinstance(found, Exception) else found


def given(batch: Any) -> Any:
    """A batch from :func:`attempt`.

    Raises:
        Exception: what loading it met.
    """
    if isinstance(batch, Exception):
        raise batch
    return batch


def named(sample_id: str, perturbation: str, severity: float, error: Exception) -> BadSampleError:
    """The error that stops a measurement at a sample."""
    reason = f"{error}" if isinstance(error, BadInputError) else f"{type(error).__name__}: {error}"
    return BadSampleError(
        f"sample {sample_id!r} cannot be measured ({perturbation} at severity {severity:g}): {reason:.{_LONGEST}}; "
        "what is measured stays, and the same command goes on once it is mended"
    )
