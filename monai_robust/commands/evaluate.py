"""Measure a trained network of a bundle, and report on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from monai_robust.commands.words import Presets, overrides
from monai_robust.errors import BadInputError

__all__ = ["evaluate"]

_WARNED = 3


def evaluate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder; the bundle need not know of monai-robust.")],
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where outcomes.csv and the report go.")],
    checkpoint: Annotated[Path | None, typer.Option("--checkpoint", help="The trained weights.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="In their place: a file of ONNX or TorchScript, or package.module:function."),
    ] = None,
    presets: Presets = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit status 3 if a sanity check of an attack warns.")
    ] = False,
    tracking: Annotated[
        str | None, typer.Option("--tracking", help="mlflow: log the summary as metrics, beside those of the training.")
    ] = None,
) -> None:
    """Measure a trained network of a bundle, clean, under attack and corrupted, and write outcomes.csv and report.html.

    A bundle with a configuration robustness is measured by it, and every other option is an id of its configuration,
    such as --radii or --smallest_radius; its docs list them. Any other supervised bundle is measured by its own
    evaluator; options are then --radii, --norm, --attack (pgd, strong or square), --attack_steps, --queries,
    --faithful, --corruptions, --channels, --task (classification, multi_label, segmentation or key_metric, the
    evaluator's own after its postprocessing), --groups (keys of the entries of its data list to report within, such as
    sex), of segmentation --surfaces, --surface_tolerance, --lesions and --lesion_iou, --validation (the id of a data
    loader with other samples, which thresholds are fitted on), --shift_dir (a folder or data list of another site, read
    by the same pipeline), --shift_name, --explain, --sanity_samples, --cases, --case_inputs, --seed, --name,
    --config_file, and ids of its configuration, such as --dataset_dir.
    So is a model, which is run in place of the bundle's network; one without gradient is attacked by Square.
    Beside the report stands cases.html, a page of pictures of --cases samples, where some were kept.
    With --tracking mlflow the summary is logged to MLFLOW_TRACKING_URI, or to mlruns.db beside the checkpoint.
    A stopped measurement continues where it stopped. Sanity checks of the attacks stand in sanity.json and the report.

    Example: monai-robust evaluate bundles/chest_xray_classification --checkpoint model.pt --output_dir results
    --dataset_dir radiographs
    """
    from monai_robust.commands.bundles import measure_bundle
    from monai_robust.commands.foreign import has_own_evaluation, measure_foreign
    from monai_robust.evaluation.report.page import write_report
    from monai_robust.evaluation.report.tracking import check_tracking, log_summary, tracking_uri
    from monai_robust.evaluation.tables.sanity_file import read_sanity

    if tracking is not None:
        check_tracking(tracking)
    words = overrides(context.args)
    if checkpoint is not None and model is None and has_own_evaluation(bundle):
        folder = measure_bundle(bundle, checkpoint, output_dir, words, presets or ())
    else:
        folder = measure_foreign(bundle, checkpoint, output_dir, words, presets or (), model=model)
    if int(os.environ.get("RANK", "0")) > 0:  # of several processes the first one writes and tells
        return
    report = write_report([folder], output_dir / "report.html")
    print(f"report: {report}")
    if tracking is not None:
        uri = tracking_uri(checkpoint, output_dir)
        print(f"tracked: experiment {log_summary(report, uri)} at {uri}")
    if not strict:
        return
    sanity = read_sanity(folder)
    if sanity is None:
        raise BadInputError("--strict needs sanity checks, and this measurement has sanity_samples 0; set it above 0")
    for one in sanity.warnings:
        print(f"warning: {one.perturbation}, {one.check}: {one.sentence}", file=sys.stderr)
    if sanity.warnings:
        raise typer.Exit(_WARNED)
