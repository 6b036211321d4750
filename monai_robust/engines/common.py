"""What the two engine callables share with MONAI's own iterations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_robust.attacks.common.guard import bare
from monai_robust.attacks.threat import as_norm
from monai_robust.data.padding import padded_batch
from monai_robust.errors import BadInputError
from monai_robust.tasks import Inferred, Task
from monai_robust.tasks.tensors import map_tensors, plain

__all__ = ["MASK_KEY", "Batch", "adversarial_view", "autocast", "infer_with", "inferred", "takes", "with_metadata"]

MASK_KEY = "image_mask"


@dataclass(frozen=True)
class Batch:
    """One prepared batch: what ``prepare_batch`` returned, on the engine's device.

    A list of images of different sizes becomes one padded tensor; ``mask`` (B, 1, *spatial) then is true where there
    is image. A pipeline that pads by itself hands such a mask on under the batch's key ``image_mask``.
    """

    inputs: Tensor
    targets: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    mask: Tensor | None = None

    @classmethod
    def prepare(cls, engine: Any, batchdata: Any) -> Batch:
        """Prepare ``batchdata`` as MONAI's supervised engines do."""
        if batchdata is None:
            raise ValueError("Must provide batch data for current iteration.")
        prepared = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        inputs, targets, args, kwargs = (*prepared, (), None)[:4]
        mask = batchdata.get(MASK_KEY) if isinstance(batchdata, Mapping) else None
        if isinstance(inputs, Sequence):
            inputs, mask = _padded(inputs, engine.network)
        return cls(inputs, targets, args, kwargs, None if mask is None else plain(mask).to(inputs.device))

    def as_inputs(self, view: Any) -> Tensor:
        """Another view of the batch as one tensor of the inputs' shape; a list of images is padded as they are."""
        if isinstance(view, Sequence):
            view, _ = padded_batch(view)
            missing = [have - own for have, own in zip(self.inputs.shape[2:], view.shape[2:], strict=True)]
            view = torch.nn.functional.pad(plain(view), [side for more in reversed(missing) for side in (0, more)])
        tensor: Tensor = plain(view).to(self.inputs.device)
        return tensor

    def with_padding(self, view: Tensor) -> Tensor:
        """A view that was made of the inputs, with their padding as it was."""
        return view if self.mask is None else torch.where(self.mask.bool(), view, plain(self.inputs))

    @property
    def has_arguments(self) -> bool:
        """Whether the network takes more than the inputs; such arguments have the length of one batch."""
        return bool(self.args) or bool(self.kwargs)


def _padded(images: Sequence[Tensor], network: Any) -> tuple[Tensor, Tensor]:
    return padded_batch(images, divisible=getattr(bare(network), "size_divisible", 1))


def infer_with(engine: Any, batch: Batch) -> Callable[[Tensor, Callable[..., Any]], Any]:
    """``(inputs, network) -> outputs`` through the engine's inferer, with the batch's extra arguments."""

    def infer(inputs: Tensor, network: Callable[..., Any]) -> Any:
        return engine.inferer(inputs, network, *batch.args, **(batch.kwargs or {}))

    return infer


def inferred(engine: Any, batch: Batch, task: Task) -> Task:
    """``task``, its network run as the engine runs it."""
    return Inferred(task, infer_with(engine, batch))


def autocast(engine: Any) -> AbstractContextManager[Any]:
    """The autocast context in which MONAI's engines run a network, if the engine has ``amp``."""
    return torch.autocast("cuda", **engine.amp_kwargs) if engine.amp else nullcontext()


def adversarial_view(
    engine: Any,
    batch: Batch,
    attack: Callable[..., Tensor],
    task: Task,
    eps: float | Tensor | None,
    start: Tensor | None = None,
) -> dict[str, Tensor]:
    """What an attack makes of a batch, with the radius it was allowed and the size it used.

    Args:
        engine: runs the iteration.
        batch: the prepared batch.
        attack: searches.
        task: what it hurts, its network run as the engine does (see :func:`inferred`).
        eps: radius, (B,) or one for all; the attack's own by default.
        start: perturbation to begin with, (B, C, *spatial); the attack's own by default.

    Returns:
        ``adv_image`` (B, C, *spatial), ``eps`` (B,) where the attack has a radius, and ``adv_norm`` (B,).
    """
    own = _masked(attack, batch.mask) | ({} if start is None else {"start": start})
    with autocast(engine):
        adversarial = attack(engine.network, batch.inputs, batch.targets, eps, task=task, **own)
    output = {"adv_image": adversarial}
    delta = plain(adversarial) - plain(batch.inputs)
    radius = getattr(attack, "eps", None) if eps is None else eps
    if radius is not None:
        output["eps"] = torch.as_tensor(radius, dtype=torch.float32, device=delta.device).expand(len(delta)).clone()
    output["adv_norm"] = as_norm(getattr(attack, "norm", "l2")).size(delta)
    return output


def _masked(attack: Callable[..., Any], mask: Tensor | None) -> dict[str, Tensor]:
    """The mask as a keyword, where anything was padded: others' attacks need not know of masks."""
    if mask is None or bool(mask.all()):
        return {}
    if not takes(attack, "mask"):
        raise BadInputError(
            f"the batch holds images of different sizes, and the attack {type(attack).__name__} takes no mask, so it "
            "would change the padding; use an attack of monai_robust, or images of one size"
        )
    return {"mask": mask}


def takes(attack: Callable[..., Any], keyword: str) -> bool:
    """Whether an attack, perhaps somebody else's, can be called with a keyword."""
    known = signature(attack).parameters
    return keyword in known or any(one.kind is one.VAR_KEYWORD for one in known.values())


def with_metadata(value: Any, inputs: Tensor) -> Any:
    """Outputs with the metadata of the inputs they belong to, as MetaTensor inputs would have given them."""
    if not isinstance(inputs, MetaTensor):
        return value
    return map_tensors(lambda x: x if isinstance(x, MetaTensor) else MetaTensor(x).copy_meta_from(inputs), value)
