"""Charts of the judge laboratory as inline SVG: shares with intervals, and success by number of candidates. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from viewer.charts import Tick

WIDTH = 760
CURVE_WIDTH = 760
COLOURS = 6
"""Curves in colours of their own; random and oracle are drawn besides."""
_ROW, _TOP, _AXIS = 26, 8, 26
_LABEL_WIDTH, _RIGHT = 250, 60
_CURVE_HEIGHT, _CURVE_LEFT, _CURVE_RIGHT = 260, 52, 16
_STEP = 0.2


class Whisker(NamedTuple):
    """A share with its interval; without one `low` and `high` are the middle."""

    name: str
    y: float
    low: float
    middle: float
    high: float
    words: str
    title: str


class Forest(NamedTuple):
    """Shares of judges below each other on one linear scale."""

    height: float
    plot_height: float
    rows: list[Whisker]
    ticks: list[Tick]
    marks: list[Tick]
    """Vertical lines: random and oracle."""


class Curve(NamedTuple):
    name: str
    style: str
    """A class of the style sheet."""
    path: str
    dots: list[tuple[float, float, str]]


class Curves(NamedTuple):
    height: float
    bottom: float
    left: float
    right: float
    curves: list[Curve]
    xs: list[Tick]
    ys: list[Tick]


Cells = Sequence[Mapping[str, Any]]
"""Cells of a laboratory's report, as JSON."""


def forest(cells: Cells, figure: str, marks: Mapping[str, float | None]) -> Forest:
    """`figure` is a field of the cells, an estimate from 0 to 1; `marks`: words -> where a line is drawn."""
    left, right = float(_LABEL_WIDTH), float(WIDTH - _RIGHT)
    told = [cell for cell in cells if cell[figure]["value"] is not None]
    edges = [
        e for cell in told for e in (cell[figure]["value"], cell[figure]["low"], cell[figure]["high"]) if e is not None
    ]
    low, high = _scale([*edges, *(mark for mark in marks.values() if mark is not None)])

    def place(value: float) -> float:
        return round(left + (right - left) * (value - low) / (high - low), 1)

    rows = [_whisker(cell, figure, number, place) for number, cell in enumerate(told)]
    plot = float(_TOP + _ROW * len(rows))
    ticks = [Tick(place(at), percent(at)) for at in _ticks(low, high)]
    lines = [Tick(place(at), words) for words, at in marks.items() if at is not None]
    return Forest(plot + _AXIS, plot, rows, ticks, lines)


def _whisker(cell: Mapping[str, Any], figure: str, number: int, place: Any) -> Whisker:
    told = cell[figure]
    middle = told["value"]
    low = middle if told["low"] is None else told["low"]
    high = middle if told["high"] is None else told["high"]
    return Whisker(
        name=cell["name"],
        y=_TOP + _ROW * (number + 0.5),
        low=place(low),
        middle=place(middle),
        high=place(high),
        words=percent(middle),
        title=f"{cell['name']}: {percent(middle)}, 95 % interval {percent(low)} to {percent(high)}",
    )


def curves(cells: Cells) -> Curves:
    """Success by number of candidates, from 0 to 1."""
    drawn = [cell for cell in cells if cell["model"] and cell["curve"]][:COLOURS]
    drawn += [cell for cell in cells if cell["judge"] in ("random", "oracle") and cell["curve"]]
    sizes = sorted({point["n"] for cell in drawn for point in cell["curve"]}) or [1]
    left, right, bottom = float(_CURVE_LEFT), float(CURVE_WIDTH - _CURVE_RIGHT), float(_CURVE_HEIGHT)
    span = (sizes[-1] - sizes[0]) or 1

    def across(n: float) -> float:
        return round(left + (right - left) * (n - sizes[0]) / span, 1)

    def up(share: float) -> float:
        return round(bottom - (bottom - _TOP) * share, 1)

    made: list[Curve] = []
    for number, cell in enumerate(drawn):
        style = cell["judge"] if cell["judge"] in ("random", "oracle") else f"k{number}"
        points = [(p["n"], p["success"]["value"]) for p in cell["curve"] if p["success"]["value"] is not None]
        dots = [(across(n), up(share), f"{cell['name']}, {n}: {percent(share)}") for n, share in points]
        path = " ".join(f"{'L' if place else 'M'}{x} {y}" for place, (x, y, _) in enumerate(dots))
        made.append(Curve(cell["name"], style, path, dots))
    ys = [Tick(up(at), percent(at)) for at in _ticks(0.0, 1.0)]
    return Curves(bottom + _AXIS, bottom, left, right, made, [Tick(across(n), str(n)) for n in sizes], ys)


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """0 to 1 for shares, wider by halves where values are beyond."""
    low, high = min([0.0, *values]), max([1.0, *values])
    step = _STEP if (low, high) == (0.0, 1.0) else 0.5
    return step * (low // step), step * -(-high // step)


def _ticks(low: float, high: float) -> list[float]:
    step = _STEP if high - low <= 1.2 else 0.5 if high - low <= 3 else 1.0
    return [low + step * number for number in range(round((high - low) / step) + 1)]


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
