"""The Square attack: random squares, kept where they raise the loss; no gradient is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_robust.attacks.attack import Limits, Precision
from monai_robust.attacks.common.arguments import positive
from monai_robust.attacks.common.guard import Mode
from monai_robust.attacks.common.objective import Objective
from monai_robust.attacks.common.samples import Samples
from monai_robust.attacks.common.worst_case import WorstCase, WorstCaseAttack
from monai_robust.attacks.square.boxes import Boxes
from monai_robust.attacks.threat import BoundsSpec, Norm, expand, uniform
from monai_robust.errors import BadInputError
from monai_robust.tasks import Classification, MultiLabel, Task, base_task
from monai_robust.tasks.base import Goal

__all__ = ["Square"]

# Andriushchenko et al. 2020, section 5: of 10 000 queries, those after which the squares' share of the image halves.
_HALVINGS, _OF = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000), 10_000
_TILES = 5  # along each axis at the start in L2
_BLOCK = 256  # queries whose random numbers are drawn together


class Square(WorstCaseAttack):
    """Square attack (Andriushchenko et al. 2020): L2 or L-inf, by the loss alone, images and volumes.

    Gradients that are masked, zero or wrong do not stop it. A query proposes a change in one square (cube) of each
    sample, of a size that shrinks on the way, at a random place: for L-inf (Algorithm 2) all of it at plus or minus the
    radius in each channel, for L2 (Algorithm 3) a bump of either sign, into which the change of a second square is
    moved. It is kept where it raises the sample's loss.

    Args:
        queries: proposals for each sample; 5000 by default.
        share: of the image that the first squares cover.
        loss: what is raised; by default the margin of classes, as published, and the task's own loss elsewhere.
        eot, stop_at_success, keep: as for :class:`WorstCaseAttack`.
        norm, eps, bounds, goal, task, mode, precision, channels: as for :class:`Attack`.

    Raises:
        BadInputError: for an argument that cannot work.
    """

    def __init__(
        self,
        *,
        queries: int = 5000,
        share: float = 0.8,
        loss: str | None = None,
        norm: str | Norm | None = None,
        eps: float | Tensor | None = None,
        eot: int = 1,
        stop_at_success: bool = False,
        keep: Literal["loss", "score"] = "loss",
        bounds: BoundsSpec = None,
        goal: Goal = "untargeted",
        task: Task | None = None,
        mode: Mode = "eval",
        precision: Precision | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            loss=loss,
            eot=eot,
            stop_at_success=stop_at_success,
            keep=keep,
            norm=norm,
            eps=eps,
            bounds=bounds,
            goal=goal,
            task=task,
            mode=mode,
            precision=precision,
            channels=channels,
        )
        if loss in ("targeted_dlr", "segpgd"):
            raise BadInputError(f"the loss {loss!r} is one of APGD; use another for Square, or the one it has without")
        self.queries = positive("queries", queries, int)
        self.share = positive("share", share, float)
        if self.share > 1:
            raise BadInputError(f"the attack's share is {share!r}; it must be above 0 and at most 1")

    @property
    def budget(self) -> int:
        """Queries of each sample."""
        return self.queries

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        return {**super().settings(), "queries": self.queries, "share": self.share}

    def _search(self, network: Callable[..., Any], samples: Samples, task: Task) -> Tensor:
        clean = samples.clean
        if clean.ndim < 3:
            raise BadInputError(f"Square takes images (B, C, *spatial), and these have shape {tuple(clean.shape)}")
        loss = self.loss
        if loss is None and isinstance(base_task(task), (Classification, MultiLabel)):
            loss = "margin"
        worst = WorstCase(clean)
        self._query(network, self._aimed(network, samples, task), self._objective(task, loss), worst)
        return worst.points

    def _query(self, network: Callable[..., Any], samples: Samples, objective: Objective, worst: WorstCase) -> None:
        limits, prepared = self.limits(samples), self._prepared(objective, samples)
        boxes = Boxes.of(samples.clean, samples.inside)
        point = self._kept_inside(self._first(samples, boxes), samples, limits)
        seen = self._judged(network, samples, point, objective, prepared)
        loss, success = seen.loss, seen.success
        worst.update(samples.rows, point, seen)
        draws: Tensor = torch.empty(0)
        for query in range(self.queries):
            if self.stop_at_success and bool(success.any()):
                standing = ~success
                point, loss, boxes = point[standing], loss[standing], boxes.where(standing)
                samples, draws = samples.at(standing), draws[standing] if query else draws
                if not len(samples.rows):
                    return
                limits, prepared = self.limits(samples), self._prepared(objective, samples)
            if query % _BLOCK == 0:
                draws = _uniform(
                    samples, min(_BLOCK, self.queries - query), 2 * boxes.dims + 1 + samples.clean.shape[1]
                )
            numbers = draws[:, query % _BLOCK]
            proposal = self._proposal(point, samples, boxes, self._share(query), numbers)
            proposal = self._kept_inside(proposal, samples, limits)
            seen = self._judged(network, samples, proposal, objective, prepared)
            worst.update(samples.rows, proposal, seen)
            better, success = seen.loss > loss, seen.success
            point, loss = torch.where(expand(better, point), proposal, point), torch.where(better, seen.loss, loss)

    def _share(self, query: int) -> float:
        """Share of the image that the squares of a query cover, by the published schedule."""
        return float(self.share / 2 ** sum(query / self.queries * _OF > after for after in _HALVINGS))

    def _kept_inside(self, point: Tensor, samples: Samples, limits: Limits) -> Tensor:
        point = self.projected(point, samples, limits)
        return point if samples.inside is None else torch.where(samples.inside, point, samples.clean)

    def _first(self, samples: Samples, boxes: Boxes) -> Tensor:
        """The published starts: stripes for L-inf, tiles of bumps for L2; drawn in each sample's own box."""
        start = torch.zeros_like(samples.clean)
        draw = _stripes if self.norm.name == "linf" else _tiles
        for row, own in enumerate(_generators(samples)):
            part = start[row][(slice(None), *boxes.slices(row))]
            part.copy_(draw(part, own))
        return samples.clean + self._scaled(start, samples)

    def _scaled(self, delta: Tensor, samples: Samples) -> Tensor:
        """A perturbation that is as large as the radius."""
        delta = delta if samples.inside is None else delta * samples.inside
        factor = samples.eps / self.norm.size(delta).clamp_min(torch.finfo(torch.float32).tiny)
        return delta * expand(factor, delta).to(delta.dtype)

    def _proposal(self, point: Tensor, samples: Samples, boxes: Boxes, share: float, numbers: Tensor) -> Tensor:
        """``point`` (R, C, *spatial) changed in squares; ``numbers`` (R, 2 D + 1 + C) are uniform in [0, 1)."""
        dims = boxes.dims
        first, second, axis, signs = numbers.split([dims, dims, 1, point.shape[1]], dim=1)
        side = boxes.side(share, odd=self.norm.name == "l2")
        here = boxes.window(side, first)
        sign = _signs(signs).reshape(*signs.shape, *[1] * dims).to(point.dtype)
        if self.norm.name == "linf":
            return self._flat(point, samples, here.inside, sign)
        there = boxes.window(side, second).inside
        bump = here.bump((axis[:, 0] * dims).long()).to(point.dtype)
        return samples.clean + self._scaled(
            _moved(point - samples.clean, sign * bump, here.inside, there, samples.eps), samples
        )

    def _flat(self, point: Tensor, samples: Samples, here: Tensor, sign: Tensor) -> Tensor:
        """All of the square at plus or minus the radius; with other signs where that is what it has already."""
        change = expand(samples.eps, point).to(point.dtype) * sign
        delta = point - samples.clean
        same = ((delta - change).abs() <= 1e-3 * change.abs()) | ~here
        change = torch.where(expand(same.flatten(1).all(dim=1), point), -change, change)
        return torch.where(here, samples.clean + change, point)


def _moved(delta: Tensor, bump: Tensor, here: Tensor, there: Tensor, eps: Tensor) -> Tensor:
    """``delta`` without its part in ``there``, whose length goes to ``here``, with ``bump`` added to what is there
    (Andriushchenko et al. 2020, Algorithm 3)."""
    tiny, channels = torch.finfo(torch.float32).tiny, delta.shape[1]
    inside = delta * here
    changed = bump + inside / expand(_length(inside, 1), delta).clamp_min(tiny)
    unused = (eps**2 - _length(delta, 1) ** 2).clamp_min(0.0)[:, None] / channels
    room = (unused + _length(delta * (here | there), 2) ** 2).sqrt()
    scale = room / _length(changed, 2).clamp_min(tiny)
    changed = changed * scale.reshape(*scale.shape, *[1] * (delta.ndim - 2)).to(delta.dtype)
    return torch.where(here, changed, delta * ~there)


def _length(delta: Tensor, start: int) -> Tensor:
    """Euclidean length over the axes from ``start`` on."""
    return torch.linalg.vector_norm(delta.flatten(start).float(), dim=start)


def _stripes(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """One sign for each channel and line along the first axis, (C, 1, *spatial[1:])."""
    return _signs(uniform(like[:, :1], generator))


def _tiles(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Five bumps along each axis, each of its own sign, in the middle of an image (C, *spatial)."""
    size = like.shape[1:]
    side = torch.tensor([[max(length // _TILES, 1) for length in size]], device=like.device)
    tile = Boxes(torch.zeros_like(side), side, tuple(side[0].tolist())).window(side, torch.zeros_like(side))
    axis = (uniform(like.new_empty(1), generator) * len(size)).long()
    grid = like.new_empty(len(like), *(min(length, _TILES) for length in size))
    tiles = torch.kron(_signs(uniform(grid, generator)), tile.bump(axis)[0].to(like.dtype))
    around = [whole - length for whole, length in zip(size, tiles.shape[1:], strict=True)]
    return F.pad(tiles, [end for rest in reversed(around) for end in (rest // 2, rest - rest // 2)])


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0).to(uniform.dtype)


def _generators(samples: Samples) -> list[torch.Generator | None]:
    own = samples.generator
    return list(own) if isinstance(own, Sequence) else [own] * len(samples.rows)


def _uniform(samples: Samples, queries: int, numbers: int) -> Tensor:
    """Numbers of [0, 1), (R, queries, numbers), of each sample from its own generator."""
    like = samples.clean.new_empty(queries, numbers)
    return torch.stack([uniform(like, own) for own in _generators(samples)])
