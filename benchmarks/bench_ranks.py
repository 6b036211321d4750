"""Two processes that measure together against two that know nothing of each other and measure half of the samples each.

python benchmarks/bench_ranks.py [--samples 256] [--size 48] [--steps 10]

Times are those of ``Measurement.run``, from when both processes are ready to when the slower one has ended; those that
measure together also put the one table together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import machine, network

from monai_robust.attacks import PGD
from monai_robust.evaluation import AttackSweep, CleanSweep, Measurement
from monai_robust.tasks import Classification

RADII = [0.1, 0.2, 0.4, 0.8]


def films(first: int, last: int, size: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(last, 1, size, size, generator=generator)
    return [
        {"image": images[i], "label": i % 3, "sample_id": f"film-{i}", "patient_id": f"patient-{i}"}
        for i in range(first, last)
    ]


def measure(options: argparse.Namespace) -> None:
    """What a single process does: wait until both are ready, measure, and write down how long that took."""
    torch.set_num_threads(1)
    folder = Path(options.folder)
    half = options.samples // 2
    first, last = (0, options.samples) if options.role == "rank" else (options.half * half, (options.half + 1) * half)
    number = int(os.environ.get("RANK", options.half))
    measurement = Measurement(
        network(),
        films(first, last, options.size),
        task=Classification(),
        perturbations=[CleanSweep(), AttackSweep(PGD(steps=options.steps, bounds=(0, 1)), RADII, faithful=True)],
        output_dir=folder / (options.role if options.role == "rank" else f"half_{number}"),
        name="network",
        classes=["a", "b", "c"],
        batch_size=16,
        sanity_samples=0,
        progress=False,
    )
    (folder / f"{options.role}_{number}.ready").touch()
    while len(list(folder.glob(f"{options.role}_*.ready"))) < 2:
        time.sleep(0.01)
    begun = time.perf_counter()
    measurement.run()
    (folder / f"{options.role}_{number}.json").write_text(json.dumps(time.perf_counter() - begun))


def slower(folder: Path, role: str) -> float:
    return max(float(json.loads(path.read_text())) for path in folder.glob(f"{role}_*.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--role", choices=["rank", "half"], help=argparse.SUPPRESS)
    parser.add_argument("--half", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        measure(options)
        return
    print(machine())
    numbers = [f"--{name}={getattr(options, name)}" for name in ("samples", "size", "steps")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        own = [__file__, *numbers, f"--folder={name}"]
        halves = [
            subprocess.Popen([sys.executable, *own, "--role=half", f"--half={half}"], env=environment)
            for half in (0, 1)
        ]
        if any(process.wait() for process in halves):
            raise SystemExit("a process failed; see above")
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        subprocess.run([*torchrun, *own, "--role=rank"], env=environment, check=True)
        apart, together = slower(Path(name), "half"), slower(Path(name), "rank")
    ratio = f"{apart / together:.2f} of their throughput (asked: at least 0.9)"
    print(f"apart {apart:.1f} s, together {together:.1f} s: {ratio}")


if __name__ == "__main__":
    main()
