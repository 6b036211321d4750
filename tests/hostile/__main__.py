"""``python -m hostile``: damaged files and kills by their numbers, and what came of them."""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from hostile.judging import Kind
from hostile.kills import run_kills
from hostile.kinds import KINDS
from hostile.pool import COUNTED, run_cases


def chosen_cases(kinds: Sequence[Kind], count: int, first: int = 0) -> list[str]:
    """The first so many cases, round by round over all kinds."""
    rounds = itertools.count(first)
    every = (f"{kind.name}/{number}" for number in rounds for kind in kinds if number % kind.every == 0)
    return list(itertools.islice(every, count))


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged and hostile files, and kills: what goes wrong is counted.")
    parser.add_argument("--cases", type=int, default=0, help="damaged files, over all kinds alike")
    parser.add_argument("--kills", type=int, default=0, help="of trainings, and as many of evaluations")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each")
    parser.add_argument("--only", default="", help="kinds of files whose name contains this")
    parser.add_argument("--case", default="", help="this one alone, such as dicom_film/17 or training/3")
    parser.add_argument("--keep", type=Path, help="a folder to leave the damaged files in")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    kind, _, number = given.case.partition("/")
    torch.set_num_threads(1)  # processes are forked from this one, which must have no threads
    if kind in ("training", "evaluation"):
        return _kills(int(kind == "training"), int(kind == "evaluation"), int(number))
    kinds = [one for one in KINDS if given.only in one.name and kind in ("", one.name)]
    if not kinds:
        parser.error(f"no kind of file is called so; there are {', '.join(one.name for one in KINDS)}")
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    cases = [given.case] if given.case else chosen_cases(kinds, given.cases, given.first)
    wrong = _files(kinds, cases, given.processes, given.keep) if cases else 0
    return wrong | (_kills(given.kills, given.kills, given.first) if given.kills else 0)


def _files(kinds: Sequence[Kind], cases: Sequence[str], processes: int, keep: Path | None) -> int:
    start, count = time.monotonic(), Counter[str]()
    for outcome in run_cases(kinds, cases, processes, keep):
        count[outcome.verdict] += 1
        if outcome.verdict in COUNTED or len(cases) == 1:
            print(f"{outcome.verdict}: {outcome.case}: {outcome.damage}: {outcome.said}", flush=True)
    known = f"{count['loaded']} loaded, {count['refused']} refused"
    print(f"{len(cases)} damaged files in {time.monotonic() - start:.0f} s: {known}")
    print(", ".join(f"{count[name]} {name}" for name in COUNTED))
    return _again(any(count[name] for name in COUNTED))


def _kills(training: int, evaluation: int, first: int) -> int:
    start, wrong = time.monotonic(), 0
    for case, said in run_kills(training, evaluation, first):
        wrong += bool(said)
        if said or training + evaluation == 1:
            print(f"{'lost' if said else 'nothing lost'}: {case}: {said}", flush=True)
    about = f"{training} trainings and {evaluation} evaluations killed in {time.monotonic() - start:.0f} s"
    print(f"{about}: {wrong} lost something")
    return _again(bool(wrong))


def _again(wrong: bool) -> int:
    if wrong:
        print("one again: PYTHONPATH=tests python -m hostile --case KIND/NUMBER [--keep FOLDER]")
    return int(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
