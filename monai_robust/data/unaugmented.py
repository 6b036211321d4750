"""A data set read as it is: without random augmentation, and without a trace in anybody's random numbers."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable, RandomizableTransform
from torch.utils.data import Dataset

__all__ = ["read_apart", "unaugmented"]

_LOG = logging.getLogger(__name__)


def read_apart(dataset: Any, places: Sequence[int], seed: int = 0) -> list[Any]:
    """Some samples of a data set without random augmentation, whatever was drawn before, and all random states as they
    were afterwards."""
    calm = unaugmented(dataset, seed)
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            return [calm[place] for place in places]
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def unaugmented(dataset: Any, seed: int) -> Any:
    """A copy of a data set, and of those within it, whose random transforms do nothing; those that have no probability,
    such as random crops, stay, with draws that follow from ``seed``."""
    changed = copy.copy(dataset)
    for name, value in getattr(dataset, "__dict__", {}).items():
        if isinstance(value, Dataset):
            setattr(changed, name, unaugmented(value, seed))
        elif isinstance(value, (list, tuple)) and value and all(isinstance(one, Dataset) for one in value):
            setattr(changed, name, type(value)(unaugmented(one, seed) for one in value))
        elif isinstance(value, Randomizable):
            setattr(changed, name, _calmed(value, seed))
    return changed


def _calmed(transform: Any, seed: int) -> Any:
    calm = copy.deepcopy(transform)
    _silence(calm)
    return calm.set_random_state(seed)


def _silence(transform: Any) -> None:
    if isinstance(transform, Compose):
        for one in transform.transforms:
            _silence(one)
    elif isinstance(transform, RandomizableTransform):
        transform.prob = 0.0
        for own in vars(transform).values():  # where a transform of dictionaries hands on to one of arrays
            _silence(own)
    elif isinstance(transform, Randomizable):
        _LOG.info("thresholds: %s has no probability and stays, with draws of its own", type(transform).__name__)
