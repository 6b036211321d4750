"""A stranger's bundle: its files, its engines, and what one batch shows of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ReferenceResolver
from monai.data import PersistentDataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import CheckpointLoader

from monai_robust.attacks.threat import as_norm
from monai_robust.configuration import has_id, read_configuration
from monai_robust.configuration.components import Component, components
from monai_robust.data.phantoms.whole_folder import writing_no_phantoms
from monai_robust.data.sample_ids import WithSampleIds, batch_ids, dataset_ids, first_row, image_folder
from monai_robust.engines.detectors import DetectorEngine, as_supervised
from monai_robust.errors import BadInputError
from monai_robust.overlays.engines import find_evaluator, find_trainer
from monai_robust.overlays.fitting import fitted_text
from monai_robust.pipelines.apart import quietly, same_draws
from monai_robust.pipelines.building import build, for_one_batch, parser_of, sentences, without_handlers
from monai_robust.pipelines.dry_run import OneBatch, has_warp, one_batch, windows_of
from monai_robust.pipelines.folder import BundleFolder
from monai_robust.pipelines.found import Checkpoints, Found, Images
from monai_robust.pipelines.guidance import guidance_channels
from monai_robust.pipelines.notes import NO_WEIGHTS, can_be_measured, last_channels, missing_lines, single_images
from monai_robust.pipelines.outputs import Outputs, detector_outputs, outputs_of
from monai_robust.pipelines.own_recipes import OwnRecipes, own_recipes
from monai_robust.pipelines.place import inside
from monai_robust.pipelines.saving import checkpoints_of
from monai_robust.tasks.agreement import agreement_of
from monai_robust.tasks.tensors import plain

__all__ = ["Pipeline"]

_GIB = 2**30
_KNOWN_BY = {
    "sample_id": "by the sample_id of the data list",
    "file": "by their files' names in the data list",
    "entry": "by a hash of their entries in the data list",
    "place": "by their places in the data set, which must stay as they are",
}


class Pipeline:
    """A bundle that somebody else wrote, which need not know of monai-robust and is not changed.

    Its engines are found by class, whatever they are called, and are made by MONAI's ``ConfigParser`` as
    ``monai.bundle run`` makes them from within the bundle's folder.

    Args:
        folder: its files, from :meth:`BundleFolder.read`.
        overrides: ids of the configurations and their values, as on the command line of ``monai.bundle run``.

    Example:
        >>> pipeline = Pipeline.read("bundles/hippocampus_mri_segmentation")  # doctest: +SKIP
        >>> pipeline.found.outputs.kind, pipeline.found.training.shape  # doctest: +SKIP
        ('classes', (1, 56, 40))
    """

    def __init__(self, folder: BundleFolder, overrides: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.overrides = dict(overrides or {})
        self._looked_at = folder.evaluation  # files whose evaluator stands for the evaluation

    @classmethod
    def read(
        cls,
        folder: str | Path,
        config_files: Sequence[str | Path] = (),
        overrides: Mapping[str, Any] | None = None,
    ) -> Pipeline:
        """Read a bundle's folder; ``config_files`` names the files that train where there are several trainings.

        Raises:
            BadInputError: for a folder or files that are no bundle.
        """
        return cls(BundleFolder.read(folder, config_files), overrides)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in the bundle's folder, where its relative paths and its own modules are found, until the block ends.

        Whoever runs one of its engines does so within.
        """
        with inside(self.folder.path):
            yield

    @cached_property
    def trainer_component(self) -> Component | None:
        """The supervised trainer in the training's configuration; None where nothing trains.

        Raises:
            BadInputError: for a training that cannot be served, which says why.
        """
        if not self.folder.training:
            return None
        with self.inside():
            return find_trainer(self._parser(self.folder.training).get(), self.folder.shown(self.folder.training))

    @cached_property
    def evaluator_component(self) -> Component | None:
        """The supervised evaluator in the evaluation's configuration; None where nothing evaluates.

        Raises:
            BadInputError: for an evaluation that cannot be served, which says why.
        """
        if not self.folder.evaluation:
            return None
        with self.inside():
            return find_evaluator(self._parser(self.folder.evaluation).get(), self.folder.shown(self.folder.evaluation))

    @cached_property
    def own_recipes(self) -> OwnRecipes | None:
        """The ids by which a training of its own recipes is told what to do; None where an overlay must bring one."""
        if self.trainer_component is None:
            return None
        return own_recipes(self.configuration(self.folder.training), self.trainer_component)

    def trainer(self, *, dry: bool = False) -> SupervisedTrainer:
        """A new trainer of the bundle, without its handlers.

        Args:
            dry: without caches, downloads and compilation, too: for a single batch.

        Raises:
            BadInputError: where there is none, or it cannot be made.
        """
        component = self.trainer_component
        if component is None:
            raise BadInputError(f"{self.folder.path} has no configuration that trains")
        return self._engine(self.folder.training, component, dry)

    def evaluator(self, *, dry: bool = False) -> SupervisedEvaluator:
        """A new evaluator of the bundle, without its handlers, so that it reads and writes no checkpoint; otherwise as
        :meth:`trainer`."""
        component = self.evaluator_component
        if component is None:
            raise BadInputError(f"{self.folder.path} has no configuration that evaluates")
        return self._engine(self.folder.evaluation, component, dry)

    def loader(self, identifier: str) -> Any:
        """The data loader of this id, as the training's configuration has it, or else that of the evaluation.

        Raises:
            BadInputError: where neither has one of this id, or it cannot be made.
        """
        for files in (self.folder.training, self.folder.evaluation):
            if files and ReferenceResolver.split_id(identifier)[0] in self.configuration(files):
                with self.inside(), quietly():
                    found = build(self._parser(files), identifier, self.folder.path, self.folder.metadata.packages)
                if not hasattr(found, "dataset"):
                    raise BadInputError(
                        f"{identifier} of {self.folder.path.name} is a {type(found).__name__}; name a data loader"
                    )
                return found
        raise BadInputError(
            f"{self.folder.path.name} has no id {identifier}; name a data loader of its configuration, such as "
            "validate#dataloader"
        )

    @cached_property
    def found(self) -> Found:
        """What the configurations say, and what one batch of training and one of validation show.

        The weights are those that the network starts with; nothing is trained, cached or written.

        Raises:
            BadInputError: for a bundle that cannot be served or does not run here, which says why.
        """
        if self.trainer_component is None and self.evaluator_component is None:
            raise BadInputError(f"{self.folder.path} has no trainer and no evaluator, so there is nothing to attach to")
        training, validation, unrun = self._batches()
        batches = [one[1] for one in (training, validation) if one is not None]
        outputs = self._outputs(training, validation)
        labelled = validation is not None and validation[1].prepared.targets is not None
        if training is None and not labelled:
            raise BadInputError(
                f"{self.folder.path.name} trains nothing and evaluates without labels, and without a label nothing "
                "says what would hurt its network; name the files that train it by --config_file"
            )
        loss = None if training is None else training[0].loss_function
        notes = [self.folder.metadata.problem] if self.folder.metadata.problem else []
        samples, unnamed, why = self._samples(training)
        checkpoints = self._checkpoints()
        targets = None if validation is None else validation[1].prepared.targets
        trains, saves, evaluates = training is not None, checkpoints is not None, validation is not None
        more = validation is not None and validation[1].prepared.has_arguments
        trained = None if trains or validation is None else self._trained(validation[0])
        apart = None
        if validation is not None and can_be_measured(targets) and not more:
            apart = single_images(validation[0], len(validation[1].prepared.inputs))
        refused = None if training is None or self.own_recipes is not None else training[1].refused
        last, described = batches[-1], self.folder.metadata.image_format()
        declared = None if described is None else described[1].get("num_channels")
        notes += [
            one
            for one in (
                self.folder.metadata.missing_packages(),
                last_channels(tuple(last.prepared.inputs.shape[1:]), declared),
                why,
                unrun,
                *missing_lines(trains=trains, saves=saves, evaluates=evaluates, targets=targets, more=more),
                None if trains or trained is not None else NO_WEIGHTS,
                apart,
                None if refused is None else f"there is no line that trains robustly, nor one that attacks: {refused}",
            )
            if one
        ]
        evaluator = None if validation is None else validation[0]
        size = None if validation is None else tuple(validation[1].prepared.inputs.shape[2:])
        windows = (
            None
            if evaluator is None or size is None
            else windows_of(getattr(evaluator, "windows", evaluator.inferer), size)
        )
        copies = len(last.prepared.inputs) * (1 if windows is None else windows[1])
        named = [one for one in (self.trainer_component, self.evaluator_component) if one is not None]
        return Found(
            trainer=None if self.trainer_component is None else self.trainer_component.id,
            evaluator=None if self.evaluator_component is None else self.evaluator_component.id,
            engine_names=tuple(one.name for one in named),
            outputs=outputs,
            training=None if training is None else self._images(training[1]),
            validation=None if validation is None else self._images(validation[1]),
            loss=None if loss is None else _name(loss),
            loss_tells=loss is not None and agreement_of(loss) in ("softmax", "bernoulli"),
            labelled=labelled,
            measurable=can_be_measured(targets) and not more and apart is None,
            windows=windows,
            attack_gib=last.bytes * copies / _GIB,
            samples=samples,
            checkpoints=checkpoints,
            loader=self._loader(),
            attackable=refused is None,
            trained=trained,
            unnamed=unnamed,
            notes=tuple(notes),
        )

    def loss(self) -> Any:
        """The loss function of the bundle's trainer; None where nothing trains.

        Raises:
            BadInputError: where it cannot be made.
        """
        component = self.trainer_component
        if component is None or component.config.get("loss_function") is None:  # a detector has losses of its own
            return None
        return self._part(self.folder.training, component, "loss_function")

    def postprocessing(self) -> Any:
        """The transforms of predictions, those of the evaluation before those of the training; None without any."""
        for component, files in (
            (self.evaluator_component, self._looked_at),
            (self.trainer_component, self.folder.training),
        ):
            if component is not None and component.config.get("postprocessing") is not None:
                return self._part(files, component, "postprocessing")
        return None

    def configuration(self, files: tuple[Path, ...]) -> Mapping[str, Any]:
        """Configuration files merged with the overrides, unresolved."""
        with self.inside():
            config: Mapping[str, Any] = self._parser(files).get()
        return config

    # What goes into it

    def _parser(self, files: tuple[Path, ...]) -> ConfigParser:
        metadata = self.folder.metadata.content
        return parser_of(
            files, self.folder.path, metadata, {n: v for n, v in self.overrides.items() if self._has(files, n)}
        )

    def _has(self, files: tuple[Path, ...], name: str) -> bool:
        """Whether these files read an id, or no others do that a measurement would read, so that it must be refused."""
        return has_id(read_configuration(files), name) or not has_id(read_configuration(self.folder.measuring), name)

    def _engine(self, files: tuple[Path, ...], component: Component, dry: bool) -> Any:
        with self.inside(), quietly(), writing_no_phantoms() if dry else nullcontext():
            parser = self._parser(files)
            without_handlers(parser)
            if dry:
                for_one_batch(parser, few=self.own_recipes is not None)
            engine = build(parser, component.id, self.folder.path, self.folder.metadata.packages)
        if has_warp(getattr(engine, "network", None)):
            raise BadInputError(
                f"{component.id} of {self.folder.path.name} registers images: its network moves one image onto "
                "another, and no label says what would be right, so it is not served"
            )
        return engine

    def _batches(self) -> tuple[tuple[Any, OneBatch] | None, tuple[Any, OneBatch] | None, str | None]:
        """Each engine with a batch of its own, and why the evaluation has none although there is one: it may need what
        only a training makes. Where the training validates, its validation stands in then."""
        why = None
        with same_draws():
            training = None if self.trainer_component is None else self._batch(self.trainer_component, train=True)
            validation = None
            try:
                if self.evaluator_component is not None:
                    validation = self._batch(self.evaluator_component, train=False)
            except BadInputError as error:
                if training is None:
                    raise
                validation = self._validated()
                why = f"the evaluation does not run here, and has no commands: {error}"
                if validation is not None:
                    why = f"the evaluation is for after a training, whose validation was looked at: {error}"
        return training, validation, why

    def _validated(self) -> tuple[Any, OneBatch] | None:
        """The evaluator with a batch of the validation that a training has; None where it has none that runs."""
        component = self.evaluator_component
        assert component is not None  # it was tried
        usual = [one.id for one in components(self.configuration(self.folder.training))]
        if component.id not in usual or self.folder.evaluation == self.folder.training:
            return None
        try:
            found = self._batch(component, train=False, files=self.folder.training)
        except BadInputError:
            return None
        self._looked_at = self.folder.training
        return found

    def _batch(
        self, component: Component, *, train: bool, files: tuple[Path, ...] | None = None
    ) -> tuple[Any, OneBatch]:
        files = files or (self.folder.training if train else self.folder.evaluation)
        engine: Any = as_supervised(self._engine(files, component, True))
        what = f"{component.id} of {self.folder.path.name}"
        with self.inside(), quietly(), sentences(self._parser(files), what, self.folder.metadata.packages):
            return engine, one_batch(engine, what, train=train)

    def _outputs(self, training: Any, validation: Any) -> Outputs:
        first = training or validation
        engine, batch = first
        if isinstance(engine, DetectorEngine):
            return detector_outputs(engine.detector, batch.outputs)
        loss = getattr(engine, "loss_function", None)
        ran = validation is not None or self.evaluator_component is None  # else its transforms cannot be made, either
        postprocessing = self.postprocessing() if ran else None
        one_head = None if training is None or validation is None else validation[1].outputs
        return outputs_of(batch.outputs, batch.prepared.targets, loss, postprocessing, one_head)

    def _part(self, files: tuple[Path, ...], component: Component, name: str) -> Any:
        """A new object of what an engine's configuration has under a name."""
        with self.inside(), quietly(), writing_no_phantoms():
            parser = self._parser(files)
            without_handlers(parser)
            for_one_batch(parser, few=self.own_recipes is not None)
            return build(parser, f"{component.id}#{name}", self.folder.path, self.folder.metadata.packages)

    def _images(self, batch: OneBatch) -> Images:
        inputs = plain(batch.prepared.inputs).detach().float()
        config = self.configuration(self.folder.training or self.folder.evaluation)
        guidance, by = guidance_channels(config, self.folder.metadata, inputs.shape[1])
        images = [index for index in range(inputs.shape[1]) if index not in guidance]
        own = inputs[:, images]
        return Images(
            shape=tuple(inputs.shape[1:]),
            batch=len(inputs),
            low=float(own.min()),
            high=float(own.max()),
            norm=float(as_norm("l2").size(own).median()),
            guidance=guidance,
            guided_by=by,
        )

    def _samples(self, training: tuple[Any, OneBatch] | None) -> tuple[str | None, bool, str | None]:
        """How samples are known, whether only where the data set is wrapped, and why not at all."""
        if training is None:
            return None, False, None
        engine, batch = training
        dataset = getattr(engine.data_loader, "dataset", None)
        try:
            ids = batch_ids(batch.data, "sample_id", len(batch.prepared.inputs), image_folder(dataset))
            listed = dataset_ids(dataset, "sample_id")
        except BadInputError:
            return self._named(dataset)
        if "sample_id" in first_row(batch.data):
            return f"by sample_id, such as {ids[0]!r}", False, None
        if listed is None or isinstance(dataset, PersistentDataset):  # files may be shared, or lost in a cache
            phrase, unnamed, _ = self._named(dataset)
            if unnamed and "place" not in str(phrase):
                return phrase, unnamed, None
        return f"by their files' names, such as {ids[0]!r}", False, None

    def _named(self, dataset: Any) -> tuple[str | None, bool, str | None]:
        """How samples are known where the data set is wrapped, since batches do not tell."""
        component = self.trainer_component
        assert component is not None  # it gave the batch
        try:
            with self.inside(), quietly():
                by = WithSampleIds(dataset).known.by
                fitted_text("amat", self.folder.training, sample_ids=True)
        except BadInputError as refusal:
            return None, False, f"margins (amat) cannot be kept: {refusal}"
        return f"{_KNOWN_BY[by]}, which the overlay adds to the batches", True, None

    def _checkpoints(self) -> Checkpoints | None:
        if self.trainer_component is None:
            return None
        with self.inside(), writing_no_phantoms():
            parser = self._parser(self.folder.training)
            return checkpoints_of(parser, self.folder.path, self.folder.metadata.packages, self.own_recipes)

    def _loader(self) -> str | None:
        if self.evaluator_component is None:
            return None
        with self.inside():
            config = self._parser(self.folder.evaluation).get()
            return next((one.id for one in components(config) if one.is_a(CheckpointLoader) and not one.disabled), None)

    def _trained(self, evaluator: Any) -> str | None:
        """The weights of a network that this bundle does not train (a checkpoint that is loaded, or TorchScript), as
        ``monai-robust evaluate`` takes them; None where they are not there."""
        if isinstance(evaluator.network, torch.jit.ScriptModule):
            scripts = sorted((self.folder.path / "models").glob("*.ts"))
            return f"--model models/{scripts[0].name}" if len(scripts) == 1 else None
        identifier = self._loader()
        if identifier is None:
            return None
        try:
            with self.inside():
                parser = self._parser(self.folder.evaluation)
                place = f"{identifier}#load_path"
                path = Path(str(build(parser, place, self.folder.path, self.folder.metadata.packages))).resolve()
        except BadInputError:
            return None
        if not path.is_file():
            return None
        own = path.is_relative_to(self.folder.path)
        return f"--checkpoint {shlex.quote(str(path.relative_to(self.folder.path) if own else path))}"


def _name(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__))
