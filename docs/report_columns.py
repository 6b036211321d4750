"""What the tables of a report say, column by column: the text of a page of the reference, and of the test that reads
the tables that reports really write."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["COMMON", "STATISTICS", "TABLES", "TRAINING", "told"]

# Columns that mean the same wherever they stand.
COMMON = {
    "run": "the run's position among those that the report was given, from 0",
    "name": "what the report calls a run; runs of one name are replicates",
    "perturbation": "`clean`, or the name of an attack, corruption, search or other site",
    "kind": "`clean`, `attack`, `corruption`, `nearest` or `shift`",
    "norm": "of the radius: `l2`, `linf`, or empty",
    "severity": "of an attack its radius, of a corruption what its table says; 0 if clean",
    "n_runs": "how many runs the name has",
    "patients": "how many different patients the samples are of",
}

SUMMARY = {
    "group": "empty in rows over all samples; else the column by which samples are grouped",
    "value": "of the group",
    "radius_percent": "an L2 radius in percent of the mean norm of the clean inputs",
    "n": "samples that have a score",
    "score": "the mean score of a sample: of classes the accuracy, else Dice, radial error in mm, average IoU, metric",
    "severities": "over how many severities the mean is",
}

# What a task measures. A column may end in a class or landmark, in _std, _low or _high.
STATISTICS = {
    "accuracy": "share of images that are classified rightly",
    "balanced_accuracy": "mean of the shares of each class that are classified rightly",
    "f1": "of the second of two classes; of more the mean over classes",
    "auroc": "area under the ROC curve; of several classes or findings the mean of those that have one",
    "average_precision": "area under the precision-recall curve, mean likewise",
    "brier": "Brier score of all known labels",
    "brier_multiclass": "Brier score, summed over the classes, 0 to 2",
    "brier_binary": "Brier score of two classes, 0 to 1",
    "brier_reliability": "part of the Brier score: how far probabilities are from shares",
    "brier_resolution": "part of it: how far shares are from the overall share",
    "brier_uncertainty": "part of it: that of the data",
    "brier_tempered": "the Brier score at the temperature",
    "rms_calibration_error": "of the top label, 15 bins of equal mass, debiased",
    "expected_calibration_error": "ECE: 15 bins of equal width",
    "ece_tempered": "the same at the temperature",
    "temperature": "fitted on the validation run",
    "entropy": "mean entropy of the predicted probabilities, in nats",
    "all_right": "share of images of which every known label is right",
    "label_accuracy": "share of known labels that are right",
    "threshold_RULE": "probability from which a case is called one; fitted on the validation run by the rule",
    "sensitivity_RULE": "share of cases found at that threshold",
    "specificity_RULE": "share of controls left alone at it",
    "ppv_RULE": "positive predictive value at it and the stated prevalence",
    "npv_RULE": "negative predictive value, likewise",
    "adi": "average Dice index, AMAT eq. 3",
    "foreground_dice": "Dice of the classes that an image holds",
    "tvdi": "total voxel Dice index, AMAT eq. 5",
    "volume_dice": "Dice of whole volumes, mean over volumes",
    "iou": "intersection over union of whole volumes",
    "rvd": "relative volume difference, (found - true) / true",
    "absolute_rvd": "its absolute value",
    "hd95": "Hausdorff distance at the 95th percentile, in mm or pixels",
    "nsd": "normalised surface distance: share of both surfaces within the tolerance of the other",
    "without_hd95": "images with a class in truth or prediction alone, which have no HD95",
    "lesion_sensitivity": "share of lesions that are found",
    "false_components": "predicted components that meet no lesion, per image",
    "mre": "mean radial error, in mm",
    "sd": "standard deviation of the radial error, in mm",
    "sdr_2": "share of landmarks within 2 mm; `sdr_2_<l>` that of landmark l",
    "sdr_2.5": "within 2.5 mm",
    "sdr_3": "within 3 mm",
    "sdr_4": "within 4 mm",
    "map": "mean average precision, IoU 0.5 to 0.95",
    "map_50": "mean average precision at IoU 0.5",
    "froc": "mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image",
    "sensitivity_at_RATE_fp": "sensitivity at so many false positives an image",
    "sensitivity_at_threshold": "at the score that was fitted on the validation run",
    "false_positives_at_threshold": "per image, at that score",
    "average_iou": "mean IoU of all detections that count",
    "detections_per_image": "detections that count, per image",
    "loss": "mean of what the attacks raise",
}

# For each table what a row is, and its own columns.
TABLES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "summary": ("a name, group value, perturbation and severity; replicates put together", SUMMARY),
    "summary_of_runs": ("the same for each run by itself", SUMMARY),
    "summary_by_patient": ("as `summary`, with the images of a patient put together", SUMMARY),
    "means_over_severities": ("a name, group value and perturbation, the mean over its severities", SUMMARY),
    "breaking_radii": (
        "a name and attack",
        {
            "radius_at_half_score": "where the score is half of the clean one, between measured radii by a line",
            "radius_at_twice_error": "where the error is twice the clean one; in place of the former, of errors",
            "percent_of_image_norm": "that radius in percent of the mean norm (L2)",
            "largest_radius": "that was measured",
            "undefined": "why there is no such radius",
        },
    ),
    "auc_robust": (
        "a name and attack; `auc_robust_<measure>` of further measures",
        {
            "auc_robust": "AMAT eq. 4: the root of the clean value times the mean over radii",
            "largest_radius": "up to which",
        },
    ),
    "paired_differences": (
        "a name other than the baseline, perturbation, severity (empty: their mean) and statistic",
        {
            "baseline": "the name that is compared with",
            "statistic": "as in `summary`",
            "value": "of the name",
            "baseline_value": "of the baseline, on the same samples",
            "difference": "the former less the latter, with its 95 % interval",
            "p": "two-sided, from exchanging patients",
            "samples": "that both were measured on",
            "identical": "whether the two differ in no patient",
        },
    ),
    "shift_differences": (
        "a name, other site and statistic",
        {
            "shift": "the other site",
            "statistic": "as in `summary`",
            "value": "there",
            "clean_value": "on the run's own clean samples",
            "difference": "the former less the latter, with its 95 % interval or the spread over runs",
            "samples": "there",
            "clean_samples": "the run's own",
            "clean_patients": "theirs",
        },
    ),
    "subgroup_gaps": (
        "a name, group and perturbation",
        {
            "group": "the column by which samples are grouped",
            "worst": "value of the group that stands worst",
            "worst_value": "its measure",
            "best": "value of the group that stands best",
            "best_value": "its measure",
            "gap": "the difference, 0 or more, with its 95 % interval",
            "not_rated": "groups with too few patients",
            "undefined": "groups in which the measure has no value",
        },
    ),
    "corruption_errors": (
        "a name and corruption, then `all`",
        {
            "corruption_error": "errors over all severities, divided by the baseline's",
            "relative_corruption_error": "the same of what is lost to the clean errors",
        },
    ),
    "confusion": (
        "a name, perturbation, severity, label and prediction",
        {"label": "true class, from 0", "prediction": "class that is said", "images": "how many; replicates added up"},
    ),
    "reliability": (
        "a run and bin of 15, empty ones left out",
        {"confidence": "mean probability in the bin", "accuracy": "share that is right", "samples": "in the bin"},
    ),
    "roc_curves": (
        "a point of a curve; clean, and under each attack at its largest radius",
        {
            "run": "position of the run, or `mean` of those of a name",
            "finding": "class or finding",
            "threshold": "on the probability; none of a mean",
            "false_positive_rate": "1 less specificity",
            "sensitivity": "at that rate",
        },
    ),
    "smallest_radius": (
        "an image and search, sorted by radius and without the sample's id; the columns of `groups` stand between",
        {"score": "when clean", "radius": "smallest that was found: 0 if none is needed, infinite if none was found"},
    ),
    "smallest_radius_of_runs": (
        "a run and search",
        {
            "images": "that have a score when clean",
            "median": "radius",
            "median_percent": "of the mean norm (L2)",
            "not_found": "share of images without any such radius",
            "already": "share that needs no change",
            "median_right": "of rightly classified images",
            "median_wrong": "of wrongly classified images",
        },
    ),
    "triage": (
        "a run and search",
        {
            "images": "that have a score when clean",
            "score": "their mean",
            "left": "mean score without the fifth with the smallest radii",
            "left_by_confidence": "without as many that the network is least sure of",
            "over_coverages": "mean of the mean scores over all coverages, by radius",
            "over_coverages_confidence": "the same by confidence",
            "wrong": "images that are classified wrongly",
            "auc": "with which a small radius tells wrong from right",
            "threshold": "radius fitted on the validation run",
            "validation_images": "that it was fitted on",
            "set_aside": "share of images below it",
            "left_by_threshold": "mean score of the others",
            "change": "that less the mean of all, with its 95 % interval",
            "STATISTIC_left": "the task's own measure of the images that are left, where it is no mean of scores",
        },
    ),
    "risk_coverage": (
        "a run, search, order and coverage",
        {
            "order": "`radius` or `confidence`",
            "coverage": "share of images that are left to the network",
            "score": "their mean",
        },
    ),
    "worklist": (
        "an image of a run, in the order in which a person should read them; names samples and patients",
        {
            "run": "the run's name",
            "seed": "of its training",
            "fold": "of its training",
            "split_seed": "of its data",
            "sample_id": "which image",
            "patient_id": "whose",
            "radius": "smallest that was found",
            "read_first": "whether it is below the threshold of the validation run, or else in the first fifth",
            "prediction": "the class that is said",
            "confidence": "its probability, or what the task has for it",
        },
    ),
    "sanity": (
        "a finding of a run on an attack",
        {
            "check": "which",
            "status": "`pass`, `warn` or `not_applicable`",
            "sentence": "what was seen, and what it means",
        },
    ),
    "own_metrics": (
        "a run, perturbation, severity and metric of the evaluator's own",
        {"metric": "its name", "value": "over all samples at once", "samples": "that it was computed of"},
    ),
    "explanation": (
        "an explained sample of a run",
        {
            "place": "among the explained ones, from 0",
            "dice_of_predictions": "of the clean and the attacked prediction (segmentation)",
            "rank_correlation_METHOD": "Spearman's, of the pixels of the clean and the attacked map",
            "top_overlap_METHOD": "overlap of their 10 % most important pixels",
        },
    ),
    "embedding": (
        "a point of a run's features in the plane",
        {
            "first": "coordinate; has no unit",
            "second": "coordinate",
            "kind": "`training`, `test` or `adversarial`",
            "label": "true class",
            "prediction": "class that is said",
        },
    ),
    "case_ids": (
        "a case of `cases.html`; names samples and patients",
        {"case": "its number on the page", "sample_id": "which image", "patient_id": "whose"},
    ),
    "skipped": (
        "a sample that could not be used; names files",
        {"run": "the run's name", "file": "which", "reason": "why"},
    ),
    "epoch_times": (
        "a run and epoch",
        {
            "epoch": "from 1",
            "seconds": "it took, on the wall",
            "processor_seconds": "of this process; files of earlier versions lack it",
        },
    ),
    "margins": (
        "a run and epoch",
        {
            "epoch": "from 1",
            "samples": "that have a margin",
            "mean": "margin of those that were attacked so far",
            "minimum": "the smallest",
            "p10": "10th percentile",
            "p50": "median",
            "p90": "90th percentile",
            "maximum": "the largest",
            "ever_shrunk": "share whose margin was smaller after some visit than before it",
        },
    ),
}

# What a training leaves beside its checkpoints.
TRAINING: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "epoch_times.csv": (
        "an epoch",
        {"epoch": "from 1", "seconds": "on the wall", "processor_seconds": "of this process"},
    ),
    "margins.csv": (
        "an epoch",
        {
            **TABLES["margins"][1],
            "visited": "samples that were attacked so far",
            "enlarged": "margins that grew in this epoch",
            "refined": "margins that a threshold was crossed within",
            "at_floor": "share that cannot be refined further",
        },
    ),
    "margin_histogram.csv": (
        "an epoch and bin",
        {"epoch": "from 1", "low": "end of the bin", "high": "end of the bin", "samples": "margins in it"},
    ),
    "margins_by_sample.csv": (
        "an epoch and sample; names samples",
        {"epoch": "from 0, before the first", "sample_id": "which, or its digest (`hash_ids`)", "margin": "its radius"},
    ),
    "step_search.csv": (
        "a candidate step and attack",
        {
            "step": "of the margins",
            "perturbation": "the attack",
            "clean": "what the step is chosen by, of clean images; then a column for each radius",
            "auc_robust": "AMAT eq. 4",
            "higher_is_better": "whether the measure is none of errors",
        },
    ),
}

_ENDS = ("_low", "_high", "_std")
_RULES = ("youden", "90", "95")


def told(table: str, column: str) -> str | None:
    """What a column of a report's table means; None where nothing is said of it.

    Args:
        table: the stem of its CSV file.
        column: its header.
    """
    stem = next((name for name in TABLES if table == name or (name == "auc_robust" and table.startswith(name))), None)
    if stem is None:
        return None
    own = TABLES[stem][1]
    bare = column
    for end in _ENDS:
        bare = bare.removesuffix(end)
    for name in (column, bare):
        if name in own:
            return own[name]
        if name in COMMON:
            return COMMON[name]
        if own is SUMMARY and (found := _statistic(name)) is not None:
            return found
    general = re.sub(r"^(rank_correlation|top_overlap)_\w+$", r"\1_METHOD", column)
    if column.endswith("_left") and _statistic(column.removesuffix("_left")) is not None:
        general = "STATISTIC_left"
    if stem == "triage" and _statistic(column) is not None:
        return _statistic(column)
    return own.get(general)


def _statistic(column: str) -> str | None:
    """What is said of a statistic, of itself or of the one whose class, finding or landmark it is."""
    without = re.sub(r"_\d+$", "", column)
    for name in (column, without):
        general = re.sub(rf"_({'|'.join(_RULES)})$", "_RULE", name)
        general = re.sub(r"_at_[\d.]+_fp$", "_at_RATE_fp", general)
        if general in STATISTICS:
            return STATISTICS[general]
    return None
