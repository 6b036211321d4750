"""Half precision on a processor that has no instructions for it."""

from __future__ import annotations

import logging
import platform
from functools import lru_cache

import torch

__all__ = ["tell_if_slow"]

_LOG = logging.getLogger(__name__)
_X86 = ("x86_64", "amd64", "x86", "i386", "i686")
_WITHOUT = ("DEFAULT", "AVX2")


@lru_cache
def tell_if_slow(precision: str) -> None:
    """Say once in a log that half precision on this processor takes several times the time of single precision.

    It changes nothing: numbers are those of the precision that was asked for.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    if platform.machine().lower() in _X86 and capability in _WITHOUT:
        _LOG.warning(
            "the attack runs the network in %s, for which this processor (%s) has no instructions, so that a step "
            "takes several times as long as in float32; leave precision out where that is too slow (in a bundle, "
            "--robust#attack#precision null)",
            precision,
            capability,
        )
