"""A training set as thresholds are fitted on it: every sample once, as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from ignite import distributed as idist
from torch.utils.data import DataLoader, IterableDataset, Subset, SubsetRandomSampler, WeightedRandomSampler

from monai_robust.data.unaugmented import unaugmented
from monai_robust.errors import BadInputError

__all__ = ["EverySample", "require_rereadable"]


class EverySample:
    """The samples of a training loader, each once, in order, without random augmentation and whatever sampler.

    That is the set S of which AMAT takes the losses V (section 2.2). MONAI's random transforms, wherever the data set
    holds them, are given the probability 0; what has no probability, such as a random crop, belongs to how a network
    is fed and stays, with draws that follow from ``seed``. Samples that the loader's sampler never draws
    (``SubsetRandomSampler``, a weight of 0) are not of the training set. Several processes share the samples out.

    The loader, its data set and everybody's random states are left as they are. Samples are collated as the loader
    does, images of one size together.

    Args:
        loader: of a data set that knows its samples by number.
        seed: of the random crops.

    Raises:
        BadInputError: for data that can be read once only, or in its own order only.
    """

    def __init__(self, loader: Any, seed: int = 0) -> None:
        dataset: Any = getattr(loader, "dataset", None)
        if (
            isinstance(dataset, IterableDataset)
            or not hasattr(dataset, "__getitem__")
            or not hasattr(dataset, "__len__")
        ):
            raise BadInputError(
                f"thresholds are fitted on every training sample before training begins, but {_kind(loader)} cannot "
                "be asked for its samples and may be read once only; give thresholds=FILE that fit_thresholds made, or "
                "fit_on=LOADER, another loader of the training samples"
            )
        self.dataset = unaugmented(dataset, seed)
        drawn = _drawn(getattr(loader, "sampler", None), len(dataset))
        self.indices = drawn[idist.get_rank() :: idist.get_world_size()]
        self._loader = loader

    def __len__(self) -> int:
        """The number of samples of this process."""
        return len(self.indices)

    def __iter__(self) -> Iterator[Any]:
        own = DataLoader(
            Subset(self.dataset, self.indices),
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=getattr(self._loader, "num_workers", 0),
            generator=torch.Generator().manual_seed(0),  # the global one is training's
        )
        collate = getattr(self._loader, "collate_fn", None) or torch.utils.data.default_collate
        batch: list[Any] = []
        for sample in own:
            if batch and (len(batch) == self._batch_size or _size(sample) != _size(batch[-1])):
                yield collate(batch)
                batch = []
            batch.append(sample)
        if batch:
            yield collate(batch)

    @property
    def _batch_size(self) -> int:
        sampler = getattr(self._loader, "batch_sampler", None)
        return getattr(self._loader, "batch_size", None) or getattr(sampler, "batch_size", None) or 1


def require_rereadable(loader: Any) -> Iterable[Any]:
    """``loader``, refused where a pass before training would leave training nothing.

    Raises:
        BadInputError: for an iterator, and for a data set that gives its samples in an order of its own.
    """
    stream = isinstance(getattr(loader, "dataset", None), IterableDataset)
    if stream or (not isinstance(loader, DataLoader) and iter(loader) is iter(loader)):
        raise BadInputError(
            f"thresholds are fitted before training begins, but {_kind(loader)} may be read once only; give "
            "thresholds=FILE that fit_thresholds made, or fit_on=LOADER, another loader of the training samples"
        )
    return loader


def _drawn(sampler: Any, samples: int) -> list[int]:
    """The samples that a sampler can draw."""
    if isinstance(sampler, SubsetRandomSampler):
        return sorted({int(index) for index in sampler.indices})
    if isinstance(sampler, WeightedRandomSampler):
        return [index for index, weight in enumerate(sampler.weights.tolist()) if weight > 0]
    return list(range(samples))


def _size(sample: Any) -> Any:
    while isinstance(sample, (list, tuple)) and sample:
        sample = sample[0]
    image = sample.get("image") if isinstance(sample, Mapping) else sample
    return tuple(getattr(image, "shape", ()))


def _as_it_is(sample: Any) -> Any:
    return sample


def _kind(loader: Any) -> str:
    dataset = getattr(loader, "dataset", None)
    return f"a loader of {type(dataset).__name__}" if dataset is not None else f"a {type(loader).__name__} of batches"
