"""What is made once all outcomes are measured: what would be right, pictures, sanity checks, explanation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_robust.data import same_size_batches
from monai_robust.evaluation.explanation import Explanation, explain, save_explanation
from monai_robust.evaluation.measure.perturbations import EvaluatedBatch, Sweep
from monai_robust.evaluation.measure.pictures import Picture, Predictions, middle, pictures_of, write_pictures
from monai_robust.evaluation.measure.randomness import drawing_from
from monai_robust.evaluation.measure.samples import Samples, items_of
from monai_robust.evaluation.measure.task_outcomes import TaskOutcomes
from monai_robust.evaluation.sanity.check import check_sanity
from monai_robust.evaluation.tables.writer import write_truth
from monai_robust.tasks.tensors import plain

__all__ = ["Afterwards"]

Kept = Mapping[tuple[tuple[str, float], int], Picture]


@dataclass(frozen=True)
class Afterwards:
    """What follows the outcomes table; one process makes it.

    Attributes:
        folder: of the run.
        samples: what was measured, and the network.
        perturbations: what was done to it.
        outcomes: what is written down of the task.
        classes: names of the classes.
        show: shows a batch's network what was made of its inputs.
        failed: ids of the samples on which something failed.
    """

    folder: Path
    samples: Samples
    perturbations: Sequence[Sweep]
    outcomes: TaskOutcomes
    classes: Sequence[str]
    show: Callable[[EvaluatedBatch, Tensor], Predictions]
    failed: Collection[str]

    @property
    def _good(self) -> list[int]:
        """Places of the samples on which nothing failed."""
        ids = enumerate(str(item["sample_id"]) for item in self.samples.items)
        return [place for place, sample in ids if sample not in self.failed]

    def truth(self) -> None:
        """What would be right, for a task with a table of details."""
        if not self.outcomes.truth_table:
            return
        samples, good = self.samples, set(self._good)
        whole = [[place for place in batch if place in good] for batch in samples.batches()]
        loaded = samples.loader([batch for batch in whole if batch])
        true = (plain(one["label"]) if samples.labelled else samples.evaluated(one).targets for one in loaded)
        labels = [own for targets in true for own in self.outcomes.true_details(targets)]
        known = dict(zip([place for batch in whole for place in batch], labels, strict=True))
        ids = [str(item["sample_id"]) for item in samples.items]
        listed = [known.get(place, []) for place in range(len(ids))]
        write_truth(self.folder, self.outcomes.truth_table, self.outcomes.truth_columns(), ids, listed)

    def gallery(self, kept: Kept) -> None:
        """Pictures of a few telling samples, clean and at the middle severity of every perturbation.

        Args:
            kept: pictures from the time of measuring, by perturbation and severity and by place; what is not among
                them, where a sample failed that would have been shown, is made now.
        """
        items, good = self.samples.items, self._good
        chosen = [good[place] for place in self.outcomes.examples([items[place] for place in good], self.classes)]
        groups = same_size_batches([items[place] for place in chosen], len(chosen)) if chosen else []
        batches = [[chosen[place] for place in group] for group in groups]
        found: dict[tuple[str, float], list[Picture]] = {}
        for sweep in self.perturbations:
            key = (sweep.name, middle(sweep))
            for places in batches:
                own = [kept[key, place] for place in places if (key, place) in kept]
                found[key] = found.get(key, []) + (own if len(own) == len(places) else self._pictures(sweep, places))
        if any(found.values()):
            write_pictures(self.folder / "gallery.npz", found)

    def _pictures(self, sweep: Sweep, places: Sequence[int]) -> list[Picture]:
        """Of samples under a perturbation; none of volumes."""
        evaluated = self.samples.evaluated(next(iter(self.samples.loader([places]))))
        if evaluated.inputs.ndim != 4:
            return []
        with drawing_from(self.samples.seed, "gallery", sweep.name, device=self.samples.device):
            return pictures_of(self.show(evaluated, sweep.over(evaluated)(middle(sweep))), self.outcomes, self.classes)

    def sanity(self, count: int, *, progress: bool = False) -> None:
        """Whether the outcomes of the attacks can be trusted, on so many samples; of none nothing is asked."""
        if not count:
            return
        samples = self.samples

        def evaluated_batches(chosen: Sequence[int]) -> list[EvaluatedBatch]:
            groups = same_size_batches([samples.items[index] for index in chosen], samples.batch_size)
            batches = samples.loader([[chosen[place] for place in group] for group in groups])
            return [samples.evaluated(batch) for batch in batches]

        with drawing_from(samples.seed, "sanity", device=samples.device):
            check_sanity(
                self.folder,
                self.perturbations,
                evaluated_batches,
                samples=count,
                higher_is_better=samples.task.higher_is_better,
                groups=samples.groups,
                left_out=self.failed,
                seed=samples.seed,
                progress=progress,
            )

    def explain(self, explanation: Explanation | None) -> None:
        """What the network looks at, on samples that did not fail."""
        if explanation is None:
            return
        good = self._good

        def evaluated(dataset: Any, places: Sequence[int]) -> list[EvaluatedBatch]:
            if dataset is not None:
                samples = replace(self.samples, dataset=dataset, items=items_of(dataset), in_space=False)
            else:
                samples, places = self.samples, [good[place] for place in places]
            return [samples.evaluated(batch) for batch in samples.loader([[place] for place in places])]

        items = [self.samples.items[place] for place in good]
        with drawing_from(self.samples.seed, "explanation", device=self.samples.device):
            found = explain(explanation, self.perturbations, items, evaluated, seed=self.samples.seed)
        save_explanation(self.folder, found)
