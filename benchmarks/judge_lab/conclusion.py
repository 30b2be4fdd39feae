"""All chapters of a report from all decisions. Pure."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from benchmarks.judge_lab import figures
from benchmarks.judge_lab.cases import Case
from benchmarks.judge_lab.cells import Named
from benchmarks.judge_lab.positions import Asked, positions
from benchmarks.judge_lab.report import Agreement, Cell, Comparison, Positions, Row
from llm.chat import Usage


class Chapters(TypedDict):
    """Fields of `LabReport` that follow from the decisions."""

    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    positions: tuple[Positions, ...]
    agreement: tuple[Agreement, ...]
    fleiss: float | None
    rows: tuple[Row, ...]


def conclude(
    cells: Sequence[Named],
    rows: Mapping[str, Sequence[Row]],
    ballots: Mapping[str, Sequence[Asked]],
    cases: Sequence[Case],
    *,
    making: Mapping[str, Usage],
    sizes: Sequence[int],
    seed: int,
) -> Chapters:
    """`rows`, `ballots` and `making` are by name of the cell; `sizes` are those of the exact curves."""
    by_id = {case.id: case for case in cases}
    whole = {cell.name: _answers(rows[cell.name]) for cell in cells}
    asking = [cell.name for cell in cells if cell.model and not cell.skipped]
    found: list[Cell] = []
    for cell in cells:
        figured = figures.cell_of(cell, rows[cell.name], by_id, making=making[cell.name], seed=seed)
        if cell.judge in ("random", "oracle"):
            exact = figures.exact_curve(cell.judge, cases, sizes, seed=seed)
            figured = figured.model_copy(update={"curve": exact})
        found.append(figured)
    first = asking[0] if asking else None
    compared = [cell.name for cell in cells if first and cell.name != first and not cell.skipped]
    return Chapters(
        cells=tuple(found),
        comparisons=tuple(
            figures.compare(name, whole[name], first or "", whole[first or ""], seed=seed) for name in compared
        ),
        positions=tuple(positions(name, ballots[name]) for name in asking if ballots[name]),
        agreement=figures.agreements({name: whole[name] for name in asking}),
        fleiss=figures.fleiss_over({name: whole[name] for name in asking}),
        rows=tuple(row for cell in cells for row in rows[cell.name]),
    )


def _answers(rows: Sequence[Row]) -> dict[str, Row]:
    """Task -> the decision over all candidates."""
    return {row.task: row for row in rows if row.whole and not row.error}
