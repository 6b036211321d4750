"""What the smallest flipping radius of an image says of the network's errors, as Markdown and, with --figure, as a
picture, of the runs of studies/pilots/brain_mr_results.sh.

python studies/pilots/image_sensitivity_table.py RUN_FOLDER... [--figure FILE.png]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from monai_robust.evaluation.report.nearest import radii_of, searches_of
from monai_robust.evaluation.report.triage import triage_frames
from monai_robust.evaluation.sections.drawing import COLOURS, STYLE
from monai_robust.evaluation.statistics.triage import scores_over_coverage
from monai_robust.evaluation.tables.run_folder import Run, read_run
from monai_robust.evaluation.tasks.registry import report_of

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


def images(run: Run) -> pd.DataFrame:
    """Of each test image: label, whether it is read rightly, confidence, smallest radius; by its id."""
    radii = radii_of(run, searches_of(run)[0]).set_index("sample_id")["radius"]
    clean = run.clean.set_index("sample_id")
    said = clean[[f"probability_{index}" for index in range(len(run.classes))]]
    return clean[["label", "score"]].assign(radius=radii, confidence=said.max(axis=1))


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(one) for one in cells)} |")


def head(*cells: str) -> None:
    row(*cells)
    row(*["---"] * len(cells))


def fitted(runs: Sequence[Run]) -> None:
    """The paper's Table 2: images below a radius that was fitted on validation are left out."""
    frame = triage_frames(runs, report_of(runs[0].task))["triage"]
    head("seed", "threshold", "set aside", "accuracy", "of those left", "change (95 % interval)")
    for run, (_, one) in zip(runs, frame.iterrows(), strict=True):
        low, high = 100 * one["change_low"], 100 * one["change_high"]
        change = f"{100 * one['change']:+.1f} ({low:+.1f} to {high:+.1f})"
        percents = [f"{100 * one[name]:.1f}" for name in ("set_aside", "score", "left_by_threshold")]
        row(run.info["seed"], f"{one['threshold']:.3f}", *percents, change)


def covered(blocks: Sequence[pd.DataFrame]) -> None:
    """Accuracy of what is left to the network, by radius and by confidence."""
    head("seed", "order", *(f"{100 * share:.0f} %" for share in COVERAGES), "AUC for wrong images")
    for seed, block in enumerate(blocks):
        for order in ("radius", "confidence"):
            left = scores_over_coverage(block[order], block["score"], COVERAGES)
            area = roc_auc_score(block["score"] > 0, block[order].rank())
            row(seed, order, *(f"{100 * one:.1f}" for one in left), f"{area:.3f}")


def by_class(runs: Sequence[Run], blocks: Sequence[pd.DataFrame]) -> None:
    head("class", "seed", "images", "accuracy", "median radius", "read rightly", "wrongly", "among the fifth set aside")
    for index, name in enumerate(runs[0].classes):
        for seed, block in enumerate(blocks):
            aside = block["radius"].rank(method="first") <= round(0.2 * len(block))
            own = block[block["label"] == index]
            right, wrong = (own.loc[own["score"] == value, "radius"].median() for value in (1, 0))
            numbers = [
                f"{own['radius'].median():.3f}",
                *(("–" if np.isnan(one) else f"{one:.3f}") for one in (right, wrong)),
            ]
            percent = f"{100 * aside[block['label'] == index].mean():.0f} %"
            row(name, seed, len(own), f"{100 * own['score'].mean():.1f}", *numbers, percent)


def between(blocks: Sequence[pd.DataFrame]) -> None:
    """How far two networks agree on which images are sensitive."""
    first, second = blocks[:2]
    second = second.loc[first.index]
    rank = spearmanr(first["radius"], second["radius"]).statistic
    aside = [one["radius"].rank(method="first") <= round(0.2 * len(one)) for one in (first, second)]
    both = int((aside[0] & aside[1]).sum())
    wrong = [one["score"] == 0 for one in (first, second)]
    same = f"{both} of the {int(aside[0].sum())} that each sets aside are the same"
    print(f"rank correlation of the radii of two seeds: {rank:.2f}; {same};")
    print(f"wrong in both {int((wrong[0] & wrong[1]).sum())}, in one {int((wrong[0] ^ wrong[1]).sum())}")
    for seed, block in enumerate(blocks):
        lacking = int(np.isinf(block["radius"]).sum())
        own = spearmanr(block["radius"], block["confidence"]).statistic
        told = f"median radius {block['radius'].median():.3f}, none found of {lacking} images"
        print(f"seed {seed}: {told}; rank correlation of radius and confidence {own:.2f}")


def figure(blocks: Sequence[pd.DataFrame], path: Path) -> None:
    """Radii of right and wrong images, and accuracy over coverage."""
    with matplotlib.rc_context(STYLE):
        drawn, axes = pyplot.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
        for seed, block in enumerate(blocks):
            for value, label, style in ((1, "read rightly", "-"), (0, "read wrongly", "--")):
                own = np.sort(block.loc[block["score"] == value, "radius"])
                shares = 100 * np.arange(1, len(own) + 1) / len(own)
                axes[0].step(own, shares, style, where="post", color=COLOURS[seed], label=f"seed {seed}, {label}")
            for order, style in (("radius", "-"), ("confidence", ":")):
                shares = np.linspace(0.3, 1, 71)
                left = scores_over_coverage(block[order], block["score"], list(shares))
                axes[1].plot(100 * shares, 100 * left, style, color=COLOURS[seed], label=f"seed {seed}, by {order}")
        axes[0].set(xlabel="smallest L2 radius", ylabel="images that give way [%]", ylim=(0, 101), xlim=(0, None))
        axes[1].set(xlabel="images left to the network [%]", ylabel="accuracy of those [%]")
        axes[1].invert_xaxis()
        for one in axes:
            one.legend(fontsize=8)
        drawn.savefig(path, dpi=110)


def main(arguments: Sequence[str]) -> None:
    at = arguments.index("--figure") if "--figure" in arguments else len(arguments)
    runs = [read_run(Path(folder)) for folder in arguments[:at]]
    blocks = [images(run) for run in runs]
    fitted(runs)
    print()
    covered(blocks)
    print()
    by_class(runs, blocks)
    print()
    between(blocks)
    if at < len(arguments):
        figure(blocks, Path(arguments[at + 1]))


if __name__ == "__main__":
    main(sys.argv[1:])
