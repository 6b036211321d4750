"""The samples of a batch that an attack works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_robust.errors import BadInputError
from monai_robust.tasks.tensors import select_rows

__all__ = ["Generators", "Samples"]

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples that an attack works on, with all that belongs to each.

    Attributes:
        rows: (R,) their places in the batch.
        clean: (R, C, *spatial).
        targets: those that the attack leaves or approaches, as they were given.
        eps: (R,) radii.
        generator: one for all or one for each.
        inside: (R, C, *spatial), true where there is image; None where everywhere.
        start: (R, C, *spatial), the perturbation that a search begins with; None where the attack has its own.
    """

    rows: Tensor
    clean: Tensor
    targets: Any
    eps: Tensor
    generator: Generators
    inside: Tensor | None
    start: Tensor | None = None

    @classmethod
    def of(
        cls,
        clean: Tensor,
        targets: Any,
        eps: Tensor,
        generator: Generators,
        inside: Tensor | None,
        start: Tensor | None = None,
    ) -> Samples:
        """All samples of a batch."""
        many = generator if isinstance(generator, Sequence) else [] if generator is None else [generator]
        odd = [one for one in many if not isinstance(one, torch.Generator)]
        if odd:
            raise BadInputError(
                f"generator is {odd[0]!r}; give a torch.Generator such as torch.Generator().manual_seed(0), or one for "
                "each sample"
            )
        if isinstance(generator, Sequence) and len(generator) != len(clean):
            raise BadInputError(f"there are {len(generator)} generators for {len(clean)} samples; give one for each")
        return cls(torch.arange(len(clean), device=clean.device), clean, targets, eps, generator, inside, start)

    def at(self, chosen: Tensor) -> Samples:
        """Those that are chosen, (R,) bool."""
        return self if bool(chosen.all()) else self.take(chosen.nonzero().flatten())

    def take(self, places: Tensor) -> Samples:
        """Those at ``places``, (R,) indices."""
        generator = self.generator
        return Samples(
            self.rows[places],
            self.clean[places],
            select_rows(self.targets, places),
            self.eps[places],
            [generator[place] for place in places.tolist()] if isinstance(generator, Sequence) else generator,
            None if self.inside is None else self.inside[places],
            None if self.start is None else self.start[places],
        )
