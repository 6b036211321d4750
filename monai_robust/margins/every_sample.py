"""A training set as thresholds are fitted on it: every sample once, as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from ignite import distributed as idist
from monai.data import GridPatchDataset, PatchDataset
from torch.utils.data import DataLoader, IterableDataset, Subset, SubsetRandomSampler, WeightedRandomSampler

from monai_robust.data.unaugmented import unaugmented
from monai_robust.errors import BadInputError

__all__ = ["EverySample", "patched", "require_rereadable"]


class EverySample:
    """The samples of a training loader, each once, in order, without random augmentation and whatever sampler; of
    MONAI's data sets of patches (``GridPatchDataset``, ``PatchDataset``), those of every image.

    That is the set S of which AMAT takes the losses V (section 2.2). MONAI's random transforms, wherever the data set
    holds them, are given the probability 0; what has no probability, such as a random crop, belongs to how a network
    is fed and stays, with draws that follow from ``seed``. Samples that the loader's sampler never draws
    (``SubsetRandomSampler``, a weight of 0) are not of the training set. Several processes share the samples out.

    The loader, its data set and everybody's random states are left as they are. Samples are collated as the loader
    does, images of one size together.

    Args:
        loader: of a data set that knows its samples, or those that it takes patches of, by number.
        seed: of the random crops.

    Raises:
        BadInputError: for data that can be read once only, or in its own order only.
    """

    def __init__(self, loader: Any, seed: int = 0) -> None:
        dataset: Any = getattr(loader, "dataset", None)
        taken_apart = patched(dataset)
        if not taken_apart and (isinstance(dataset, IterableDataset) or not _by_number(dataset)):
            raise BadInputError(
                f"thresholds are fitted on every training sample before training begins, but {_kind(loader)} cannot "
                "be asked for its samples and may be read once only; give thresholds=FILE that fit_thresholds made, or "
                "fit_on=LOADER, another loader of the training samples"
            )
        self.dataset = unaugmented(dataset, seed)
        drawn = _drawn(getattr(loader, "sampler", None), len(dataset.data if taken_apart else dataset))
        self.indices = drawn[idist.get_rank() :: idist.get_world_size()]
        if taken_apart:  # in an order of its own
            self.dataset.data = Subset(self.dataset.data, self.indices)
        self._read: Any = self.dataset if taken_apart else Subset(self.dataset, self.indices)
        self._loader = loader

    def __len__(self) -> int:
        """The number of samples of this process, of patches that of the images that they are of."""
        return len(self.indices)

    def __iter__(self) -> Iterator[Any]:
        own = DataLoader(
            self._read,
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


def patched(dataset: Any) -> bool:
    """Whether a data set gives patches, one after the other, of images that it can ask for again."""
    return isinstance(dataset, (GridPatchDataset, PatchDataset)) and _by_number(dataset.data)


def _by_number(dataset: Any) -> bool:
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


def require_rereadable(loader: Any) -> Iterable[Any]:
    """``loader``, refused where a pass before training would leave training nothing.

    Raises:
        BadInputError: for an iterator, and for a data set that gives its samples in an order of its own.
    """
    dataset = getattr(loader, "dataset", None)
    stream = isinstance(dataset, IterableDataset) and not patched(dataset)
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
