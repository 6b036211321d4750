"""The margins of all samples by name: kept, settled where a sample is visited often, and merged over processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import ignite.distributed as idist
import torch

from monai_robust.errors import require_choice

__all__ = ["MarginStore"]

_SMALLER = 1 - 1e-4  # what is less is rounding: an attack ends on its sphere up to single precision


class MarginStore:
    """A margin for every sample.

    Args:
        initial: margin of a sample not yet visited.
        repeats: what becomes of a sample visited several times in one batch, or by several processes: ``"mean"``,
            ``"min"`` or ``"last"`` of what each visit makes of its margin.
        update: set a margin after each ``"iteration"``, or at the end of an ``"epoch"``.

    Attributes:
        margins: by sample.
        visited: the samples that were ever attacked.
        shrunk: those whose margin ever became smaller.
        counts: how many visits of this epoch have enlarged and refined a margin.

    Raises:
        BadInputError: for a policy that there is none of.
    """

    def __init__(
        self,
        initial: float,
        repeats: Literal["mean", "min", "last"] = "mean",
        update: Literal["iteration", "epoch"] = "iteration",
    ) -> None:
        require_choice("repeats", repeats, ["mean", "min", "last"])
        require_choice("update", update, ["iteration", "epoch"])
        self.initial, self.repeats, self.update = initial, repeats, update
        self.margins: dict[str, float] = {}
        self.visited: set[str] = set()
        self.shrunk: set[str] = set()
        self.counts = {"enlarged": 0, "refined": 0}
        self._proposals: dict[str, list[float]] = {}

    def margin(self, name: str) -> float:
        """The margin of a sample."""
        return self.margins.get(name, self.initial)

    @property
    def ever_shrunk(self) -> float:
        """The share of the visited samples whose margin was smaller after some update than before it."""
        return len(self.shrunk) / len(self.visited) if self.visited else 0.0

    def of_visited(self) -> list[float]:
        """The margins of the samples that were ever attacked."""
        return [margin for name, margin in self.margins.items() if name in self.visited]

    def expect(self, names: Iterable[str]) -> None:
        """Let samples have a margin before they are visited."""
        for name in names:
            self.margins.setdefault(name, self.initial)

    def rename(self, names: Mapping[str, str]) -> None:
        """Call samples by new names, given by their old ones."""
        self.margins = {names.get(name, name): margin for name, margin in self.margins.items()}
        self.visited, self.shrunk = ({names.get(one, one) for one in some} for some in (self.visited, self.shrunk))

    def forget(self, names: Iterable[str]) -> None:
        """Let samples have no margin any more."""
        for name in names:
            self.margins.pop(name, None)

    def visit(
        self, names: Sequence[str], margins: Sequence[float], crossed: Sequence[bool], told: Sequence[bool]
    ) -> None:
        """Take what an attack on a batch of B samples makes of their margins.

        Args:
            names: of the samples, one perhaps several times.
            margins: the new ones.
            crossed: whether they are refined ones.
            told: whether the attack told anything of a sample; margins of others stay.
        """
        proposals: dict[str, list[float]] = {}
        for name, margin, tells in zip(names, margins, told, strict=True):
            if tells:
                proposals.setdefault(name, []).append(margin)
        self.visited.update(names)
        refined = sum(one and tells for one, tells in zip(crossed, told, strict=True))
        self.counts["refined"] += refined
        self.counts["enlarged"] += sum(told) - refined
        for name, values in proposals.items():
            if self.update == "iteration":
                self._set(name, self._settled(values))
            self._proposals[name] = self._proposals.get(name, []) + values if self.update == "epoch" else []

    def merge(self) -> int:
        """Bring the margins of all processes together, and set those that wait for the end of the epoch.

        Returns:
            The number of samples visited in the epoch.
        """
        proposals = self._proposals.items()
        made = {name: values if self.update == "epoch" else [self.margins[name]] for name, values in proposals}
        self._proposals = {}
        for name, values in self._from_all_processes(made).items():
            if self.update == "epoch":
                self._set(name, self._settled(values))
            else:  # what each process has made of it already; their mean is no update of its own
                self.margins[name] = self._settled(values)
            made[name] = values
        return len(made)

    def _from_all_processes(self, made: dict[str, list[float]]) -> dict[str, list[float]]:
        own = {"made": made, "visited": sorted(self.visited), "shrunk": sorted(self.shrunk), "counts": self.counts}
        parts: Any = idist.all_gather(own)  # of what is no tensor: a list
        merged: dict[str, list[float]] = {}
        for part in parts:
            for name, values in part["made"].items():
                merged.setdefault(name, []).extend(values)
            self.visited.update(part["visited"])
            self.shrunk.update(part["shrunk"])
        self.counts = {name: sum(part["counts"][name] for part in parts) for name in self.counts}
        return merged

    def _settled(self, values: Sequence[float]) -> float:
        if self.repeats == "last":
            return values[-1]
        return min(values) if self.repeats == "min" else sum(values) / len(values)

    def _set(self, name: str, margin: float) -> None:
        if margin < self.margin(name) * _SMALLER:
            self.shrunk.add(name)
        self.margins[name] = margin

    def end_counts(self) -> dict[str, int]:
        """What was counted in the epoch that ends; counting begins anew."""
        ended, self.counts = self.counts, dict.fromkeys(self.counts, 0)
        return ended

    def state_dict(self) -> dict[str, Any]:
        """``ids``, and in their order ``margins``, ``visited`` and ``shrunk``, as primitives and tensors."""
        names = list(self.margins)
        return {"ids": names, **self._state_of(names)}

    def state_dict_without_ids(self) -> dict[str, Any]:
        """The same without ids, the margins by their size, so that the order tells none."""
        return self._state_of(sorted(self.margins, key=self.margin))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`.

        Raises:
            KeyError, TypeError, AttributeError, ValueError: for something else, and for a margin that is no radius.
        """
        names = [str(name) for name in state["ids"]]
        margins = dict(zip(names, state["margins"].tolist(), strict=True))
        if len(margins) < len(names):
            raise ValueError("a sample is there twice")
        odd = [margin for margin in margins.values() if not 0 < margin < math.inf]
        if odd:
            raise ValueError(f"a margin is {odd[0]}")
        visited = {name for name, flag in zip(names, state["visited"].tolist(), strict=True) if flag}
        shrunk = {name for name, flag in zip(names, state["shrunk"].tolist(), strict=True) if flag}
        self.margins, self.visited, self.shrunk = margins, visited, shrunk

    def _state_of(self, names: Sequence[str]) -> dict[str, Any]:
        return {
            "margins": torch.tensor([self.margins[name] for name in names], dtype=torch.float64),
            "visited": torch.tensor([name in self.visited for name in names], dtype=torch.bool),
            "shrunk": torch.tensor([name in self.shrunk for name in names], dtype=torch.bool),
        }
