"""Attack a large image window by window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.utils import fall_back_tuple
from torch import Tensor

from monai_robust.attacks.attack import Attack
from monai_robust.attacks.common.arguments import checked_attack, checked_inputs
from monai_robust.errors import BadInputError, naming, require_choice
from monai_robust.scalars import is_number, is_whole
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import as_tensors, map_tensors, plain, select_rows

__all__ = ["WindowAttack"]


class WindowAttack:
    """Run an attack on each window of a sliding grid, and put the perturbations together.

    An attack on a whole image through a ``SlidingWindowInferer`` keeps the graph of every window at once; this one
    needs the memory of one window. It is another threat: every *window* has the radius, so that the whole image is
    changed by more than ``eps`` (``adv_norm`` says by how much), and the windows do not know of each other. Where
    windows overlap, their perturbations are averaged with the weights that the inferer gives its predictions.

    Args:
        attack: run on each window.
        roi_size: size of a window, as the inferer's: one number for all axes or one for each; one that is not positive
            stands for the whole axis.
        overlap: share of a window that the next one covers too, as the inferer's.
        mode: ``"gaussian"`` or ``"constant"``, as the inferer's.

    Raises:
        BadInputError: for an argument that cannot work, a window of another dimension than the images, or labels that
            are not of their places.
    """

    def __init__(
        self, attack: Attack, roi_size: Sequence[int] | int, *, overlap: float = 0.5, mode: str = "gaussian"
    ) -> None:
        checked_attack(attack)
        if not isinstance(attack, Attack):
            kind = type(attack).__name__
            raise BadInputError(
                f"the attack is a {kind}; an attack by windows takes one of monai_robust, such as PGD()"
            )
        if not is_number(overlap, 0) or overlap >= 1:
            raise BadInputError(f"overlap is {overlap!r}; it must be a number of at least 0 and less than 1")
        require_choice("mode", mode, ["gaussian", "constant"])
        self.attack = attack
        self.roi_size = _sizes(roi_size)
        self.overlap = float(overlap)
        self.mode = mode
        self.norm = attack.norm
        self.eps = attack.eps
        self.bounds = attack.bounds

    def region(self, inputs: Tensor, mask: Tensor | None) -> Tensor | None:
        """Where inputs may be changed; see :meth:`Attack.region`."""
        return self.attack.region(inputs, mask)

    def settings(self) -> dict[str, Any]:
        """The attack's numbers as primitives, for tables and reports."""
        return {
            **self.attack.settings(),
            "windows": [self.roi_size] if isinstance(self.roi_size, int) else list(self.roi_size),
            "overlap": self.overlap,
        }

    def __call__(
        self,
        network: Callable[..., Any],
        inputs: Tensor,
        targets: Any,
        eps: float | Tensor | None = None,
        *,
        task: Task | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Adversarial inputs, detached.

        ``targets`` are tensors or arrays with the spatial size of ``inputs``, (B, C, *spatial) or (B, *spatial).
        ``eps`` is the radius of each window, a number or (B,). Padding, where ``mask`` (B, 1, *spatial) is false, stays
        as it is; a window without image in any sample is passed over.

        Raises:
            BadInputError: for what is no batch of floating images, or labels that are not of their places.
        """
        checked_inputs(inputs)
        clean = plain(inputs).detach()
        targets = as_tensors(targets, clean.device)
        whole = tuple(clean.shape[2:])
        if isinstance(self.roi_size, tuple) and len(self.roi_size) != len(whole):
            raise BadInputError(f"windows are {self.roi_size}, the images {whole}; give as many sizes")
        map_tensors(partial(_require_places, whole=whole), targets)
        size = tuple(map(min, fall_back_tuple(self.roi_size, whole), whole))
        steps = tuple(max(1, round(length * (1 - self.overlap))) for length in size)
        weights = compute_importance_map(size, mode=self.mode, device=clean.device, dtype=torch.float32)[None, None]
        change, weight = torch.zeros_like(clean, dtype=torch.float32), clean.new_zeros(1, 1, *clean.shape[2:])
        inside = self.region(clean, mask)
        for window in dense_patch_slices(clean.shape[2:], size, steps):
            place = (slice(None), slice(None), *window)
            weight[place] += weights
            part = None if inside is None else inside[place]
            # samples whose padding fills the window have nothing there to attack
            rows = torch.arange(len(clean)) if part is None else part.flatten(1).any(dim=1).nonzero().flatten().cpu()
            if not len(rows):
                continue
            at: tuple[Any, ...] = (rows.to(clean.device), *place[1:])
            labels = select_rows(map_tensors(lambda x, at=(..., *window): plain(x)[at], targets), rows)  # type: ignore[misc]
            draws = [generator[row] for row in rows.tolist()] if isinstance(generator, Sequence) else generator
            with naming(rows):
                adversarial = self.attack(
                    network,
                    clean[place][at[0]],
                    labels,
                    eps[at[0]] if isinstance(eps, Tensor) and eps.ndim else eps,
                    task=task,
                    generator=draws,
                    mask=None if part is None else part[at[0]],
                )
            change[at] += weights * (adversarial - clean[place][at[0]]).float()
        adversarial = clean + (change / weight).to(clean.dtype)
        limits = self.bounds.limits(clean, inside)
        if limits is not None:
            clipped = torch.maximum(torch.minimum(adversarial, limits[1]), limits[0])
            adversarial = clipped if inside is None else torch.where(inside, clipped, clean)
        return MetaTensor(adversarial).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else adversarial


def _sizes(roi_size: Any) -> int | tuple[int, ...]:
    """The size of a window along all axes or along each, whole numbers."""
    each = tuple(roi_size) if isinstance(roi_size, Sequence) and not isinstance(roi_size, str) else (roi_size,)
    if not each or not all(map(is_whole, each)):
        raise BadInputError(f"roi_size is {roi_size!r}; it must be a whole number, or one for each axis of the images")
    sizes = tuple(map(int, each))
    return sizes if isinstance(roi_size, Sequence) else sizes[0]


def _require_places(labels: Tensor, whole: tuple[int, ...]) -> None:
    if tuple(labels.shape[1:])[-len(whole) :] != whole:
        raise BadInputError(
            f"an attack by windows is given labels of shape {tuple(labels.shape)}; they must have a value for each "
            f"place of the images {whole}"
        )
