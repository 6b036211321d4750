"""AMAT's margins: a radius for every training sample, enlarged while it does no harm, refined where it does."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_robust.attacks.guard import bare
from monai_robust.data import load_weights
from monai_robust.errors import BadInputError, require_choice
from monai_robust.handlers.checkpoints import join_checkpoints
from monai_robust.margins.crossing import along_path, along_segment, bisected
from monai_robust.margins.every_sample import EverySample, require_rereadable
from monai_robust.margins.ids import batch_ids, dataset_ids, hashed_id
from monai_robust.margins.log import append_rows, distribution, histogram, keep_epochs
from monai_robust.margins.radii import AttackTrace, SampleRadii, Terms
from monai_robust.margins.thresholds import Thresholds, fit_thresholds, read_thresholds
from monai_robust.tasks import Inferred

__all__ = ["AdaptiveMargins"]

_LOG = logging.getLogger(__name__)
_ON_SPHERE = 1 - 1e-3
_SMALLER = 1 - 1e-4  # what is less is rounding: an attack ends on its sphere up to single precision
_LEAST = 1e-6  # of a step: refining for ever must not end in a radius of 0


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

    The state is saved with the checkpoints of a ``CheckpointSaver`` among the trainer's handlers, and restored by a
    ``CheckpointLoader`` there. It names the samples, except in the final files of a ``TrainingSaver``. In several
    processes margins are merged when an epoch ends, so that all of them hold the same; in two processes a sample should
    be visited by one of them in an epoch.

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
    ) -> None:
        super().__init__()
        if thresholds is None:
            raise BadInputError(
                "adaptive margins need thresholds: a JSON file of them, or a trained checkpoint to fit them from "
                "(in a bundle, --robust#thresholds)"
            )
        require_choice("mode", mode, ["crossing", "paper"])
        check = check or ("final" if mode == "paper" else "path")
        require_choice("check", check, ["path", "final"])
        require_choice("locate", locate, ["auto", "bisection"])
        require_choice("repeats", repeats, ["mean", "min", "last"])
        require_choice("update", update, ["iteration", "epoch"])
        require_choice("final_terms", final_terms, ["auto", "eval"])
        self.step = _positive("step", step)
        self.mode, self.check, self.locate, self.repeats, self.update = mode, check, locate, repeats, update
        self.bisections = int(bisections)
        self.initial = _positive("initial", step if initial is None else initial)
        self.floor = (0.0 if mode == "paper" else self.step) if floor is None else float(floor)
        self.cap = float("inf") if cap is None else _positive("cap", cap)
        if not 0 <= self.floor <= self.cap or not self.initial <= self.cap:
            raise BadInputError(
                f"margins start at {self.initial:g} between {self.floor:g} and {self.cap:g}; widen them"
            )
        self.reset_failed = reset_failed
        self.key = key
        self.final_terms = final_terms
        self.radii_of_interest = radii_of_interest
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.history = history
        self.hash_ids = hash_ids
        self.summary_writer = summary_writer
        self.fit = dict(fit or {})
        if isinstance(fit_on, str):
            require_choice("fit_on", fit_on, ["samples", "epoch"])
        self.fit_on = fit_on
        self.thresholds: Thresholds | None = None
        if not isinstance(thresholds, (Mapping, str, Path)):
            raise BadInputError(
                f"the margins' thresholds are {thresholds!r}; they must be a file, a checkpoint, or a threshold "
                "for each loss term by name, such as {'loss': 0.3}"
            )
        self._given = thresholds
        if isinstance(thresholds, Mapping):
            self.thresholds = thresholds if isinstance(thresholds, Thresholds) else Thresholds(thresholds)
        elif Path(thresholds).suffix == ".json":
            self.thresholds = read_thresholds(thresholds)
        elif not Path(thresholds).is_file():
            raise BadInputError(f"there is no checkpoint {thresholds} to fit thresholds from")
        self.epoch = 0
        self._margins: dict[str, float] = {}
        self._visited: set[str] = set()
        self._shrunk: set[str] = set()
        self._proposals: dict[str, list[float]] = {}
        self._counts = {"enlarged": 0, "refined": 0}
        self._restored = False

    # What a trainer sees

    def attach(self, engine: Engine) -> None:
        super().attach(engine)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        engine.add_event_handler(Events.COMPLETED, _require_batches)

    def margin(self, sample_id: str) -> float:
        """The margin of a sample."""
        return self._margin(self._kept_as(sample_id))

    @property
    def margins(self) -> dict[str, float]:
        """All margins by sample id, or by its hash."""
        return dict(self._margins)

    @property
    def ever_shrunk(self) -> float:
        """The share of the visited samples whose margin was smaller after some update than before it."""
        return len(self._shrunk) / len(self._visited) if self._visited else 0.0

    def ids(self, batch: Any, size: int) -> list[str]:
        return [self._kept_as(name) for name in batch_ids(batch, self.key, size)]

    def _margin(self, name: str) -> float:
        return self._margins.get(name, self.initial)

    def _kept_as(self, sample_id: str) -> str:
        """What a sample is called here, in checkpoints and in tables."""
        return hashed_id(sample_id) if self.hash_ids else sample_id

    def radii(self, engine: Any, batch: Any, size: int) -> Tensor:
        return torch.tensor([self._margin(name) for name in self.ids(batch, size)], dtype=torch.float32)

    def observe(self, trace: AttackTrace) -> None:
        assert self.thresholds is not None  # training has started
        self.thresholds.check_terms(trace.final)
        changed, crossed = self._changed(trace)
        proposals: dict[str, list[float]] = {}
        # a sample without any loss term, such as a picture without landmarks, tells nothing of its margin
        told = [True] * len(trace.ids) if trace.defined is None else trace.defined.tolist()
        for name, margin, tells in zip(trace.ids, changed.tolist(), told, strict=True):
            if tells:
                proposals.setdefault(name, []).append(margin)
        self._visited.update(trace.ids)
        refined = sum(one and tells for one, tells in zip(crossed.tolist(), told, strict=True))
        self._counts["refined"] += refined
        self._counts["enlarged"] += sum(told) - refined
        for name, values in proposals.items():
            if self.update == "iteration":
                self._set(name, self._one_of(values))
            self._proposals[name] = self._proposals.get(name, []) + values if self.update == "epoch" else []

    # The rule

    def _changed(self, trace: AttackTrace) -> tuple[Tensor, Tensor]:
        """What an attack makes of the margin of each sample, (B,), and which samples crossed, (B,), on the CPU."""
        final = self._excess(trace.final)
        path = self._excess(trace.path_terms)  # (K, T, B)
        crossed_final = (final >= 0).any(dim=0)
        crossed = crossed_final | (path >= 0).any(dim=1).any(dim=0) if self.check == "path" else crossed_final
        if self.mode == "paper":
            at = trace.size
        else:
            at = self._crossing(trace, path, final) if bool(crossed.any()) else trace.eps
        changed = torch.where(crossed, (at + trace.eps) / 2, trace.eps + self.step)
        changed = changed.clamp(min=max(self.floor, _LEAST * self.step), max=self.cap)
        if self.reset_failed:
            failed = (self._clean_excess(trace, path) >= 0).any(dim=0)
            changed = torch.where(failed, torch.full_like(changed, self.floor or self.step), changed)
        return changed.double().cpu(), crossed.cpu()

    def _crossing(self, trace: AttackTrace, path: Tensor, final: Tensor) -> Tensor:
        """How far from the clean sample a term reaches its threshold, (B,); meaningful where a sample crossed."""
        clean = self._clean_excess(trace, path)
        if self.locate == "bisection" or not self._starts_clean(trace):

            def excess_at(share: Tensor, rows: Tensor) -> Tensor:
                return self._excess(trace.at(share, rows))

            return bisected(clean, final, excess_at, self.bisections) * trace.size
        sizes = torch.cat([trace.path_sizes, trace.size[None]])
        size, before = along_path(sizes, torch.cat([path, final[None]]))
        chord = along_segment(clean, final) * trace.size
        late = before >= trace.eps * _ON_SPHERE
        return torch.where(late, torch.minimum(chord, size), size)

    def _excess(self, terms: Terms) -> Tensor:
        """``term - threshold``, (T, B), or (K, T, B) for the terms of K iterates."""
        assert self.thresholds is not None
        return torch.stack([terms[name] - value for name, value in self.thresholds.items()], dim=-2)

    def _clean_excess(self, trace: AttackTrace, path: Tensor) -> Tensor:
        if self._starts_clean(trace):
            return path[0]
        rows = torch.arange(len(trace.eps), device=trace.eps.device)
        return self._excess(trace.at(torch.zeros_like(trace.eps), rows))

    @staticmethod
    def _starts_clean(trace: AttackTrace) -> bool:
        return len(trace.path_sizes) > 0 and not bool(trace.path_sizes[0].any())

    def _one_of(self, values: Sequence[float]) -> float:
        if self.repeats == "last":
            return values[-1]
        return min(values) if self.repeats == "min" else sum(values) / len(values)

    def _set(self, name: str, margin: float) -> None:
        if margin < self._margin(name) * _SMALLER:
            self._shrunk.add(name)
        self._margins[name] = margin

    # The course of a training

    def _start(self, engine: Engine) -> None:
        if self._task_of is None:
            raise BadInputError("the margins are used by no training step; give them to RobustUpdate(..., margins=...)")
        self._meet_checkpoints(engine)
        loader = engine.data_loader  # type: ignore[attr-defined]
        known = dataset_ids(getattr(loader, "dataset", None), self.key)
        if known is not None:
            self._match([self._kept_as(name) for name in known])
        if self.thresholds is None:
            self._fit(engine)
        self._tell(engine, len(known) if known is not None else None)
        for name in ("margins.csv", "margin_histogram.csv", "margins_by_sample.csv"):
            if self.output_dir is not None and idist.get_rank() == 0:
                keep_epochs(self.output_dir / name, self.epoch)
        if self.epoch == 0:
            self._write_history()

    def _meet_checkpoints(self, engine: Engine) -> None:
        """Join the checkpoints of the trainer's saver, and come back from those of its loader."""
        state, folder = join_checkpoints(engine, "margins", self)
        if state is not None and not self._restored:
            self.load_state_dict(state)
        self.output_dir = self.output_dir or folder
        if self.output_dir is None and idist.get_rank() == 0:  # other processes of a bundle have no saver
            _LOG.warning("the trainer has no CheckpointSaver and the margins no output_dir: margins will not be kept")

    def _match(self, known: Sequence[str]) -> None:
        """Refuse margins of another data set; give every sample of this one a margin."""
        if self._restored:
            same = sum(name in self._margins for name in known)
            if same < len(known) / 2:
                raise BadInputError(
                    f"the margins that were restored are of another data set: {same} of {len(known)} samples have one "
                    f"among {len(self._margins)}; start without them, or with the data they were learned on"
                )
            if same < len(known):
                _LOG.warning("%d of %d samples have no restored margin and start anew", len(known) - same, len(known))
        for name in known:
            self._margins.setdefault(name, self.initial)

    def _fit(self, engine: Any) -> None:
        assert self._task_of is not None
        path = Path(str(self._given))
        network = load_weights(copy.deepcopy(bare(engine.network)), path)  # type: ignore[arg-type]
        _LOG.info("fitting thresholds of the margins with %s", path.name)
        # A sampler that counts its epochs must give training the batches it would have given without this pass.
        sampler: Any = getattr(engine.data_loader, "batch_sampler", None)
        position = sampler.state_dict() if hasattr(sampler, "state_dict") else None
        self.thresholds = fit_thresholds(
            network,
            self._clean_data(engine.data_loader),
            Inferred(self._task_of(engine), lambda inputs, net: engine.inferer(inputs, net)),
            prepare_batch=engine.prepare_batch,
            device=engine.state.device,
            **self.fit,
        )
        self.thresholds.fitted["on"] = self.fit_on if isinstance(self.fit_on, str) else "a loader of its own"
        if position is not None:
            sampler.load_state_dict(position)
        if idist.get_rank() == 0:
            _LOG.info("thresholds are in %s", self.thresholds.write(path.with_suffix(".thresholds.json")))

    def _clean_data(self, loader: Any) -> Iterable[Any]:
        """What thresholds are fitted on; training must find its own data as it would have without."""
        if self.fit_on == "samples":
            return EverySample(loader)
        return require_rereadable(loader) if self.fit_on == "epoch" else self.fit_on

    def _tell(self, engine: Engine, samples: int | None) -> None:
        assert self.thresholds is not None
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.thresholds.items())
        _LOG.info("margins: step %g, thresholds %s", self.step, values)
        length, epochs = engine.state.epoch_length, engine.state.max_epochs
        batch = getattr(engine.data_loader, "batch_size", None)  # type: ignore[attr-defined]
        batch = batch or getattr(getattr(engine.data_loader, "batch_sampler", None), "batch_size", None)  # type: ignore[attr-defined]
        if samples is None or length is None or epochs is None or batch is None:
            return
        visits = length * (epochs - self.epoch) * batch * idist.get_world_size() / samples
        grown = min(visits, epochs - self.epoch) if self.update == "epoch" else visits
        reach = min(self.cap, max([self.initial, *self._margins.values()]) + self.step * grown)
        text = f"a sample is visited about {visits:.1f} times, so a margin can reach about {reach:.3g}"
        if self.radii_of_interest is not None and reach < self.radii_of_interest:
            _LOG.warning(
                "%s, below the radius %g that is to be evaluated: more epochs or a larger step would help",
                text,
                self.radii_of_interest,
            )
        else:
            _LOG.info(text)

    def _end_epoch(self, engine: Engine) -> None:
        visited = self._merge()
        self.epoch = engine.state.epoch
        margins = [margin for name, margin in self._margins.items() if name in self._visited]
        row = {"epoch": self.epoch, "samples": len(self._margins), "visited": visited, **distribution(margins)}
        at_floor = sum(margin <= self.floor / _SMALLER for margin in margins) / len(margins) if margins else 0.0
        row |= {**self._counts, "ever_shrunk": self.ever_shrunk, "at_floor": at_floor}
        self._counts = dict.fromkeys(self._counts, 0)
        if idist.get_rank() == 0 and self.output_dir is not None:
            append_rows(self.output_dir / "margins.csv", [row])
            append_rows(self.output_dir / "margin_histogram.csv", histogram(margins, self.epoch))
        self._write_history()
        if self.summary_writer is not None and margins:
            self.summary_writer.add_histogram("margins", torch.tensor(margins), self.epoch)

    def _write_history(self) -> None:
        if self.history and self.output_dir is not None and idist.get_rank() == 0:
            rows = [{"epoch": self.epoch, "sample_id": name, "margin": value} for name, value in self._margins.items()]
            append_rows(self.output_dir / "margins_by_sample.csv", rows)

    def _merge(self) -> int:
        """Bring the margins of all processes together, and apply what waits for the end of the epoch.

        Returns:
            The number of samples visited in the epoch.
        """
        visited = {
            name: values if self.update == "epoch" else [self._margins[name]]
            for name, values in self._proposals.items()
        }
        self._proposals = {}
        if idist.get_world_size() > 1:
            visited = self._from_all_ranks(visited)
        for name, values in visited.items():
            if self.update == "epoch":
                self._set(name, self._one_of(values))
            else:  # what each process has made of it already; their mean is no update of its own
                self._margins[name] = self._one_of(values)
        return len(visited)

    def _from_all_ranks(self, visited: dict[str, list[float]]) -> dict[str, list[float]]:
        own = {"visited": visited, "shrunk": sorted(self._shrunk), "counts": self._counts}
        gathered: list[Any] = [None] * idist.get_world_size()
        torch.distributed.all_gather_object(gathered, own)
        merged: dict[str, list[float]] = {}
        for part in gathered:
            for name, values in part["visited"].items():
                merged.setdefault(name, []).extend(values)
            self._visited.update(part["visited"])
            self._shrunk.update(part["shrunk"])
        self._counts = {name: sum(part["counts"][name] for part in gathered) for name in self._counts}
        return merged

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Primitives and tensors only, as ``torch.load(..., weights_only=True)`` asks for."""
        names = list(self._margins)
        return {"ids": names, **self._state_of(names)}

    def state_dict_without_ids(self) -> dict[str, Any]:
        """What a file that is handed on may hold: no ids, and the margins by their size, so that the order tells none.

        It cannot be continued from.
        """
        return self._state_of(sorted(self._margins, key=self._margin))

    def _state_of(self, names: Sequence[str]) -> dict[str, Any]:
        return {
            "margins": torch.tensor([self._margins[name] for name in names], dtype=torch.float64),
            "visited": torch.tensor([name in self._visited for name in names], dtype=torch.bool),
            "shrunk": torch.tensor([name in self._shrunk for name in names], dtype=torch.bool),
            "thresholds": dict(self.thresholds or {}),
            "step": self.step,
            "epoch": self.epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; the thresholds saved with it hold."""
        if isinstance(state, Mapping) and "margins" in state and "ids" not in state:
            raise BadInputError(
                "the margins in the checkpoint have no sample ids, as those of final weights; continue from the "
                "checkpoint of an epoch, such as checkpoint_epoch=3.pt"
            )
        try:
            self._load(state)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadInputError(f"the margins in the checkpoint are none of AdaptiveMargins: {error!r}") from error

    def _load(self, state: Mapping[str, Any]) -> None:
        names = [str(name) for name in state["ids"]]
        self._margins = dict(zip(names, state["margins"].tolist(), strict=True))
        self._visited = {name for name, flag in zip(names, state["visited"].tolist(), strict=True) if flag}
        self._shrunk = {name for name, flag in zip(names, state["shrunk"].tolist(), strict=True) if flag}
        if state["thresholds"]:
            self._tell_changes(state)
            self.thresholds = Thresholds(state["thresholds"])
        self.epoch = int(state["epoch"])
        self._restored = True

    def _tell_changes(self, state: Mapping[str, Any]) -> None:
        """Warn where a training goes on with another step, or with other thresholds than were now given."""
        if float(state["step"]) != self.step:
            _LOG.warning("the margins were learned with step %g and go on with %g", state["step"], self.step)
        if self.thresholds is not None and dict(self.thresholds) != dict(state["thresholds"]):
            _LOG.warning("the thresholds saved with the margins hold, %s, not those given", dict(state["thresholds"]))


def _positive(name: str, value: Any) -> float:
    number = not isinstance(value, bool) and isinstance(value, (int, float)) and 0 < value < float("inf")
    if not number:
        raise BadInputError(f"the margins' {name} is {value!r}; it must be a positive number")
    return float(value)


def _require_batches(engine: Engine) -> None:
    if engine.state.iteration == 0:
        raise BadInputError(
            "the training got no batch: its data is empty, or was read to its end before (an iterator or a stream "
            "gives its samples once); give it a data set that can be read again"
        )
