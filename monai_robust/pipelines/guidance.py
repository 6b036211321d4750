"""Channels of a network's input that are no image: clicks, and other things that a user or a label put there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from monai_robust.configuration.components import components
from monai_robust.pipelines.folder import Metadata

__all__ = ["guidance_channels"]

_TRANSFORMS = re.compile(r"\w*(Guidance|Click|InitialSeedPoint|Discrepancy|PointPrompt)\w*")
_CHANNELS = re.compile(r"guidance|click|point|seed|prompt|signal|label|mask|fixed", re.IGNORECASE)


def guidance_channels(config: Mapping[str, Any], metadata: Metadata, channels: int) -> tuple[tuple[int, ...], str]:
    """Indices of the channels that are no image, and what said so.

    That is the metadata's ``channel_def``, or transforms that are known by their names to put guidance behind the
    image, which then has one channel, or as many as the metadata says.

    Args:
        config: merged, unresolved.
        metadata: of the bundle.
        channels: that the network takes.
    """
    described = metadata.image_format()
    named = described[1].get("channel_def") if described is not None else None
    if isinstance(named, Mapping):
        places = {int(index): str(name) for index, name in named.items() if str(index).isdigit()}
        found = tuple(index for index, name in places.items() if index < channels and _CHANNELS.search(name))
        if found:
            return found, "channel_def of metadata.json"
    transforms = [one.name for one in components(config) if _TRANSFORMS.fullmatch(one.name) and not one.disabled]
    if not transforms or channels < 2:
        return (), ""
    number = described[1].get("num_channels") if described is not None else None
    image = number if isinstance(number, int) and 0 < number < channels else 1
    return tuple(range(image, channels)), transforms[-1]
