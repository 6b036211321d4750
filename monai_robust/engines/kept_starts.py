"""Attacks of few steps that begin where the last visit to a sample ended."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.common.guard import bare
from monai_robust.attacks.threat import Norm, as_norm, expand
from monai_robust.checkpoints import join_checkpoints
from monai_robust.data.agreed_folder import agreed_folder
from monai_robust.data.contents import check_contents, contents_of
from monai_robust.data.sample_ids import batch_ids, dataset_ids, hashed_id, names_now
from monai_robust.errors import BadInputError
from monai_robust.networks.one_network import OneNetwork
from monai_robust.scalars import is_above_zero
from monai_robust.tasks.tensors import plain

__all__ = ["KeptStarts"]

_LOG = logging.getLogger(__name__)
_GIB = 2**30
_Place = tuple[tuple[int, ...], ...]


class KeptStarts:
    """Keep for every sample the perturbation its last attack ended with, as the start of its next attack.

    From one visit to the next a network changes little, and so does the perturbation that hurts it most; an attack that
    begins there needs fewer steps (ATTA, Zheng et al. 2020, section 4). Hand it to ``RobustUpdate(...,
    starts=KeptStarts())``, with an attack of few steps such as ``PGD(steps=2)``.

    A start is kept in units of its radius and comes back in those of the present one, so that it grows and shrinks with
    a sample's margin. It stays on the pixels it was found on, also where random augmentation has moved the image
    meanwhile, and is then worth less. A sample that was never visited, or whose image now has another shape (in a
    padded batch: whose batch has), starts where the attack itself would.

    Crops of one sample are different images: a start is known by the sample and by the place that MONAI's cropping
    transforms have noted in its MetaTensor, and of a sample the places of the last batch it was in are kept. Where
    nobody has noted the place, a sample that stands in a batch more than once begins where the attack itself would, and
    nothing is kept of it.

    Starts are saved with the checkpoints of a ``CheckpointSaver`` among the trainer's handlers, and restored by a
    ``CheckpointLoader`` there; the final files of a ``TrainingSaver`` do not hold them. In several processes they are
    brought together when an epoch ends, so that each process knows those of all samples.

    Args:
        limit_gib: memory that the starts of all samples may take, in GiB; they are held in half precision on the CPU,
            2 bytes for every voxel and channel of every sample.
        key: what the batch calls its samples; without such a key, an image's file name stands for it.
        hash_ids: call samples by the first 32 digits of the SHA-256 of their ids in checkpoints.

    Raises:
        BadInputError: for a limit that is not positive and, while training, when the limit is too small, or when
            samples cannot be told apart.
    """

    def __init__(self, *, limit_gib: float = 8.0, key: str = "sample_id", hash_ids: bool = False) -> None:
        if not is_above_zero(limit_gib):
            raise BadInputError(f"kept starts may take {limit_gib!r} GiB; give a positive number")
        self.limit_gib = float(limit_gib)
        self.key = key
        self.hash_ids = hash_ids
        # perturbation / radius, (C, *spatial) float16, by sample id and place
        self._shares: dict[str, dict[_Place, Tensor]] = {}
        self._folder = ""  # that samples are named from by their files
        self._contents: dict[str, str] = {}  # of some samples, which tell this data set from others
        self._told = False
        self._bytes = 0
        self._samples = 0
        self._fresh: set[str] = set()  # kept in this epoch
        self._network = OneNetwork("starts", type(self).__name__)

    def __len__(self) -> int:
        """The number of samples that have a start."""
        return len(self._shares)

    def attach(self, engine: Any) -> None:
        """Learn of the trainer's data set how many samples there are, and that they can be told apart.

        Raises:
            BadInputError: when two of its items share an id, or the starts of the checkpoint are of other samples.
        """
        dataset = getattr(getattr(engine, "data_loader", None), "dataset", None)
        self._folder = agreed_folder(dataset)
        known = dataset_ids(dataset, self.key, self._folder)
        self._samples = len(dataset) if isinstance(dataset, Sized) else 0
        state, _ = join_checkpoints(engine, "starts", self)
        names = [hashed_id(name) if self.hash_ids else name for name in known or ()]
        if state is not None:
            self.load_state_dict(state)
            now = names_now(self._shares, dataset, self.key, self._folder, hashed=self.hash_ids)
            self._shares = {now.get(name, name): own for name, own in self._shares.items()}
            self._match(names)
            then = {now.get(name, name): held for name, held in self._contents.items()}
            check_contents(then, contents_of(dataset, names, then), "the starts that were restored")
        network: Any = getattr(engine, "network", None)
        self._network.require(bare(network), learned=bool(self._shares))
        self._contents = contents_of(dataset, names)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._merge)

    def _match(self, names: Sequence[str]) -> None:
        """Refuse starts of another data set."""
        if names and self._shares and not any(name in self._shares for name in names):
            raise BadInputError(
                f"the starts that were restored are of another data set: none of {len(names)} samples is among those "
                f"{len(self._shares)}; start without them, or with the data they were found on"
            )

    def state_dict(self) -> dict[str, Any]:
        """``ids``, ``places`` and ``shares`` of all starts, those of one shape in one tensor (N, C, *spatial), and
        ``contents``, which tell the data set from others."""
        groups: dict[tuple[int, ...], list[tuple[str, _Place, Tensor]]] = {}
        for name, own in self._shares.items():
            for place, share in own.items():
                groups.setdefault(tuple(share.shape), []).append((name, place, share))
        return {
            "ids": [[name for name, _, _ in group] for group in groups.values()],
            "places": [[[list(cut) for cut in place] for _, place, _ in group] for group in groups.values()],
            "shares": [torch.stack([share for _, _, share in group]) for group in groups.values()],
            "contents": dict(self._contents),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`.

        Raises:
            BadInputError: for something else.
        """
        self._shares = {}
        try:
            for names, places, shares in zip(state["ids"], state["places"], state["shares"], strict=True):
                for name, place, share in zip(names, places, shares.to("cpu", torch.float16), strict=True):
                    where = tuple(tuple(int(side) for side in cut) for cut in place)
                    self._shares.setdefault(str(name), {})[where] = share.clone()
            self._contents = {str(name): str(held) for name, held in state.get("contents", {}).items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInputError(f"the starts in the checkpoint are none of KeptStarts: {error!r}") from error
        self._bytes = sum(map(_size, self._shares.values()))
        self._network.forget()

    def state_dict_without_ids(self) -> None:
        """Nothing: a start without its sample is of no use."""

    def begin(
        self,
        batch: Any,
        inputs: Tensor,
        attack: Callable[..., Tensor],
        eps: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor | None:
        """Where the attack on a batch begins, (B, C, *spatial); None, where it likes, if nothing is kept of the batch.

        Args:
            batch: what the data loader gave, which tells the samples' ids.
            inputs: (B, C, *spatial), the clean inputs.
            attack: its norm and radius count, and its random start where nothing is kept of a sample.
            eps: (B,) radii; the attack's own by default.
            mask: (B, 1, *spatial), true where there is image.
        """
        names = self._names(batch, len(inputs))
        shares = [None if name is None else self._fitting(name, inputs) for name in names]
        rows = [row for row, share in enumerate(shares) if share is not None]
        if not rows:
            return None
        clean = plain(inputs)
        radius = _radii(attack, eps, clean)
        start = _own_start(attack, clean, radius, mask)
        kept = torch.stack([share for share in shares if share is not None]).to(start)
        start[rows] = kept * expand(radius[rows], kept).to(kept.dtype)
        return start

    def keep(
        self,
        batch: Any,
        inputs: Tensor,
        adversarial: Tensor,
        attack: Callable[..., Tensor],
        eps: Tensor | None = None,
    ) -> None:
        """Remember what an attack on a batch ended with.

        Raises:
            BadInputError: when the starts of all samples would take more memory than they may.
        """
        delta = (plain(adversarial) - plain(inputs)).detach().float()
        shares = (delta / expand(_radii(attack, eps, delta), delta)).to("cpu", torch.float16)
        found: dict[str, dict[_Place, Tensor]] = {}
        for name, share in zip(self._names(batch, len(inputs)), shares, strict=True):
            if name is not None:  # a row of the batch would hold on to all of it
                found.setdefault(name[0], {})[name[1]] = share.clone()
        for sample, own in found.items():
            self._bytes += _size(own) - _size(self._shares.get(sample, {}))
            self._shares[sample] = own
            self._fresh.add(sample)
        if self._shares:
            self._require_room()

    def _names(self, batch: Any, size: int) -> list[tuple[str, _Place] | None]:
        """Sample and place of each image of a batch; None for those that cannot be told apart."""
        samples = batch_ids(batch, self.key, size, self._folder)
        if self.hash_ids:
            samples = [hashed_id(name) for name in samples]
        names = list(zip(samples, _places(batch, size), strict=True))
        times = Counter(names)
        several = next((name for name in names if times[name] > 1), None)
        if several is not None and not self._told:
            self._told = True
            _LOG.warning(
                "a batch holds %d images of %r, such as crops whose places are not known (no MetaTensors): nothing is "
                "kept of images that cannot be told apart",
                times[several],
                several[0],
            )
        return [None if times[name] > 1 else name for name in names]

    def _merge(self, engine: Any) -> None:
        """At an epoch's last iteration, before checkpoints are written, bring the starts of all processes together."""
        length = engine.state.epoch_length
        if length is None or engine.state.iteration % length:
            return
        own = {name: self._shares[name] for name in sorted(self._fresh)}
        self._fresh = set()
        parts: Any = idist.all_gather(own)
        for part in parts:  # of a sample that several processes saw, all keep the same
            self._shares.update(part)
        self._bytes = sum(map(_size, self._shares.values()))

    def _fitting(self, name: tuple[str, _Place], inputs: Tensor) -> Tensor | None:
        share = self._shares.get(name[0], {}).get(name[1])
        return share if share is not None and share.shape == inputs.shape[1:] else None

    def _require_room(self) -> None:
        samples = max(self._samples, len(self._shares))
        each = self._bytes / len(self._shares)
        if samples * each > self.limit_gib * _GIB:
            raise BadInputError(
                f"the starts of {samples} samples take {samples * each / _GIB:.3g} GiB, and {self.limit_gib:g} are "
                "allowed; raise limit_gib of KeptStarts, or train without kept starts"
            )


def _size(shares: Mapping[_Place, Tensor]) -> int:
    return sum(share.nbytes for share in shares.values())


def _places(batch: Any, size: int) -> list[_Place]:
    """Where each image was cut out of its sample, as far as MONAI's cropping transforms have noted it."""
    image = batch.get("image") if isinstance(batch, Mapping) else batch
    noted: Any = None
    if isinstance(image, MetaTensor):
        noted = image.applied_operations
    elif isinstance(image, (list, tuple)):
        noted = [getattr(one, "applied_operations", []) for one in image]
    if not noted or len(noted) != size or not all(isinstance(one, list) for one in noted):
        return [()] * size
    return [tuple(_cropped(one)) for one in noted]


def _cropped(operations: Iterable[Any]) -> Iterator[tuple[int, ...]]:
    for operation in operations:
        if "Crop" in str(operation.get("class", "")):
            yield from _cuts(operation)


def _cuts(operation: Mapping[str, Any]) -> Iterator[tuple[int, ...]]:
    """What a crop, or a crop within it, has taken off each side."""
    inner = operation.get("extra_info")
    if not isinstance(inner, Mapping):
        return
    if "cropped" in inner:
        yield tuple(int(side) for side in inner["cropped"])
    yield from _cuts(inner)


def _radii(attack: Callable[..., Tensor], eps: Tensor | None, like: Tensor) -> Tensor:
    """(B,) float32; 1 where neither the call nor the attack tells a radius."""
    radius = getattr(attack, "eps", None) if eps is None else eps
    return torch.as_tensor(1.0 if radius is None else radius, dtype=torch.float32, device=like.device).expand(len(like))


def _own_start(attack: Callable[..., Tensor], clean: Tensor, radius: Tensor, mask: Tensor | None) -> Tensor:
    """The start that an attack chooses by itself, such as a random one, (B, C, *spatial)."""
    kind = getattr(attack, "random_start", False)
    if not kind:
        return torch.zeros_like(clean)
    norm: Norm = as_norm(getattr(attack, "norm", "l2"))
    inside = None if mask is None else mask.bool().expand_as(clean)
    return norm.sample(clean, radius, None, surface=kind == "sphere", mask=inside)
