"""Training and evaluation of a detector within an iteration of somebody's own, which goes on as before."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn

from monai_robust.attacks.common.arguments import checked_attack
from monai_robust.data.padding import padded_batch
from monai_robust.engines.around import AroundOwn
from monai_robust.engines.common import Batch, adversarial_view, inferred
from monai_robust.engines.detectors import DetectorEngine, detector_of
from monai_robust.engines.file_units import FileRadius
from monai_robust.errors import BadInputError
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import plain

__all__ = ["AroundDetector", "DetectorUnderAttack"]


@dataclass(frozen=True)
class _Call:
    """What an iteration calls its detector with.

    Attributes:
        images: a list of images (C, *spatial), or a tensor of them.
        targets: a dictionary for each, or None.
        bound: all arguments by name.
        names: of images and targets among them.
    """

    images: Any
    targets: Any
    bound: inspect.BoundArguments
    names: tuple[str, str]

    @classmethod
    def of(cls, detector: nn.Module, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> _Call:
        bound = inspect.signature(detector.forward).bind(*arguments, **keywords)
        first = next(iter(bound.signature.parameters))
        return cls(bound.arguments[first], bound.arguments.get("targets"), bound, (first, "targets"))

    def batch(self, engine: DetectorEngine, targets: Any) -> Batch:
        """The images as one tensor in single precision at least, padded where they differ in size."""
        images = [plain(image).detach() for image in self.images]
        images = [image if image.dtype == torch.float64 else image.float() for image in images]
        inputs, mask = padded_batch(images)
        return Batch(inputs, engine.sized(list(targets), images), mask=mask)

    def form(self, view: Tensor) -> Any:
        """A view (B, C, *spatial) in the form and precision of the images, without padding."""
        own = [
            one[(slice(None), *(slice(side) for side in image.shape[1:]))].to(image.dtype)
            for one, image in zip(plain(view), self.images, strict=True)
        ]
        return torch.stack(own) if isinstance(self.images, Tensor) else own

    def again(self, view: Tensor, targets: Any) -> inspect.BoundArguments:
        """The arguments with other images."""
        changed = self.bound.signature.bind(*self.bound.args, **self.bound.kwargs)
        changed.arguments[self.names[0]] = self.form(view)
        if targets is not None:
            changed.arguments[self.names[1]] = [dict(one) for one in targets]
        return changed


class AroundDetector(AroundOwn):
    """A recipe for a trainer whose iteration calls a detector for its losses: hand it over as ``iteration_update``.

    The iteration runs as it always did, as in MONAI's detection bundles: it calls its detector in training mode with
    images and targets, is given a dictionary of losses, and does with them what it does (weights, AMP, clipping). Of
    each of these losses it is given the recipe's: the attack is made on the images it has just shown the detector, and
    the detector is called once more for each other view, with all of the batch. The recipe ``erm`` ends with the very
    weights of the iteration alone.

    The attack raises the sum of the detector's losses of each image by itself; what the detector draws at random in
    them, such as negative anchors, is the same in every step (:class:`~monai_robust.tasks.detectors.DetectorNetwork`).
    Images of different sizes are padded for the attack, and shown without padding. ``adv_image`` (padded), ``eps`` and
    ``adv_norm`` are added to the iteration's output, if that is a dictionary.

    Args:
        recipe: as for :class:`RobustUpdate`, without views that must agree: a detector in training gives losses alone.
        attack: as there.
        iteration: ``(engine, batchdata) -> output``; by default the trainer's own ``_iteration``.
        **settings: everything else :class:`RobustUpdate` takes.

    Raises:
        BadInputError: as there, and (in training) for an iteration that calls no detector, or not exactly once.
    """

    def __call__(self, engine: Any, batchdata: Any) -> Any:
        seen = self._seen(engine)
        added: dict[str, Any] = {}
        calls = [0]

        def answered(call: _Call, losses: Any) -> Any:
            if not seen.detector.training:
                return None
            calls[0] += 1
            if calls[0] > 1:
                raise _refusal("more than once")
            return self._recipes_losses(seen, batchdata, call, losses, added)

        with _answers(seen.detector, answered):
            output = self._iterate(engine, batchdata)
        if not calls[0]:
            raise _refusal("not at all")
        self._tell(engine, output, added)
        return output

    def _recipes_losses(
        self, seen: DetectorEngine, batchdata: Any, call: _Call, losses: Any, added: dict[str, Any]
    ) -> dict[str, Tensor]:
        """Each of the detector's losses by the recipe, of a batch whose losses of the clean images are there."""
        if not isinstance(losses, Mapping) or call.targets is None:
            raise BadInputError(
                f"the trainer's iteration gets a {type(losses).__name__} of its detector in training mode; a recipe "
                "needs a dictionary of losses for images and targets"
            )
        batch = call.batch(seen, call.targets)
        task = self._task_of(seen)
        self._begin(seen.engine, task, batch)
        told: dict[str, Any] = {Keys.IMAGE: batch.inputs, Keys.LABEL: batch.targets}
        watched = None
        if "adv" in self.recipe.views:
            attacked, watched = self._attacked(seen, batch, task)
            added |= self._adversarial(seen, batchdata, batch, attacked)
        self._seed_views(seen.engine)
        found = {}
        for name, view in self._inputs(batchdata, batch, added.get("adv_image")).items():
            if view is batch.inputs:
                found[name] = losses
            else:
                again = call.again(view, call.targets)
                found[name] = seen.detector(*again.args, **again.kwargs)
        if "adv" in found:
            size = len(batch.inputs)
            terms = {
                f"{view}_{name}": torch.as_tensor(found[view][name]).detach().expand(size)  # one for the whole batch
                for view in self.recipe.supervised
                for name in losses
            }
            self._means.add(seen.engine, {name: added[name] for name in ("eps", "adv_norm") if name in added} | terms)
        if watched is not None:  # whose last terms are taken anew, as those of the attack's steps were
            self._observe(seen, batchdata, watched, told | added | {"adv_pred": None})
        return {name: self.recipe.loss(found, name, _named) for name in losses}

    def _check(self, task: Task, batch: Batch | None = None) -> None:
        super()._check(task, batch)
        if self.recipe.consistent or self.recipe.boost is not None or self.recipe.objective is not None:
            raise BadInputError(
                f"the recipe {self.recipe.name!r} compares predictions, and a detector in training gives losses alone; "
                "use a recipe of losses, such as 'sat', 'advl', 'dataaug' or 'amat'"
            )

    def _task_of(self, engine: Any) -> Task:
        return self.task or self._seen(engine).task()

    def _seen(self, engine: Any) -> DetectorEngine:
        if isinstance(engine, DetectorEngine):
            return engine
        detector = detector_of(engine)
        if detector is None:
            raise BadInputError(
                f"the trainer ({type(engine).__name__}) has no detector, called with images and targets, that a recipe "
                "could be put around"
            )
        return DetectorEngine(engine, detector)

    def _as_supervised(self, engine: Any) -> Any:
        return self._seen(engine)

    def _radii(self, engine: Any, batchdata: Any, batch: Batch) -> Tensor | None:
        return super()._radii(engine.engine, batchdata, batch)


class DetectorUnderAttack:
    """An ignite process function that evaluates a detector under attack: every metric of the engine, on adversarial
    images.

    Hand it to an evaluator as ``iteration_update``. The evaluator's own iteration runs as it always did, but its
    detector is shown what the attack makes of the images; ``adv_image`` (padded), ``eps`` and ``adv_norm`` are added to
    its output. What the attack raises is as for :class:`AroundDetector`.

    Args:
        attack: makes the adversarial images; it needs targets.
        iteration: ``(engine, batchdata) -> output``; by default the evaluator's own ``_iteration``.

    Raises:
        BadInputError: (when evaluation starts) for an evaluator without a detector, one that calls it more than once
            for a batch, or batches without labels.
    """

    def __init__(self, attack: Callable[..., Tensor], *, iteration: Callable[[Any, Any], Any] | None = None) -> None:
        checked_attack(attack)
        self.attack = attack
        self.iteration = iteration
        self._file_radius = FileRadius(attack)

    def __call__(self, engine: Any, batchdata: Any) -> Any:
        detector = detector_of(engine)
        if detector is None:
            raise BadInputError(f"the evaluator ({type(engine).__name__}) has no detector, called with images")
        seen = DetectorEngine(engine, detector)
        _, targets, *_ = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        if targets is None:
            raise BadInputError("the evaluator's batches have no label, without which there is no loss to attack")
        calls = [0]

        def asked(call: _Call) -> Tensor:
            calls[0] += 1
            if calls[0] > 1 or len(call.images) != len(targets):
                raise BadInputError(
                    "the evaluator shows its detector a batch in several calls, so which targets are whose is not "
                    "known; show it all images of a batch at once"
                )
            batch = call.batch(seen, targets)
            task = inferred(seen, batch, seen.task(targets))
            found = adversarial_view(seen, batch, self.attack, task, self._file_radius.of(engine, batchdata, batch))
            if isinstance(engine.state.output, dict):
                engine.state.output.update(found)
            return found["adv_image"]

        with _questions(detector, asked):
            output = (self.iteration or engine._iteration)(engine, batchdata)
        return output


def _named(losses: Mapping[str, Tensor], name: str) -> Tensor:
    """One of a detector's losses."""
    return losses[name]


@contextmanager
def _answers(detector: nn.Module, change: Callable[[_Call, Any], Any]) -> Iterator[None]:
    """Have what a detector answers changed, but for calls that the change itself makes."""
    within = [False]

    def hook(module: nn.Module, arguments: Any, keywords: Any, answer: Any) -> Any:
        if within[0]:
            return None
        within[0] = True
        try:
            return change(_Call.of(module, arguments, keywords), answer)
        finally:
            within[0] = False

    handle = detector.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _questions(detector: nn.Module, change: Callable[[_Call], Tensor]) -> Iterator[None]:
    """Have a detector shown other images, but in calls that the change itself makes."""
    within = [False]

    def hook(module: nn.Module, arguments: Any, keywords: Any) -> Any:
        if within[0]:
            return None
        within[0] = True
        try:
            call = _Call.of(module, arguments, keywords)
            again = call.again(change(call), None)
            return again.args, again.kwargs
        finally:
            within[0] = False

    handle = detector.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _refusal(times: str) -> BadInputError:
    return BadInputError(
        f"the trainer's own iteration asks its detector for losses {times}; a recipe can be put around one that asks "
        "once for each batch"
    )
