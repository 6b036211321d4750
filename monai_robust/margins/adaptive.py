"""AMAT's margins as a handler: a radius for every training sample, enlarged while it does no harm, else refined."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_robust.attacks.common.guard import bare
from monai_robust.checkpoints import join_checkpoints
from monai_robust.data.agreed_folder import agreed_folder
from monai_robust.data.contents import check_contents, contents_of
from monai_robust.data.sample_ids import batch_ids, dataset_ids, hashed_id, names_now
from monai_robust.errors import BadInputError, require_choice
from monai_robust.margins.log import MarginLog, distribution, visits_to_come
from monai_robust.margins.radii import AttackTrace, SampleRadii
from monai_robust.margins.rule import MarginRule, positive_number
from monai_robust.margins.store import MarginStore
from monai_robust.margins.threshold_source import ThresholdSource
from monai_robust.margins.thresholds import Thresholds
from monai_robust.networks.one_network import OneNetwork

__all__ = ["AdaptiveMargins"]

_LOG = logging.getLogger(__name__)
_AT_FLOOR = 1 / (1 - 1e-4)  # times the floor: what is less is rounding


class AdaptiveMargins(SampleRadii):
    """A margin for every training sample (AMAT, algorithm 1 and section 2.3), kept by sample id.

    Hand it to ``RobustUpdate(..., margins=margins)`` and put it first among the trainer's handlers. An attack on a
    sample is allowed the sample's margin. If every loss term stays below its threshold, the margin grows by ``step``;
    otherwise it is refined to ``(c + margin) / 2``, where ``c`` is how far from the clean sample a term reaches its
    threshold.

    Where the attack starts at the clean sample, its own iterates tell ``c`` for nothing: the norm at which they first
    cross, or, if they cross only after they have reached the sphere, the share of the straight line from the clean
    sample to the final iterate at which the terms, taken to be linear between its ends, cross. Where it starts
    elsewhere, that line is bisected, at ``bisections`` forward passes of the crossing samples.

    The state is saved with the checkpoints of a ``CheckpointSaver`` among the trainer's handlers, or else among those
    of its validators, and comes back from the file of a ``CheckpointLoader`` of the trainer. It names the samples,
    except in the final files of a ``TrainingSaver``. In several processes margins are merged when an epoch ends, so
    that all of them hold the same; in two processes a sample should be visited by one of them in an epoch.

    Args:
        step: by how much a margin grows, in intensity units of the network's input; also the margins' start.
        thresholds: ``{term: value}``, a file of them, or a trained checkpoint of the same network to fit them from
            when training starts (``fit_thresholds`` on the training samples; stored beside it as JSON).
        mode: ``"crossing"`` as above, or ``"paper"``, the printed algorithm: judge the final iterate alone and refine
            to ``(|x_adv - x| + margin) / 2``. As attacks end on the sphere, that changes nothing: margins of the
            printed algorithm hardly ever shrink.
        check: ``"path"`` enlarges only if the sample crossed at *no* iterate of the attack, the clean one included
            (what the authors' program does), ``"final"`` if the final one did not (what they print). By default
            ``"path"``, and ``"final"`` in the paper's mode.
        locate: ``"auto"`` as above, or ``"bisection"`` always.
        bisections: halvings of the line where it is bisected.
        initial: margin of a sample not yet visited; ``step`` by default.
        floor: no margin is refined below it; ``step`` by default (the authors' follow-up has it), 0 in the paper's
            mode.
        cap: no margin grows beyond it; none by default.
        reset_failed: set the margin of a sample whose clean terms exceed a threshold to ``floor`` (to ``step`` where
            that is 0) at once: its margin says nothing (the authors' follow-up does so for misclassified samples).
        repeats: what becomes of a sample visited several times in one batch, as several crops, or by several
            processes: ``"mean"``, ``"min"`` or ``"last"`` of what each visit makes of its margin.
        update: apply it after each ``"iteration"``, as printed, or at the end of an ``"epoch"`` (the authors' program),
            where a margin grows by at most one step an epoch however often the sample is visited.
        key: what the batch calls its samples; without such a key, an image's file name stands for it.
        final_terms: ``"auto"`` takes the terms at the final iterate from the training's own forward pass, if the
            network has nothing that differs between training and evaluation, else from one more; ``"eval"`` always
            from one more.
        radii_of_interest: the largest radius that is to be evaluated; a warning is given if no margin can reach it.
        output_dir: where ``margins.csv`` and ``margin_histogram.csv`` go; beside the checkpoints by default.
        history: also write ``margins_by_sample.csv``, every sample's margin after every epoch (sample ids in it).
        hash_ids: call samples by the first 32 digits of the SHA-256 of their ids, in checkpoints and tables: ids are
            then not to be read, though whoever guesses one can tell that it is there. Final weights have no ids.
        summary_writer: a TensorBoard writer, for a histogram an epoch.
        fit: further arguments of ``fit_thresholds``.
        fit_on: what thresholds are fitted on from a checkpoint: ``"samples"``, every training sample once, without
            random augmentation and whatever the sampler (the paper's section 2.2; see ``EverySample``); ``"epoch"``, an
            epoch of batches as the trainer's loader gives them, augmented and oversampled; or a loader of your own.
        judged: names of the loss terms that decide, each of which needs a threshold; all of them by default. A sample
            that has none of them, such as a slice without foreground of ``dice``, keeps the margin it began with.

    Raises:
        BadInputError: for an argument that cannot work, or (when training starts) thresholds that do not fit.
    """

    wants_trace = True

    def __init__(
        self,
        step: float,
        thresholds: Mapping[str, float] | str | Path | None,
        *,
        mode: Literal["crossing", "paper"] = "crossing",
        check: Literal["path", "final"] | None = None,
        locate: Literal["auto", "bisection"] = "auto",
        bisections: int = 4,
        initial: float | None = None,
        floor: float | None = None,
        cap: float | None = None,
        reset_failed: bool = False,
        repeats: Literal["mean", "min", "last"] = "mean",
        update: Literal["iteration", "epoch"] = "iteration",
        key: str = "sample_id",
        final_terms: Literal["auto", "eval"] = "auto",
        radii_of_interest: float | None = None,
        output_dir: str | Path | None = None,
        history: bool = False,
        hash_ids: bool = False,
        summary_writer: Any = None,
        fit: Mapping[str, Any] | None = None,
        fit_on: Literal["samples", "epoch"] | Iterable[Any] = "samples",
        judged: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.judged = None if judged is None else _names(judged)
        self._source = ThresholdSource(thresholds, fit, fit_on)
        require_choice("final_terms", final_terms, ["auto", "eval"])
        self.rule = MarginRule(
            self._source.known or {},
            step,
            floor=floor,  # type: ignore[arg-type]  # None is the rule's default
            cap=math.inf if cap is None else cap,
            mode=mode,
            check=check,  # type: ignore[arg-type]
            locate=locate,
            bisections=bisections,
            reset_failed=reset_failed,
        )
        self.store = MarginStore(positive_number("initial", step if initial is None else initial), repeats, update)
        self.log = MarginLog(output_dir, history, summary_writer)
        if not self.rule.floor <= self.store.initial <= self.rule.cap:
            raise BadInputError(
                f"margins start at {self.store.initial:g}, and lie between {self.rule.floor:g} and {self.rule.cap:g}, "
                "their floor and cap; widen them"
            )
        self.key = key
        self.final_terms = final_terms
        if radii_of_interest is not None:
            radii_of_interest = positive_number("radii_of_interest", radii_of_interest)
        self.radii_of_interest = radii_of_interest
        self.hash_ids = hash_ids
        self.epoch = 0
        self._restored = False
        self._folder = ""  # that samples are named from by their files
        self._contents: dict[str, str] = {}  # of some samples, which tell this data set from others
        self._unlisted: frozenset[str] | None = None  # restored names, where the data set does not list its own
        self._met: set[str] = set()  # in this epoch
        self._network = OneNetwork("margins", type(self).__name__)

    # What a trainer sees

    def attach(self, engine: Engine) -> None:
        super().attach(engine)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        engine.add_event_handler(Events.COMPLETED, _require_batches)

    @property
    def step(self) -> float:
        """By how much a margin grows."""
        return self.rule.step

    @property
    def mode(self) -> str:
        """``"crossing"`` or ``"paper"``."""
        return self.rule.mode

    @property
    def thresholds(self) -> Thresholds | None:
        """Of every loss term; None while they are still to be fitted."""
        return self._source.known

    @property
    def margins(self) -> dict[str, float]:
        """All margins by sample id, or by its hash."""
        return dict(self.store.margins)

    @property
    def ever_shrunk(self) -> float:
        """The share of the visited samples whose margin was smaller after some update than before it."""
        return self.store.ever_shrunk

    def margin(self, sample_id: str) -> float:
        """The margin of a sample."""
        return self.store.margin(self._kept_as(sample_id))

    def ids(self, batch: Any, size: int) -> list[str]:
        return [self._kept_as(name) for name in batch_ids(batch, self.key, size, self._folder)]

    def _kept_as(self, sample_id: str) -> str:
        """What a sample is called here, in checkpoints and in tables."""
        return hashed_id(sample_id) if self.hash_ids else sample_id

    def radii(self, engine: Any, batch: Any, size: int) -> Tensor:
        names = self.ids(batch, size)
        self._met.update(names)
        return torch.tensor([self.store.margin(name) for name in names], dtype=torch.float32)

    def observe(self, trace: AttackTrace) -> None:
        assert self.thresholds is not None  # training has started
        absent = next((name for name in self.judged or () if name not in trace.final), None)
        if absent is not None:
            names = ", ".join(trace.final)
            raise BadInputError(f"margins are judged by {absent!r}, and the task has the loss terms {names}")
        self.thresholds.check_terms(self.judged or trace.final)
        changed = self.rule(trace)
        self.store.visit(trace.ids, changed.margins.tolist(), changed.crossed.tolist(), self._told(trace).tolist())

    def _told(self, trace: AttackTrace) -> Tensor:
        """Whether an attack tells anything of a sample's margin, (B,), which stays otherwise.

        It does not of a sample without any of the terms, such as a picture without landmarks, or with one that is NaN,
        such as a patch all of whose labels the loss ignores.
        """
        names = list(self.judged or trace.final)
        nowhere = torch.stack([trace.final[one].isnan() | trace.path_terms[one].isnan().any(dim=0) for one in names])
        told = ~nowhere.any(dim=0)
        if trace.defined is not None:
            told &= torch.stack([trace.defined[name] for name in names]).any(dim=0)
        return told

    # The course of a training

    def _start(self, engine: Engine) -> None:
        self._meet_checkpoints(engine)
        seen = self._as_supervised(engine)
        network: Any = getattr(seen, "network", None)
        self._network.require(bare(network), learned=bool(self.store.of_visited()))
        loader = engine.data_loader  # type: ignore[attr-defined]
        dataset = getattr(loader, "dataset", None)
        self._folder = agreed_folder(dataset)
        known = dataset_ids(dataset, self.key, self._folder)
        renamed = {} if known is None else self._meet_data(dataset, [self._kept_as(name) for name in known])
        self._unlisted = frozenset(self.store.margins) if self._restored and known is None else None
        if self.thresholds is None:
            assert self._task_of is not None  # the training step is known since the start
            self._use(self._source.fitted(seen, self._task_of(seen)).of_terms(self.judged))
        self._tell(engine, len(known) if known is not None else None)
        self.log.begin(self.epoch, self.store.margins, renamed)

    def _meet_checkpoints(self, engine: Engine) -> None:
        """Join the checkpoints of the trainer's savers, and come back from those of its loaders."""
        state, folder = join_checkpoints(engine, "margins", self)
        if state is not None and not self._restored:
            self.load_state_dict(state)
        self.log.output_dir = self.log.output_dir or folder
        if self.log.output_dir is None and idist.get_rank() == 0:  # other processes of a bundle have no saver
            _LOG.warning("the trainer has no CheckpointSaver and the margins no output_dir: margins will not be kept")

    def _meet_data(self, dataset: Any, known: Sequence[str]) -> dict[str, str]:
        """Give every sample of a data set a margin, and refuse restored ones of another data set.

        Returns:
            What samples are called now that were called otherwise in the checkpoint.
        """
        renamed: dict[str, str] = {}
        if self._restored:
            renamed = names_now(self.store.margins, dataset, self.key, self._folder, hashed=self.hash_ids)
            self.store.rename(renamed)
            _match(known, self.store.margins)
            then = {renamed.get(name, name): held for name, held in self._contents.items()}
            check_contents(then, contents_of(dataset, known, then), "the margins that were restored")
        self._contents = contents_of(dataset, known)
        self.store.expect(known)
        return renamed

    def _use(self, thresholds: Thresholds) -> None:
        self._source.known = thresholds
        self.rule = dataclasses.replace(self.rule, thresholds=thresholds)

    def _tell(self, engine: Engine, samples: int | None) -> None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.rule.thresholds.items())
        _LOG.info("margins: step %g, thresholds %s", self.step, values)
        visits = visits_to_come(engine, samples, self.epoch)
        if visits is None:
            return
        epochs = (engine.state.max_epochs or 0) - self.epoch
        updates = min(visits, epochs) if self.store.update == "epoch" else visits
        largest = max([self.store.initial, *self.store.margins.values()])
        self.log.tell_reach(min(self.rule.cap, largest + self.step * updates), visits, self.radii_of_interest)

    def _end_epoch(self, engine: Engine) -> None:
        if self._unlisted is not None:  # before anything of this epoch is kept
            met, kept = self._met, self._unlisted
            if 2 * len(met & kept) < len(met):  # what a saver writes of this training, too, is of the other data set
                self.store.forget(met - kept)
            _match(met, kept)
        self._met, self._unlisted = set(), None
        visited = self.store.merge()
        self.epoch = engine.state.epoch
        margins = self.store.of_visited()
        at_floor = sum(margin <= self.rule.floor * _AT_FLOOR for margin in margins) / len(margins) if margins else 0.0
        row = {"visited": visited, **self.store.end_counts(), "ever_shrunk": self.ever_shrunk, "at_floor": at_floor}
        self.log.write(self.epoch, row, margins, self.store.margins)
        if margins:  # found there by every handler that logs metrics, all of which stand behind this one
            spread = distribution(margins)
            engine.state.metrics |= {f"robust_margin_{name}": spread[name] for name in ("p10", "p50", "p90")}

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Primitives and tensors only, as ``torch.load(..., weights_only=True)`` asks for."""
        return {**self.store.state_dict(), **self._settings(), "contents": dict(self._contents)}

    def state_dict_without_ids(self) -> dict[str, Any]:
        """What a file that is handed on may hold: no ids, and the margins by their size, so that the order tells none.

        It cannot be continued from.
        """
        return {**self.store.state_dict_without_ids(), **self._settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; the thresholds saved with it hold.

        Raises:
            BadInputError: for margins without sample ids, those that no training can have, and for something else.
        """
        if isinstance(state, Mapping) and "margins" in state and "ids" not in state:
            raise BadInputError(
                "the margins in the checkpoint have no sample ids, as those of final weights; continue from the "
                "checkpoint of an epoch, such as checkpoint_epoch=3.pt"
            )
        try:
            self.store.load_state_dict(state)
            if state["thresholds"]:
                self._tell_changes(state)
                self._use(Thresholds(state["thresholds"]))
            self.epoch = int(state["epoch"])
            self._contents = {str(name): str(held) for name, held in state.get("contents", {}).items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInputError(f"the margins in the checkpoint are none of AdaptiveMargins: {error!r}") from error
        self._restored = True
        self._network.forget()

    def _settings(self) -> dict[str, Any]:
        return {"thresholds": dict(self.rule.thresholds), "step": self.step, "epoch": self.epoch}

    def _tell_changes(self, state: Mapping[str, Any]) -> None:
        """Warn where a training goes on with another step, or with other thresholds than were now given."""
        if float(state["step"]) != self.step:
            _LOG.warning("the margins were learned with step %g and go on with %g", state["step"], self.step)
        if self.thresholds is not None and dict(self.thresholds) != dict(state["thresholds"]):
            _LOG.warning("the thresholds saved with the margins hold, %s, not those given", dict(state["thresholds"]))


def _names(judged: Any) -> list[str]:
    """Names of loss terms, one or more."""
    listed = list(judged) if isinstance(judged, Sequence) and not isinstance(judged, str) else []
    if not listed or not all(isinstance(name, str) for name in listed):
        raise BadInputError(f"the margins' judged is {judged!r}; it must be a list of loss terms, such as ['dice']")
    return listed


def _match(names: Collection[str], kept: Collection[str]) -> None:
    """Refuse restored margins of another data set."""
    same = sum(name in kept for name in names)
    if same < len(names) / 2:
        raise BadInputError(
            f"the margins that were restored are of another data set: {same} of {len(names)} samples have one among "
            f"{len(kept)}; start without them, or with the data they were learned on"
        )
    if same < len(names):
        _LOG.warning("%d of %d samples have no restored margin and start anew", len(names) - same, len(names))


def _require_batches(engine: Engine) -> None:
    if engine.state.iteration == 0:
        raise BadInputError(
            "the training got no batch: its data is empty, or was read to its end before (an iterator or a stream "
            "gives its samples once); give it a data set that can be read again"
        )
