"""A look at a stranger's parts that the caller does not notice: the same draws every time, and no words."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from monai.utils import get_seed, set_determinism

__all__ = ["quietly", "same_draws"]


@contextmanager
def same_draws() -> Iterator[None]:
    """Draw the same random numbers within every time, and give the caller's back as they were."""
    numpy_state, python_state, seed = np.random.get_state(), random.getstate(), get_seed()
    cudnn = torch.backends.cudnn
    deterministic, benchmark = cudnn.deterministic, cudnn.benchmark
    try:
        with torch.random.fork_rng(devices=[]):
            set_determinism(0)  # which MONAI's compositions of transforms take their seeds from, too
            try:
                yield
            finally:
                set_determinism(seed)
    finally:
        cudnn.deterministic, cudnn.benchmark = deterministic, benchmark
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings and logs of a stranger's parts, which are made for one batch only."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
