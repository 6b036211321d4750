"""A training iteration for MONAI's supervised trainer, by a recipe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.engines import IterationEvents
from monai.transforms import Randomizable
from monai.utils import MAX_SEED
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_robust.attacks import PGD
from monai_robust.attacks.common.arguments import checked_attack
from monai_robust.attacks.common.guard import bare, inputs_copied, same_in_both_modes, untouched
from monai_robust.attacks.threat import as_norm, expand
from monai_robust.engines.common import Batch, adversarial_view, autocast, infer_with, inferred, takes, with_metadata
from monai_robust.engines.epoch_means import EpochMeans
from monai_robust.engines.file_units import FileRadius
from monai_robust.engines.kept_starts import KeptStarts
from monai_robust.engines.starting import require_moved, starting_away
from monai_robust.engines.views import View, base_name, checked_views, moves, names_places, of_inputs_shape, own_seed
from monai_robust.errors import BadInputError, require_choice
from monai_robust.margins.radii import AttackTrace, SampleRadii, stacked
from monai_robust.networks.repeatable import AT_RANDOM, answered_twice
from monai_robust.recipes import Recipe, as_recipe, make_recipe
from monai_robust.tasks import LossTask, Task, Watched
from monai_robust.tasks.agreement import SAID, named, require_agreement, with_agreement
from monai_robust.tasks.base import checked_task
from monai_robust.tasks.loss import batch_length
from monai_robust.tasks.probabilities import PROBABILITIES, end_in_softmax
from monai_robust.tasks.tensors import is_by_sample, map_tensors, plain, select_rows
from monai_robust.transforms import OnChannels
from monai_robust.transforms.batch import apply_per_sample

__all__ = ["RobustUpdate"]

_LOG = logging.getLogger(__name__)


class RobustUpdate:
    """An ignite process function that trains by a recipe; hand it to any MONAI trainer as ``iteration_update``.

    It fires MONAI's four iteration events once per iteration and keeps the trainer's ``inferer``, ``loss_function``,
    ``prepare_batch``, ``amp``, ``accumulation_steps``, ``compile`` and ``optim_set_to_none``. The recipe ``erm`` ends
    with the very weights of the trainer's own iteration.

    ``engine.state.output`` holds MONAI's ``image``, ``label``, ``pred`` and ``loss``, where ``pred`` is the prediction
    on the clean inputs (on the adversarial ones for a recipe without a clean view) and ``loss`` the recipe's total;
    with an adversarial view also ``adv_image``, ``adv_pred``, ``eps`` (B,), ``adv_norm`` (B,), and the loss terms per
    sample of every supervised view, such as ``clean_loss`` and ``adv_loss``, (B,). Means of these numbers over an epoch
    are in ``engine.state.metrics`` at its end, as ``robust_eps``, ``robust_adv_norm``, ``robust_adv_loss``, ....

    Args:
        recipe: a recipe or the name of one, such as ``"rtda"``.
        attack: makes the adversarial view, in evaluation mode unless the attack says otherwise. For a recipe with an
            objective of its own (``trades``), which has no gradient at the clean input, an attack that would start
            there starts in the ball (``random_start="ball"``) instead.
        weight: the recipe's lambda, where ``recipe`` is a name.
        augmented: names of the augmented views, where ``recipe`` is a name (see ``make_recipe``).
        views: what each augmented view is: a key of the batch, or a transform of one channel-first image that is
            applied to every clean input. A numbered view (``aug1``) that is not listed is a fresh draw of ``aug``.
            The draws of MONAI's random transforms follow from torch's seed, unless they were given a state.
        task: what the attack hurts, where the recipe has no objective of its own; by default the trainer's own loss,
            sample by sample.
        shared_forward: all views in one forward pass, so that BatchNorm sees one distribution of them all; ``False``
            gives each view a pass, and BatchNorm statistics, of its own. A network that takes further arguments than
            its inputs always gets separate passes.
        margins: gives every sample its own radius, such as ``AdaptiveMargins``, which the recipe ``"amat"`` needs; it
            must also stand first among the trainer's handlers. By default all samples have the attack's radius.
        starts: begin each sample's attack where its last one ended, so that few steps do; by default, where the attack
            itself begins.
        agreement: what the network's outputs are, for a recipe whose views must agree: ``"softmax"``, logits of classes
            that exclude each other, or ``"bernoulli"``, logits of independent labels or overlapping regions, in each
            of which views agree by itself. It is needed where neither the task nor the loss says so, and of sigmoids
            (``BCEWithLogitsLoss``, ``DiceLoss(sigmoid=True)``) no loss does.
        channels: those of the input that are image, by index; all by default. Transforms of views are given these
            alone, and the attack must have the same.

    Raises:
        BadInputError: for an unknown recipe, what is no attack, no task or no view, a missing attack or missing
            margins, or (when training starts) a view nobody defines.
    """

    def __init__(
        self,
        recipe: Recipe | str = "sat",
        attack: Callable[..., Tensor] | None = None,
        *,
        weight: float | None = None,
        augmented: list[str] | None = None,
        views: Mapping[str, View] | None = None,
        task: Task | None = None,
        shared_forward: bool = True,
        margins: SampleRadii | None = None,
        starts: KeptStarts | None = None,
        agreement: str | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        if isinstance(recipe, str):
            recipe = make_recipe(recipe, weight=weight, augmented=augmented)
        elif weight is not None or augmented is not None:
            raise BadInputError("`weight` and `augmented` belong to a recipe given by name; set them on the recipe")
        recipe = as_recipe(recipe)
        if "adv" in recipe.views and attack is None:
            raise BadInputError(
                f"the recipe {recipe.name!r} has an adversarial view; give an attack, such as {PGD()!r}"
            )
        if attack is not None:
            checked_attack(attack)
        if recipe.margins and margins is None:
            raise BadInputError(
                f"the recipe {recipe.name!r} takes the radius of each sample from margins; give it margins=, such as "
                "AdaptiveMargins(step=0.5, thresholds='thresholds.json')"
            )
        if margins is not None and not isinstance(margins, SampleRadii):
            raise BadInputError(
                f"margins are {margins!r:.80}; they give every sample its radius, such as AdaptiveMargins(step=0.5, "
                "thresholds='thresholds.json')"
            )
        if margins is not None and "adv" not in recipe.views:
            raise BadInputError(
                f"the recipe {recipe.name!r} attacks nothing, so margins would have no effect; leave them"
            )
        if starts is not None and not isinstance(starts, KeptStarts):
            raise BadInputError(f"starts are {starts!r:.80}; give KeptStarts()")
        if starts is not None and (attack is None or not takes(attack, "start")):
            raise BadInputError(
                f"starts are kept for an attack that can begin anywhere, such as {PGD(steps=2, relative_step=1.0)!r}, "
                f"which {type(attack).__name__} cannot; leave starts, or give another attack"
            )
        self.recipe = recipe
        self.attack = attack if attack is None or recipe.objective is None else starting_away(attack)
        self.starts = starts if "adv" in recipe.views else None
        self._file_radius = FileRadius(self.attack)
        self.margins = margins
        if margins is not None:
            margins.bind(self._task_of, self._as_supervised)
        self.views = checked_views(views)
        if channels is not None:
            _check_channels(attack if "adv" in recipe.views else None, channels)
            self.views = {name: _on_channels(view, channels) for name, view in self.views.items()}
        if agreement is not None:
            require_choice("agreement", agreement, SAID)
        self.agreement = agreement
        self.task = None if task is None else with_agreement(checked_task(task), agreement)
        self.shared_forward = shared_forward
        self._own_seeds: list[int | None] | None = None
        self._seeded: tuple[object, int] | None = None
        self._checked: object = None
        self._means = EpochMeans()
        if self.task is not None:
            self._check(self.task)

    def __call__(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        batch = Batch.prepare(engine, batchdata)
        task = self._task_of(engine)
        first = self._checked is not engine
        if first:
            self._check(task, batch)
            for name in self.recipe.views:
                if name not in ("clean", "adv"):
                    self._source(name, batchdata)  # refused before the first attack, where there is none
            if self.margins is not None and self.margins.wants_trace:
                self._warn_of_random_answers(engine, batch, task)
            if self.starts is not None:
                self.starts.attach(engine)
            self._checked = engine
        output: dict[str, Any] = {Keys.IMAGE: batch.inputs, Keys.LABEL: batch.targets}
        engine.state.output = output
        watched: Watched | None = None
        if "adv" in self.recipe.views:
            attacked, watched = self._attacked(engine, batch, task)
            output |= self._adversarial(engine, batchdata, batch, attacked)
            if self.recipe.objective is not None:
                require_moved(self.recipe.name, output)
            engine.state.output = output
        self._seed_views(engine)
        inputs = self._inputs(batchdata, batch, output.get("adv_image"))

        zero_grad, step, steps = _accumulation(engine)
        engine.network.train()
        if zero_grad:
            engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
        with autocast(engine):
            outputs = self._forward(engine, batch, inputs)
            output[Keys.PRED] = with_metadata(outputs.get("clean", outputs[self.recipe.views[0]]), batch.inputs)
            if "adv" in outputs:
                output["adv_pred"] = with_metadata(outputs["adv"], batch.inputs)
            engine.fire_event(IterationEvents.FORWARD_COMPLETED)
            if first and end_in_softmax(task, outputs[self.recipe.views[0]], batch.targets):
                _LOG.warning(PROBABILITIES)
            targets = plain(batch.targets) if engine.compile else batch.targets
            output[Keys.LOSS] = self.recipe.loss(outputs, targets, engine.loss_function, task.agreeing)
            if "adv" in outputs:
                output |= self._told(engine, task, outputs, targets, output)
            engine.state.output = output
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
        if watched is not None:
            self._observe(engine, batchdata, watched, output)
        loss = output[Keys.LOSS] / steps if steps > 1 else output[Keys.LOSS]
        scaler: Any = engine.scaler if engine.amp else None
        (loss if scaler is None else scaler.scale(loss)).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if step and scaler is None:
            engine.optimizer.step()
        elif step:
            scaler.step(engine.optimizer)
            scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    @property
    def settings(self) -> dict[str, Any]:
        """What training has of ``recipe, weight, attack, eps, step``, for its record; None for what it has not."""
        attack = self.attack if "adv" in self.recipe.views else None
        known = getattr(attack, "settings", None)
        return {
            "recipe": self.recipe.name,
            "weight": self.recipe.weight,
            "attack": known() if callable(known) else attack and repr(attack),
            "eps": None if self.margins is not None else getattr(attack, "eps", None),
            "step": getattr(self.margins, "step", None),
        }

    def _check(self, task: Task, batch: Batch | None = None) -> None:
        """Refuse views that make no sense for a task, of which a first batch shows the labels."""
        if self.recipe.compares_classes:
            require_agreement(task, f"the recipe {self.recipe.name!r}")
        moving = [name for name in self.recipe.views if moves(self.views.get(name, self.views.get(base_name(name))))]
        places = task.spatial_targets or (batch is not None and names_places(batch.targets, batch.inputs))
        if places and moving:
            raise BadInputError(
                f"the view {moving[0]!r} moves the image and not the places that the labels of {named(task)} name; "
                "use transforms of intensities, such as AugMix(operations='intensity')"
            )

    def _warn_of_random_answers(self, engine: Any, batch: Batch, task: Task) -> None:
        """Name a network whose answers in evaluation mode, by which margins are judged, differ by chance."""
        own = inferred(engine, batch, task)
        with torch.random.fork_rng(), untouched(bare(engine.network)) as network, autocast(engine):
            if answered_twice(lambda: own.forward(network, batch.inputs, batch.targets)).at_random:
                _LOG.warning(
                    "%s, and margins grow and shrink by chance, too; take an attack that averages over several "
                    "answers, such as APGD(eot=10), or switch that off in evaluation mode",
                    AT_RANDOM,
                )

    def _task_of(self, engine: Any) -> Task:
        return self.task or with_agreement(LossTask(engine.loss_function), self.agreement)

    def _as_supervised(self, engine: Any) -> Any:
        """The trainer as one with a network, an inferer and a loss."""
        return engine

    def _attacked(self, engine: Any, batch: Batch, task: Task) -> tuple[Task, Watched | None]:
        """What the attack is to hurt, and where margins learn from it, the same as what they watch."""
        own = inferred(engine, batch, task)
        objective = own if self.recipe.objective is None else self.recipe.objective(own)
        if self.margins is None or not self.margins.wants_trace:
            return objective, None
        norm = as_norm(getattr(self.attack, "norm", "l2"))
        watched = Watched(own, batch.inputs, batch.targets, norm, objective)
        return watched, watched

    def _adversarial(self, engine: Any, batchdata: Any, batch: Batch, task: Task) -> dict[str, Tensor]:
        """The adversarial view of a batch, with its radii and norms."""
        assert self.attack is not None  # refused in the constructor
        radii = self._radii(engine, batchdata, batch)
        if self.starts is None:
            return adversarial_view(engine, batch, self.attack, task, radii)
        start = self.starts.begin(batchdata, batch.inputs, self.attack, radii, batch.mask)
        output = adversarial_view(engine, batch, self.attack, task, radii, start)
        self.starts.keep(batchdata, batch.inputs, output["adv_image"], self.attack, radii)
        return output

    def _radii(self, engine: Any, batchdata: Any, batch: Batch) -> Tensor | None:
        """The radius of each sample, (B,); None for the attack's own."""
        if self.margins is None:
            return self._file_radius.of(engine, batchdata, batch)
        if self.margins.engine is not engine:
            raise BadInputError(
                "the margins do not stand among the trainer's handlers; put them there, before all others"
            )
        return self.margins.radii(engine, batchdata, len(batch.inputs)).to(batch.inputs.device)

    def _observe(self, engine: Any, batchdata: Any, watched: Watched, output: Mapping[str, Any]) -> None:
        """Tell the margins what the attack showed, with terms of the network in evaluation mode."""
        assert self.margins is not None
        clean, adversarial = plain(output[Keys.IMAGE]), plain(output["adv_image"])

        def terms_at(share: Tensor, rows: Tensor) -> dict[str, Tensor]:
            start = clean[rows]
            inputs = start + expand(share, start).to(start.dtype) * (adversarial[rows] - start)
            targets = select_rows(output[Keys.LABEL], rows)
            with untouched(bare(engine.network)) as network, torch.no_grad(), autocast(engine):
                terms = watched.task.terms(watched.task.forward(network, inputs, targets), targets)
            return {name: value.float() for name, value in terms.items()}

        names = watched.terms_seen[0].keys() if watched.terms_seen else ()
        if (
            names
            and "adv" in self.recipe.supervised
            and getattr(self.margins, "final_terms", "eval") == "auto"
            and same_in_both_modes(engine.network)
            and watched.fits(output["adv_pred"])
        ):
            final = {name: output[f"adv_{name}"].float() for name in names}
        else:
            final = terms_at(torch.ones_like(output["eps"]), torch.arange(len(clean), device=clean.device))
        sizes = torch.stack(watched.sizes) if watched.sizes else output["eps"].new_empty(0, len(clean))
        ids = self.margins.ids(batchdata, len(clean))
        path = stacked(watched.terms_seen) or {name: sizes for name in final}
        defined = _defined(watched.task, output, final)
        self.margins.observe(AttackTrace(ids, output["eps"], output["adv_norm"], sizes, path, final, terms_at, defined))

    def _inputs(self, batchdata: Any, batch: Batch, adversarial: Tensor | None) -> dict[str, Tensor]:
        """The network's inputs for each view of the recipe; views that are the same batch entry are one tensor."""
        inputs: dict[str, Tensor] = {}
        from_batch: dict[str, Tensor] = {}
        for name in self.recipe.views:
            if name == "clean":
                inputs[name] = batch.inputs
            elif name == "adv":
                assert adversarial is not None
                inputs[name] = adversarial
            else:
                source = self._source(name, batchdata)
                if isinstance(source, str):
                    if source not in from_batch:
                        from_batch[source] = of_inputs_shape(batch.as_inputs(batchdata[source]), batch.inputs, source)
                    inputs[name] = from_batch[source]
                else:
                    inputs[name] = batch.with_padding(apply_per_sample(source, plain(batch.inputs)))
        return inputs

    def _seed_views(self, engine: Any) -> None:
        """Let the draws of random views follow from the epoch and torch's seed, or from a state they were given.

        Outside a data loader no one else does: MONAI's transforms then share one state that follows from nothing.
        """
        epoch = int(engine.state.epoch)
        if self._seeded is not None and self._seeded[0] is engine and self._seeded[1] == epoch:
            return
        if self._own_seeds is None:
            self._own_seeds = [own_seed(view) for view in self.views.values()]
        for index, (view, own) in enumerate(zip(self.views.values(), self._own_seeds, strict=True)):
            if not isinstance(view, Randomizable) or (own is not None and epoch <= 1):
                continue
            given = (torch.initial_seed(), idist.get_rank()) if own is None else (own,)
            words = np.random.SeedSequence([*given, index, epoch]).generate_state(1)
            view.set_random_state(int(words[0]) % MAX_SEED)
        self._seeded = engine, epoch

    def _source(self, name: str, batchdata: Any) -> View:
        keys = batchdata if isinstance(batchdata, Mapping) else {}
        base = base_name(name)
        source = self.views.get(name, self.views.get(base))
        if source is None and name in keys:
            source = name
        if source is None or (isinstance(source, str) and source not in keys):
            what = f"the batch has no key {source!r}" if source is not None else "nothing defines it"
            known = ", ".join(map(str, keys)) or "none, the batch is no dictionary"
            raise BadInputError(
                f"the recipe {self.recipe.name!r} needs the view {name!r}, but {what}; give views={{{base!r}: ...}}, a "
                f"transform or one of the batch's keys: {known}"
            )
        return source

    def _forward(self, engine: Any, batch: Batch, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        infer = infer_with(engine, batch)
        distinct: dict[int, Tensor] = {id(view): view for view in inputs.values()}
        if engine.compile or len(distinct) > 1:
            distinct = {key: plain(view) for key, view in distinct.items()}
        if len(distinct) == 1 or not self.shared_forward or batch.has_arguments:
            with inputs_copied(engine.network) as network:  # margins and handlers read the views afterwards
                passes = {key: infer(view, network) for key, view in distinct.items()}
        else:
            stacked = infer(torch.cat(tuple(distinct.values())), engine.network)
            size = len(batch.inputs)
            if batch_length(stacked) != size * len(distinct):
                raise BadInputError(
                    f"the network gave {batch_length(stacked)} outputs for {size * len(distinct)} inputs in one "
                    "forward pass; use shared_forward=False"
                )
            odd = _other_than_by_sample(stacked, size * len(distinct))
            if odd is not None:
                raise BadInputError(
                    f"among the network's outputs is a tensor {tuple(odd.shape)}, and nobody knows what of it belongs "
                    f"to which of {size * len(distinct)} inputs in one forward pass; use shared_forward=False"
                )
            parts = (slice(index * size, (index + 1) * size) for index in range(len(distinct)))
            passes = {key: select_rows(stacked, part) for key, part in zip(distinct, parts, strict=True)}
        return {name: passes[id(view)] for name, view in inputs.items()}

    def _told(
        self, engine: Any, task: Task, outputs: Mapping[str, Any], targets: Any, output: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """The loss terms per sample of every supervised view, of which, and of what ``output`` has of the attack, the
        means over the epoch are told."""
        terms: dict[str, Tensor] = {}
        defined: dict[str, Tensor] = {}
        with torch.no_grad():
            for view in self.recipe.supervised:
                terms |= {f"{view}_{name}": one.detach() for name, one in task.terms(outputs[view], targets).items()}
                known = task.defined(map_tensors(plain, outputs[view]), targets)
                defined |= {f"{view}_{name}": plain(one) for name, one in known.items()}
        self._means.add(engine, _of_attack(output) | terms, defined)
        return terms


def _other_than_by_sample(outputs: Any, size: int) -> Tensor | None:
    """The first tensor of a network's outputs that has dimensions, the first of which is not that of the samples."""
    if isinstance(outputs, Tensor):
        return outputs if outputs.ndim and len(outputs) != size else None
    if isinstance(outputs, Mapping):
        parts: Sequence[Any] = list(outputs.values())
    else:
        parts = outputs if isinstance(outputs, (list, tuple)) and not is_by_sample(outputs) else ()
    return next((odd for part in parts if (odd := _other_than_by_sample(part, size)) is not None), None)


def _of_attack(output: Mapping[str, Any]) -> dict[str, Tensor]:
    """What there is to tell of an attack's sizes, (B,) each."""
    return {name: output[name] for name in ("eps", "adv_norm") if name in output}


def _check_channels(attack: Callable[..., Tensor] | None, channels: Sequence[int]) -> None:
    """Refuse an attack that would change other channels than views do."""
    known = getattr(attack, "channels", None)
    if attack is not None and (known is None or list(known) != list(channels)):
        raise BadInputError(
            f"channels are {list(channels)}, and those of the attack {'all' if known is None else list(known)}; give "
            f"the attack the same, as in PGD(channels={list(channels)}) (in a bundle, --robust#attack#channels)"
        )


def _on_channels(view: View, channels: Sequence[int]) -> View:
    return view if isinstance(view, str) else OnChannels(view, channels)


def _defined(task: Task, output: Mapping[str, Any], terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For each loss term whether a sample has it, (B,)."""
    listed = task.defined(map_tensors(plain, output["adv_pred"]), output[Keys.LABEL])
    everywhere = next(iter(terms.values())).new_ones((), dtype=torch.bool)
    return {name: plain(listed.get(name, everywhere)).to(one.device).expand(len(one)) for name, one in terms.items()}


def _accumulation(engine: Any) -> tuple[bool, bool, int]:
    """Whether to zero the gradients, whether to step, and over how many batches gradients are accumulated."""
    steps = getattr(engine, "accumulation_steps", 1)
    if steps == 1:
        return True, True, 1
    length = engine.state.epoch_length
    position = engine.state.iteration - 1 if length is None else (engine.state.iteration - 1) % length
    return position % steps == 0, (position + 1) % steps == 0 or position + 1 == length, steps
