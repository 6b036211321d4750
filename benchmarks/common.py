"""What the benchmarks share: interleaved timing, peak memory of a child process, and a machine line."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from monai.networks.nets import resnet18

Action = Callable[[], object]


def machine() -> str:
    """One line on where the numbers come from."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return f"{platform.machine()}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def network(classes: int = 3) -> torch.nn.Module:
    """The bundle's network."""
    torch.manual_seed(0)
    return resnet18(spatial_dims=2, n_input_channels=1, num_classes=classes, conv1_t_stride=2)


def batch(size: int, image_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random inputs in [0, 1] and labels: the time of a step does not depend on what is in an image."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(size, 1, image_size, image_size, generator=generator), torch.arange(size) % 3


def medians(actions: Mapping[str, Action], rounds: int) -> dict[str, float]:
    """Median seconds of each action over interleaved rounds, after one round of warming up.

    Processor time of all threads where nothing runs on a GPU: other programs on the machine then disturb less.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for name, action in actions.items():
            start = clock()
            action()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _peak(action: Callable[[], Action], queue: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    run = action()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def peak_megabytes(prepare: Callable[[], Action]) -> float:
    """How much a fresh process's peak memory grows while the action runs that ``prepare`` returns."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(prepare, queue))
    process.start()
    grown = queue.get()
    process.join()
    return grown / 1024
