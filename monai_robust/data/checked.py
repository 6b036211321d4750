"""A data set that looks at every image once before training starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from monai.transforms import Compose, Randomizable
from numpy.random import RandomState
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from monai_robust.errors import BadInputError, BadSampleError, user_error
from monai_robust.scalars import checked_whole

__all__ = ["CheckedDataset"]

_LOG = logging.getLogger(__name__)
_Transform = Callable[[Any], Any]
_ROUNDING = 1e-3


class CheckedDataset(Dataset[dict[str, Any]]):
    """Samples whose images have been loaded and looked at once: readable, finite, not constant, and within ``bounds``.

    The check runs the deterministic ``transform`` on every item when the data set is made. With ``cache`` its results
    are kept in memory. ``random`` is applied at each access; :meth:`set_random_state` reaches it, and MONAI's
    ``DataLoader`` calls that in every worker.

    Args:
        items: dictionaries with an ``image`` to load, and perhaps a ``sample_id``.
        transform: deterministic dictionary transform, or a sequence of them, that loads ``image`` and whatever else.
        random: random dictionary transform, or a sequence of them, applied on access.
        on_bad_sample: ``"fail"`` refuses the data set if any image is bad; ``"skip"`` leaves bad ones out and lists
            them in :attr:`skipped`.
        cache: keep the transformed items.
        num_workers: threads for the check; 0 runs it in the caller's.
        progress: show a bar with the remaining time.
        name: of the data set, for the bar and for messages.
        left_out: what a data list left out before, to be listed with the rest in :attr:`skipped`.
        bounds: least and largest intensity after ``transform``. MONAI's scaling leaves a nearly blank image, whose
            percentiles coincide, as it is.

    Attributes:
        skipped: ``{"sample_id", "file", "reason"}`` for each item left out.

    Raises:
        BadSampleError: an image is bad and ``on_bad_sample`` is ``"fail"``; names the first and how many there are.
        BadInputError: no item is left, or an argument cannot work.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        transform: _Transform | Sequence[_Transform],
        random: _Transform | Sequence[_Transform] | None = None,
        *,
        on_bad_sample: str = "fail",
        cache: bool = True,
        num_workers: int = 0,
        progress: bool = False,
        name: str = "train",
        left_out: Sequence[Mapping[str, str]] = (),
        bounds: tuple[float, float] | None = None,
    ) -> None:
        if on_bad_sample not in ("fail", "skip"):
            raise BadInputError(f"on_bad_sample is {on_bad_sample!r}; it can be 'fail' or 'skip'")
        checked_whole("num_workers", num_workers, 0)
        self.name = name
        self.bounds = bounds
        self.transform = _composed(transform)
        self.random = None if random is None else _composed(random)
        self.skipped: list[dict[str, str]] = [dict(one) for one in left_out]
        self._cached: list[dict[str, Any]] | None = [] if cache else None
        self._items: list[dict[str, Any]] = []
        self._check([dict(item) for item in items], on_bad_sample, num_workers, progress)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self._prepared(self._items[index]) if self._cached is None else dict(self._cached[index])
        if self.random is None:
            return item
        if self._cached is not None:
            item = {key: value.clone() if isinstance(value, Tensor) else value for key, value in item.items()}
        return dict(self.random(item))

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items that passed the check, as they were given."""
        return [dict(item) for item in self._items]

    def set_random_state(self, seed: int | None = None, state: RandomState | None = None) -> CheckedDataset:
        """Seed the random transforms, as MONAI's ``DataLoader`` does in each worker."""
        if isinstance(self.random, Randomizable):
            self.random.set_random_state(seed, state)
        return self

    def _check(self, items: list[dict[str, Any]], on_bad_sample: str, num_workers: int, progress: bool) -> None:
        first_error: BadSampleError | None = None
        bar = tqdm(
            total=len(items),
            desc=f"reading {self.name} images",
            unit="image",
            disable=not progress or os.environ.get("RANK", "0") != "0",  # of several processes the first tells
        )
        with bar, ThreadPoolExecutor(max(num_workers, 1)) as pool:
            results = pool.map(self._attempt, items) if num_workers else map(self._attempt, items)
            for item, result in zip(items, results, strict=True):
                bar.update()
                if isinstance(result, BadSampleError):
                    first_error = first_error or result
                    self.skipped.append(_skipped(item, result))
                    continue
                self._items.append(item)
                if self._cached is not None:
                    self._cached.append(result)
        self._judge(first_error, len(items) - len(self._items), len(items), on_bad_sample)

    def _judge(self, first_error: BadSampleError | None, bad: int, total: int, on_bad_sample: str) -> None:
        if total == 0:
            raise BadInputError(f"data set {self.name!r} has no samples")
        if first_error is None:
            return
        if on_bad_sample == "fail":
            raise BadSampleError(
                f"{first_error} ({bad} of {total} {self.name} images cannot be used; "
                f"on_bad_sample: skip leaves them out)"
            ) from first_error
        if not self._items:
            raise BadInputError(f"none of the {total} {self.name} images can be used; first: {first_error}")
        _LOG.warning(  # without names, which can be a patient's
            "skipped %d of %d %s images; on_bad_sample: fail names the first, "
            "and run.json of an evaluation lists them with the reasons",
            bad,
            total,
            self.name,
        )

    def _attempt(self, item: dict[str, Any]) -> dict[str, Any] | BadSampleError:
        try:
            result = self._prepared(item)
        except BadSampleError as error:
            return error
        return result if self._cached is not None else {}

    def _prepared(self, item: dict[str, Any]) -> dict[str, Any]:
        try:
            result = dict(self.transform(dict(item)))
        except Exception as error:
            known = user_error(error)
            if isinstance(known, KeyboardInterrupt):
                raise
            raise BadSampleError(_named(item, _reason(error, known))) from error
        if "image" not in result:
            raise BadInputError(f"the transform of data set {self.name!r} returns no 'image', only {sorted(result)}")
        reason = _fault(result["image"], self.bounds)
        if reason:
            raise BadSampleError(_named(item, reason))
        return result


def _composed(transform: _Transform | Sequence[_Transform]) -> _Transform:
    return Compose(list(transform)) if isinstance(transform, Sequence) else transform


def _file(item: Mapping[str, Any]) -> str:
    image = item["image"]
    return str(image[0] if isinstance(image, (list, tuple)) else image)


def _named(item: Mapping[str, Any], reason: str) -> str:
    file = _file(item)
    return reason if file in reason else f"image {file}: {reason}"


def _reason(error: BaseException, known: BaseException | None) -> str:
    if known is not None:
        return str(known)
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _fault(image: Any, bounds: tuple[float, float] | None) -> str:
    """Why no network could learn from this image, or nothing."""
    values = torch.as_tensor(image)
    if values.numel() == 0:
        return f"it is empty, of shape {tuple(values.shape)}"
    if not torch.isfinite(values).all():
        return "it has NaN or infinite values"
    if values.min() == values.max():
        return f"it is constant, {float(values.min()):g} everywhere"
    least, largest = float(values.min()), float(values.max())
    if bounds is not None and not (bounds[0] - _ROUNDING <= least and largest <= bounds[1] + _ROUNDING):
        return (
            f"its intensities range from {least:g} to {largest:g} when scaled, and not within {bounds[0]:g} to "
            f"{bounds[1]:g}, as those of an image that is nearly blank"
        )
    return ""


def _skipped(item: Mapping[str, Any], error: BadSampleError) -> dict[str, str]:
    file = _file(item)
    return {"sample_id": str(item.get("sample_id", file)), "file": file, "reason": str(error)}
