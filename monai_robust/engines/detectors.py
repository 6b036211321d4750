"""Engines that train or evaluate a detector which gives its losses itself, as those that know networks and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.engines import Evaluator
from monai.inferers import SimpleInferer
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn

from monai_robust.attacks.common.guard import bare
from monai_robust.tasks.detectors import DetectorNetwork, DetectorTask, is_detector
from monai_robust.tasks.detectors.targets import SIZE, keys_of, sized
from monai_robust.tasks.detectors.targets import Keys as BoxKeys

__all__ = ["DetectorEngine", "as_supervised", "detector_of"]


def detector_of(engine: Any) -> nn.Module | None:
    """The detector that an engine runs: its ``detector``, its ``network``, or the detector of its inferer; None where
    it runs none."""
    inferer = getattr(engine, "inferer", None)
    for owner, name in ((engine, "detector"), (engine, "network"), (inferer, "detector")):
        found = getattr(owner, name, None)
        if isinstance(found, nn.Module) and is_detector(bare(found)):
            return bare(found)  # type: ignore[return-value]
    return None


def as_supervised(engine: Any) -> Any:
    """An engine that runs a detector, seen as a supervised one; any other engine itself."""
    if isinstance(engine, DetectorEngine):
        return engine
    detector = detector_of(engine)
    return engine if detector is None else DetectorEngine(engine, detector)


class DetectorEngine:
    """An engine as whatever runs a network of images and takes a task's losses sees it.

    Its ``network`` is a :class:`~monai_robust.tasks.detectors.DetectorNetwork`, its ``inferer`` calls it, and
    ``prepare_batch`` gives targets that tell the sizes of their images. Everything else is the engine's.

    Args:
        engine: a trainer or an evaluator.
        detector: which it runs.

    Attributes:
        engine: as above.
    """

    def __init__(self, engine: Any, detector: nn.Module) -> None:
        self.engine = engine
        self.network = DetectorNetwork(detector, windows=isinstance(engine, Evaluator))
        self.inferer = SimpleInferer()

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["engine"], name)

    @property
    def loss_function(self) -> nn.Module:
        """What gives losses: the detector."""
        return self.detector

    @property
    def windows(self) -> Any:
        """The inferer by which the detector runs large images, window by window; None where it runs all whole."""
        return self.network.inferer

    @property
    def detector(self) -> nn.Module:
        """The detector itself."""
        return self.network.detector

    def prepare_batch(self, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        """Images and targets of a batch, as the engine prepares it."""
        images, targets, *_ = self.engine.prepare_batch(*arguments, **keywords)
        return images, self.sized(targets, images)

    def sized(self, targets: Any, images: Sequence[Tensor] | Tensor) -> Any:
        """Targets that tell the sizes of their images, where they are dictionaries."""
        listed = isinstance(targets, Sequence) and all(isinstance(one, Mapping) for one in targets)
        return sized(targets, images) if listed else targets

    def as_told(self, batch: Any, outputs: Mapping[str, Any]) -> dict[Any, Any]:
        """What the engine's own iteration would have told of a batch, under the names of the detector.

        Args:
            batch: prepared, with images as one tensor.
            outputs: of :attr:`network`, with detections.
        """
        names = self.network.names
        found = [{names[name]: value for name, value in one.items()} for one in outputs["detections"]]
        targets = batch.targets
        if isinstance(targets, Sequence):
            targets = [{name: value for name, value in one.items() if name != SIZE} for one in targets]
        return {Keys.IMAGE: batch.inputs, Keys.LABEL: targets, Keys.PRED: found}

    def task(self, targets: Any = None) -> DetectorTask:
        """What the detector is trained for.

        Args:
            targets: of a batch, which tell what it calls boxes and labels where it does not say so itself.
        """
        first = targets[0] if isinstance(targets, Sequence) and targets else None
        keys: BoxKeys | None = keys_of(first, "the target of an image") if isinstance(first, Mapping) else None
        return DetectorTask.of(self.detector, keys)
