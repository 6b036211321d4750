"""Measure a bundle that nobody here wrote: its own loader, network, inferer, postprocessing and key metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_robust.attacks import PGD, Square, strong_attack
from monai_robust.data import load_weights
from monai_robust.data.intensity import Scaling, checked_radius, radii_by_unit
from monai_robust.data.sample_ids import listed_items
from monai_robust.engines.detectors import as_supervised
from monai_robust.errors import BadInputError, require_choice
from monai_robust.evaluation.explanation import Explanation
from monai_robust.evaluation.measure.corruption_sweeps import corruptions
from monai_robust.evaluation.measure.file_units import evaluator_scaling
from monai_robust.evaluation.measure.perturbations import AttackSweep, CleanSweep, Sweep
from monai_robust.evaluation.measurement import Measurement
from monai_robust.evaluation.of_evaluator import EVALUATOR_TASKS
from monai_robust.evaluation.tables.cases import check_count
from monai_robust.evaluation.tasks.registry import outcomes_of
from monai_robust.networks import stored_model
from monai_robust.pipelines import Pipeline, proposed_radii
from monai_robust.scalars import checked_whole, is_number
from monai_robust.transforms.corruptions import corruption_names

__all__ = ["ForeignEvaluation", "measure_pipeline", "run_name"]


LIST_IDS = ("data_list_file_path", "data_list_path", "datalist_file", "data_list", "datalist")
"""What bundles call the file that lists their samples."""

# What is measured of segmented areas, by the keywords of its outcomes.
_MEASURES = {
    "surfaces": "surfaces",
    "surface_tolerance": "tolerance",
    "lesions": "lesions",
    "lesion_iou": "lesion_iou",
}


@dataclass(frozen=True)
class ForeignEvaluation:
    """What a bundle without a configuration of its own for it is measured under.

    Attributes:
        radii: of the attack, in intensity units of the network's input, or as text with a unit of the file (``"20HU"``,
            ``"3grey"``) or a share of the window that the pipeline clips to (``"5%"``); proposed by the norm of a batch
            where empty.
        norm: ``"l2"`` or ``"linf"``; radii are proposed for L2 alone.
        attack: ``"pgd"``, ``"strong"``, the set of attacks for the task, or ``"square"``, which follows no gradient; by
            default PGD, and Square for a network that has no gradient.
        attack_steps: of PGD, 20 by default; of the gradient attacks of the strong set, by default their own.
        queries: of Square, for each sample and radius: 1000 by default, in the strong set its own.
        faithful: of classifiers, attack at every radius with all steps, in place of a search for the smallest radius.
        corruptions: names of corruptions and of modalities (``"mr"``), of five severities each, within the window that
            the pipeline clips to, or each image's own range.
        channels: those of the input that are image, by index; all where empty.
        task: ``"classification"``, ``"multi_label"``, ``"segmentation"`` or ``"key_metric"``, in place of what is told.
        groups: keys of the entries of the bundle's data list to report within, such as ``sex``.
        surfaces: of segmentation, measure how far surfaces lie apart.
        surface_tolerance: of the normalised surface distance, in mm, or in pixels where images tell no spacing.
        lesions: of segmentation, count connected areas and those that are found.
        lesion_iou: the least intersection over union of a lesion that is found, 0 for one shared pixel.
        explain: of so many samples, what the network looks at (:class:`~monai_robust.evaluation.Explanation`); 0 for
            none.
        sanity_samples: on so many samples the attack is tried in other ways.
        cases: of so many samples pictures are kept, for the page of cases beside the report.
        case_inputs: of so many of them what the network was given is kept as well, for ``monai-robust export``.
        seed: of random starts and noise.
        name: of the run in the report; by default the bundle's folder and that of the checkpoint within it.
        validation: the id of a data loader in the bundle's training configuration, such as ``validate#dataloader``,
            with other samples than the evaluator's, which operating points are fitted on.
        shift_dir: data of another site or scanner, read by the same pipeline and measured clean beside: a folder for
            its id ``dataset_dir``, or a data list for the one of :data:`LIST_IDS` that it has.
        shift_name: what tables and reports call it.
    """

    radii: Sequence[float | str] = ()
    norm: str = "l2"
    attack: str = ""
    attack_steps: int | None = None
    queries: int | None = None
    faithful: bool = False
    corruptions: Sequence[str] = ()
    channels: Sequence[int] = ()
    task: str | None = None
    groups: Sequence[str] = ()
    surfaces: bool = True
    surface_tolerance: float = 1.0
    lesions: bool = False
    lesion_iou: float = 0.0
    explain: int = 0
    sanity_samples: int = 16
    cases: int = 40
    case_inputs: int = 0
    seed: int = 0
    name: str = ""
    validation: str = ""
    shift_dir: str = ""
    shift_name: str = "other_site"

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is read.

        Raises:
            BadInputError: with what would do.
        """
        check_count(self.cases)
        check_count(self.case_inputs, "case_inputs")
        require_choice("attack", self.attack or "pgd", ["pgd", "strong", "square"])
        require_choice("norm", self.norm, ["l2", "linf"])
        for name, least in (("explain", 0), ("sanity_samples", 0), ("seed", 0), ("attack_steps", 1), ("queries", 1)):
            value = getattr(self, name)
            if value is not None:
                checked_whole(name, value, least)
        if not is_number(self.surface_tolerance, 0):
            raise BadInputError(f"surface_tolerance is {self.surface_tolerance!r}; it must be a distance of 0 or more")
        if not is_number(self.lesion_iou, 0, 1):
            raise BadInputError(f"lesion_iou is {self.lesion_iou!r}; it must be from 0 (one shared pixel) to 1")
        if isinstance(self.radii, str) or not isinstance(self.radii, Sequence):
            raise BadInputError(f"radii is {self.radii!r}; it takes a list of radii, such as [0.5, 1]")
        corruption_names(self.corruptions)
        if self.task is not None:
            require_choice("task", self.task, list(EVALUATOR_TASKS))
        if not self.radii and self.norm != "l2":
            raise BadInputError(f"radii are proposed for the norm l2 alone; give --radii for {self.norm}")
        for radius in self.radii:
            checked_radius(radius)

    def measures(self, task: str) -> dict[str, Any]:
        """What is measured of each sample of a task, where it leaves the choice.

        Raises:
            BadInputError: for a choice that is made where the task leaves none.
        """
        given = {name: getattr(self, name) for name in _MEASURES}
        if task == "segmentation":
            return {_MEASURES[name]: value for name, value in given.items()}
        for name, value in given.items():
            if value != ForeignEvaluation.__dataclass_fields__[name].default:
                raise BadInputError(f"{name} is given, but it is for segmentation alone, and the task is {task!r}")
        return {}

    def perturbations(self, task: str, norm: float, scaling: Scaling) -> list[Sweep]:
        """Clean inputs, the attack and the corruptions.

        Args:
            task: of the measurement.
            norm: typical L2 norm of an input.
            scaling: of the pipeline's intensities, whose window bounds what is done to them.

        Raises:
            BadInputError: for a strong set that the task does not have, and units that the pipeline does not tell.
        """
        radii = radii_by_unit(self.radii or proposed_radii(norm), scaling)
        bounds: Any = scaling.bounds or "per_image"
        threat: dict[str, Any] = {"norm": self.norm, "bounds": bounds, "channels": self.channels or None}
        if self.attack == "strong":
            require_choice("task of a strong attack", task, ["classification", "multi_label", "segmentation"])
            attack: Any = strong_attack(task, steps=self.attack_steps, queries=self.queries, **threat)
        elif self.attack == "square":
            attack = Square(queries=1000 if self.queries is None else self.queries, **threat)
        else:
            attack = PGD(steps=20 if self.attack_steps is None else self.attack_steps, **threat)
        noises = corruptions(self.corruptions, task=task, bounds=bounds, channels=threat["channels"])
        attacks = [
            AttackSweep(attack, [f"{one}{unit}" for one in own], faithful=self.faithful) for unit, own in radii.items()
        ]
        return [CleanSweep(), *attacks, *noises]


def measure_pipeline(
    pipeline: Pipeline,
    checkpoint: str | Path | None,
    output_dir: str | Path,
    settings: ForeignEvaluation | None = None,
    *,
    model: str | None = None,
    progress: bool = True,
) -> Path:
    """Measure a checkpoint of a bundle, or a model in place of its network, by its own evaluator.

    Args:
        pipeline: the bundle.
        checkpoint: the trained weights, of the network that the evaluator runs; None with a model.
        output_dir: the run's folder; a stopped measurement there is continued.
        settings: what it is measured under.
        model: in place of the bundle's network: a file of ONNX or TorchScript, or a function as
            ``package.module:function`` (:func:`~monai_robust.networks.stored_model`).
        progress: show bars.

    Returns:
        ``output_dir``.

    Raises:
        BadInputError: for a bundle that cannot be evaluated, weights that are not its network's, or no model.
    """
    settings = settings or ForeignEvaluation()
    if (checkpoint is None) == (model is None):
        raise BadInputError("give --checkpoint, weights of the bundle's network, or --model, a network of its own")
    file = _weights_file(checkpoint, model)
    output_dir = Path(output_dir).resolve()
    found = pipeline.found
    if found.validation is None or not found.labelled:
        raise BadInputError(
            f"{pipeline.folder.path} has no evaluator whose batches have labels, so nothing can be measured; "
            "name the files that train and validate by --config_file"
        )
    evaluator = pipeline.evaluator()
    with pipeline.inside():
        scaling = evaluator_scaling(evaluator)
    if model is not None and as_supervised(evaluator) is not evaluator:
        raise BadInputError(
            f"{pipeline.folder.path.name} evaluates by a detector that gives its losses itself, in whose place no "
            "model of a file or a function can be run; give --checkpoint"
        )
    if model is not None:
        evaluator.network = stored_model(model, evaluator.state.device)
    elif file is not None:
        load_weights(as_supervised(evaluator).network, file)
    with pipeline.inside():
        measurement = Measurement.of(
            evaluator,
            [],
            output_dir,
            name=settings.name or run_name(file, model, pipeline.folder.path),
            task=settings.task,
            loss=pipeline.loss(),
            postprocessing=pipeline.postprocessing(),
            classes=_classes(pipeline),
            groups=list(settings.groups),
            checkpoint=file,
            record={"intensities": scaling.described(), "radii_given": [str(radius) for radius in settings.radii]},
            validation=pipeline.loader(settings.validation) if settings.validation else None,
            shifts=_shifts(pipeline, settings),
            explanation=Explanation(settings.explain) if settings.explain else None,
            sanity_samples=settings.sanity_samples,
            cases=settings.cases,
            case_inputs=settings.case_inputs,
            seed=settings.seed,
            progress=progress,
        )
        _named_by_site(measurement)
        if model is not None and not settings.attack and not measurement.has_gradient():
            settings = replace(settings, attack="square")
        measurement.outcomes = outcomes_of(measurement.task, settings.measures(measurement.task.name))
        measurement.perturbations = settings.perturbations(measurement.task.name, found.validation.norm, scaling)
        return measurement.run()


def _shifts(pipeline: Pipeline, settings: ForeignEvaluation) -> dict[str, Any]:
    """The pipeline's evaluator of another site's data, by the name of the site.

    Raises:
        BadInputError: for data that are not there, or the pipeline's own, or a pipeline that has no id for them.
    """
    if not settings.shift_dir:
        return {}
    path = Path(settings.shift_dir).expanduser().resolve()
    if not path.exists():
        raise BadInputError(f"there is no folder or data list {path} of another site (--shift_dir)")
    known = pipeline.configuration(pipeline.folder.evaluation)
    names = ["dataset_dir"] if path.is_dir() else list(LIST_IDS)
    name = next((one for one in names if one in known), None)
    if name is None:
        raise BadInputError(
            f"{pipeline.folder.path.name} has no id {' or '.join(names)}, by which its data could be other ones; "
            "--shift_dir takes a folder for dataset_dir, or a data list"
        )
    other = Pipeline(pipeline.folder, {**pipeline.overrides, name: str(path)})
    return {settings.shift_name: as_supervised(other.evaluator())}


def _named_by_site(measurement: Measurement) -> None:
    """Put the site before the ids of its samples: files of two sites may have one name.

    Raises:
        BadInputError: where the images are those that are measured.
    """
    own = _files(measurement.dataset)
    for name, shift in measurement.shifts.items():
        both = len(own & _files(shift))
        if both:
            raise BadInputError(
                f"{both} images of the shift {name} are those that are measured; give the data of another site"
            )
        shift.put_below(name)  # type: ignore[attr-defined]


def _files(samples: Any) -> set[str]:
    """The files that samples are read from, as far as their data set tells."""
    entries = listed_items(samples.dataset) or []
    return {
        str(Path(value).resolve())
        for entry in entries
        if isinstance(entry, Mapping)
        for value in entry.values()
        if isinstance(value, (str, Path)) and Path(value).is_file()
    }


def _weights_file(checkpoint: str | Path | None, model: str | None) -> Path | None:
    """Where the weights come from, for the record; None for a function."""
    file = Path(checkpoint if checkpoint is not None else str(model)).resolve()
    if checkpoint is not None and not file.is_file():
        raise BadInputError(f"there is no checkpoint {file}; train one first")
    return file if file.is_file() else None


def run_name(file: Path | None, model: str | None, bundle: Path) -> str:
    """What a run is called by default: a checkpoint by its bundle and its folder there, a model by itself."""
    if model is not None:
        return model if file is None else file.stem
    name = bundle.resolve().name
    return name if file is None or file.parent == bundle.resolve() else f"{name} ({file.parent.name})"


def _classes(pipeline: Pipeline) -> list[str] | None:
    """Names of the outputs' channels, where the bundle's metadata has one for each."""
    names = pipeline.folder.metadata.channels()
    return names if len(names) == pipeline.found.outputs.count else None
