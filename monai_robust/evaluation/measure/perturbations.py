"""What is done to an input before a network sees it: nothing, an attack of a radius, a corruption of a severity."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from monai_robust.attacks import FMN, Attack, WindowAttack, attack_curve
from monai_robust.attacks.common.arguments import checked_attack
from monai_robust.attacks.common.masks import bounding_box, checked_channels, within_channels
from monai_robust.attacks.radius.curve import searchable
from monai_robust.attacks.table import attack_name, follows_gradients
from monai_robust.attacks.threat import Bounds, BoundsSpec, as_radius
from monai_robust.data.intensity import UNITS, in_one_unit
from monai_robust.errors import BadInputError, BadSampleError, BadSamplesError, naming
from monai_robust.tasks import Classification, Task, base_task
from monai_robust.tasks.tensors import select_rows
from monai_robust.transforms.corruptions import LEVELS, SpatialCorruption, corruption

__all__ = [
    "LABELS_OF_IMAGES",
    "SEARCHED",
    "AttackSweep",
    "CleanSweep",
    "CorruptionSweep",
    "EvaluatedBatch",
    "Sweep",
    "seeded",
]

# In run.json, of an attack whose probabilities are those of the nearest success.
SEARCHED = "smallest_radius"

# Tasks whose labels are of whole images, which stay true where an image is moved.
LABELS_OF_IMAGES = ("classification", "multi_label")


@dataclass(frozen=True)
class EvaluatedBatch:
    """A batch that is to be perturbed, and the network that it is to be shown to.

    Attributes:
        network: ``inputs -> outputs``.
        inputs: (B, C, *spatial).
        targets: whatever the task takes.
        task: how the network is run and what hurts it.
        sample_ids: (B,) ids of the samples.
        seed: of random starts and noise.
        mask: (B, 1, *spatial), true where there is image; padding is never perturbed.
        batch_size: samples in one pass through the network; all of them where it is 0.
        scales: of a unit, (B,) units of the network's input for one of them, where each image has its own.
        spacing: (B, D) mm that a pixel has along each axis; None where it is not known.
    """

    network: Callable[..., Any]
    inputs: Tensor
    targets: Any
    task: Task
    sample_ids: Sequence[str]
    seed: int
    mask: Tensor | None = None
    batch_size: int = 0
    scales: Callable[[str], Tensor] | None = None
    spacing: Tensor | None = None

    def answer(self, rows: slice = slice(None)) -> Any:
        """What the network answers to some of the inputs, unperturbed and shown together."""
        return self.task.forward(self.network, self.inputs[rows], select_rows(self.targets, rows))

    @classmethod
    def joined(cls, batches: Sequence[EvaluatedBatch]) -> EvaluatedBatch:
        """Several batches of one network as one; their images must be of one size, their targets tensors."""
        first = batches[0]
        if len(batches) == 1:
            return first
        return replace(
            first,
            inputs=torch.cat([one.inputs for one in batches]),
            targets=torch.cat([one.targets for one in batches]),
            sample_ids=[sample for one in batches for sample in one.sample_ids],
            mask=None if first.mask is None else torch.cat([one.mask for one in batches if one.mask is not None]),
            scales=lambda unit: torch.cat([one.scales(unit) for one in batches if one.scales is not None]),
            spacing=None,
        )


def seeded(*parts: object, device: str = "cpu") -> torch.Generator:
    """A generator whose state is a function of ``parts``: the same on every machine and in every order of work."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7], "big"))


class Sweep(ABC):
    """One kind of perturbation over a list of severities."""

    kind: ClassVar[str]

    def __init__(self, name: str, severities: Sequence[float], norm: str = "") -> None:
        self.name = name
        self.severities = [_number(name, severity) for severity in severities]
        self.norm = norm
        if not self.severities:
            raise BadInputError(f"the perturbation {name!r} has no severities; list at least one")
        if len(set(self.severities)) != len(self.severities):
            raise BadInputError(f"the perturbation {name!r} lists a severity twice: {self.severities}")

    @abstractmethod
    def apply(self, severity: float, batch: EvaluatedBatch) -> Tensor:
        """The batch's inputs, perturbed; a function of the arguments alone."""

    @property
    def follows_gradients(self) -> bool:
        """Whether the network must have a gradient with respect to its inputs."""
        return False

    def check(self, batch: EvaluatedBatch) -> None:  # noqa: B027 (most have nothing to refuse)
        """Refuse inputs or a task that the perturbation is not made for, before anything is measured.

        Raises:
            BadInputError: with what it is made for.
        """

    def together(self, task: Task) -> bool:
        """Whether what is done at one severity helps at the others, so that all of a batch's are asked for at once."""
        return False

    def over(self, batch: EvaluatedBatch) -> Callable[[float], Tensor]:
        """:meth:`apply` to one batch, for any of the severities."""
        return lambda severity: self.apply(severity, batch)

    def radius(self, severity: float, batch: EvaluatedBatch) -> float | Tensor:
        """The radius that a severity is for a batch, in units of the network's input: one for all, or (B,); NaN of what
        has none."""
        return math.nan

    def settings(self) -> dict[str, Any]:
        """Numbers behind the perturbation, as primitives."""
        return {}

    def describe(self, task: Task) -> dict[str, Any]:
        """The perturbation of a task's inputs as it stands in ``run.json``."""
        return {
            "name": self.name,
            "kind": self.kind,
            "norm": self.norm,
            "severities": self.severities,
            "settings": self.settings(),
        }

    def __iter__(self) -> Iterator[float]:
        return iter(self.severities)


def _number(name: str, severity: Any) -> float:
    try:
        return float(severity)
    except (TypeError, ValueError):
        raise BadInputError(f"the perturbation {name!r} has the severity {severity!r}; it must be a number") from None


class CleanSweep(Sweep):
    """The inputs as they are, at severity 0."""

    kind = "clean"

    def __init__(self) -> None:
        super().__init__("clean", [0.0])

    def apply(self, severity: float, batch: EvaluatedBatch) -> Tensor:
        return batch.inputs


class AttackSweep(Sweep):
    """An attack over a list of radii; the random start of a sample depends on its id and the seed alone.

    Radii are in intensity units of the network's input, or words with one unit for all of them: ``"20HU"``,
    ``"3grey"``, of the file, or ``"5%"`` of the window that the pipeline clips to. A measurement makes numbers in the
    network's units of them where its pipeline scales all images alike; where every image is scaled by itself,
    severities stay in that unit, each sample has a radius of its own, in the column ``radius`` of the table, and is
    attacked at each severity.

    Where images are classified, the smallest of the radii that breaks a sample is searched
    (:func:`~monai_robust.attacks.attack_curve`), which takes a fraction of the time: a sample that an attack has broken
    counts as broken at all larger radii, and so it is wrong wherever it would be if it were attacked at every radius,
    with all steps and the same random starts. The probabilities are those of the nearest success instead of the worst
    input; whoever asks for them sets ``faithful``. Attacks with another goal than ``"untargeted"``, and those that
    average over the answers of a random network, are never searched with.

    Args:
        attack: on whole images or on windows; its own radius does not matter.
        radii: the severities.
        name: what tables call it; by default the attack and its norm, such as ``pgd_l2``, ``bim_l2`` for BIM,
            also known as IFGSM, or ``strong_l2`` for an ensemble, and the unit of radii, as in ``pgd_l2_hu``.
        faithful: attack every sample at every radius, each time with the whole budget.

    Raises:
        BadInputError: for radii that are none, or of several units.
    """

    kind = "attack"

    def __init__(
        self,
        attack: Attack | WindowAttack,
        radii: Sequence[float | str],
        name: str | None = None,
        *,
        faithful: bool = False,
    ) -> None:
        checked_attack(attack)
        if not isinstance(attack, (Attack, WindowAttack)):
            raise BadInputError(f"the attack of a sweep is a {type(attack).__name__}; give one such as PGD()")
        if isinstance(radii, str) or not isinstance(radii, Iterable):
            listed = "[0.5]" if radii is None else f"[{radii}]"
            raise BadInputError(f"the radii of a sweep are {radii!r}; give a list, such as {listed}")
        norm = attack.norm.name
        numbers, self.unit = in_one_unit(radii)
        own = f"{attack_name(attack)}_{norm}"
        super().__init__(name or (f"{own}_{UNITS[self.unit].suffix}" if self.unit else own), numbers, norm)
        for radius in self.severities:
            as_radius(radius, 1, "cpu")
        self.attack = attack
        self.faithful = bool(faithful)

    def radius(self, severity: float, batch: EvaluatedBatch) -> float | Tensor:
        if not self.unit:
            return severity
        if batch.scales is None:
            raise BadInputError(
                f"the radii of {self.name!r} are in {UNITS[self.unit].label}, and nothing tells what that is in the "
                "network's input; measure an evaluator or a data set with a transform, or give numbers"
            )
        scales = batch.scales(self.unit)
        unknown = scales.isnan().nonzero().flatten().tolist()
        if unknown:
            what = f"the image has one intensity, so that no radius in {UNITS[self.unit].label} is known of it"
            raise BadSamplesError(what, unknown).among(batch.sample_ids)
        return (severity * scales).to(batch.inputs.device, torch.float32)

    @property
    def follows_gradients(self) -> bool:
        """Whether the network must have a gradient with respect to its inputs."""
        return follows_gradients(self.attack)

    def together(self, task: Task) -> bool:
        if not isinstance(self.attack, Attack) or isinstance(self.attack, FMN):
            return False
        usable = self.attack.mode != "train" and searchable(self.attack)
        usable = usable and not self.unit  # radii that are searched are those of all samples
        return usable and not self.faithful and isinstance(base_task(task), Classification)

    def over(self, batch: EvaluatedBatch) -> Callable[[float], Tensor]:
        if not self.together(batch.task) or not isinstance(self.attack, Attack):
            return super().over(batch)
        with naming(batch.sample_ids):
            curve = attack_curve(
                batch.network,
                batch.inputs,
                batch.targets,
                self.severities,
                attack=self.attack,
                task=batch.task,
                generator=lambda radius: self._starts(batch, radius),
                batch_size=batch.batch_size or len(batch.inputs),
                mask=batch.mask,
            )
        return curve.adversarial

    def _starts(self, batch: EvaluatedBatch, radius: float) -> list[torch.Generator]:
        return [seeded(batch.seed, self.name, radius, sample) for sample in batch.sample_ids]

    def describe(self, task: Task) -> dict[str, Any]:
        found = super().describe(task)
        if self.together(task):
            found["settings"] = {**found["settings"], "search": SEARCHED}
        return found

    def apply(self, severity: float, batch: EvaluatedBatch) -> Tensor:
        starts = self._starts(batch, severity)
        masked = {} if batch.mask is None else {"mask": batch.mask}
        eps = self.radius(severity, batch)
        with naming(batch.sample_ids):
            return self.attack(
                batch.network, batch.inputs, batch.targets, eps, task=batch.task, generator=starts, **masked
            )

    def settings(self) -> dict[str, Any]:
        unit = {"unit": UNITS[self.unit].label} if self.unit else {}
        return {**self.attack.settings(), **unit}


class CorruptionSweep(Sweep):
    """A corruption by name over a list of severities.

    What is drawn for a sample depends on its id, the corruption and the seed alone, and is the same draw at every
    severity: noise grows where it is, a shadow becomes wider in its place, and severities are compared in pairs.

    Args:
        name: one of ``monai_robust.transforms.corruptions.CORRUPTIONS``.
        severities: variance, amount or factor: whatever the corruption counts in, for intensities from 0 to 1.
        bounds: the intensities of the network's inputs that stand for 0 and 1, ``(low, high)`` or ``"per_image"``, each
            image's own.
        channels: those of the input that are image, by index; all by default. The others stay as they are.
        levels: in place of severities, levels from 1 to 5 of the corruption's table; all five by default.

    Raises:
        BadInputError: for an unknown corruption, a severity or level that it does not have, both of them, or no bounds.
    """

    kind = "corruption"

    def __init__(
        self,
        name: str,
        severities: Sequence[float] | None = None,
        bounds: BoundsSpec = (0.0, 1.0),
        channels: Sequence[int] | None = None,
        *,
        levels: Sequence[int] | None = None,
    ) -> None:
        if severities is not None and levels is not None:
            raise BadInputError(f"the corruption {name!r} has severities and levels; give one of them")
        if severities is None:
            severities = [corruption(name, level=level).severity for level in (LEVELS if levels is None else levels)]
        super().__init__(name, severities)
        self.corruptions = {severity: corruption(name, severity) for severity in self.severities}
        if bounds is None:
            raise BadInputError(f"the corruption {name!r} needs bounds: (low, high) or 'per_image'")
        self.bounds = Bounds(bounds)
        self.channels = None if channels is None else checked_channels(channels)

    def check(self, batch: EvaluatedBatch) -> None:
        """Refuse images of other channels or dimensions, and what would have to move with an image.

        Raises:
            BadInputError: naming the corruption, and what it is made for.
        """
        kind, task = type(next(iter(self.corruptions.values()))), base_task(batch.task).name
        if issubclass(kind, SpatialCorruption) and task not in LABELS_OF_IMAGES:
            raise BadInputError(
                f"the corruption {self.name!r} moves what is in an image, and not the targets of {task}, which "
                f"would then be wrong; it is for {' and '.join(LABELS_OF_IMAGES)}"
            )
        shape = tuple(batch.inputs.shape[1:])
        channels = shape[0] if self.channels is None else len(self.channels)
        try:
            kind.check_shape((channels, *shape[1:]))
        except BadSampleError as error:
            raise BadInputError(str(error)) from None

    def apply(self, severity: float, batch: EvaluatedBatch) -> Tensor:
        self.check(batch)
        change = self.corruptions[severity]
        changed = batch.inputs.cpu().clone()
        if self.channels is not None:
            within_channels(self.channels, changed, None)  # refuses those that there are not
        for index, sample in enumerate(batch.sample_ids):
            box = (
                () if batch.mask is None else bounding_box(batch.mask[index])
            )  # what was padded is no part of the image
            place: tuple[Any, ...] = (index, slice(None) if self.channels is None else list(self.channels), *box)
            low, width = self._range(changed[place])
            corrupted = change((changed[place] - low) / width, seeded(batch.seed, self.name, sample))
            changed[place] = (corrupted * width + low).to(changed.dtype)
        changed = changed.to(batch.inputs.device)
        return changed if batch.mask is None else torch.where(batch.mask, changed, batch.inputs)

    def settings(self) -> dict[str, Any]:
        unit = self.bounds.bounds == (0.0, 1.0)
        channels = {} if self.channels is None else {"channels": list(self.channels)}
        return channels if unit else {"bounds": self.bounds.bounds, **channels}

    def _range(self, image: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """The intensity of an image (C, *spatial) that stands for 0, and how far from it the one for 1 is."""
        limits = self.bounds.limits(image[None])
        if limits is None or self.bounds.bounds == (0.0, 1.0):
            return 0.0, 1.0
        low, width = limits[0].squeeze(), (limits[1] - limits[0]).squeeze()
        return low, torch.where(width > 0, width, torch.ones_like(width))  # an image of one intensity
