"""The first room of an evaluation: run a network on every sample under every perturbation, and write what happened.

A task may keep more than one row for a sample, such as its detections, in a table of details beside the outcomes.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import torch
from monai.data import DataLoader, list_data_collate
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from monai_robust.attacks.common.guard import bare, untouched
from monai_robust.attacks.threat import L2, as_norm
from monai_robust.data import same_size_batches
from monai_robust.data.files.schemas import Name, checked
from monai_robust.data.files.side_files import read_object
from monai_robust.data.files.whole import write_whole
from monai_robust.engines.common import MASK_KEY
from monai_robust.errors import BadInputError, BadSampleError
from monai_robust.evaluation.measure.evaluator import EvaluatorSamples
from monai_robust.evaluation.measure.failures import Failures, alone, attempt, given
from monai_robust.evaluation.measure.gradient import refuse_without_gradient
from monai_robust.evaluation.measure.perturbations import Sweep, Victim
from monai_robust.evaluation.measure.pictures import Pictures, Shown
from monai_robust.evaluation.of_evaluator import class_names, evaluator_inferer, evaluator_task
from monai_robust.evaluation.sanity.check import check_sanity
from monai_robust.evaluation.sanity.probes import PROBABILITIES, OutputWatch
from monai_robust.evaluation.tables.details import DetailsWriter, write_true_details
from monai_robust.evaluation.tables.outcomes import OutcomesWriter, outcome_columns
from monai_robust.evaluation.tables.provenance import checkpoint_record, machine, now, versions, weights_digest
from monai_robust.evaluation.tables.run_folder import read_failed, write_run_info
from monai_robust.evaluation.tasks.registry import outcomes_of
from monai_robust.networks.fast_form import forms_kept
from monai_robust.tasks import Inferred, Task
from monai_robust.tasks.tensors import plain

__all__ = ["Measurement"]

Batch = Mapping[str, Any]
Measured = tuple[dict[str, list[Any]], list[Any]]
# Batches whose radii are searched together: enough that the places of a batch stay taken.
_BLOCK = 4
_PROBED = 16  # samples that may fail before the probe of the network is left out


class Measurement:
    """Measure a network into a folder: ``outcomes.csv``, ``run.json`` and a few pictures in ``gallery.npz``.

    The table is written as the work goes, batch by batch. A stopped measurement that is started again with the same
    arguments continues where it stopped and ends with the identical table; with others it is refused.
    A sample that fails (it cannot be read, network or loss raise on it, or answer NaN) has empty cells there, is listed
    in ``run.json`` with the reason, and is left out of every report; where more than a tenth fail, or all of a batch
    alike, the measurement stops with a name.

    Args:
        network: in the state that is to be measured; it is evaluated in evaluation mode.
        dataset: items with ``image`` (C, *spatial), ``label``, ``sample_id`` and ``patient_id``. Where images differ in
            size, its attribute ``items`` must tell the ``size`` of each, and those of one size must follow one another:
            a batch ends where the size changes. Padded images bring their ``image_mask`` (1, *spatial), true where
            there is image: padding is not perturbed.
        task: what the network does; what is written down of it stands in ``evaluation.tasks`` under the task's name.
        perturbations: what is done to the inputs.
        output_dir: the folder.
        name: of the run in figures and tables; runs of one name are replicates (seeds, folds).
        classes: names of the classes, in the order of the outputs; of the foreground classes in segmentation.
        groups: item keys to report within, such as ``source``.
        checkpoint: the file the weights came from, for the record.
        record: settings of the training run, for the record.
        batch_size: samples in one forward pass.
        num_workers: worker processes that load samples.
        inferer: ``(inputs, network) -> outputs``, such as ``monai.inferers.SlidingWindowInferer``: how attacks and
            evaluation run the network; called directly by default.
        training_tables: ``margins.csv``, ``epoch_times.csv`` and other tables of the training; those that exist are
            copied into the folder, so that a report needs nothing else.
        sanity_samples: on so many samples each attack is tried in other ways, to find out whether its outcomes can be
            trusted (``sanity.json``, :func:`~monai_robust.evaluation.sanity.check.check_sanity`); 0 for no such checks.
        seed: of random starts and of noise.
        device: where the network runs.
        progress: show a bar with the remaining time.

    Raises:
        BadInputError: for a data set without what the table needs, or a folder that holds another measurement.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset: Dataset[Any],
        *,
        task: Task,
        perturbations: Sequence[Sweep],
        output_dir: str | Path,
        name: str,
        classes: Sequence[str],
        groups: Sequence[str] = (),
        checkpoint: str | Path | None = None,
        record: Mapping[str, Any] | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        inferer: Callable[..., Any] | None = None,
        training_tables: Sequence[str | Path] = (),
        sanity_samples: int = 16,
        seed: int = 0,
        device: str | torch.device = "cpu",
        progress: bool = True,
    ) -> None:
        names = [sweep.name for sweep in perturbations]
        if len(set(names)) != len(names):
            raise BadInputError(f"two perturbations have the same name among {', '.join(names)}; give one another name")
        if batch_size < 1:
            raise BadInputError(f"batch_size must be at least 1, got {batch_size}")
        if sanity_samples < 0:
            raise BadInputError(f"sanity_samples is {sanity_samples}; it must be 0 (no sanity checks) or more")
        self.network = network.to(device)
        self.dataset = dataset
        self.task = task if inferer is None else Inferred(task, inferer)
        self.outcomes = outcomes_of(task)
        self.perturbations = list(perturbations)
        self.folder = Path(output_dir)
        self.name = name
        self.classes = list(classes)
        self.groups = list(groups)
        self.checkpoint = checkpoint
        self.record = dict(record or {})
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.inferer = inferer
        self.training_tables = [Path(table) for table in training_tables]
        self.sanity_samples = sanity_samples
        self.seed = seed
        self.device = torch.device(device)
        self.progress = progress
        self.guarded: Callable[..., Any] = self.network
        self.watch = OutputWatch()

    @classmethod
    def of(
        cls,
        evaluator: SupervisedEvaluator,
        perturbations: Sequence[Sweep],
        output_dir: str | Path,
        *,
        name: str = "network",
        task: str | Task | None = None,
        loss: Callable[..., Any] | None = None,
        classes: Sequence[str] | None = None,
        postprocessing: Any = None,
        progress: bool = True,
        **more: Any,
    ) -> Measurement:
        """A measurement of what a MONAI evaluator evaluates: its network, data, ``prepare_batch`` and inferer.

        Where outputs are classes that exclude each other, by image or by pixel, it is one of classification or
        segmentation; else the score is the evaluator's own key metric of each sample, after its postprocessing, and
        attacks raise ``loss``. Of handlers that write, such as savers of checkpoints, the evaluator should have none.

        Args:
            evaluator: with a loader of a data set that can be indexed, its batches with labels.
            perturbations: what is done to the inputs.
            output_dir: the folder.
            name: of the run in figures and tables.
            task: ``"classification"``, ``"segmentation"``, ``"key_metric"``, or a task, in place of what outputs tell.
            loss: what attacks raise where there are no classes, such as the one that the network was trained with.
            classes: names of the classes, in the order of the outputs; numbers by default.
            postprocessing: the evaluator's transforms of predictions, which may tell what outputs are.
            progress: show bars with the remaining time.
            **more: ``checkpoint``, ``record``, ``sanity_samples``, ``seed`` and ``batch_size`` as for the class.

        Raises:
            BadInputError: for an evaluator that cannot be measured so; the sentence says why.
        """
        samples = EvaluatorSamples(evaluator, progress=progress)
        own, told = evaluator_task(evaluator, samples, task=task, loss=loss, postprocessing=postprocessing)
        return cls(
            cast(nn.Module, bare(evaluator.network)),
            samples,
            task=own,
            perturbations=perturbations,
            output_dir=output_dir,
            name=name,
            classes=class_names(own, told, classes),
            inferer=evaluator_inferer(evaluator),
            device=evaluator.state.device,
            progress=progress,
            **{"batch_size": getattr(evaluator.data_loader, "batch_size", None) or 1, **more},
        )

    def run(self) -> Path:
        """Measure what is not measured yet.

        Returns:
            The folder.
        """
        self.items = getattr(self.dataset, "items", None) or [self._item(i) for i in range(len(self.dataset))]  # type: ignore[arg-type]
        items = self.items
        self._check(items)
        self._probe()
        sample_ids = [str(item["sample_id"]) for item in items]
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self._about(items)
        known = self._claim(about)
        self.failures = Failures(
            known, len(items), lambda listed: write_run_info(self.folder, {**about, "failed": listed})
        )
        with untouched(self.network) as self.guarded, forms_kept():
            table = self.folder / "outcomes.csv"
            batches = same_size_batches(items, self.batch_size)
            columns = outcome_columns(self.outcomes.columns(self.classes), self.groups)
            with OutcomesWriter(table, columns, sample_ids, [len(batch) for batch in batches]) as writer:
                self._measure(batches, writer, sample_ids)
            if self.watch.probabilities:
                warnings.warn(PROBABILITIES, stacklevel=2)
            self._truth(batches, sample_ids)
            self._gallery(items)
            self._sanity(items)
        for table in self.training_tables:
            if table.is_file():
                write_whole(self.folder / table.name, table.read_bytes())
        write_run_info(self.folder, {**about, "failed": self.failures.listed, "finished": now()})
        self.failures.tell()
        return self.folder

    def _item(self, place: int) -> Mapping[str, Any]:
        try:
            return self.dataset[place]
        except Exception as error:
            raise BadSampleError(f"sample {place} of the data set (from 0) cannot be read: {error}") from error

    def _check(self, items: Sequence[Mapping[str, Any]]) -> None:
        if not items:
            raise BadInputError("the data set to measure on is empty")
        checked(Name, self.name, "the measurement", "name")  # what no report could read again is refused now
        checked(list[Name], self.classes, "the measurement", "classes")
        for key in ("sample_id", "patient_id", "image", "label", *self.groups):
            made = {} if key in ("sample_id", "patient_id") or key in items[0] else self.dataset[0]
            if key not in {**items[0], **made}:
                raise BadInputError(f"the data set's items have no {key!r}; they have {', '.join(map(str, items[0]))}")

    def _probe(self) -> None:
        """Refuse attacks that this network cannot be attacked by, before anything is measured."""
        if (self.folder / "run.json").exists():  # it was asked when that was written
            return
        few = range(min(len(self.items), _PROBED))
        # a network that answers at random draws later as if it had not been asked
        with torch.random.fork_rng(), untouched(self.network) as self.guarded:
            refuse_without_gradient(self.perturbations, map(self._victim, self._loader([[place] for place in few])))

    @cached_property
    def _masked(self) -> bool:
        """Whether the data set's items bring a mask, by the first one that can be read."""
        for place in range(len(self.items)):
            with suppress(Exception):  # found and listed where it is measured
                return MASK_KEY in self.dataset[place]
        return MASK_KEY in self._item(0)

    def _loader(self, batches: Sequence[Sequence[int]], num_workers: int = 0) -> DataLoader:
        masked = (MASK_KEY,) if self._masked else ()
        keys = ("image", "label", "sample_id", "patient_id", *masked, *self.groups)
        collate = partial(_collate, keys)
        return DataLoader(self.dataset, batch_sampler=batches, num_workers=num_workers, collate_fn=collate)

    def _measure(self, batches: Sequence[Sequence[int]], writer: OutcomesWriter, sample_ids: Sequence[str]) -> None:
        total = len(sample_ids) * sum(len(sweep.severities) for sweep in self.perturbations)
        bar = tqdm(total=total, desc=f"measuring {self.name}", unit="image", disable=not self.progress)
        with bar, self._details(writer, sample_ids) as details:
            for sweep in self.perturbations:
                blocks = self._blocks(batches, _BLOCK if sweep.together(self.task) else 1)
                for severities in [sweep.severities] if sweep.together(self.task) else [[one] for one in sweep]:
                    self._measure_severities(sweep, severities, blocks, writer, details, bar)

    def _blocks(self, batches: Sequence[Sequence[int]], size: int) -> list[list[Sequence[int]]]:
        """Batches that follow one another, at most ``size`` of them, with images of one size."""
        blocks: list[list[Sequence[int]]] = []
        for _, alike in groupby(batches, lambda batch: self.items[batch[0]].get("size")):
            own = list(alike)
            blocks += [own[start : start + size] for start in range(0, len(own), size)]
        return blocks

    def _measure_severities(
        self,
        sweep: Sweep,
        severities: Sequence[float],
        blocks: Sequence[Sequence[Sequence[int]]],
        writer: OutcomesWriter,
        details: DetailsWriter | None,
        bar: Any,
    ) -> None:
        """Measure a perturbation at severities that are worked out together, block by block.

        A stopped block is worked out again as a whole: what a sample gets may depend on its block, by rounding.
        """
        done = {severity: writer.done(sweep.name, severity) for severity in severities}
        bar.update(sum(done.values()))
        left = [block for block in blocks if block[-1][0] >= min(done.values())]
        loaded = iter(self._loader([batch for block in left for batch in block], self.num_workers))
        for block in left:
            found = [attempt(loaded) for _ in block]
            try:
                batches = [given(batch) for batch in found]
                victims = [self._victim(batch) for batch in batches]
                perturbed = sweep.over(Victim.joined(victims))
                for severity in severities:
                    bar.set_postfix({"perturbation": f"{sweep.name} {severity:g}"}, refresh=False)
                    parts = perturbed(severity).split([len(one.inputs) for one in victims])
                    for places, batch, victim, part in zip(block, batches, victims, parts, strict=True):
                        if places[0] >= writer.done(sweep.name, severity):
                            measured = self._measured(sweep, batch, self._shown(victim, part))
                            self._write(sweep, severity, [measured], writer, details)
                            bar.update(len(places))
            except Exception as error:
                self._one_by_one(sweep, severities, block, writer, details, error)

    def _measured(self, sweep: Sweep, batch: Batch, shown: Shown) -> Measured:
        """Rows of the outcomes table, and of the table of details, if there is one."""
        own = self.outcomes.details(shown.outputs, shown.targets) if self.outcomes.detail_table else []
        return self._rows(sweep, batch, shown), own

    def _write(
        self,
        sweep: Sweep,
        severity: float,
        parts: Sequence[Measured],
        writer: OutcomesWriter,
        details: DetailsWriter | None,
    ) -> None:
        """Write a batch that was measured in parts."""
        rows = {name: [value for own, _ in parts for value in own[name]] for name in parts[0][0]}
        if details is not None:
            details.append(sweep.name, severity, rows["sample_id"], [one for _, own in parts for one in own])
        writer.append(sweep.name, severity, rows)

    def _one_by_one(
        self,
        sweep: Sweep,
        severities: Sequence[float],
        block: Sequence[Sequence[int]],
        writer: OutcomesWriter,
        details: DetailsWriter | None,
        error: Exception,
    ) -> None:
        """Measure the samples of a block each by itself, after an error, and list those on which it is met again.

        Raises:
            Exception: ``error``, where every sample meets one, unless it is the samples that are bad.
        """
        found = {place: alone(self._sample(sweep, severities, place)) for places in block for place in places}
        names = {place: str(self.items[place]["sample_id"]) for place in found}
        self.failures.judge(found, names, sweep.name, severities, error)
        for at, severity in enumerate(severities):
            for places in block:
                if places[0] >= writer.done(sweep.name, severity):
                    empty = self._empty(sweep, writer.columns)
                    made = [found[place].measured for place in places]
                    rows = [own[at] if at < len(own) else empty(place) for own, place in zip(made, places, strict=True)]
                    self._write(sweep, severity, rows, writer, details)

    def _sample(self, sweep: Sweep, severities: Sequence[float], place: int) -> Iterator[Measured]:
        """What one sample gives at each severity."""
        batch = next(iter(self._loader([[place]])))
        victim = self._victim(batch)
        perturbed = sweep.over(victim)
        for severity in severities:
            yield self._measured(sweep, batch, self._shown(victim, perturbed(severity)))

    def _empty(self, sweep: Sweep, columns: Sequence[str]) -> Callable[[int], Measured]:
        """Rows without outcomes, of samples that failed."""

        def row(place: int) -> Measured:
            item = self.items[place]
            known: dict[str, Any] = {
                name: str(item.get(name, "")) for name in ("sample_id", "patient_id", *self.groups)
            }
            known["norm"] = sweep.norm
            return {name: [known.get(name)] for name in columns if name not in ("perturbation", "severity")}, [[]]

        return row

    def _details(
        self, writer: OutcomesWriter, sample_ids: Sequence[str]
    ) -> DetailsWriter | AbstractContextManager[None]:
        """The task's table of details, if it has one."""
        if not self.outcomes.detail_table:
            return nullcontext()
        place = {sample: index for index, sample in enumerate(sample_ids)}

        def is_done(sample: str, perturbation: str, severity: float) -> bool:
            return place.get(sample, len(place)) < writer.done(perturbation, severity)

        path = self.folder / f"{self.outcomes.detail_table}.csv"
        begun = any(writer.done(sweep.name, severity) for sweep in self.perturbations for severity in sweep)
        if begun and not path.is_file():
            raise BadInputError(f"{path} is gone, but {writer.path} beside it is not; measure into another folder")
        return DetailsWriter(path, self.outcomes.detail_columns(), is_done)

    def _truth(self, batches: Sequence[Sequence[int]], sample_ids: Sequence[str]) -> None:
        """What would be right, for a task with a table of details."""
        if not self.outcomes.truth_table:
            return
        failed = self.failures.ids
        good = [[place for place in batch if sample_ids[place] not in failed] for batch in batches]
        loaded = self._loader([batch for batch in good if batch])
        labels = [own for batch in loaded for own in self.outcomes.true_details(plain(batch["label"]))]
        known = dict(zip([place for batch in good for place in batch], labels, strict=True))
        true = [known.get(place, []) for place in range(len(sample_ids))]
        path = self.folder / f"{self.outcomes.truth_table}.csv"
        write_true_details(path, self.outcomes.truth_columns(), sample_ids, true)

    def _rows(self, sweep: Sweep, batch: Batch, shown: Shown) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = {
            "sample_id": _texts(batch["sample_id"]),
            "patient_id": _texts(batch["patient_id"]),
            "norm": [sweep.norm] * len(shown.inputs),
        }
        rows |= {group: [str(plain(value)) for value in batch[group]] for group in self.groups}
        rows["distance"] = as_norm(sweep.norm or "l2").size(shown.perturbed - shown.inputs).tolist()
        rows["contrast"] = _contrast(shown.perturbed, shown.mask).tolist()
        own = shown.inputs if shown.mask is None else shown.inputs * shown.mask
        rows["input_norm"] = L2().size(own).tolist()
        return rows | {name: column.tolist() for name, column in shown.values.items()}

    def _shown(self, victim: Victim, perturbed: Tensor) -> Shown:
        shown = Shown.to(victim, perturbed, self.outcomes)
        self.watch.see(self.task, shown.outputs, victim.targets)
        return shown

    def _about(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "name": self.name,
            "task": self.task.name,
            "recipe": self.record.get("recipe"),
            "seed": self.record.get("seed", self.seed),
            "fold": self.record.get("fold"),
            "classes": self.classes,
            "perturbations": [sweep.describe(self.task) for sweep in self.perturbations],
            "score": {"name": self.task.score_name, "higher_is_better": self.task.higher_is_better},
            "groups": self.groups,
            "settings": self._settings(),
            "versions": versions(),
            "checkpoint": checkpoint_record(self.checkpoint),
            "weights_sha256": weights_digest(self.network),
            "data": {
                "samples": len(items),
                "patients": len({str(item["patient_id"]) for item in items}),
                "classes": self.outcomes.class_counts(items, self.classes),
            },
            "skipped": [{"file": bad["file"], "reason": bad["reason"]} for bad in getattr(self.dataset, "skipped", [])],
            "machine": machine(self.device),
            "started": now(),
            "finished": None,
        }

    def _settings(self) -> dict[str, Any]:
        found = {**self.record, **self.outcomes.settings(), "batch_size": self.batch_size, "evaluation_seed": self.seed}
        if self.inferer is not None:
            found["inferer"] = getattr(self.inferer, "__name__", type(self.inferer).__name__)
        return found

    def _claim(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        """Write ``run.json``, or go on with the one that is there if it is about the same measurement.

        Returns:
            The samples that failed before.
        """
        path = self.folder / "run.json"
        if path.exists():
            try:
                before = read_object(path, "record of an evaluation")
            except BadInputError as error:
                raise BadInputError(f"{path} is damaged ({error}); measure into another folder") from None
            now = json.loads(json.dumps(about))
            ignored = {"started", "finished", "machine", "versions", "checkpoint"}
            changed = [key for key in now if key not in ignored and before.get(key) != now[key]]
            if changed:
                raise BadInputError(
                    f"{self.folder} holds another measurement (other {', '.join(changed)}); measure into another folder"
                )
            about["started"] = before.get("started")
            return read_failed(before, path)
        if (self.folder / "outcomes.csv").exists():
            raise BadInputError(f"{self.folder} holds an outcomes.csv without run.json; measure into another folder")
        write_run_info(self.folder, about)
        return []

    def _sanity(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Whether the outcomes of the attacks can be trusted."""

        def victims(chosen: Sequence[int]) -> list[Victim]:
            groups = same_size_batches([items[index] for index in chosen], self.batch_size)
            batches = self._loader([[chosen[place] for place in group] for group in groups])
            return [self._victim(batch) for batch in batches]

        if self.sanity_samples:
            check_sanity(
                self.folder,
                self.perturbations,
                victims,
                samples=self.sanity_samples,
                higher_is_better=self.task.higher_is_better,
                groups=self.groups,
                left_out=self.failures.ids,
                seed=self.seed,
                progress=self.progress,
            )

    def _victim(self, batch: Batch) -> Victim:
        inputs, targets = (plain(batch[key]).to(self.device) for key in ("image", "label"))
        mask = plain(batch[MASK_KEY]).to(self.device).bool() if MASK_KEY in batch else None
        ids = _texts(batch["sample_id"])
        return Victim(self.guarded, inputs, targets, self.task, ids, self.seed, mask, self.batch_size)

    def _gallery(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Pictures of a few telling samples, clean and at the middle severity of every perturbation."""
        failed = self.failures.ids
        good = [place for place, item in enumerate(items) if str(item["sample_id"]) not in failed]
        chosen = [good[place] for place in self.outcomes.examples([items[place] for place in good], self.classes)]
        groups = same_size_batches([items[index] for index in chosen], len(chosen)) if chosen else []
        batches = list(self._loader([[chosen[place] for place in group] for group in groups]))
        if not batches or batches[0]["image"].ndim != 4:
            return  # of volumes there are no pictures
        gallery = Pictures()
        for sweep in self.perturbations:
            severity = sweep.severities[len(sweep.severities) // 2]
            for victim in map(self._victim, batches):
                shown = self._shown(victim, sweep.over(victim)(severity))
                gallery.add((sweep.name, severity), shown, self.outcomes, self.classes)
        gallery.write(self.folder / "gallery.npz")


def _collate(keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    """Only what is needed: other entries, such as the classes an image holds, may differ in length."""
    return list_data_collate([{key: row[key] for key in keys} for row in rows])


def _texts(values: Sequence[Any]) -> list[str]:
    return [str(value) for value in values]


def _contrast(images: Tensor, mask: Tensor | None) -> Tensor:
    """Standard deviation of the intensities of each image, (B,), without its padding."""
    if mask is None:
        return images.flatten(1).double().std(dim=1, correction=0)
    inside = mask.expand_as(images)
    return torch.stack([image[own].double().std(correction=0) for image, own in zip(images, inside, strict=True)])
