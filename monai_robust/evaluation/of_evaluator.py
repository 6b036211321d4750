"""What a measurement of a MONAI evaluator consists of: its samples, and the task that its outputs tell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from monai_robust.attacks.common.guard import bare, untouched
from monai_robust.engines.common import autocast
from monai_robust.engines.detectors import DetectorEngine
from monai_robust.errors import BadInputError, require_choice
from monai_robust.evaluation.measure.evaluator import EvaluatorSamples, EvaluatorScore
from monai_robust.pipelines import Outputs, detector_outputs, outputs_of, several_at_once
from monai_robust.tasks import Classification, KeyMetric, MultiLabel, Segmentation, Task
from monai_robust.tasks.tensors import plain, whole_numbers

_LOG = logging.getLogger(__name__)

__all__ = ["EVALUATOR_TASKS", "class_names", "evaluator_inferer", "evaluator_task"]

EVALUATOR_TASKS = ("classification", "multi_label", "segmentation", "key_metric")


def evaluator_inferer(evaluator: Any) -> Callable[..., Any]:
    """``(inputs, network) -> outputs`` as an evaluator runs its network."""

    def infer(inputs: Tensor, network: Callable[..., Any]) -> Any:
        with autocast(evaluator):
            return evaluator.inferer(inputs, network)

    infer.__name__ = type(evaluator.inferer).__name__
    return infer


def evaluator_task(
    evaluator: Any,
    samples: EvaluatorSamples,
    *,
    task: str | Task | None = None,
    loss: Callable[..., Any] | None = None,
    postprocessing: Any = None,
) -> tuple[Task, Outputs]:
    """The task of an evaluator, and what the outputs of its network are.

    Classes that exclude each other, by image or by pixel, are classification and segmentation, several labels (B, C) of
    0, 1 and -1 or NaN that a sigmoid each is trained for, or some of which name several classes at once or none, are
    multi-label classification. Everything else is
    measured by the evaluator's own key metric and attacked by a loss, which must then be given.

    Args:
        evaluator: a ``SupervisedEvaluator``.
        samples: its samples, the first of which is run.
        task: one of :data:`EVALUATOR_TASKS`, or a task, instead of what the outputs tell.
        loss: what attacks raise where there are no classes, and what tells of outputs what they are.
        postprocessing: the evaluator's transforms of predictions, which may tell the same.

    Raises:
        BadInputError: for a loss that is none, and where nothing tells what the outputs are, or there is no loss for
            them.
    """
    if isinstance(loss, type) or not (loss is None or callable(loss)):
        what = f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
        raise BadInputError(
            f"the loss is {what}; give one that is called with outputs and labels, such as torch.nn.BCEWithLogitsLoss()"
        )
    if isinstance(evaluator, DetectorEngine):
        return _detection(evaluator, samples, task)
    sample = samples.sample(0)
    device = evaluator.state.device
    inputs, targets = (sample[key][None].to(device) for key in ("image", "label"))
    with torch.no_grad(), untouched(bare(evaluator.network)) as network:
        outputs = evaluator_inferer(evaluator)(inputs, network)
    labels = _of_all(samples, targets)
    told = outputs_of(outputs, labels, loss, postprocessing)
    if isinstance(task, Task):
        return task, told
    if task is not None:
        require_choice("task", task, list(EVALUATOR_TASKS))
    name = task or _told_task(told, labels)
    if name == "classification":
        return Classification(), told
    if name == "multi_label":
        return MultiLabel(), told
    if name == "segmentation":
        return Segmentation(), told
    if loss is None:
        several = " and its labels name several classes at once" if several_at_once(labels) else ""
        raise BadInputError(
            f"the evaluator's outputs are {told.described}{several}, and an evaluator has no loss that an attack could "
            "raise; give loss, the one that the network was trained with, such as torch.nn.BCEWithLogitsLoss() for "
            "independent labels (of a bundle, name the files that train it by --config_file), or a task, one of "
            f"{', '.join(EVALUATOR_TASKS)}"
        )
    if evaluator.state.key_metric_name is None:
        return KeyMetric(loss), told
    metric = EvaluatorScore(evaluator)
    try:
        found = metric(outputs, targets)
    except BadInputError as error:  # such as postprocessing that inverts what was done to a file
        _LOG.warning("%s; the score is the loss", error)
        return KeyMetric(loss), told
    if not bool(found.isfinite().any()):  # such as AUROC
        _LOG.warning("the evaluator's metric %s has no value for a single sample; the score is the loss", metric.name)
        return KeyMetric(loss), told
    return KeyMetric(loss, metric, metric_name=metric.name, higher_is_better=metric.higher_is_better), told


def _detection(evaluator: DetectorEngine, samples: EvaluatorSamples, task: str | Task | None) -> tuple[Task, Outputs]:
    """The task of an evaluator that runs a detector with losses of its own."""
    targets = evaluator.prepare_batch(samples.collate([samples.dataset[0]]), evaluator.state.device)[1]
    own = evaluator.task(targets)
    own.dims = len(samples.items[0]["size"]) - 1
    image = samples.sample(0)["image"][None].to(evaluator.state.device)
    with torch.no_grad(), untouched(evaluator.network) as network, autocast(evaluator):
        network(image)  # which tells how it calls what it finds
    told = detector_outputs(evaluator.detector, [])
    classes = max([told.count, *(1 + label for item in samples.items for label in item["classes"])])
    told = replace(told, count=classes)
    if isinstance(task, str):
        raise BadInputError(
            f"the task is {task!r}, and {type(evaluator.detector).__name__} of the evaluator detects objects; leave it "
            "out"
        )
    return task or own, told


def _of_all(samples: EvaluatorSamples, targets: Any) -> Any:
    """Labels of all samples (N, C), where each has one for each class; else those of the first, as they are."""
    rows = [item.get("labels") for item in samples.items]
    if not all(isinstance(row, list) and len(row) == len(rows[0] or ()) for row in rows):
        return targets
    return torch.as_tensor(rows, dtype=plain(targets).dtype, device=plain(targets).device)


def _told_task(told: Outputs, targets: Tensor) -> str:
    labels = plain(targets)
    if told.kind == "labels" and not told.dense and tuple(labels.shape) == (len(labels), told.count):
        states = labels.nan_to_num(nan=-1.0) if labels.is_floating_point() else labels
        if bool(((states == 0) | (states == 1) | (states == -1)).all()):
            return "multi_label"
    whole = bool(whole_numbers(labels).all())
    single = labels.ndim == 1 or labels.shape[1] == 1 or bool((labels.sum(dim=1) == 1).all())
    if told.kind == "classes" and whole and single:
        return "segmentation" if told.dense else "classification"
    if told.kind == "logit" and whole and bool(((labels == 0) | (labels == 1)).all()):
        return "segmentation" if told.dense else "classification"
    return "key_metric"


def class_names(task: Task, told: Outputs, given: Sequence[str] | None) -> list[str]:
    """Names of the classes as a measurement wants them: without the background in segmentation.

    Args:
        task: of the measurement.
        told: what the outputs are.
        given: names in the order of the outputs, the background's among them or not; None for numbers.

    Raises:
        BadInputError: for another number of names than there are classes.
    """
    if task.name == "detection" and given is None:
        return [f"class {index}" for index in range(told.count)]
    if task.name not in ("classification", "multi_label", "segmentation"):
        return list(given or ())
    count = 2 if told.kind == "logit" else told.count
    names = [str(one) for one in given] if given is not None else [f"class {index}" for index in range(count)]
    if task.name == "segmentation" and len(names) == count:
        names = names[1:]
    wanted = count - 1 if task.name == "segmentation" else count
    if len(names) != wanted:
        raise BadInputError(f"there are {len(names)} names of classes ({', '.join(names)}), the network has {count}")
    return names
