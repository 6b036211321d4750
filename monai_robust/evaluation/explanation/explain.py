"""Explaining a network on a few samples: saliency and features of a classifier, masks of a segmentation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from torch import Tensor

from monai_robust.attacks.common.guard import bare
from monai_robust.errors import BadInputError
from monai_robust.evaluation.explanation.layers import features_of, find_layers
from monai_robust.evaluation.explanation.saliency import ClassLogits, saliency_maps
from monai_robust.evaluation.measure.perturbations import AttackSweep, EvaluatedBatch, Sweep
from monai_robust.evaluation.tables.explanation_file import EXPLANATION, Embedding, Explained, write_explanation
from monai_robust.metrics.saliency import rank_correlation, top_overlap
from monai_robust.scalars import checked_whole
from monai_robust.tasks import MultiLabel, Segmentation, Task, base_task
from monai_robust.tasks.classification import class_indices

__all__ = ["Explanation", "check_explanation", "explain", "explained_places", "save_explanation"]

_SALIENT = ("classification", "multi_label")
_OF_FINDINGS = (
    "Of several findings the one with the highest probability for each input is explained; for the truth stands, of "
    "those that are present, the one that is the most probable for the image as it is."
)
_FEW = 5  # points, below which there is no embedding


@dataclass(frozen=True)
class Explanation:
    """What is explained beside a measurement, by its first attack at the middle one of its radii.

    Attributes:
        samples: of the data set, evenly spread within each class in turn (of segmentation: of those with foreground),
            of which saliency maps or masks are kept.
        embedded: of the data set, chosen likewise, whose features are embedded, clean and attacked; by default four
            times as many.
        training: samples of the training for the embedding, items as in a measurement's data set; at most as many as
            ``embedded``, evenly spread.
        layer: the module whose input are the features, by its name; by default the last linear layer.
    """

    samples: int = 16
    embedded: int | None = None
    training: Any = None
    layer: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that are none."""
        for name, value, least in (("samples", self.samples, 1), ("embedded", self.embedded, 0)):
            if value is not None:
                checked_whole(f"explanation: {name}", value, least)

    @property
    def places(self) -> int:
        """Samples that are embedded."""
        return 4 * self.samples if self.embedded is None else self.embedded


Evaluated = Callable[[Any, Sequence[int]], Sequence[EvaluatedBatch]]
"""A data set (None for the measured one) and places in it -> each sample as a batch of its own."""


def check_explanation(task: Task, network: Callable[..., Any], sweeps: Sequence[Sweep]) -> AttackSweep:
    """The attack that is explained.

    Raises:
        BadInputError: for a task that is not explained, a measurement without an attack, or a network that cannot be
            looked into.
    """
    if task.name not in (*_SALIENT, "segmentation"):
        raise BadInputError(
            f"explanation is for classification and multi_label (saliency, features) and segmentation (masks), not for "
            f"the task {task.name!r}; leave it out (--explain 0)"
        )
    attack = next((sweep for sweep in sweeps if isinstance(sweep, AttackSweep)), None)
    if attack is None:
        raise BadInputError("explanation compares clean inputs with attacked ones, and there is no attack to measure")
    if task.name in _SALIENT:
        ClassLogits(bare(network), task)
    return attack


def explained_places(items: Sequence[Mapping[str, Any]], count: int, key: str) -> list[int]:
    """At most ``count`` places, evenly spread within the classes, which take turns.

    Args:
        items: of a data set.
        count: of places.
        key: ``label``, or ``foreground``, of which samples without any are left out; samples that do not tell are of
            one class.
    """
    groups: dict[Any, list[int]] = {}
    for place, item in enumerate(items):
        held = item.get(key)
        if key == "foreground":
            if held is not None and not len(held):
                continue
            held = None
        groups.setdefault(None if held is None or np.size(held) != 1 else float(held), []).append(place)
    share = -(-count // max(len(groups), 1))
    chosen = [
        [own[index] for index in np.unique(np.linspace(0, len(own) - 1, min(share, len(own))).round().astype(int))]
        for own in groups.values()
    ]
    turns = [own[turn] for turn in range(share) for own in chosen if turn < len(own)]
    return sorted(turns[:count])


def explain(
    settings: Explanation,
    sweeps: Sequence[Sweep],
    items: Sequence[Mapping[str, Any]],
    evaluated: Evaluated,
    *,
    seed: int = 0,
) -> Explained:
    """Explain a network; it is left as it was found.

    Args:
        settings: what is explained.
        sweeps: of the measurement.
        items: of the measured data set.
        evaluated: makes batches.
        seed: of the embedding.

    Raises:
        BadInputError: as :func:`check_explanation`, and for a network that cannot be looked into.
    """
    first = next(iter(evaluated(None, [0])))
    own = base_task(first.task)
    sweep = check_explanation(first.task, first.network, sweeps)
    radius = sweep.severities[len(sweep.severities) // 2]
    key = "foreground" if isinstance(own, Segmentation) else "label"
    chosen = explained_places(items, settings.samples, key)
    if not chosen:
        raise BadInputError("explanation: no sample of the data set holds any foreground")
    batches = evaluated(None, chosen)
    pairs = [(batch, sweep.apply(radius, batch)) for batch in batches]
    if isinstance(own, Segmentation):
        return _masks(own, sweep.name, radius, pairs)
    found = _saliency(sweep.name, radius, pairs)
    places = explained_places(items, settings.places, key)
    extra = [(batch, sweep.apply(radius, batch)) for batch in evaluated(None, places)]
    training: list[EvaluatedBatch] = []
    if settings.training is not None:
        count = len(settings.training)
        spread = np.unique(np.linspace(0, count - 1, min(settings.places, count)).round().astype(int)).tolist()
        training = list(evaluated(settings.training, spread))
    return _embedded(found, settings, extra, training, seed)


def save_explanation(folder: str | Path, found: Explained) -> Path:
    """Write ``explanation.npz`` into a run's folder."""
    return write_explanation(Path(folder) / EXPLANATION, found)


def _saliency(attack: str, radius: float, pairs: Sequence[tuple[EvaluatedBatch, Tensor]]) -> Explained:
    network = ClassLogits(bare(pairs[0][0].network), pairs[0][0].task)
    layer = find_layers(network, pairs[0][0].inputs).spatial
    notes = [] if layer else ["No layer of the network has places left, so that there is no Grad-CAM."]
    notes += [_OF_FINDINGS] if isinstance(network.own, MultiLabel) else []
    images, predictions, kept = [], [], []
    correlation: dict[str, list[float]] = {}
    overlap: dict[str, list[float]] = {}
    for batch, adversarial in pairs:
        own = [saliency_maps(network, shown, layer) for shown in (batch.inputs, adversarial)]
        predictions.append([predicted for predicted, _ in own])
        images.append(np.stack([_upright(shown.mean(dim=1)[0]) for shown in (batch.inputs, adversarial)]))
        kept.append({name: np.stack([_upright(maps[name]) for _, maps in own]) for name in own[0][1]})
        for name in own[0][1]:
            clean, attacked = (maps[name][None] for _, maps in own)
            correlation.setdefault(name, []).append(float(rank_correlation(clean, attacked)))
            overlap.setdefault(name, []).append(float(top_overlap(clean, attacked)))
    labels = [_truth(network, batch) for batch, _ in pairs]
    return Explained(
        attack=attack,
        radius=float(radius),
        images=_stack(images),
        labels=np.array(labels),
        predictions=np.array(predictions),
        maps={name: _stack([one[name] for one in kept]) for name in kept[0]},
        correlation={name: np.array(values) for name, values in correlation.items()},
        overlap={name: np.array(values) for name, values in overlap.items()},
        notes=tuple(notes),
    )


@torch.no_grad()
def _truth(network: ClassLogits, batch: EvaluatedBatch) -> int:
    """The true class of one sample; of findings the most probable one that is present, -1 where none is."""
    logits = network(batch.inputs)
    if not isinstance(network.own, MultiLabel):
        return int(class_indices(batch.targets, logits.shape[1])[0])
    present = network.own.labels(logits, batch.targets)[0]
    return int(logits[0].masked_fill(~present, -torch.inf).argmax()) if bool(present.any()) else -1


def _embedded(
    found: Explained,
    settings: Explanation,
    pairs: Sequence[tuple[EvaluatedBatch, Tensor]],
    training: Sequence[EvaluatedBatch],
    seed: int,
) -> Explained:
    """The explanation with an embedding of features, or with a note that says why there is none."""
    if not pairs:
        return found
    network = ClassLogits(bare(pairs[0][0].network), pairs[0][0].task)
    layers = find_layers(network, pairs[0][0].inputs)
    layer = f"network.{settings.layer}" if settings.layer else layers.features or layers.spatial
    if layer is None:
        return _noted(found, "The network has no linear layer, so that there are no features; name a layer.")
    rows = [(0, batch, batch.inputs) for batch in training]
    rows += [(kind, batch, shown) for batch, attacked in pairs for kind, shown in ((1, batch.inputs), (2, attacked))]
    if len(rows) < _FEW:
        return _noted(found, f"Fewer than {_FEW} samples are too few for an embedding.")
    features = torch.cat([features_of(network, shown, layer) for _, _, shown in rows]).cpu().double().numpy()
    if not training:
        found = _noted(found, "No samples of the training were given, so that the embedding has none.")
    with torch.no_grad():
        logits = [network(shown) for _, _, shown in rows]
    labels = [_truth(network, batch) for _, batch, _ in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        perplexity = min(30.0, (len(rows) - 1) / 3)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    kinds = np.array([kind for kind, _, _ in rows])
    predictions = np.array([int(one.argmax()) for one in logits])
    embedding = Embedding(np.asarray(places, dtype=np.float64), kinds, np.array(labels), predictions)
    return _changed(found, embedding=embedding)


@torch.no_grad()
def _masks(task: Segmentation, attack: str, radius: float, pairs: Sequence[tuple[EvaluatedBatch, Tensor]]) -> Explained:
    images, masks, moved = [], [], []
    for batch, adversarial in pairs:
        maps = []
        for shown in (batch.inputs, adversarial):
            outputs = batch.task.forward(batch.network, shown, batch.targets)
            found, truth = task.label_maps(outputs, batch.targets)
            maps.append(found[0])
        own = [truth[0], *maps]
        place = _fullest(truth[0])
        same = 2 * int(((maps[0] == maps[1]) & (maps[0] > 0)).sum())
        both = int((maps[0] > 0).sum() + (maps[1] > 0).sum())
        moved.append(same / both if both else np.nan)
        masks.append(np.stack([_upright(one, place) for one in own]))
        images.append(np.stack([_upright(shown.mean(dim=1)[0], place) for shown in (batch.inputs, adversarial)]))
    return Explained(
        attack=attack,
        radius=float(radius),
        images=_stack(images),
        labels=np.empty(0, dtype=np.int64),
        predictions=np.empty((0, 2), dtype=np.int64),
        masks=_stack(masks).astype(np.uint8),
        moved=np.array(moved, dtype=np.float64),
    )


def _fullest(truth: Tensor) -> int | None:
    """Of a volume the place along the last axis that holds the most foreground."""
    return int((truth > 0).sum(dim=(0, 1)).argmax()) if truth.ndim == 3 else None


def _upright(image: Tensor, place: int | None = None) -> NDArray[Any]:
    """A picture with rows first; of a volume the slice at ``place``, by default the middle one."""
    if image.ndim == 3:
        image = image[..., image.shape[2] // 2 if place is None else place]
    return image.detach().mT.cpu().numpy()


def _stack(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(N, ..., H, W) of arrays of different sizes, smaller ones padded at the bottom and to the right."""
    height, width = np.max([part.shape[-2:] for part in parts], axis=0)
    return np.stack(
        [
            np.pad(
                part,
                [*[(0, 0)] * (part.ndim - 2), (0, height - part.shape[-2]), (0, width - part.shape[-1])],
                constant_values=part.min() if part.dtype.kind == "f" else 0,
            )
            for part in parts
        ]
    )


def _noted(found: Explained, note: str) -> Explained:
    return _changed(found, notes=(*found.notes, note))


def _changed(found: Explained, **changes: Any) -> Explained:
    return Explained(**{**vars(found), **changes})
