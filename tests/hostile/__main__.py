"""``python -m hostile``: cases by their number, and what came of them."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from hostile.kinds import KINDS
from hostile.pool import COUNTED, run_cases


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged and hostile files: read rightly or refused, or counted here.")
    parser.add_argument("--cases", type=int, default=300, help="how many, over all kinds alike")
    parser.add_argument("--first", type=int, default=0, help="number of each kind's first case")
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    parser.add_argument("--case", default="", help="this one alone, such as dicom_film/17")
    parser.add_argument("--keep", type=Path, help="a folder to leave the damaged files in")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    kinds = [kind for kind in KINDS if given.only in kind.name and given.case.partition("/")[0] in ("", kind.name)]
    if not kinds:
        parser.error(f"no kind of file is called so; there are {', '.join(kind.name for kind in KINDS)}")
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    cases = [given.case] if given.case else [
        f"{kinds[number % len(kinds)].name}/{given.first + number // len(kinds)}" for number in range(given.cases)
    ]  # fmt: skip
    start, count = time.monotonic(), Counter[str]()
    for outcome in run_cases(kinds, cases, given.processes, given.keep):
        count[outcome.verdict] += 1
        if outcome.verdict in COUNTED or given.case:
            print(f"{outcome.verdict}: {outcome.case}: {outcome.damage}: {outcome.said}", flush=True)
    print(f"{sum(count.values())} cases in {time.monotonic() - start:.0f} s: {count['loaded']} loaded, {count['refused']} refused")
    print(", ".join(f"{count[name]} {name}" for name in COUNTED))
    if any(count[name] for name in COUNTED):
        print("one again: PYTHONPATH=tests python -m hostile --case KIND/NUMBER --keep FOLDER")
    return int(any(count[name] for name in COUNTED))


if __name__ == "__main__":
    raise SystemExit(main())
