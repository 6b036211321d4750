"""What is done to an input before a network sees it: nothing, an attack of a radius, a corruption of a severity."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_robust.attacks import GradientAttack, WindowAttack
from monai_robust.attacks.masks import bounding_box
from monai_robust.attacks.threat import as_radius
from monai_robust.errors import BadInputError
from monai_robust.tasks import Task
from monai_robust.transforms.corruptions import corruption

__all__ = ["AttackSweep", "CleanSweep", "CorruptionSweep", "Sweep", "Victim", "seeded"]


@dataclass(frozen=True)
class Victim:
    """A batch that is to be perturbed, and the network that it is to be shown to.

    Attributes:
        network: ``inputs -> outputs``.
        inputs: (B, C, *spatial).
        targets: whatever the task takes.
        task: how the network is run and what hurts it.
        sample_ids: (B,) ids of the samples.
        seed: of random starts and noise.
        mask: (B, 1, *spatial), true where there is image; padding is never perturbed.
    """

    network: Callable[..., Any]
    inputs: Tensor
    targets: Any
    task: Task
    sample_ids: Sequence[str]
    seed: int
    mask: Tensor | None = None


def seeded(*parts: object, device: str = "cpu") -> torch.Generator:
    """A generator whose state is a function of ``parts``: the same on every machine and in every order of work."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7], "big"))


class Sweep(ABC):
    """One kind of perturbation over a list of severities."""

    kind: ClassVar[str]

    def __init__(self, name: str, severities: Sequence[float], norm: str = "") -> None:
        self.name = name
        self.severities = [float(severity) for severity in severities]
        self.norm = norm
        if not self.severities:
            raise BadInputError(f"the perturbation {name!r} has no severities; list at least one")
        if len(set(self.severities)) != len(self.severities):
            raise BadInputError(f"the perturbation {name!r} lists a severity twice: {self.severities}")

    @abstractmethod
    def apply(self, severity: float, victim: Victim) -> Tensor:
        """The victim's inputs, perturbed; a function of the arguments alone."""

    def settings(self) -> dict[str, Any]:
        """Numbers behind the perturbation, as primitives."""
        return {}

    def describe(self) -> dict[str, Any]:
        """The perturbation as it stands in ``run.json``."""
        return {
            "name": self.name,
            "kind": self.kind,
            "norm": self.norm,
            "severities": self.severities,
            "settings": self.settings(),
        }

    def __iter__(self) -> Iterator[float]:
        return iter(self.severities)


class CleanSweep(Sweep):
    """The inputs as they are, at severity 0."""

    kind = "clean"

    def __init__(self) -> None:
        super().__init__("clean", [0.0])

    def apply(self, severity: float, victim: Victim) -> Tensor:
        return victim.inputs


class AttackSweep(Sweep):
    """An attack over a list of radii, in intensity units of the network's input; the random start of a sample depends
    on its id and the seed alone.

    Args:
        attack: a gradient attack, on whole images or on windows; its own radius does not matter.
        radii: the severities.
        name: what tables call it; by default the attack and its norm, such as ``pgd_l2``, or ``bim_l2`` for BIM, also
            known as IFGSM.
    """

    kind = "attack"

    def __init__(self, attack: GradientAttack | WindowAttack, radii: Sequence[float], name: str | None = None) -> None:
        norm = attack.norm.name
        super().__init__(name or f"{type(attack).__name__.lower()}_{norm}", radii, norm)
        for radius in self.severities:
            as_radius(radius, 1, "cpu")
        self.attack = attack

    def apply(self, severity: float, victim: Victim) -> Tensor:
        starts = [seeded(victim.seed, self.name, severity, sample) for sample in victim.sample_ids]
        masked = {} if victim.mask is None else {"mask": victim.mask}
        return self.attack(
            victim.network, victim.inputs, victim.targets, severity, task=victim.task, generator=starts, **masked
        )

    def settings(self) -> dict[str, Any]:
        return self.attack.settings()


class CorruptionSweep(Sweep):
    """A corruption by name over a list of severities; the noise of a sample depends on its id and the seed alone.

    Args:
        name: one of ``monai_robust.transforms.corruptions.CORRUPTIONS``.
        severities: variance, amount or factor: whatever the corruption counts in.
    """

    kind = "corruption"

    def __init__(self, name: str, severities: Sequence[float]) -> None:
        super().__init__(name, severities)
        self.corruptions = {severity: corruption(name, severity) for severity in self.severities}

    def apply(self, severity: float, victim: Victim) -> Tensor:
        change = self.corruptions[severity]
        changed = victim.inputs.cpu().clone()
        for index, sample in enumerate(victim.sample_ids):
            box = (
                () if victim.mask is None else bounding_box(victim.mask[index])
            )  # what was padded is no part of the image
            place: tuple[Any, ...] = (index, slice(None), *box)
            changed[place] = change(changed[place], seeded(victim.seed, self.name, severity, sample)).to(changed.dtype)
        changed = changed.to(victim.inputs.device)
        return changed if victim.mask is None else torch.where(victim.mask, changed, victim.inputs)
