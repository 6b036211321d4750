"""Reading checkpoints that somebody else may have written: weights alone and nothing that is run, whole and finite."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.handlers.metric_logger import MetricLoggerKeys
from torch import Tensor, nn

from monai_robust.data.files.schemas import shown
from monai_robust.data.files.side_files import regular_file
from monai_robust.errors import BadInputError

__all__ = ["UnreadableCheckpointError", "checkpoint_entry", "load_weights", "read_checkpoint"]


def _emptied(factory: Any = None) -> dict[Any, Any]:
    """A dictionary in place of a defaultdict, which torch's safe loading cannot fill."""
    return {}


# What MONAI's MetricLogger writes into checkpoints: names, lists and a defaultdict of them, which run nothing.
_OF_MONAI = (MetricLoggerKeys, list, (_emptied, "collections.defaultdict"))
# before every name, where a network was saved within DistributedDataParallel or DataParallel, or compiled
_WRAPPERS = ("module.", "_orig_mod.")
_EXPANSION = 10
_ADVICE = "save the state_dict() of the network with torch.save, and name that file"


class UnreadableCheckpointError(BadInputError):
    """A file that holds no checkpoint, or none that can be read."""


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The dictionary of a checkpoint, loaded with ``weights_only=True``: tensors and primitives, no code.

    Args:
        path: the file.
        map_location: device of the tensors.

    Raises:
        BadInputError: when the file is missing.
        UnreadableCheckpointError: when it is damaged (by the checksums it carries), no checkpoint of torch, holds
            Python objects, or something else than a dictionary with names.
    """
    path = regular_file(path, "checkpoint")
    if zipfile.is_zipfile(path):
        _check_archive(path)
    try:
        with torch.serialization.safe_globals([*_OF_MONAI]):
            content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets, with the advice to switch safety off
        raise UnreadableCheckpointError(_refusal(path, error)) from None
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        what = "a tensor" if isinstance(content, Tensor) else f"a {type(content).__name__}"
        raise UnreadableCheckpointError(f"{path} holds {what}, not weights by their names; {_ADVICE}")
    return dict(content)


def checkpoint_entry(path: str | Path, name: str) -> Any:
    """One entry of a checkpoint, None where it has none; the tensors of the others are mapped and not read.

    Args:
        path: the file.
        name: of the entry.

    Raises:
        BadInputError: when the file is missing.
        UnreadableCheckpointError: when it is no checkpoint of torch, or holds Python objects.
    """
    path = regular_file(path, "checkpoint")
    try:
        with torch.serialization.safe_globals([*_OF_MONAI]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # as in read_checkpoint
        raise UnreadableCheckpointError(_refusal(path, error)) from None
    return content.get(name) if isinstance(content, Mapping) else None


def load_weights(network: nn.Module, checkpoint: str | Path) -> nn.Module:
    """``network`` with the weights of a checkpoint: a state dictionary, or one beside others under a name.

    Of several it is the one that shares most names with the network, such as ``model`` beside ``optimizer``. The one
    that was saved and this one may be wrapped for data-parallel training, or compiled, or not. A network whose
    checkpoints hold a part of it, such as the one within a detector, says which by its ``checkpoint_parts``, of which
    the one that shares most names is loaded.

    Raises:
        BadInputError: for what :func:`read_checkpoint` refuses, and for weights that are those of another network, no
            tensors, NaN or infinite; ``network`` is then as it was.
    """
    content = read_checkpoint(checkpoint)
    parts: Sequence[nn.Module] = getattr(network, "checkpoint_parts", (network,))
    part = max(parts, key=lambda one: _shared(one, _state_of(one, content)))
    state = _state_of(part, content)
    _check_state(state, checkpoint)
    _check_fit(state, part, checkpoint)
    try:
        part.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:  # of networks that load in a way of their own
        raise BadInputError(f"{checkpoint} holds another network: {' '.join(str(error).split())[:200]}") from error
    return network


def _shared(network: nn.Module, state: Any) -> int:
    """How many names of weights a network and a state have in common."""
    return len(network.state_dict().keys() & state.keys()) if isinstance(state, Mapping) else 0


def _state_of(network: nn.Module, content: Mapping[str, Any]) -> Any:
    """The entry of a checkpoint that is the state of a network, or all of it, without a wrapper's prefix."""
    own = network.state_dict().keys()
    entries = [content, *(entry for entry in content.values() if isinstance(entry, Mapping))]
    plain = [form for entry in entries for form in _forms(entry, own)]
    best = max(plain, key=lambda entry: len(own & entry.keys()))
    if own & best.keys():
        return best
    named = (content[name] for name in ("network", "model", "net", "state_dict") if name in content)
    return next(named, content)  # of another network, or none: whoever checks it says so


def _unwrapped(names: Collection[Any]) -> Iterator[int]:
    """How many letters of all names are of no wrapper, of one, of two, and so on."""
    length = 0
    yield length
    while names and all(isinstance(name, str) for name in names):
        prefix = next((one for one in _WRAPPERS if all(name.startswith(one, length) for name in names)), None)
        if prefix is None:
            return
        length += len(prefix)
        yield length


def _forms(state: Mapping[Any, Any], own: Collection[str]) -> Iterator[dict[Any, Any]]:
    """A state as it is, and with the wrappers of a network, whose names are ``own``, in place of those it has."""
    yield dict(state)
    prefix = next(iter(own), "")[: max(_unwrapped(own))]
    for length in _unwrapped(state.keys()):
        yield {prefix + name[length:]: value for name, value in state.items() if isinstance(name, str)}


def _check_archive(path: Path) -> None:
    """Look at the checksums, which torch leaves out, and at the sizes, before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _EXPANSION * path.stat().st_size:  # torch does not compress weights
                raise UnreadableCheckpointError(
                    f"{path} would unpack to {size / 2**20:.0f} MB, so it is no checkpoint of torch"
                )
            broken = archive.testzip()
    except BadInputError:
        raise
    except Exception as error:  # zipfile raises many kinds for a damaged directory
        message = f"the checkpoint {path} is damaged ({type(error).__name__}); copy it anew"
        raise UnreadableCheckpointError(message) from None
    if broken is not None:
        raise UnreadableCheckpointError(
            f"the checkpoint {path} is damaged: the checksum of {broken} does not hold; copy it anew"
        )


def _refusal(path: Path, error: Exception) -> str:
    text = str(error)
    found = re.search(r"GLOBAL (\S+)", text)
    if found:
        return f"{path} holds Python objects ({found[1]}), which loading would run, so it is refused; {_ADVICE}"
    if "TorchScript" in text:
        return f"{path} is a TorchScript archive, which is a program and no checkpoint; {_ADVICE}"
    return (
        f"{path} cannot be read as a checkpoint of weights: it is cut, or none of torch's; copy it anew, or {_ADVICE}"
    )


def _check_state(state: Any, checkpoint: str | Path) -> None:
    if not isinstance(state, Mapping) or not state:
        raise BadInputError(f"{checkpoint} holds {shown(state)} where the weights of a network should be; {_ADVICE}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise BadInputError(
                f"{checkpoint} holds a {type(value).__name__} under {name!r} and no tensor, so it is no state of a "
                f"network; {_ADVICE}"
            )
        if value.is_floating_point() and bool(torch.isnan(value).any()):
            share = f"{int(torch.isnan(value).sum())} of {value.numel()}"
            raise BadInputError(f"{checkpoint}: {share} values of {str(name)!r} are NaN; take an earlier checkpoint")


def _check_fit(state: Mapping[str, Tensor], network: nn.Module, checkpoint: str | Path) -> None:
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    if missing or unknown:
        differs = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}"
        counts = f"{len(missing)} of {len(own)} weights are missing and {len(unknown)} too many"
        raise BadInputError(f"{checkpoint} holds another network: it {differs} ({counts})")
    for name, value in state.items():
        if not isinstance(own[name], Tensor):
            continue  # a module's extra state, which it reads itself
        if value.shape != own[name].shape:
            raise BadInputError(
                f"{checkpoint} holds another network: {name} has shape {tuple(value.shape)}, where this one has "
                f"{tuple(own[name].shape)}"
            )
        if value.is_floating_point() != own[name].is_floating_point():
            raise BadInputError(f"{checkpoint} holds another network: {name} is of type {value.dtype}")
    infinite = next((name for name, _ in network.named_parameters() if not bool(state[name].isfinite().all())), None)
    if infinite is not None:  # of buffers, such as masks of attention, some are meant to be
        raise BadInputError(f"{checkpoint}: {infinite!r} has infinite values; take an earlier checkpoint")
