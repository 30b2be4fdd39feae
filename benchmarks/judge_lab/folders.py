"""From the folders that a user names to the cases that lie in them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.judge_lab.cases import Case, Collected
from benchmarks.judge_lab.result_folders import is_results, read_results
from benchmarks.judge_lab.run_folders import FAULTS, is_bench, is_run, one_fault, read_bench, read_run


def collect(folders: Sequence[Path], *, examples: Path | None = None) -> Collected:
    """All cases of run folders, benchmark folders and result folders, of which each holds one rollout of each task.

    Raises: `BenchmarkError` when there is not one case.
    """
    found = Collected()
    results = [folder for folder in folders if not is_bench(folder) and not is_run(folder) and is_results(folder)]
    for folder in (folder for folder in folders if folder not in results):
        found += _read(folder)
    if results:
        found += read_results(results, examples=examples)
    if not found.cases:
        raise BenchmarkError("; ".join(["there is nothing to judge", *found.faults[:3]]))
    found.cases = _with_names_of_their_own(found.cases)
    return found


def _read(folder: Path) -> Collected:
    if is_bench(folder):
        return read_bench(folder)
    try:
        if is_run(folder):
            return read_run(folder)
    except FAULTS as error:
        return Collected(faults=[f"{folder}: {one_fault(error)}"])
    return Collected(faults=[f"{folder}: no folder of a run, a benchmark or OSWorld results"])


def _with_names_of_their_own(cases: Sequence[Case]) -> list[Case]:
    """The same task from two folders is two cases: their desktops did not start from one snapshot."""
    seen: Counter[str] = Counter()
    named: list[Case] = []
    for case in cases:
        seen[case.id] += 1
        named.append(case if seen[case.id] == 1 else replace(case, id=f"{case.id} ({seen[case.id]})"))
    return named
