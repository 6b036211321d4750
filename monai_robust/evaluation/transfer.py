"""Transfer: inputs made against one network, shown to others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_robust.attacks import Attack
from monai_robust.attacks.common.guard import untouched
from monai_robust.errors import BadInputError
from monai_robust.evaluation.measure.perturbations import AttackSweep, EvaluatedBatch
from monai_robust.evaluation.measurement import Measurement
from monai_robust.evaluation.tables.transfer_file import Transfer
from monai_robust.scalars import is_above_zero
from monai_robust.tasks import Task
from monai_robust.tasks.tensors import holds_nan, plain

__all__ = ["transfer_matrix", "transfer_of_measurements"]

Network = Callable[..., Any]


def transfer_matrix(
    networks: Mapping[str, Network],
    batches: Iterable[Any],
    attack: Attack,
    task: Task,
    *,
    radius: float | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
    progress: bool = False,
) -> Transfer:
    """The mean score of each network on inputs that were made against each of them.

    Where inputs made against one network mislead another as well, the weakness lies in the data or in how both were
    trained; where a network is misled by others' inputs more than by its own, the attack on it is hindered (Athalye et
    al. 2018), and its numbers under attack are too good.

    Args:
        networks: by name, all of the same inputs and outputs; they are left as they were found.
        batches: such as a MONAI data loader: dictionaries with ``image`` (B, C, *spatial) and ``label``, or pairs.
        attack: made against one network at a time.
        task: runs the networks and scores their samples.
        radius: in place of the attack's own.
        device: where the networks run.
        seed: of random starts, which are the same for all networks.
        progress: show a bar.

    Raises:
        BadInputError: for fewer than two networks, no sample, or a network that answers by NaN.
    """
    own = attack.eps if radius is None else radius
    if not is_above_zero(own):
        raise BadInputError(f"transfer is at one radius, and the attack's is {own!r}; give radius")
    sweep = AttackSweep(attack, [float(own)], faithful=True)

    def evaluated() -> Iterable[list[EvaluatedBatch]]:
        count = 0
        for batch in batches:
            image, label = (batch["image"], batch["label"]) if isinstance(batch, Mapping) else tuple(batch)[:2]
            inputs, targets = (plain(torch.as_tensor(one)).to(device) for one in (image, label))
            ids = [str(place) for place in range(count, count + len(inputs))]
            count += len(inputs)
            yield [EvaluatedBatch(network, inputs, targets, task, ids, seed) for network in guarded]

    with ExitStack() as stack:
        moved = [one.to(device) if isinstance(one, torch.nn.Module) else one for one in networks.values()]
        guarded = [stack.enter_context(untouched(one)) for one in moved]
        return _measured(list(networks), evaluated(), sweep, progress)


def transfer_of_measurements(
    measurements: Sequence[Measurement], names: Sequence[str], radius: float | None = None, *, progress: bool = True
) -> Transfer:
    """:func:`transfer_matrix` of the networks of measurements, by their data, inferer and first attack.

    Args:
        measurements: of one data set; what they are going to write does not matter.
        names: of the networks.
        radius: of the attack; by default the middle one of its radii.
        progress: show a bar.

    Raises:
        BadInputError: for measurements of other data, classes or tasks, or without an attack.
    """
    first = measurements[0]
    sweep = next((one for one in first.perturbations if isinstance(one, AttackSweep)), None)
    if sweep is None:
        raise BadInputError("transfer needs an attack among the perturbations, and there is none")
    middle = sweep.severities[len(sweep.severities) // 2]
    sweep = AttackSweep(sweep.attack, [middle if radius is None else radius], faithful=True)
    for name, one in zip(names, measurements, strict=True):
        if (one.task.name, one.classes) != (first.task.name, first.classes):
            raise BadInputError(
                f"“{name}” has another task or other classes than “{names[0]}”; compare networks of one"
            )
    with ExitStack() as stack:
        samples = [stack.enter_context(one.shown()) for one in measurements]
        places = samples[0].batches()
        ids = [[str(item["sample_id"]) for item in one.items] for one in samples]
        if any(own != ids[0] for own in ids):
            raise BadInputError("the networks are measured on other samples; give all the same data and split")
        loaders = [one.loader(places) for one in samples]

        def evaluated() -> Iterable[list[EvaluatedBatch]]:
            for batches in zip(*loaders, strict=True):
                own = [one.evaluated(batch) for one, batch in zip(samples, batches, strict=True)]
                for name, other in zip(names, own, strict=True):
                    if not torch.equal(other.inputs, own[0].inputs):
                        raise BadInputError(
                            f"“{name}” is shown other inputs than “{names[0]}” (size or preprocessing differ), so that "
                            "what is made against one cannot be shown to the other"
                        )
                yield own

        return _measured(names, evaluated(), sweep, progress)


def _measured(
    names: Sequence[str], batches: Iterable[list[EvaluatedBatch]], sweep: AttackSweep, progress: bool
) -> Transfer:
    if len(names) < 2 or len(set(names)) < len(names):
        raise BadInputError(f"transfer is between two or more networks with names of their own, got {', '.join(names)}")
    clean: list[list[Tensor]] = [[] for _ in names]
    attacked: list[list[list[Tensor]]] = [[[] for _ in names] for _ in names]
    count, task = 0, None
    for own in tqdm(batches, desc="transfer", unit="batch", disable=not progress):
        count, task = count + len(own[0].inputs), own[0].task
        for name, target, scores in zip(names, own, clean, strict=True):
            scores.append(_scores(name, target, target.inputs))
        for source, row in zip(own, attacked, strict=True):
            adversarial = sweep.apply(sweep.severities[0], source)
            for name, target, scores in zip(names, own, row, strict=True):
                scores.append(_scores(name, target, adversarial))
    if task is None:
        raise BadInputError("transfer: there is no sample")
    return Transfer(
        networks=list(names),
        perturbation=sweep.name,
        radius=float(sweep.severities[0]),
        score=task.score_name,
        higher_is_better=task.higher_is_better,
        samples=count,
        clean=[_mean(scores) for scores in clean],
        attacked=[[_mean(scores) for scores in row] for row in attacked],
    )


@torch.no_grad()
def _scores(name: str, batch: EvaluatedBatch, inputs: Tensor) -> Tensor:
    """Of one network; NaN among its outputs is refused, which an argmax would take for a class."""
    outputs = batch.task.forward(batch.network, inputs, batch.targets)
    odd = int(holds_nan(outputs, len(inputs)).sum())
    if odd:
        raise BadInputError(f"“{name}” answers {odd} of a batch of {len(inputs)} images by NaN, which has no score")
    return batch.task.score(outputs, batch.targets).double().cpu()


def _mean(scores: Sequence[Tensor]) -> float | None:
    """Of the samples that have a score; None where none has."""
    known = torch.cat(list(scores))
    known = known[known.isfinite()]
    return float(known.mean()) if len(known) else None
