"""Where the attempts on a sample within several radii take their random numbers from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from monai_robust.attacks.common.samples import Generators
from monai_robust.errors import BadInputError

__all__ = ["Draws", "RadiusGenerators", "replayed", "twin"]

RadiusGenerators = Generators | Callable[[float], Sequence[torch.Generator]]


class Draws:
    """A generator for each sample and radius, in the state that a call within that radius alone would find.

    Attempts so depend neither on each other nor on the samples beside them.

    Args:
        given: one generator for each sample, which starts afresh at every radius; a function that makes them of a
            radius; or one for all samples (or none, which is torch's own), of which a seed is drawn for each.
        count: how many samples there are.
        radii: as they were given, in ascending order.
        asked: whether anything will be drawn; otherwise no seeds are.

    Raises:
        BadInputError: for another number of generators than of samples.
    """

    def __init__(self, given: RadiusGenerators, count: int, radii: Sequence[float], *, asked: bool) -> None:
        if given is None or isinstance(given, torch.Generator):
            given = _spread(given, count) if asked else ()
        self._by_radius = [list(given(radius)) for radius in radii] if callable(given) else [list(given)] * len(radii)
        for generators in self._by_radius:
            if asked and len(generators) != count:
                raise BadInputError(f"there are {len(generators)} generators for {count} samples; give one for each")
        self.asked = asked

    def at(self, rows: Tensor, places: Tensor) -> list[torch.Generator] | None:
        """Those of ``rows`` (R,) within the radii at ``places`` (R,) of the list; None where nothing is drawn."""
        if not self.asked:
            return None
        return [twin(self._by_radius[place][row]) for row, place in zip(rows.tolist(), places.tolist(), strict=True)]


def _spread(generator: torch.Generator | None, count: int) -> list[torch.Generator]:
    device = "cpu" if generator is None else generator.device
    seeds = torch.randint(2**62, (count,), generator=generator, device=device)
    return [torch.Generator(device).manual_seed(seed) for seed in seeds.tolist()]


def twin(generator: torch.Generator) -> torch.Generator:
    """A generator that will draw what the given one would."""
    other = torch.Generator(device=generator.device)
    other.set_state(generator.get_state())
    return other


def replayed(generator: Generators) -> Generators:
    """Generators that will draw what the given ones would."""
    if generator is None:
        return None
    return twin(generator) if isinstance(generator, torch.Generator) else [twin(one) for one in generator]
