"""A detector as whatever attacks and measures networks calls one: images in, what it says of each of them out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.utils.predict_utils import predict_with_inferer
from monai.inferers import SlidingWindowInferer
from monai.networks.layers.drop_path import DropPath
from torch import Tensor, nn

from monai_robust.errors import BadInputError
from monai_robust.inferers import WithinMemory
from monai_robust.tasks.detectors.targets import ImageTarget, keys_of
from monai_robust.tasks.tensors import plain

__all__ = ["DetectorNetwork", "asking", "is_detector"]

_SEED = 0  # of what a detector draws while it takes a loss, such as negative anchors
# Of these the mode decides what an image's loss depends on; of all others, only whether there is a loss.
_BATCH_OR_DRAWS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, DropPath),
)
_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel)
_ASKED: ContextVar[Sequence[ImageTarget] | None] = ContextVar("the targets of the images that a detector is shown")


def is_detector(kind: Any) -> bool:
    """Whether a module, or its class, is called with images and, while it trains, their ``targets``, as MONAI's and
    torchvision's detectors are; a loss, which is never called without, is none."""
    own = kind if isinstance(kind, type) else type(kind)
    if not issubclass(own, nn.Module) or issubclass(own, torch.jit.ScriptModule):  # whose class has no forward to see
        return False
    targets = inspect.signature(own.forward).parameters.get("targets")
    return targets is not None and targets.default is None


@contextmanager
def asking(targets: Sequence[ImageTarget]) -> Iterator[None]:
    """Have a :class:`DetectorNetwork` that is called within give the losses for these targets, one for each image."""
    token = _ASKED.set(targets)
    try:
        yield
    finally:
        _ASKED.reset(token)


class DetectorNetwork(nn.Module):
    """A detector that is called with a tensor of images, and answers for each by itself.

    A detector gives losses while it is in training mode and detections otherwise, for lists of images of any sizes.
    Here it is asked image by image, so that nothing of an image depends on its batch; layers with batch statistics and
    dropout keep the mode they are in. What a detector draws at random while it takes a loss, such as the negative
    anchors of MONAI's ``HardNegativeSampler``, it draws from the same seed for every image and in every call. The
    detector is left as it was found.

    Args:
        detector: see :func:`is_detector`.
        windows: where the detector is MONAI's and has a sliding-window inferer, run images of at least a window's size
            by it, for detections and for losses: what MONAI's own detection bundles do where they evaluate.

    Attributes:
        names: what the detector calls ``boxes``, ``labels`` and ``scores`` of what it finds, once it has found
            something.

    Returns (of a call):
        ``sizes`` (B, D); within :func:`asking`, ``losses``, ``{name: (B,)}``; and unless a gradient is taken,
        ``detections``, for each image ``boxes`` (P, 2D), ``labels`` (P,) and ``scores`` (P,), best first.
    """

    def __init__(self, detector: nn.Module, *, windows: bool = False) -> None:
        super().__init__()
        if not is_detector(detector):
            raise BadInputError(f"a {type(detector).__name__} is no detector: it takes no targets beside its images")
        self.detector = detector
        self.windows = windows
        self.names: dict[str, str] = {}
        self._made: dict[torch.device, dict[str, Any]] = {}  # such as anchors, on each device
        self._sizes: dict[torch.Size, int] = {}

    @property
    def checkpoint_parts(self) -> tuple[nn.Module, ...]:
        """What a checkpoint may hold the weights of: the network in the detector, or the detector."""
        inner = getattr(self.detector, "network", None)
        inner = inner.module if isinstance(inner, _WRAPPERS) else inner
        return (inner, self.detector) if isinstance(inner, nn.Module) else (self.detector,)

    @property
    def inferer(self) -> SlidingWindowInferer | None:
        """By which large images are run; None where all are run whole."""
        own = getattr(self.detector, "inferer", None)
        known = self.windows and isinstance(self.detector, RetinaNetDetector)
        return own if known and isinstance(own, SlidingWindowInferer) else None

    def forward(self, images: Tensor) -> dict[str, Any]:
        asked = _ASKED.get(None)
        whole = tuple(images.shape[2:])
        sizes = [whole] * len(images) if asked is None else [one.size for one in asked]
        if len(sizes) != len(images):
            raise BadInputError(f"the detector is shown {len(images)} images, and has targets of {len(sizes)}")
        parts = [
            plain(image)[(slice(None), *(slice(side) for side in size))]
            for image, size in zip(images, sizes, strict=True)
        ]
        answer: dict[str, Any] = {}
        if asked is not None and asked[0].target:
            answer["losses"] = self._losses(parts, [one.target for one in asked])
        answer["sizes"] = torch.tensor(sizes, device=images.device)
        if not torch.is_grad_enabled():
            answer["detections"] = self._detections(parts)
        return answer

    def _losses(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        each = []
        for image, target in zip(images, targets, strict=True):
            with (
                self._as_found(image.device, training=True, windows=self._takes_windows(image)),
                _same_draws(image.device),
            ):
                losses = self.detector([image], [dict(target)])
            if not isinstance(losses, Mapping) or not losses or not all(isinstance(v, Tensor) for v in losses.values()):
                raise BadInputError(
                    f"the detector {type(self.detector).__name__} returns a {type(losses).__name__} in training mode; "
                    "it must return a dictionary of losses"
                )
            each.append({str(name): value.mean().to(image.device, torch.float32) for name, value in losses.items()})
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def _detections(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            with self._as_found(image.device, training=False):
                large = {"use_inferer": True} if self._takes_windows(image) else {}
                (one,) = self.detector([image], **large)
            self.names = _names(one)
            found.append(_detected(one, self.names))
        return found

    def _takes_windows(self, image: Tensor) -> bool:
        if self.inferer is None:
            return False
        size = self.inferer.roi_size
        sides = size if isinstance(size, (list, tuple)) else [size] * (image.ndim - 1)
        window = 1
        for side, own in zip(sides, image.shape[1:], strict=True):
            window *= side if side and side > 0 else own
        return image[0].numel() >= window

    @contextmanager
    def _as_found(self, device: torch.device, *, training: bool, windows: bool = False) -> Iterator[None]:
        """Have the detector give losses, or detections, within; what it keeps of the last images comes back."""
        detector = self.detector
        with ExitStack() as restored:
            before = {name: value for name, value in vars(detector).items() if not name.startswith("_")}
            restored.callback(vars(detector).update, before)
            vars(detector).update(self._made.get(device, {}))
            if isinstance(detector, RetinaNetDetector):
                network = detector.network
                restored.callback(setattr, detector, "network", network)
                network = network.module if isinstance(network, _WRAPPERS) else network
                detector.network = _Windowed(network, detector, self._sizes) if windows else network
                detector.training = training
            else:
                for module in detector.modules():
                    if not isinstance(module, _BATCH_OR_DRAWS):
                        restored.callback(setattr, module, "training", module.training)
                        module.training = training
            yield
            if not torch.is_inference_mode_enabled():  # what is made there enters no graph
                after = vars(detector)
                others = [name for name in before if name != "training" and after.get(name) is not before[name]]
                self._made[device] = {name: after[name] for name in others}


class _Windowed(nn.Module):
    """A network that is run window by window, and whose graph fits into the memory there is."""

    def __init__(self, network: nn.Module, detector: RetinaNetDetector, sizes: dict[torch.Size, int]) -> None:
        super().__init__()
        self.network = network
        self.keys = [detector.cls_key, detector.box_reg_key]
        self.inferer = detector.inferer
        self.sizes = sizes

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        run: Any = WithinMemory(self.network, sizes=self.sizes)
        found = predict_with_inferer(images, run, keys=self.keys, inferer=self.inferer)
        # windows may be put together elsewhere, but the targets are where the images are
        return {name: [level.to(images.device) for level in levels] for name, levels in found.items()}


def _names(found: Mapping[str, Tensor]) -> dict[str, str]:
    """What a detector calls ``boxes``, ``labels`` and ``scores`` of what it found in an image."""
    keys = keys_of(found, "what the detector found in an image")
    scores = [name for name in found if "score" in name.lower()]
    if not scores:
        raise BadInputError(f"what the detector found in an image has {', '.join(map(repr, found))}, and no scores")
    return {"boxes": keys.boxes, "labels": keys.labels, "scores": scores[0]}


def _detected(found: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """What a detector found in an image, the surest first."""
    boxes, labels, score = (plain(found[names[name]]).detach() for name in ("boxes", "labels", "scores"))
    order = score.float().argsort(descending=True, stable=True)
    return {"boxes": boxes[order].float(), "labels": labels[order].long(), "scores": score[order].float()}


@contextmanager
def _same_draws(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_SEED)
        yield
