"""Which samples of its data set a loader hands out, so that a measurement is of those that an evaluator evaluates."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)

from monai_robust.pipelines.apart import same_draws

__all__ = ["samples_of_loader", "warn_of_short_epochs"]


def samples_of_loader(loader: Any, dataset: Any) -> Any:
    """The part of a data set that a loader's sampler draws from, in the order of the data set.

    A sampler that draws the same sample several times, such as ``WeightedRandomSampler``, tells by chance which there
    are: then it is the whole data set, with a warning, as it is where ``drop_last`` leaves some out.

    Args:
        loader: a ``DataLoader``, or what has a ``sampler`` or ``batch_sampler`` like one.
        dataset: its data set.

    Returns:
        ``dataset``, or a ``Subset`` of it.
    """
    size = len(dataset)
    batches = getattr(loader, "batch_sampler", None)
    sampler = getattr(loader, "sampler", None)
    if type(batches) is BatchSampler:
        sampler = batches.sampler
        if batches.drop_last and size % batches.batch_size:
            _warn("its loader has drop_last and leaves samples out; all are measured")
    elif batches is not None:
        sampler = _each(batches)
    if sampler is None or isinstance(sampler, (SequentialSampler, DistributedSampler)):
        return dataset
    if isinstance(sampler, SubsetRandomSampler):
        drawn = list(map(int, sampler.indices))
    elif isinstance(sampler, RandomSampler) and not sampler.replacement and sampler.num_samples >= size:
        return dataset
    else:
        with same_draws():
            drawn = [int(place) for place in sampler]
    places = sorted(set(drawn))
    if len(places) < len(drawn) or not places:
        _warn(
            f"its loader draws {len(drawn)} times from {size} samples, some of them again; all are measured, once each"
        )
        return dataset
    return dataset if len(places) == size else Subset(dataset, places)


def warn_of_short_epochs(evaluator: Any) -> None:
    """Tell where an evaluator's epochs end before its loader does, since all samples are measured."""
    length = getattr(evaluator.state, "epoch_length", None)
    try:
        batches = len(evaluator.data_loader)
    except TypeError:
        return
    if length is not None and length < batches:
        _warn(f"its epoch_length is {length} of {batches} batches; all are measured")


def _each(batches: Iterable[Any]) -> Iterator[Any]:
    for batch in batches:
        yield from batch


def _warn(what: str) -> None:
    warnings.warn(f"the evaluator's own run tells of other samples than this measurement: {what}", stacklevel=2)
