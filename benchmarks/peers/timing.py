"""How the comparisons time and print."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

__all__ = ["OURS", "in_turns", "table"]

OURS = "ours"
Result = TypeVar("Result")


def in_turns(
    actions: Mapping[str, Callable[[], Result]], rounds: int
) -> tuple[dict[str, float], dict[str, Result], dict[str, str]]:
    """Median processor seconds of each action over interleaved rounds, what it gave, and why the others gave nothing.

    A library that cannot do what it is asked is left out of the further rounds, and its error is reported.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    results: dict[str, Result] = {}
    refused: dict[str, str] = {}
    for turn in range(rounds):
        for name, action in actions.items():
            if name in refused:
                continue
            start = time.process_time()
            try:
                results[name] = action()
            except Exception as error:  # whatever a library raises is the answer
                if name.startswith(OURS):
                    raise
                refused[name] = f"{type(error).__name__}: {error}"
                continue
            seconds[name].append(time.process_time() - start)
            print(f"  round {turn + 1} of {rounds}, {name}: {seconds[name][-1]:.1f} s", flush=True)
    return {name: statistics.median(values) for name, values in seconds.items() if values}, results, refused


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
