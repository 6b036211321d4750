"""Processor time and peak memory of a report on 10,000 samples under 100 perturbations and severities.

The folders are written first, with made-up outcomes of a classifier of three classes at two hospitals. A process of its
own then writes the report (reading, checking, summary with bootstrap intervals, figures, page) as `monai-robust report`
does: its time is that of the processor, all threads together, and its memory the largest it had, imports included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import machine

from monai_robust.evaluation import OutcomesWriter, outcome_columns, write_run_info

CLASSES = ["covid", "normal", "pneumonia"]
_CHILD = """
import resource, sys, time
from pathlib import Path
from monai_robust.evaluation import read_run, write_report
imported = time.process_time()
write_report(sys.argv[1:], Path(sys.argv[1]).parent / "report.html")
print(time.process_time() - imported, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def write_folder(folder: Path, samples: int, settings: int, seed: int, name: str = "erm") -> None:
    """A finished run: the clean inputs, an attack and corruptions of up to nine severities each."""
    run = name
    generator = np.random.default_rng([seed, *name.encode()])
    plan, perturbations = [("clean", 0.0)], [_perturbation("clean", "clean", [0.0])]
    while len(plan) < settings:
        severities = [0.25 * step for step in range(1, min(9, settings - len(plan)) + 1)]
        kind = "corruption" if len(perturbations) > 3 else "attack"
        perturbations.append(_perturbation(f"{kind}{len(perturbations)}", kind, severities))
        plan += [(perturbations[-1]["name"], severity) for severity in severities]
    ids = [f"film-{sample:06d}" for sample in range(samples)]
    probabilities = {f"probability_{index}": float for index in range(len(CLASSES))}
    columns = outcome_columns({"label": int, "prediction": int, **probabilities, "score": float}, ["source"])
    with OutcomesWriter(folder, columns, ids, plan) as writer:
        for name, severity in plan:
            writer.append(
                name, severity, _rows(generator, ids, severity) | {"norm": ["l2" if "attack" in name else ""] * samples}
            )
            writer.commit()
    writer.finish()
    info = {"name": run, "task": "classification", "recipe": run, "seed": seed, "classes": CLASSES}
    write_run_info(folder, info | {"perturbations": perturbations, "groups": ["source"]})


def _perturbation(name: str, kind: str, severities: list[float]) -> dict[str, object]:
    return {
        "name": name,
        "kind": kind,
        "norm": "l2" if kind == "attack" else "",
        "severities": severities,
        "settings": {},
    }


def _rows(generator: np.random.Generator, ids: list[str], severity: float) -> dict[str, object]:
    count = len(ids)
    labels = np.arange(count) % len(CLASSES)
    logits = generator.normal(0, 1 + severity, (count, len(CLASSES)))
    logits[np.arange(count), labels] += 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    prediction = shares.argmax(axis=1)
    return {
        "sample_id": ids,
        "patient_id": [f"patient-{sample // 2:06d}" for sample in range(count)],
        "source": ["north" if sample % 4 < 2 else "south" for sample in range(count)],
        "distance": np.full(count, severity),
        "contrast": generator.normal(0.2, 0.03, count),
        "input_norm": generator.normal(40, 3, count),
        "label": labels,
        "prediction": prediction,
        **{f"probability_{index}": shares[:, index] for index in range(len(CLASSES))},
        "score": (prediction == labels).astype(float),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--settings", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1, help="of other names, compared with the first")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / ("erm" if not run else f"other{run}") for run in range(given.runs)]
        for folder in folders:
            write_folder(folder, given.samples, given.settings, given.seed, folder.name)
        command = [sys.executable, "-c", _CHILD, *map(str, folders)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split()[-2:])
    print(f"{given.samples} samples x {given.settings} settings, {given.runs} runs, seed {given.seed}; {machine()}")
    print(f"report: {seconds:.1f} s of processor time (at most 30), peak memory {megabytes:.0f} MiB (at most 1024)")


if __name__ == "__main__":
    main()
