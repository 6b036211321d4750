"""The command line: ``monai-robust`` and ``python -m monai_robust``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_robust import __version__
from monai_robust.errors import BadInputError, require_choice, user_error, user_sentence

__all__ = ["app", "main"]

_INTERRUPTED = 130
_WARNED = 3

app = typer.Typer(
    help="Attack, robust training and robustness evaluation for MONAI pipelines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


@app.command()
def overlay(
    name: Annotated[str, typer.Argument(help="A recipe (erm, at, ..., rtda), fast (after a recipe's), or attack.")],
    configs: Annotated[
        list[Path] | None,
        typer.Option("--for", help="A config file of the bundle to fit, in order; may be given several times."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where a fitted overlay goes [robust_NAME.yaml]")
    ] = None,
) -> None:
    """Print the path of an overlay that trains a bundle robustly, or evaluates it under attack.

    Example: python -m monai.bundle run --config_file "['configs/train.json', '$(monai-robust overlay rtda)']"
    """
    from monai_robust.overlays import overlay_path

    if not configs:
        print(overlay_path(name))
        return
    from monai_robust.overlays.fitting import fit_overlay

    print(fit_overlay(name, configs, output))


@app.command()
def phantoms(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="The folder to write.")],
    kind: Annotated[
        str,
        typer.Option(help="radiographs or cephalograms (DICOM), volumes (hippocampus MR, NIfTI), smears (PNG, XML)."),
    ] = "radiographs",
    patients: Annotated[
        int | None,
        typer.Option(help="Number of patients (one to three radiographs each), volumes or smears [160, else 60]"),
    ] = None,
    size: Annotated[int, typer.Option(help="Rows and columns of a film (radiographs).")] = 192,
    contrast: Annotated[float, typer.Option(help="How much a finding absorbs; less is harder (radiographs).")] = 0.22,
    seed: Annotated[int, typer.Option(help="The same seed writes the same files.")] = 0,
) -> None:
    """Write a phantom data set: chest radiographs, cephalograms, hippocampus volumes or blood smears, with labels.

    Example: monai-robust phantoms --output_dir phantoms --patients 60
    """
    from monai_robust import data

    number = patients if patients is not None else 160 if kind == "radiographs" else 60
    writers = {
        "radiographs": partial(data.write_radiograph_phantoms, patients=number, size=size, contrast=contrast),
        "volumes": partial(data.write_hippocampus_phantoms, cases=number),
        "cephalograms": partial(data.write_cephalogram_phantoms, patients=number),
        "smears": partial(data.write_blood_smear_phantoms, images=number),
    }
    require_choice("--kind", kind, list(writers))
    print(f"phantom {kind} in {writers[kind](output_dir, seed=seed, progress=True)}")


@app.command()
def datalist(
    dataset_dir: Annotated[Path, typer.Argument(help="The data set's folder, in one of the usual layouts.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="The data list to write [datalist.json, or .csv for landmarks]")
    ] = None,
    task: Annotated[str, typer.Option(help="classification, detection or landmarks.")] = "classification",
    seed: Annotated[int, typer.Option(help="Of the splits that the data set does not define.")] = 0,
) -> None:
    """Write the data list (splits, patients, and labels, boxes or points) of a data set's folder.

    It is JSON in MONAI's form for classification, a COCO file for detection and CSV for landmarks; each can be edited
    and given back to a bundle as --datalist.

    Example: monai-robust datalist radiographs --output datalist.json
    """
    from monai_robust import data

    listers: dict[str, tuple[Any, Any]] = {
        "classification": (data.classification_datalist, data.write_datalist),
        "detection": (partial(data.detection_datalist, on_bad_sample="drop_boxes"), data.write_detection_datalist),
        "landmarks": (data.landmark_datalist, data.write_landmark_datalist),
    }
    require_choice("--task", task, list(listers))
    find, write = listers[task]
    found = find(dataset_dir, seed=seed)
    target = output or Path(f"datalist.{'csv' if task == 'landmarks' else 'json'}")
    write(found, dataset_dir, target)
    counts = ", ".join(f"{len(items)} {split}" for split, items in found.items.items())
    print(f"{target}: {counts}; classes {', '.join(found.classes)}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder, with configs/train and configs/robustness.")],
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="The trained weights.")],
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where outcomes.csv and the report go.")],
    presets: Annotated[
        list[Path] | None,
        typer.Option("--preset", help="A config file that the network was trained with; may be given several times."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit status 3 if a sanity check of an attack warns.")
    ] = False,
) -> None:
    """Measure a trained network of a bundle, clean, under attack and corrupted, and write outcomes.csv and report.html.

    Every other option is an id of the bundle's configuration, such as --radii or --smallest_radius; its docs list them.
    A stopped measurement continues where it stopped. Sanity checks of the attacks stand in sanity.json and the report.

    Example: monai-robust evaluate bundles/chest_xray_classification --checkpoint model.pt --output_dir results
    --dataset_dir radiographs
    """
    from monai_robust.evaluation.bundle import measure_bundle
    from monai_robust.evaluation.findings import read_sanity
    from monai_robust.evaluation.report import write_report

    folder = measure_bundle(bundle, checkpoint, output_dir, overrides(context.args), presets or ())
    print(f"report: {write_report([folder], output_dir / 'report.html')}")
    if not strict:
        return
    sanity = read_sanity(folder)
    if sanity is None:
        raise BadInputError("--strict needs sanity checks, and this measurement has sanity_samples 0; set it above 0")
    for one in sanity.warnings:
        print(f"warning: {one.perturbation}, {one.check}: {one.sentence}", file=sys.stderr)
    if sanity.warnings:
        raise typer.Exit(_WARNED)


@app.command("step-search", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def step_search(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder, with configs/train and configs/robustness.")],
    steps: Annotated[str, typer.Option("--steps", help="Candidates, separated by commas.")],
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where trainings, table and figure go.")],
    presets: Annotated[
        list[Path] | None,
        typer.Option("--preset", help="A config file to read after the bundle's own; may be given several times."),
    ] = None,
) -> None:
    """Search the step of AMAT's margins by AUC_robust on the validation split; a stopped search goes on.

    Every other option is an id of the bundle's configuration.

    Example: monai-robust step-search bundles/hippocampus_mri_segmentation --steps 1,2,4 --output_dir steps
    --robust#thresholds model.pt
    """
    from monai_robust.evaluation.step_search import best_step, search_step

    try:
        candidates = [float(step) for step in steps.split(",")]
    except ValueError:
        raise BadInputError(f"--steps is {steps!r}; it takes numbers separated by commas, such as 0.5,1,2") from None
    table = search_step(bundle, candidates, output_dir, overrides(context.args), presets or ())
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    best = best_step(table)
    print(f"best: step {best:g}; table {output_dir / 'step_search.csv'}, figure {output_dir / 'step_search.png'}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders with outcomes.csv and run.json, one a run.")],
    output: Annotated[Path, typer.Option("--output", help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Compare finished evaluations in one self-contained HTML report, from their tables alone.

    Example: monai-robust report results/erm results/rtda --output report.html
    """
    from monai_robust.evaluation.report import write_report

    print(f"report: {write_report(runs, output)}")


@app.command()
def demo(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where everything goes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of phantoms, weights and batches.")] = 0,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The bundle's folder [bundles/chest_xray_classification]")
    ] = None,
) -> None:
    """The main job end to end: phantom radiographs, training by ERM and RTDA, evaluation of both, one report.

    Example: monai-robust demo --output_dir demo
    """
    from monai_robust.evaluation.demo import run_demo

    run_demo(output_dir, seed=seed, bundle=bundle)


def overrides(arguments: list[str]) -> dict[str, str]:
    """``--id value`` and ``--id=value`` pairs of a bundle's configuration.

    Raises:
        BadInputError: for a word that is no option, or an option without a value.
    """
    pairs: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("--"):
            raise BadInputError(f"{word!r} is no option; give --id value, an id of the bundle's configuration")
        name, equals, value = word[2:].partition("=")
        following = value if equals else next(words, None)
        if following is None:
            raise BadInputError(f"--{name} has no value; give --{name} value")
        pairs[name] = following
    return pairs


def main() -> None:
    """Run the command line; what a user can mend ends in one line and exit status 2."""
    try:
        status = app(standalone_mode=False)
    except typer.Abort:
        status = _INTERRUPTED
    except Exception as error:
        line = _usage(error) or _sentence(error)
        if line is None:
            if not isinstance(user_error(error), KeyboardInterrupt):
                raise
            status = _INTERRUPTED
        else:
            status = 2
            print(line, file=sys.stderr)
    if status == _INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(status)


def _sentence(error: Exception) -> str | None:
    sentence = None if isinstance(user_error(error), KeyboardInterrupt) else user_sentence(error)
    return None if sentence is None else f"error: {sentence}"


def _usage(error: Exception) -> str | None:
    """What to say of a wrong word on the command line; ``None`` for anything else."""
    if not hasattr(error, "format_message"):  # typer's own base class of usage errors has moved between its versions
        return None
    message = error.format_message()
    return message if "\n" in message else f"error: {message.rstrip('.')}; add --help to see what there is"
