"""What a network that finds landmarks by heatmaps and offset maps is trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_robust.errors import BadInputError, require_choice
from monai_robust.scalars import is_above_zero, is_number

__all__ = ["LandmarkLoss", "LandmarkMaps", "landmark_maps"]

AXES = ("x", "y", "z")


@dataclass(frozen=True)
class LandmarkMaps:
    """What heatmaps and offset maps should be: the pixels of a disc around each of L landmarks, and no others.

    A disc is a small part of a picture, so that K pixels a landmark say all that dense maps would.

    Attributes:
        points: (B, L, D), in pixels of the network's input; NaN where missing or outside the picture.
        spacing: (B, L, D), millimetres per pixel along each axis; 1 where unknown.
        spatial: size of the picture.
        radius: of the disc, in pixels.
        pixels: (B, L, K), indices into the flattened picture; 0 where not ``inside``.
        inside: (B, L, K), whether an entry of ``pixels`` belongs to the disc.
        offsets: (B, D, L, K), (point - pixel) / radius along each axis; 0 where not ``inside``.
    """

    points: Tensor
    spacing: Tensor
    spatial: tuple[int, ...]
    radius: float
    pixels: Tensor
    inside: Tensor
    offsets: Tensor

    @property
    def visible(self) -> Tensor:
        """(B, L): whether the picture shows the landmark."""
        return self.inside.any(dim=2)

    def label_map(self) -> Tensor:
        """(B, *spatial), uint8: 1 in the discs, else 0."""
        drawn = self.pixels.new_zeros(len(self.pixels), math.prod(self.spatial), dtype=torch.uint8)
        samples = self.inside.nonzero()[:, 0]
        drawn[samples, self.pixels[self.inside]] = 1
        return drawn.unflatten(1, self.spatial)


def landmark_maps(targets: Tensor, spatial: Sequence[int], radius: float) -> LandmarkMaps:
    """The discs of ``radius`` pixels around landmarks; the pixel nearest to a landmark always belongs to its disc.

    Args:
        targets: (B, L, D), coordinates in pixels in the order of the axes, the centre of pixel i at i, NaN where
            missing; or (B, L, 2D), followed by millimetres per pixel along each axis. A landmark outside the picture
            counts as missing.
        spatial: size of the picture, D = 2 or 3 numbers.
        radius: in pixels.

    Raises:
        BadInputError: for targets of another shape, or a radius that is not above 0.
    """
    dims = len(spatial)
    _require_radius(radius)
    if targets.ndim != 3 or targets.shape[2] not in (dims, 2 * dims) or dims not in (2, 3):
        raise BadInputError(
            f"the landmarks have shape {tuple(targets.shape)}, the picture {tuple(spatial)}; they must be (B, L, D) or "
            "(B, L, 2D) for a picture with D = 2 or 3 axes"
        )
    targets = targets.detach().as_subclass(Tensor)
    points, *spacing = targets.to(targets.dtype if targets.dtype == torch.float64 else torch.float32).split(dims, 2)
    size = torch.tensor(spatial, device=points.device)
    visible = ((points >= -0.5) & (points <= size - 0.5)).all(dim=2, keepdim=True)  # false for NaN
    nearest = torch.where(visible, points, 0).round().long().clamp(min=0).minimum(size - 1)
    window = _window(radius, dims, points.device)
    places = nearest[:, :, None] + window
    steps = torch.where(visible, points, 0)[:, :, None] - places
    inside = (steps.square().sum(dim=3) <= radius**2) | (window == 0).all(dim=1)
    inside &= ((places >= 0) & (places < size)).all(dim=3) & visible
    strides = torch.tensor([math.prod(spatial[axis + 1 :]) for axis in range(dims)], device=points.device)
    return LandmarkMaps(
        points=torch.where(visible, points, math.nan),
        spacing=spacing[0] if spacing else torch.ones_like(points),
        spatial=tuple(spatial),
        radius=float(radius),
        pixels=((places * strides).sum(dim=3)).where(inside, 0),
        inside=inside,
        offsets=(steps / radius).where(inside[..., None], 0).permute(0, 3, 1, 2).contiguous(),
    )


class LandmarkLoss(nn.Module):
    """Heatmap loss and offset losses of L landmarks, averaged over those that the picture shows.

    Outputs are (B, L * (1 + D), *spatial): L heatmap logits z, then L offset maps along the first axis, L along the
    second (, L along the third). With A the pixels of the disc around a landmark, ``|A|`` their number, and
    p = sigmoid(z)::

        dice:    1 - 2 * (sum of p over A) / (sum of p over all pixels + |A|)
        bce:     ((sum of -log p over A) + (sum of -log(1 - p) over all other pixels)) / |A|
        offset:  mean over A of |offset - (point - pixel) / radius|, for each axis

    ``bce`` is the plain mean over pixels but for its scale, which does not depend on the size of the picture: with disc
    and surroundings weighed alike, maps become so wide that pixels vote whose offsets nobody trained. A missing
    landmark counts nowhere; terms of a sample without any landmark are 0. Computed in single precision at least.

    Source: Yao et al. 2020 (Miss the point), multi-task U-Net, with a disc in place of a Gaussian; Dice in the place of
    cross-entropy as in AMAT, section 3.6.

    Args:
        radius: of the disc, in pixels of the network's input.
        heatmap: "dice" or "bce".
        weights: factors of the terms by name, ``heatmap``, ``offset_x``, ``offset_y``, ``offset_z``; 1 where not named.

    Raises:
        BadInputError: for arguments that cannot work.
    """

    agreement = "none"  # its outputs are no class distributions that views could agree in
    spatial_targets = True

    def __init__(
        self,
        radius: float = 10.0,
        heatmap: Literal["dice", "bce"] = "dice",
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        _require_radius(radius)
        require_choice("the heatmap loss", heatmap, ("dice", "bce"))
        if weights is not None and not isinstance(weights, Mapping):
            raise BadInputError(f"the loss weights are {weights!r}; give the weight of each term by its name")
        for name, weight in (weights or {}).items():
            require_choice("a name among the loss weights", name, ("heatmap", *(f"offset_{axis}" for axis in AXES)))
            if not is_number(weight, 0):
                raise BadInputError(f"the weight of the loss term {name!r} is {weight}; it must be 0 or above")
        self.radius = float(radius)
        self.heatmap = heatmap
        self.weights = dict(weights or {})

    def maps(self, outputs: Tensor, targets: Tensor | LandmarkMaps) -> LandmarkMaps:
        """What ``outputs`` should be, by targets as :func:`landmark_maps` takes them, or as it has made of them.

        Raises:
            BadInputError: for outputs and targets that do not fit each other.
        """
        ready = targets if isinstance(targets, LandmarkMaps) else None
        labels = targets.points if isinstance(targets, LandmarkMaps) else torch.as_tensor(targets)
        dims = outputs.ndim - 2
        fits = labels.ndim == 3 and labels.shape[2] in (dims, 2 * dims)
        if not fits or outputs.shape[:2] != (len(labels), labels.shape[1] * (1 + dims)):
            raise BadInputError(
                f"the network's outputs have shape {tuple(outputs.shape)}, the landmarks {tuple(labels.shape)}; "
                "outputs (B, L * (1 + D), *spatial) with D axes take landmarks (B, L, D) or (B, L, 2D)"
            )
        if ready is None:
            return landmark_maps(labels.to(outputs.device), outputs.shape[2:], self.radius)
        if (ready.radius, ready.spatial) != (self.radius, tuple(outputs.shape[2:])):
            raise BadInputError(
                f"the maps are of radius {ready.radius:g} in {ready.spatial} pixels; the loss has radius "
                f"{self.radius:g} and the network's outputs {tuple(outputs.shape[2:])} pixels"
            )
        return ready

    def terms(self, outputs: Tensor, targets: Tensor | LandmarkMaps) -> dict[str, Tensor]:
        """``heatmap``, ``offset_x``, ``offset_y`` (, ``offset_z``), each (B,), times its weight.

        Args:
            outputs: (B, L * (1 + D), *spatial).
            targets: (B, L, D) or (B, L, 2D), or maps made of them.

        Raises:
            BadInputError: for outputs and targets that do not fit each other.
        """
        outputs = outputs.as_subclass(Tensor)
        maps = self.maps(outputs, targets)
        dims = len(maps.spatial)
        flat = outputs.to(outputs.dtype if outputs.dtype == torch.float64 else torch.float32).flatten(2)
        logits, offsets = flat.unflatten(1, (1 + dims, -1)).split((1, dims), dim=1)
        heatmap = _dice(logits[:, 0], maps) if self.heatmap == "dice" else _cross_entropy(logits[:, 0], maps)
        found = offsets.gather(3, maps.pixels[:, None].expand(-1, dims, -1, -1))
        distance = ((found - maps.offsets).abs() * maps.inside[:, None]).sum(dim=3) / _area(maps)[:, None]
        terms = {"heatmap": _over_visible(heatmap, maps)}
        terms |= {f"offset_{AXES[axis]}": _over_visible(distance[:, axis], maps) for axis in range(dims)}
        return {name: self.weights.get(name, 1.0) * value for name, value in terms.items()}

    def forward(self, outputs: Tensor, targets: Tensor | LandmarkMaps) -> Tensor:
        """The mean over the batch of the sum of the terms, a scalar; see :meth:`terms`."""
        return torch.stack(tuple(self.terms(outputs, targets).values())).sum(dim=0).mean()


def _dice(logits: Tensor, maps: LandmarkMaps) -> Tensor:
    """1 - soft Dice of each heatmap and its disc, (B, L)."""
    p = logits.sigmoid()
    common = (p.gather(2, maps.pixels) * maps.inside).sum(dim=2)
    return 1 - 2 * common / (p.sum(dim=2) + _area(maps))


def _cross_entropy(logits: Tensor, maps: LandmarkMaps) -> Tensor:
    """Cross-entropy of each heatmap, summed over its pixels and divided by the disc's, (B, L)."""
    in_disc = (logits.gather(2, maps.pixels) * maps.inside).sum(dim=2)  # -log p is -log(1 - p) - z
    return (F.softplus(logits).sum(dim=2) - in_disc) / _area(maps)


def _area(maps: LandmarkMaps) -> Tensor:
    """Pixels of each disc, (B, L); 1 for a missing landmark, so that one can divide by it."""
    return maps.inside.sum(dim=2).clamp(min=1)


def _over_visible(values: Tensor, maps: LandmarkMaps) -> Tensor:
    """Mean of (B, L) over the visible landmarks, (B,); 0, with a graph, where there are none."""
    return torch.where(maps.visible, values, 0).sum(dim=1) / maps.visible.sum(dim=1).clamp(min=1)


def _window(radius: float, dims: int, device: torch.device) -> Tensor:
    """Steps (K, D) from the pixel nearest to a point, to all pixels that its disc may hold."""
    reach = int(radius + 0.5)  # the nearest pixel is half a pixel away at most, along each axis
    steps = torch.arange(-reach, reach + 1, device=device)
    window = torch.cartesian_prod(*[steps] * dims)
    return window[window.square().sum(dim=1) <= (radius + math.sqrt(dims) / 2) ** 2]


def _require_radius(radius: float) -> None:
    if not is_above_zero(radius):
        raise BadInputError(f"the radius of the landmarks' discs is {radius}; it must be above 0 pixels")
