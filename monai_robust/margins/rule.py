"""AMAT's rule: what an attack on a sample makes of its margin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from monai_robust.errors import BadInputError, require_choice
from monai_robust.margins.crossing import along_path, along_segment, bisected
from monai_robust.margins.radii import AttackTrace, Terms
from monai_robust.scalars import is_above_zero, is_number

__all__ = ["Changed", "MarginRule", "positive_number"]

_ON_SPHERE = 1 - 1e-3
_LEAST = 1e-6  # of a step: refining for ever must not end in a radius of 0


class Changed(NamedTuple):
    """What an attack on a batch of B samples makes of their margins, on the CPU.

    Attributes:
        margins: (B,) float64, the new margins.
        crossed: (B,) bool, whether a loss term reached its threshold, so that the margin was refined, not enlarged.
    """

    margins: Tensor
    crossed: Tensor


@dataclass(frozen=True)
class MarginRule:
    """Enlarge a margin E while every loss term L_k stays below its threshold xi_k, refine it where one does not.

    AMAT, lines 9 to 12 of algorithm 1, with equation (2) for several terms::

        E <- E + step       where L_1[k] < xi[k] for all k
        E <- (c + E) / 2    otherwise

    As printed (``mode="paper"``) ``c = |x_adv - x|``. Attacks end on the sphere, so that c = E and nothing is refined;
    hence by default ``c`` is how far from the clean sample a term reaches its threshold. Where the attack began at the
    clean sample, its own iterates tell: the norm at which they first cross or, where they cross only after they reached
    the sphere, the share of the straight line to the final iterate at which its ends' terms, taken to be linear, cross.
    Where it began elsewhere, that line is bisected.

    Args:
        thresholds: of every loss term by name.
        step: by how much a margin grows, in intensity units of the network's input.
        floor: no margin is refined below it; ``step`` by default, 0 in the paper's mode.
        cap: no margin grows beyond it; none by default.
        mode: ``"crossing"`` or ``"paper"``.
        check: a sample has crossed at any iterate, the clean one included (``"path"``), or at the final one
            (``"final"``, the paper mode's default).
        locate: ``"auto"`` as above, or ``"bisection"`` always.
        bisections: halvings of the line where it is bisected, each a forward pass of the samples that crossed.
        reset_failed: a sample whose clean terms exceed a threshold gets ``floor`` (``step`` where that is 0) at once.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    thresholds: Mapping[str, float]
    step: float
    floor: float = None  # type: ignore[assignment]  # as is check, until __post_init__ has seen the others
    cap: float = math.inf
    mode: Literal["crossing", "paper"] = "crossing"
    check: Literal["path", "final"] = None  # type: ignore[assignment]
    locate: Literal["auto", "bisection"] = "auto"
    bisections: int = 4
    reset_failed: bool = False

    def __post_init__(self) -> None:
        require_choice("mode", self.mode, ["crossing", "paper"])
        require_choice("locate", self.locate, ["auto", "bisection"])
        check = self.check or ("final" if self.mode == "paper" else "path")
        require_choice("check", check, ["path", "final"])
        step = positive_number("step", self.step)
        floor = (
            (0.0 if self.mode == "paper" else step) if self.floor is None else _at_least_0("floor", self.floor, float)
        )
        cap = self.cap if self.cap == math.inf else positive_number("cap", self.cap)
        if not 0 <= floor <= cap:
            raise BadInputError(f"margins lie between {floor:g} and {cap:g}, their floor and cap; widen them")
        bisections = _at_least_0("bisections", self.bisections, int)
        settled = {"step": step, "floor": floor, "cap": cap, "check": check, "bisections": bisections}
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def __call__(self, trace: AttackTrace) -> Changed:
        """The margins of a batch after an attack within them.

        >>> from torch import tensor
        >>> clean, final = tensor([[-1.0, -1.0]]), tensor([-0.5, 3.0])
        >>> trace = AttackTrace(["a", "b"], tensor([2.0, 2.0]), tensor([2.0, 2.0]), tensor([[0.0, 0.0]]),
        ...                     {"loss": clean}, {"loss": final}, at=None)
        >>> MarginRule({"loss": 0.0}, step=0.5)(trace).margins.tolist()  # b crosses at a quarter of the way
        [2.5, 1.25]
        """
        final = self._excess(trace.final)
        path = self._excess(trace.path_terms)  # (K, T, B)
        crossed = (final >= 0).any(dim=0)
        if self.check == "path":
            crossed = crossed | (path >= 0).any(dim=1).any(dim=0)
        if self.mode == "paper":
            at = trace.size
        else:
            at = self._crossing(trace, path, final) if bool(crossed.any()) else trace.eps
        changed = torch.where(crossed, (at + trace.eps) / 2, trace.eps + self.step)
        changed = changed.clamp(min=max(self.floor, _LEAST * self.step), max=self.cap)
        if self.reset_failed:
            failed = (self._clean_excess(trace, path) >= 0).any(dim=0)
            changed = torch.where(failed, torch.full_like(changed, self.floor or self.step), changed)
        return Changed(changed.double().cpu(), crossed.cpu())

    def _crossing(self, trace: AttackTrace, path: Tensor, final: Tensor) -> Tensor:
        """How far from the clean sample a term reaches its threshold, (B,); meaningful where a sample crossed."""
        clean = self._clean_excess(trace, path)
        if self.locate == "bisection" or not _starts_clean(trace):

            def excess_at(share: Tensor, rows: Tensor) -> Tensor:
                return self._excess(trace.at(share, rows))

            return bisected(clean, final, excess_at, self.bisections) * trace.size
        sizes = torch.cat([trace.path_sizes, trace.size[None]])
        size, before = along_path(sizes, torch.cat([path, final[None]]))
        chord = along_segment(clean, final) * trace.size
        late = before >= trace.eps * _ON_SPHERE
        return torch.where(late, torch.minimum(chord, size), size)

    def _excess(self, terms: Terms) -> Tensor:
        """``term - threshold``, (T, B), or (K, T, B) for the terms of K iterates."""
        return torch.stack([terms[name] - value for name, value in self.thresholds.items()], dim=-2)

    def _clean_excess(self, trace: AttackTrace, path: Tensor) -> Tensor:
        if _starts_clean(trace):
            return path[0]
        rows = torch.arange(len(trace.eps), device=trace.eps.device)
        return self._excess(trace.at(torch.zeros_like(trace.eps), rows))


def positive_number(name: str, value: Any) -> float:
    """``value``, refused where it is no positive, finite number.

    Raises:
        BadInputError: names the argument of the margins.
    """
    if not is_above_zero(value):
        raise BadInputError(f"the margins' {name} is {value!r}; it must be a positive number")
    return float(value)


def _at_least_0(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    """``value`` as a whole number, or as a number, of at least 0."""
    if not is_number(value, 0) or kind(value) != value:
        what = "a whole number" if kind is int else "a number"
        raise BadInputError(f"the margins' {name} is {value!r}; it must be {what} of at least 0")
    return kind(value)


def _starts_clean(trace: AttackTrace) -> bool:
    return len(trace.path_sizes) > 0 and not bool(trace.path_sizes[0].any())
