"""The first room of an evaluation: run a network on every sample under every perturbation, and write what happened.

A task may keep more than one row for a sample, such as its detections, in a table of details beside the outcomes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from monai_robust.attacks.common.guard import bare, untouched
from monai_robust.data import same_size_batches
from monai_robust.data.files.schemas import Name, checked
from monai_robust.data.files.whole import write_whole
from monai_robust.engines.detectors import as_supervised
from monai_robust.errors import BadInputError
from monai_robust.evaluation.afterwards import Afterwards
from monai_robust.evaluation.explanation import Explanation, check_explanation
from monai_robust.evaluation.measure.arguments import (
    checked_classes,
    checked_evaluator,
    checked_folder,
    checked_perturbations,
    require_clean,
)
from monai_robust.evaluation.measure.cases import CaseKeeper
from monai_robust.evaluation.measure.evaluator import EvaluatorSamples, name_apart, other_samples
from monai_robust.evaluation.measure.failures import Failures
from monai_robust.evaluation.measure.file_units import in_input_units
from monai_robust.evaluation.measure.gradient import refuse_without_gradient
from monai_robust.evaluation.measure.measuring import Measuring
from monai_robust.evaluation.measure.own_metrics import KeptOutputs
from monai_robust.evaluation.measure.perturbations import CleanSweep, EvaluatedBatch, Sweep
from monai_robust.evaluation.measure.pictures import GalleryKeeper, Predictions
from monai_robust.evaluation.measure.probe import Probe
from monai_robust.evaluation.measure.processes import Processes, local_device
from monai_robust.evaluation.measure.samples import Samples, check_apart, check_elsewhere, items_of
from monai_robust.evaluation.measure.units import units
from monai_robust.evaluation.of_evaluator import class_names, evaluator_inferer, evaluator_task
from monai_robust.evaluation.recorded import Recorded
from monai_robust.evaluation.tables.cases import CaseWriter, case_numbers, check_count
from monai_robust.evaluation.tables.claim import claim, failed_in_all, failed_in_others, save_failed
from monai_robust.evaluation.tables.provenance import now
from monai_robust.evaluation.tables.run_folder import SHIFTS, VALIDATION, check_shift_names, write_run_info
from monai_robust.evaluation.tables.schema import outcome_columns
from monai_robust.evaluation.tables.writer import OutcomesWriter
from monai_robust.evaluation.tasks.registry import outcomes_of
from monai_robust.networks.fast_form import forms_kept
from monai_robust.scalars import checked_whole
from monai_robust.tasks import Inferred, Task
from monai_robust.tasks.base import checked_task
from monai_robust.tasks.probabilities import PROBABILITIES, OutputWatch

__all__ = ["Measurement"]


class Measurement:
    """Measure a network into a folder: the outcomes table, ``run.json`` and a few pictures in ``gallery.npz``.

    Finished parts are written as the work goes, and put together at the end, as ``outcomes.parquet`` and
    ``outcomes.csv``. A stopped measurement that is started again with the same arguments continues where it stopped and
    ends with the identical table, also of a network that answers at random, which is named beforehand and draws from
    the seed; with others it is refused. Started by ``torchrun``, all processes measure, each its
    own batches, and the first one puts the very table together that one process makes.
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
        validation: other samples, such as the validation split, which operating points and the temperature are fitted
            on; measured clean, and by the search for nearest changes where
            one is among the perturbations, into the folder ``validation`` within the run's.
        shifts: by a name such as ``site_b``, samples of another site or scanner; measured clean into the folder
            ``shifts/site_b`` within the run's, and shown like a perturbation of that name, with intervals of their own.
        labelled: whether ``label`` of the samples is true; else the network's own answer for each as it is takes its
            place, attacks lead away from it, scores compare with it, and the report says what is not known so.
        inferer: ``(inputs, network) -> outputs``, such as ``monai.inferers.SlidingWindowInferer``: how attacks and
            evaluation run the network; called directly by default.
        training_tables: ``margins.csv``, ``epoch_times.csv`` and other tables of the training; those that exist are
            copied into the folder, so that a report needs nothing else.
        measures: what is measured of each sample where a task leaves the choice: of segmentation ``surfaces``,
            ``tolerance``, ``lesions`` and ``lesion_iou``, see
            :class:`~monai_robust.evaluation.tasks.segmentation.SegmentationOutcomes`.
        explanation: what the network looks at, clean and under its first attack, is kept of a few samples
            (``explanation.npz``, :class:`~monai_robust.evaluation.explanation.Explanation`); nothing by default.
        sanity_samples: on so many samples each attack is tried in other ways, to find out whether its outcomes can be
            trusted (``sanity.json``, :func:`~monai_robust.evaluation.sanity.check.check_sanity`); 0 for no such checks.
        cases: of so many samples pictures are kept, clean and under every perturbation (``cases.parquet``), for the
            page of cases beside a report; chosen by :func:`~monai_robust.evaluation.tables.cases.case_numbers`; up to
            200, 0 for none.
        case_inputs: of so many of these cases what the network was given is kept as well, exactly, so that it can be
            exported (:func:`~monai_robust.evaluation.export.export_cases`); 4 bytes a pixel and severity.
        seed: of random starts and of noise.
        device: where the network runs; ``cuda`` is another GPU in each process that ``torchrun`` starts.
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
        validation: Dataset[Any] | None = None,
        shifts: Mapping[str, Dataset[Any]] | None = None,
        labelled: bool = True,
        inferer: Callable[..., Any] | None = None,
        training_tables: Sequence[str | Path] = (),
        measures: Mapping[str, Any] | None = None,
        explanation: Explanation | None = None,
        sanity_samples: int = 16,
        cases: int = 40,
        case_inputs: int = 0,
        seed: int = 0,
        device: str | torch.device = "cpu",
        progress: bool = True,
    ) -> None:
        self.perturbations = checked_perturbations(perturbations)
        task = checked_task(task)
        self.device = local_device(device)
        self.network = network.to(self.device)
        self.dataset = dataset
        self.task = task if inferer is None else Inferred(task, inferer)
        self.outcomes = outcomes_of(task, measures)
        self.folder = checked_folder(output_dir)
        self.name = name
        self.classes = checked_classes(classes)
        self.groups = list(groups)
        self.checkpoint = checkpoint
        self.record = dict(record or {})
        self.batch_size = checked_whole("batch_size", batch_size, 1)
        self.num_workers = checked_whole("num_workers", num_workers, 0)
        self.validation = validation
        self.shifts = dict(shifts or {})
        check_shift_names(self.shifts, [sweep.name for sweep in self.perturbations])
        self.labelled = bool(labelled)
        if validation is not None and not labelled:
            raise BadInputError("without labels nothing can be fitted on a validation set; leave it out")
        self.inferer = inferer
        self.training_tables = [Path(table) for table in training_tables]
        self.explanation = explanation
        self.sanity_samples = checked_whole("sanity_samples", sanity_samples, 0, "; 0 for no sanity checks")
        self.cases = check_count(cases)
        self.case_inputs = check_count(case_inputs, "case_inputs")
        self.seed = seed
        self.progress = progress
        self.pictures = True
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
        groups: Sequence[str] = (),
        postprocessing: Any = None,
        validation: Any = None,
        shifts: Mapping[str, Any] | None = None,
        progress: bool = True,
        **more: Any,
    ) -> Measurement:
        """A measurement of what a MONAI evaluator evaluates: its network, data, ``prepare_batch`` and inferer.

        Where outputs are classes that exclude each other, by image or by pixel, it is one of classification or
        segmentation; where a detector is run that gives its losses itself, of detection, its losses attacked; else the
        score is the evaluator's own key metric of each sample, after its postprocessing, and attacks raise ``loss``. Of
        handlers that write, such as savers of checkpoints, the evaluator should have none.

        Args:
            evaluator: with a loader of a data set that can be indexed, its batches with labels.
            perturbations: what is done to the inputs.
            output_dir: the folder.
            name: of the run in figures and tables.
            task: ``"classification"``, ``"multi_label"``, ``"segmentation"``, ``"key_metric"``, or a task, in place of
                what outputs tell.
            loss: what attacks raise where there are no classes, such as the one that the network was trained with.
            classes: names of the classes, in the order of the outputs; numbers by default.
            groups: keys of the entries of the loader's data list to report within, such as ``sex``.
            postprocessing: the evaluator's transforms of predictions, which may tell what outputs are.
            validation: other data, an evaluator or a loader, that operating points are fitted on.
            shifts: by a name such as ``site_b``, data of other sites, each an evaluator or a loader.
            progress: show bars with the remaining time.
            **more: ``checkpoint``, ``record``, ``measures``, ``sanity_samples``, ``cases``, ``seed`` and ``batch_size``
                as for the class.

        Raises:
            BadInputError: for an evaluator that cannot be measured so; the sentence says why.
        """
        evaluator = as_supervised(checked_evaluator(evaluator))
        samples = EvaluatorSamples(evaluator, groups=groups, progress=progress)
        own, told = evaluator_task(evaluator, samples, task=task, loss=loss, postprocessing=postprocessing)
        fitted_on = None if validation is None else other_samples(evaluator, validation, progress=progress)
        elsewhere = {
            name: other_samples(evaluator, other, f"the shift {name}", groups=groups, progress=progress)
            for name, other in (shifts or {}).items()
        }
        name_apart(samples, {**({} if fitted_on is None else {VALIDATION: fitted_on}), **elsewhere})
        return cls(
            cast(nn.Module, bare(evaluator.network)),
            samples,
            task=own,
            perturbations=perturbations,
            output_dir=output_dir,
            name=name,
            classes=class_names(own, told, classes),
            groups=groups,
            validation=fitted_on,
            shifts=elsewhere,
            inferer=evaluator_inferer(evaluator),
            device=evaluator.state.device,
            progress=progress,
            **{"batch_size": getattr(evaluator.data_loader, "batch_size", None) or 1, **more},
        )

    def run(self) -> Path:
        """Measure what is not measured yet; with several processes, each calls this.

        Returns:
            The folder.
        """
        require_clean(self.perturbations)
        processes = Processes.joined()
        check_shift_names(self.shifts, [sweep.name for sweep in self.perturbations])
        check_apart(self.items, self.validation)
        for name, shift in self.shifts.items():
            check_elsewhere(name, shift, self.items, self.validation)
        with self._guarded():
            self._check()
            self._refuse()
            if processes.first and not (self.folder / "run.json").exists():  # it was asked when that was written
                self._probe.warn()
            self._measure(processes)
        processes.wait()
        if self.validation is not None:
            self._of_validation(self.validation).run()
        for name, shift in self.shifts.items():
            self._of_shift(name, shift).run()
        return self.folder

    def _of_validation(self, dataset: Dataset[Any]) -> Measurement:
        found = self._of_others(dataset, VALIDATION)
        found.perturbations = [sweep for sweep in self.perturbations if sweep.kind in ("clean", "nearest")]
        found.record = {**self.record, "split": "validation"}
        return found

    def _of_shift(self, name: str, dataset: Dataset[Any]) -> Measurement:
        found = self._of_others(dataset, f"{SHIFTS}/{name}")
        found.perturbations = [CleanSweep()]
        found.record = {**self.record, "split": name}
        known = items_of(dataset)[0]
        found.groups = [group for group in self.groups if group in known]
        return found

    def _of_others(self, dataset: Dataset[Any], folder: str) -> Measurement:
        """The same network on other samples, without what only says something of the ones that are reported on."""
        found = copy.copy(self)
        found.__dict__.pop("items", None)
        found.dataset, found.validation, found.shifts = dataset, None, {}
        found.folder = self.folder / folder
        found.groups, found.training_tables, found.sanity_samples, found.pictures = [], [], 0, False
        found.cases, found.explanation = 0, None
        found.watch = OutputWatch()
        return found

    def has_gradient(self) -> bool:
        """Whether attacks that follow gradients can be used on the network, found out by one backward pass."""
        with self._guarded():
            return self._why_no_gradient is None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """The samples are to be shown to a network that is left as it was found."""
        with untouched(self.network) as network, forms_kept():
            self.perturbations, scales = in_input_units(self.perturbations, self.dataset)
            self.samples = Samples(
                self.dataset,
                self.items,
                network,
                self.task,
                self.groups,
                self.device,
                self.seed,
                self.batch_size,
                scales,
                in_space="distance_unit" in self.outcomes.settings(),
                labelled=self.labelled,
            )
            yield

    @contextmanager
    def shown(self) -> Iterator[Samples]:
        """The samples, ready to be shown to the network, which is left as it was found; nothing is written."""
        with self._guarded():
            self._check()
            yield self.samples

    @cached_property
    def items(self) -> Sequence[Mapping[str, Any]]:
        """What the data set says of its samples."""
        return items_of(self.dataset)

    def _check(self) -> None:
        self.samples.check()
        checked(Name, self.name, "the measurement", "name")  # what no report could read again is refused now
        checked(list[Name], self.classes, "the measurement", "classes")
        checked(int, self.seed, "the measurement", "seed")

    def _refuse(self) -> None:
        """Refuse what cannot be done to these inputs or to this network, before anything is measured."""
        if self.explanation is not None:
            check_explanation(self.task, self.network, self.perturbations)
            if self.task.name in ("classification", "multi_label") and self._why_no_gradient is not None:
                raise BadInputError(f"explanation follows gradients, and there are none: {self._why_no_gradient}")
        if (self.folder / "run.json").exists():  # asked when that was written
            return
        self._probe.check(self.outcomes, self.classes)
        if not any(sweep.follows_gradients for sweep in self.perturbations):
            return
        if self._why_no_gradient is not None:
            refuse_without_gradient(self.perturbations, self._why_no_gradient)

    @property
    def _probe(self) -> Probe:
        return Probe(self.samples, self.perturbations)

    @cached_property
    def _why_no_gradient(self) -> str | None:
        return self._probe.why_no_gradient()

    def _measure(self, processes: Processes) -> None:
        about = self._recorded().about()
        if processes.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            claim(self.folder, about)
        processes.wait()
        known = failed_in_all(self.folder)
        sample_ids = [str(item["sample_id"]) for item in self.items]
        failures = Failures(
            known,
            len(self.items),
            partial(save_failed, self.folder, about, process=processes.rank),
            partial(failed_in_others, self.folder, process=processes.rank),
        )
        batches = same_size_batches(self.items, self.batch_size)
        cases = CaseWriter(self.folder, case_numbers(self.items, self.cases), self._plan(), process=processes.rank)
        gallery = self._gallery(sample_ids)
        with self._writer(sample_ids, processes, cases.flush) as writer:
            whole = writer.finished
            processes.wait()  # all have read what is there before one writes
            self._measure_units(batches, writer, cases, gallery, failures, processes)
        self._warn(processes)  # after which all have written their parts
        if processes.first:
            failures = self._all_failures(about, sample_ids)
            if self._kept is not None:
                self._kept.take(batches, failures.ids)
            cases.finish()
            pictures = gallery.kept()  # which go with the parts
            writer.finish()
            after = self._afterwards(failures)
            after.truth()
            if self.pictures and not (whole and (self.folder / "gallery.npz").exists()):
                after.gallery(pictures)
            after.sanity(self.sanity_samples, progress=self.progress)
            after.explain(self.explanation)
            for table in self.training_tables:
                if table.is_file():
                    write_whole(self.folder / table.name, table.read_bytes())
            write_run_info(self.folder, {**about, "failed": failures.listed, "finished": now()})
            failures.tell()

    def _recorded(self) -> Recorded:
        return Recorded(
            self.name,
            self.network,
            self.samples,
            self.outcomes,
            self.perturbations,
            self.classes,
            self.record,
            self.checkpoint,
            self.inferer,
        )

    def _plan(self) -> list[tuple[str, float]]:
        """Every perturbation and severity, in order."""
        return [(sweep.name, severity) for sweep in self.perturbations for severity in sweep]

    def _writer(
        self, sample_ids: Sequence[str], processes: Processes, before_part: Callable[[], object]
    ) -> OutcomesWriter:
        own = self.outcomes
        columns = outcome_columns(own.columns(self.classes), self.groups, radius=bool(self.samples.scales))
        return OutcomesWriter(
            self.folder,
            columns,
            sample_ids,
            self._plan(),
            details=(own.detail_table, own.detail_columns()) if own.detail_table else None,
            process=processes.rank,
            before_part=before_part,
        )

    def _measure_units(
        self,
        batches: Sequence[Sequence[int]],
        writer: OutcomesWriter,
        cases: CaseWriter,
        gallery: GalleryKeeper,
        failures: Failures,
        processes: Processes,
    ) -> None:
        """Measure this process' share of what is left, every so many units of it."""
        sizes = [item.get("size") for item in self.items]
        planned = list(units(self.perturbations, self.task, batches, sizes))
        left = [unit for unit in planned if not writer.has_all(unit.keys())]
        own = left[processes.rank :: processes.count]
        name = self.name if processes.count == 1 else f"{self.name}, first of {processes.count} processes"
        measured = sum(unit.rows for unit in planned) - sum(unit.rows for unit in left)
        bar = tqdm(
            desc=f"measuring {name}",
            unit="image",
            initial=measured,
            total=measured + sum(unit.rows for unit in own),
            disable=not (self.progress and processes.first),
        )
        with bar:
            keep = [CaseKeeper(cases, self.outcomes, self.classes, self.case_inputs).see, gallery.see]
            measuring = Measuring(
                self.samples, self.outcomes, writer, failures, self._show, self.num_workers, self._kept, keep
            )
            measuring.run(own, bar)

    def _gallery(self, sample_ids: Sequence[str]) -> GalleryKeeper:
        """Of the samples that a gallery shows if none of them fails."""
        chosen = self.outcomes.examples(self.items, self.classes) if self.pictures else []
        places = {sample_ids[place]: place for place in chosen}
        return GalleryKeeper(self.folder, places, self.perturbations, self.outcomes, self.classes)

    def _afterwards(self, failures: Failures) -> Afterwards:
        return Afterwards(
            self.folder, self.samples, self.perturbations, self.outcomes, self.classes, self._show, failures.ids
        )

    @cached_property
    def _kept(self) -> KeptOutputs | None:
        """The answers of the network, where an evaluator has metrics of them."""
        if not isinstance(self.dataset, EvaluatorSamples) or self.dataset.evaluator.state.key_metric_name is None:
            return None
        return KeptOutputs(self.dataset, self.folder, self.perturbations)

    def _show(self, evaluated: EvaluatedBatch, perturbed: Tensor) -> Predictions:
        predictions = Predictions.of(evaluated, perturbed, self.outcomes)
        self.watch.see(self.task, predictions.outputs, evaluated.targets)
        return predictions

    def _warn(self, processes: Processes) -> None:
        """Warn of outputs that look like probabilities in all that the processes have seen."""
        seen = processes.any(self.watch.probabilities is True)
        if not processes.any(self.watch.probabilities is False) and seen and processes.first:
            warnings.warn(PROBABILITIES, stacklevel=4)

    def _all_failures(self, about: Mapping[str, Any], sample_ids: Sequence[str]) -> Failures:
        """What failed in any process, in the order in which one would meet it."""
        plan = {
            (sweep.name, severity): (at, place)
            for at, sweep in enumerate(self.perturbations)
            for place, severity in enumerate(sweep)
        }
        places = {sample: place for place, sample in enumerate(sample_ids)}

        def order(one: Mapping[str, Any]) -> tuple[int, int, int]:
            return *plan[one["perturbation"], float(one["severity"])], places[str(one["sample_id"])]

        listed = sorted(failed_in_all(self.folder), key=order)
        write_run_info(self.folder, {**about, "failed": listed})
        return Failures(listed, len(self.items), lambda listed: None)
