"""What a MONAI evaluator brings to a measurement: its samples, one by one, and its own key metric of each of them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from tqdm import tqdm

from monai_robust.data.lists.patients import patients_of, with_patient_id
from monai_robust.data.sample_ids import first_row, known_samples, listed_items
from monai_robust.data.spacing import known_spacing
from monai_robust.engines.common import MASK_KEY, Batch, with_metadata
from monai_robust.engines.detectors import DetectorEngine, as_supervised
from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.loader_samples import samples_of_loader, warn_of_short_epochs
from monai_robust.evaluation.measure.samples import alone
from monai_robust.tasks.detectors import true_boxes
from monai_robust.tasks.tensors import map_tensors, plain, select_rows

__all__ = ["EvaluatorSamples", "EvaluatorScore", "epoch_of", "image_key", "name_apart", "other_samples"]


class EvaluatorSamples(Dataset[Any]):
    """The samples of an evaluator's data, as its own transforms, collation and ``prepare_batch`` make them.

    Args:
        evaluator: a ``SupervisedEvaluator`` whose loader has a data set that can be indexed; of those that its sampler
            leaves out, as for a part held out, none is taken.
        groups: keys of the entries of its data list to report within, such as ``sex``.
        elsewhere: data of another site, whose entries need not have the groups.
        progress: show a bar while all samples are read once, to know their sizes and labels.

    Attributes:
        items: for each sample ``sample_id``, ``patient_id``, ``size``, what also tells it from samples of other data
            (``full_id``), what its entry says under ``groups`` and, where images and labels tell them, the mm of a
            pixel (``spacing``), its class ``label`` and the ``foreground`` classes that it holds.

    Raises:
        BadInputError: for data that can be read once only, batches that are no images with labels, and groups that the
            data list does not have.
    """

    def __init__(
        self, evaluator: Any, *, groups: Sequence[str] = (), elsewhere: bool = False, progress: bool = True
    ) -> None:
        loader = evaluator.data_loader
        dataset = getattr(loader, "dataset", None)
        if dataset is None or isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise BadInputError(
                "the evaluator's data can be read once only, and a measurement reads each sample for every "
                "perturbation; give it a DataLoader of a data set that can be indexed"
            )
        if not len(dataset):
            raise BadInputError("the evaluator's data set is empty")
        dataset = samples_of_loader(loader, dataset)
        warn_of_short_epochs(evaluator)
        self.evaluator = evaluator
        self.dataset = dataset
        self.collate = getattr(loader, "collate_fn", None) or torch.utils.data.default_collate
        self.most_boxes = 0
        known = known_samples(dataset)
        names = _one_each(known.ids)
        entries = _entries(dataset)
        patients = _patients(entries, names)
        grouped = _grouped(entries, groups, len(names), elsewhere=elsewhere)
        places = tqdm(range(len(dataset)), desc="reading samples", unit="sample", disable=not progress)
        self._named = ("sample_id", "patient_id", *grouped[0])
        self.items = [
            {
                "sample_id": names[place],
                "patient_id": patients[place],
                "full_id": known.full[place],
                **grouped[place],
                **self._about(place, names[place]),
            }
            for place in places
        ]
        self.most_boxes = max(len(item.get("classes", ())) for item in self.items)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> dict[str, Any]:
        names = {key: self.items[place][key] for key in self._named}
        return {**names, **self.sample(place)}

    def sample(self, place: int) -> dict[str, Any]:
        """``image`` (C, *spatial) and ``label`` of a sample, and its ``image_mask`` where there is padding.

        Of boxes the label is (N, 2D + 1) with as many rows as any sample has boxes; those of class -1 are padding.

        Raises:
            BadInputError: where a sample is no image with a label.
        """
        row = self.dataset[place]
        if isinstance(row, (list, tuple)) and len(row) > 1 and all(isinstance(one, Mapping) for one in row):
            raise BadInputError(
                f"a sample of the evaluator's data set is {len(row)} crops; evaluate whole images, or windows of them "
                "through an inferer"
            )
        batch = Batch.prepare(self.evaluator, self.collate([row]))
        if batch.targets is None:
            given = row.get(Keys.LABEL) if isinstance(row, Mapping) else None
            what = "have no label" if given is None else f"have labels that are no tensors ({type(given).__name__})"
            raise BadInputError(f"the evaluator's batches {what}, without which nothing can be measured")
        if not isinstance(batch.inputs, Tensor) or not batch.inputs.is_floating_point() or len(batch.inputs) != 1:
            raise BadInputError("the evaluator's prepare_batch gives no images in floating point, one for each sample")
        if batch.has_arguments:
            raise BadInputError(
                "the evaluator's prepare_batch gives the network more than an image, and only one image is perturbed; "
                "put the other channels into the image"
            )
        label = _label(batch.targets, batch.inputs.ndim - 2, self.most_boxes)
        found = {"image": plain(batch.inputs)[0].cpu(), "label": label}
        spacing = known_spacing(batch.inputs[0]) if isinstance(batch.inputs, MetaTensor) else None
        if spacing is not None:
            found["spacing"] = spacing
        if batch.mask is not None:
            found[MASK_KEY] = batch.mask[0].cpu()
        return found

    def put_below(self, name: str) -> None:
        """Put a name and a slash before the ids of all samples that do not begin so, and of patients called by them."""
        for item in self.items:
            own = item["sample_id"]
            if own.startswith(f"{name}/"):
                continue
            item["sample_id"] = f"{name}/{own}"
            if item["patient_id"] == own:
                item["patient_id"] = item["sample_id"]

    def _about(self, place: int, name: str) -> dict[str, Any]:
        try:
            sample = self.sample(place)
        except BadInputError as error:
            raise type(error)(f"{error} (sample {name!r})") from error
        label = plain(sample["label"])
        about: dict[str, Any] = {"size": tuple(sample["image"].shape)}
        if "spacing" in sample:
            about["spacing"] = sample["spacing"]
        if isinstance(self.evaluator, DetectorEngine):
            about["classes"] = [int(one) for one in label[:, -1].tolist() if one >= 0]
        elif label.ndim == 0 or label.numel() == 1:
            about["label"] = float(label) if label.is_floating_point() and float(label) % 1 else int(label)
        elif label.ndim == 1:
            about["label"], about["labels"] = int(label.argmax()), label.tolist()
        elif label.ndim > 2:
            channels = range(len(label))
            held = label.unique().tolist() if len(label) == 1 else [i for i in channels if bool(label[i].any())]
            about["foreground"] = sorted(int(one) for one in held if one > 0)
        return about


def other_samples(
    evaluator: Any, source: Any, what: str = "validation", *, groups: Sequence[str] = (), progress: bool = True
) -> EvaluatorSamples:
    """Other data, as an evaluator reads its own.

    Args:
        evaluator: whose ``prepare_batch`` is taken.
        source: a loader, or an evaluator, which reads them in its own way.
        what: they are, for messages.
        groups: keys of the entries of its data list to report within, as far as it has them.
        progress: show a bar while all samples are read once.

    Raises:
        BadInputError: as :class:`EvaluatorSamples`, and for anything else than a loader or an evaluator.
    """
    if hasattr(source, "data_loader"):
        return EvaluatorSamples(source, groups=groups, elsewhere=True, progress=progress)
    if not hasattr(source, "dataset"):
        raise BadInputError(
            f"{what} is a {type(source).__name__}; give a DataLoader, or an evaluator with one, of other samples"
        )
    other, other.state = copy.copy(evaluator), copy.copy(evaluator.state)
    other.data_loader = source
    other.state.epoch_length = None  # it is that of the evaluator's own loader
    return EvaluatorSamples(other, groups=groups, elsewhere=True, progress=progress)


def name_apart(samples: EvaluatorSamples, others: Mapping[str, EvaluatorSamples]) -> None:
    """Put the name of other data before the ids of its samples, where files of two folders have one name below them.

    Args:
        samples: that are measured.
        others: by their names, such as ``validation``, and in this order.
    """
    taken = {item["sample_id"] for item in samples.items}
    for name, other in others.items():
        if any(item["sample_id"] in taken for item in other.items):
            other.put_below(name)
        taken |= {item["sample_id"] for item in other.items}


def image_key(evaluator: Any) -> str | None:
    """The key of a data set's dictionaries that the network's input comes from; "" where its samples begin with it, and
    None where none is it alone."""
    row = evaluator.data_loader.dataset[0]
    batch = evaluator.data_loader.collate_fn([row])
    inputs = Batch.prepare(as_supervised(evaluator), batch).inputs
    if not isinstance(inputs, Tensor):
        return None
    rows = first_row(batch)
    given = plain(inputs) if rows is batch else plain(inputs)[0]
    if not isinstance(rows, Mapping):
        first = batch[0] if isinstance(batch, (list, tuple)) else batch
        return "" if isinstance(first, Tensor) and torch.equal(plain(first).to(given), given) else None
    same = [
        str(key)
        for key, value in rows.items()
        if isinstance(value, Tensor) and value.shape == given.shape and torch.equal(plain(value).to(given), given)
    ]
    return same[0] if len(same) == 1 else None


class EvaluatorScore:
    """The key metric of a MONAI evaluator for single samples: what its metric gives for an epoch of one sample.

    Predictions pass the evaluator's own postprocessing. All its handlers of iterations and epochs hear of these epochs:
    take one without handlers that write.

    Args:
        evaluator: with a key metric.

    Raises:
        BadInputError: for an evaluator without one.
    """

    def __init__(self, evaluator: Any) -> None:
        if evaluator.state.key_metric_name is None:
            raise BadInputError("the evaluator has no key metric; give it key_val_metric")
        self.evaluator = evaluator
        self.name = str(evaluator.state.key_metric_name)
        self.higher_is_better = bool(evaluator.metric_cmp_fn(1.0, 0.0))

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """The metric of each sample, (B,); NaN where it has none."""
        size = len(targets) if not isinstance(targets, Mapping) else len(next(iter(targets.values())))
        values = [
            self._one(select_rows(outputs, slice(i, i + 1)), select_rows(targets, slice(i, i + 1))) for i in range(size)
        ]
        return torch.tensor(values, dtype=torch.float64)

    def _one(self, outputs: Any, targets: Any) -> float:
        batch = {Keys.LABEL: targets}
        output = {Keys.PRED: outputs, Keys.LABEL: targets}
        try:
            value = _epoch(self.evaluator, [(batch, output)])[self.name]
        except BadInputError:
            raise
        except Exception as error:  # of a stranger's postprocessing or metric
            raise BadInputError(
                f"the evaluator's metric {self.name} cannot be taken of one sample: {type(error).__name__}: {error}; "
                "name the task, or give the measurement a metric"
            ) from error
        numbers = torch.as_tensor(plain(value) if isinstance(value, Tensor) else value, dtype=torch.float64)
        return float(numbers.nanmean())


def epoch_of(evaluator: Any, batches: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """An evaluator's metrics of batches whose predictions are known, in an epoch of its own; its state is as before.

    Args:
        evaluator: whose ``prepare_batch``, postprocessing, handlers and metrics are used.
        batches: each as its loader gives it, and what the network answers to it.
    """

    def outputs() -> Iterator[tuple[Any, dict[str, Any]]]:
        for batchdata, answers in batches:
            batch = Batch.prepare(evaluator, batchdata)
            device = batch.inputs.device
            told = map_tensors(lambda x: x.to(device), answers)  # noqa: B023
            if isinstance(evaluator, DetectorEngine):
                yield batchdata, evaluator.as_told(batch, told)
                continue
            pred = with_metadata(told, batch.inputs)
            yield batchdata, {Keys.IMAGE: batch.inputs, Keys.LABEL: batch.targets, Keys.PRED: pred}

    with torch.no_grad():
        return _epoch(evaluator, outputs())


def _epoch(evaluator: Any, batches: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """The metrics of an epoch over batches, each with the output of its iteration, in this process alone."""
    state = evaluator.state
    before = (state.output, state.batch, dict(state.metrics), state.best_metric, state.best_metric_epoch)
    state.metrics = {}
    try:
        with _alone():
            evaluator.fire_event(Events.EPOCH_STARTED)
            for state.batch, state.output in batches:
                for event in (
                    IterationEvents.FORWARD_COMPLETED,
                    IterationEvents.MODEL_COMPLETED,  # decollates, and runs the postprocessing
                    Events.ITERATION_COMPLETED,
                ):
                    evaluator.fire_event(event)
            evaluator.fire_event(Events.EPOCH_COMPLETED)
        return dict(state.metrics)
    finally:
        state.output, state.batch, state.metrics, state.best_metric, state.best_metric_epoch = before


@contextmanager
def _alone() -> Iterator[None]:
    """Within, metrics take this process for the only one: others measure other samples meanwhile, and would wait."""
    known = idist.get_world_size
    idist.get_world_size = lambda: 1
    try:
        yield
    finally:
        idist.get_world_size = known


def _one_each(ids: Sequence[str]) -> list[str]:
    """Ids with a number behind those that stand there several times, as in a subset that repeats samples."""
    times, seen = Counter(ids), Counter[str]()
    names = []
    for name in ids:
        names.append(f"{name}/{seen[name]}" if times[name] > 1 else name)
        seen[name] += 1
    return names


def _entries(dataset: Any) -> Sequence[Mapping[str, Any]] | None:
    """The entries of a data list, one for each sample; None where they are no dictionaries, or there is no list."""
    listed = listed_items(dataset, named=False) or []
    return listed if len(listed) == len(dataset) and all(isinstance(one, Mapping) for one in listed) else None


def _patients(entries: Sequence[Mapping[str, Any]] | None, names: Sequence[str]) -> list[str]:
    """Whose each sample is: its own patient where its entry does not say it."""
    places = [f"sample {place} (from 0)" for place in range(len(names))]
    told = [
        one if "patient_id" in one else with_patient_id(one, f"{place} of the evaluator's data")
        for one, place in zip(entries or (), places, strict=False)
    ]
    if not any("patient_id" in one for one in told):
        return list(names)
    return patients_of([alone(one.get("patient_id")) for one in told], names, "the evaluator's data", places)


def _grouped(
    entries: Sequence[Mapping[str, Any]] | None, groups: Sequence[str], count: int, *, elsewhere: bool
) -> list[dict[str, Any]]:
    """What the entry of each sample says under each of the groups; None where one has no such key.

    Raises:
        BadInputError: for a group that no entry has.
    """
    known = sorted({str(key) for entry in entries or () for key in entry})
    missing = [group for group in groups if group not in known]
    if missing and not elsewhere:
        raise BadInputError(
            f"the evaluator's data list has no {missing[0]!r} to report within (groups); "
            + (f"its entries have {', '.join(known)}" if known else "its samples have no entries that are dictionaries")
        )
    there = [group for group in groups if group not in missing]
    return [{group: (entries or ())[place].get(group) for group in there} for place in range(count)]


def _label(targets: Any, dims: int, most_boxes: int) -> Tensor:
    if isinstance(targets, (list, tuple)) and targets and all(isinstance(one, Mapping) for one in targets):
        known = true_boxes(targets, dims)
        label = torch.zeros(max(1, most_boxes, len(known.labels[0])), 2 * dims + 1)
        label[:, -1] = -1
        label[: len(known.labels[0])] = torch.cat([known.boxes[0], known.labels[0][:, None].float()], dim=1)
        return label
    if not isinstance(targets, Tensor):
        raise BadInputError(
            f"the evaluator's labels are a {type(targets).__name__}, and only tensors are measured so; evaluate with a "
            "task and a data set of your own: Measurement(network, dataset, task=...)"
        )
    return plain(targets)[0].cpu()
