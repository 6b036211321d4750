"""The memory and the time of an attack's gradient through a sliding window: all graphs kept, or computed again.

python benchmarks/bench_windows.py [--size 128] [--window 64]

Each form runs in a process of its own, whose largest resident size is told, less that of a pass without gradient.
"""

from __future__ import annotations

import argparse
import resource
import time
from multiprocessing import get_context
from multiprocessing.queues import Queue

import torch
from common import machine
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet

from monai_robust.inferers import WithinMemory

FORMS = {"no gradient": None, "all graphs": 2**62, "computed again": 0}


def measured(limit: int | None, size: int, window: int, told: Queue[tuple[float, float]]) -> None:
    """Put seconds and MiB of one pass (and its way back, where there is a limit) into ``told``."""
    torch.manual_seed(0)
    network = UNet(3, 1, 3, channels=(16, 32, 64), strides=(2, 2), num_res_units=2, norm="instance").eval()
    network.requires_grad_(False)
    inferer = SlidingWindowInferer((window,) * 3, sw_batch_size=1, overlap=0.5, mode="gaussian")
    inputs = torch.rand(1, 1, size, size, size)
    begun = time.perf_counter()
    if limit is None:
        with torch.no_grad():
            inferer(inputs, network)
    else:
        leaf = inputs.requires_grad_(True)
        torch.autograd.grad(inferer(leaf, WithinMemory(network, limit=limit)).square().sum(), leaf)
    told.put((time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--window", type=int, default=64)
    options = parser.parse_args()
    print(machine())
    context = get_context("spawn")
    found = {}
    for name, limit in FORMS.items():
        told: Queue[tuple[float, float]] = context.Queue()
        process = context.Process(target=measured, args=(limit, options.size, options.window, told))
        process.start()
        found[name] = told.get()
        process.join()
    base = found["no gradient"][1]
    for name, (seconds, mebibytes) in found.items():
        print(f"{name:16} {seconds:7.2f} s   {mebibytes - base:8.0f} MiB above a pass without gradient")
    kept, again = found["all graphs"], found["computed again"]
    seconds, mebibytes = again[0] / kept[0], (kept[1] - base) / (again[1] - base)
    print(f"computed again: {seconds:.2f} times the time, {mebibytes:.1f} times less memory")


if __name__ == "__main__":
    main()
