"""Points of an image, such as anatomical landmarks."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.losses.landmarks import LandmarkLoss, LandmarkMaps, landmark_maps
from monai_robust.tasks.base import Task, total
from monai_robust.tasks.tensors import label_tensor, plain

__all__ = ["Landmarks"]

_TAKES = "landmarks take numbers, of shape (B, L, D) or (B, L, 2D)"
_VOTERS = 0.5  # least probability of a pixel that votes, relative to the most probable one


class Landmarks(Task):
    """L landmarks by heatmaps and offset maps; 2-D or 3-D.

    Outputs are (B, L * (1 + D), *spatial): L heatmap logits, then L offset maps along the first axis, L along the
    second (, L along the third), in units of the radius. Targets are (B, L, 2D): coordinates in pixels of the network's
    input, NaN where missing, and millimetres per pixel along each axis; or (B, L, D), where a pixel counts as a
    millimetre.

    The loss terms are ``heatmap``, ``offset_x``, ``offset_y`` (and ``offset_z``) of :class:`LandmarkLoss`, each times
    its weight, so that an attack raises the loss that a trainer lowers. A sample without a visible landmark has none.

    The score is the mean radial error of the visible landmarks in millimetres, NaN for a sample without any.

    Args:
        loss: in place of ``radius`` and ``heatmap``, the loss that the network is trained with.
        radius: of the disc around a landmark, in pixels of the network's input; 10 by default.
        heatmap: the heatmap loss, "dice" (the default) or "bce".
        single_term: one term, ``loss``, the sum of all.

    Raises:
        BadInputError: for a loss and a radius or heatmap beside it.
    """

    name = "landmarks"
    output_kinds = ("landmarks",)
    spatial_targets = True
    score_name = "mean radial error"
    higher_is_better = False
    agreement = "none"

    def __init__(
        self,
        loss: LandmarkLoss | None = None,
        *,
        radius: float | None = None,
        heatmap: Literal["dice", "bce"] | None = None,
        single_term: bool = False,
    ) -> None:
        if loss is not None and not isinstance(loss, LandmarkLoss):
            raise BadInputError(f"the loss of landmarks is a {type(loss).__name__}; it must be a LandmarkLoss")
        if loss is not None and (radius is not None or heatmap is not None):
            raise BadInputError("landmarks take a loss, or a radius and a heatmap loss, but not both")
        self.loss = loss or LandmarkLoss(10.0 if radius is None else radius, heatmap or "dice")
        self.single_term = single_term

    def prepared(self, inputs: Tensor, targets: Any) -> LandmarkMaps:
        if isinstance(targets, LandmarkMaps):
            return targets
        return landmark_maps(label_tensor(targets, _TAKES).to(inputs.device), inputs.shape[2:], self.loss.radius)

    def terms(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        outputs = _tensor(outputs)
        terms = self.loss.terms(outputs, self._maps(outputs, targets))
        return {"loss": total(terms)} if self.single_term else terms

    def _maps(self, outputs: Tensor, targets: Any) -> LandmarkMaps:
        return self.loss.maps(outputs, targets if isinstance(targets, LandmarkMaps) else label_tensor(targets, _TAKES))

    def defined(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        outputs = _tensor(outputs)
        visible = self._maps(outputs, targets).visible.any(dim=1)
        names = ["heatmap", *(f"offset_{axis}" for axis in "xyz"[: outputs.ndim - 2])]
        return dict.fromkeys(["loss"] if self.single_term else names, visible)

    @torch.no_grad()
    def points(self, outputs: Any) -> Tensor:
        """Where each landmark is found, (B, L, D), in pixels of the network's input.

        Every pixel votes for pixel + radius * offset. Voters are the pixels at least half as probable as the most
        probable one, and of these only those in one square (cube) with sides of two radii: the one with the highest
        sum of probabilities, so that a second, weaker spot far away has no vote. The landmark is the mean of the votes,
        weighted by probability. Only ratios of probabilities count: a map that is low everywhere votes as well.

        Source: after the voting of Yao et al. 2020 (Miss the point), in a multi-task U-Net.

        Raises:
            BadInputError: for outputs with another number of channels, or that are not finite.
        """
        return self.mean_votes(outputs)

    def mean_votes(self, outputs: Any) -> Tensor:
        """What :meth:`points` returns, differentiable by votes and weights; which pixels vote has no gradient."""
        outputs = _tensor(outputs)
        dims = outputs.ndim - 2
        if dims not in (2, 3) or outputs.shape[1] % (1 + dims) or not outputs.shape[1]:
            raise BadInputError(
                f"the network's outputs have shape {tuple(outputs.shape)}; landmarks take (B, L * (1 + D), *spatial) "
                "with D = 2 or 3 axes"
            )
        if not bool(outputs.isfinite().all()):
            raise BadInputError("the network's outputs are not finite, so that no landmark can be found in them")
        logits, *offsets = outputs.float().unflatten(1, (1 + dims, -1)).unbind(dim=1)
        top = logits.detach().flatten(2).amax(dim=2).view(*logits.shape[:2], *[1] * dims)
        weights = (F.logsigmoid(logits) - F.logsigmoid(top)).exp()
        weights = weights.where(weights >= _VOTERS, 0)
        weights = weights * _around_densest(weights.detach(), math.ceil(self.loss.radius))
        points = []
        for axis, offset in enumerate(offsets):
            places = torch.arange(offset.shape[2 + axis], device=offset.device).view(-1, *[1] * (dims - 1 - axis))
            votes = places + self.loss.radius * offset
            points.append((weights * votes).flatten(2).sum(dim=2) / weights.flatten(2).sum(dim=2))
        return torch.stack(points, dim=2)

    def errors(self, outputs: Any, targets: Any) -> Tensor:
        """Radial errors (B, L) in millimetres, NaN where a landmark is missing.

        Raises:
            BadInputError: for a spacing that is none.
        """
        outputs = _tensor(outputs)
        maps = self._maps(outputs, targets)
        wrong = maps.visible & ~(maps.spacing > 0).all(dim=2)
        if bool(wrong.any()):
            raise BadInputError(
                f"a landmark's spacing is {maps.spacing[wrong][0].tolist()} mm per pixel; it must be above 0"
            )
        steps = (self.points(outputs).double() - maps.points) * maps.spacing
        return steps.square().sum(dim=2).sqrt()  # NaN where the landmark is

    def predicted_targets(self, outputs: Any, targets: Any) -> Tensor:
        """The points that were found and millimetres per pixel, (B, L, 2D), also where the truth is missing."""
        spacing = self._maps(_tensor(outputs), targets).spacing
        return torch.cat([self.points(outputs).to(spacing), spacing], dim=2)

    def score(self, outputs: Any, targets: Any) -> Tensor:
        return self.errors(outputs, targets).nanmean(dim=1)


def _tensor(outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise BadInputError(
            f"the network's outputs are a {type(outputs).__name__}; landmarks take a tensor (B, L * (1 + D), *spatial)"
        )
    tensor: Tensor = plain(outputs)
    return tensor


def _around_densest(weights: Tensor, reach: int) -> Tensor:
    """1 in the square (cube) of 2 * reach + 1 pixels a side with the highest sum of ``weights``, (B, L, *spatial)."""
    sums = weights
    dims = weights.ndim - 2
    pool = F.avg_pool2d if dims == 2 else F.avg_pool3d
    for axis in range(dims):  # one axis after the other: a mean over a square is a mean of means
        sides = [2 * reach + 1 if own == axis else 1 for own in range(dims)]
        sums = pool(sums, sides, stride=1, padding=[side // 2 for side in sides])
    best = sums.flatten(2).argmax(dim=2)
    mask = torch.ones_like(weights)
    for axis in reversed(range(dims)):
        length = weights.shape[2 + axis]
        centre = (best % length).view(*best.shape, *[1] * dims)
        best = best // length
        places = torch.arange(length, device=weights.device).view(-1, *[1] * (dims - 1 - axis))
        mask = mask * ((places - centre).abs() <= reach)
    return mask
