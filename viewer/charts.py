"""Charts as inline SVG: what is drawn where, computed here; the template writes it down. Pure.

No script runs in our pages, so values are also in the tables below the charts and in each mark's own title.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

WIDTH, LINES_WIDTH = 720, 420
"""Of charts of ranges and of lines, in units of their view boxes."""
_ROW = 26
_LABEL_WIDTH = 205
_RIGHT, _LINES_RIGHT = 66, 20
_TOP = 8
_AXIS = 26
_LINES_HEIGHT = 220
_LINES_LEFT = 58
_STEPS = (1, 2, 2.5, 5, 10)
_TICKS = 4
"""About so many lines of a linear scale."""


class Tick(NamedTuple):
    """A line of the scale and its words."""

    at: float
    text: str


class Bar(NamedTuple):
    """One metric: a line from its least to its greatest value, and a dot at the middle one."""

    name: str
    y: float
    low: float
    middle: float
    high: float
    words: str
    title: str


class Ranges(NamedTuple):
    """Metrics of one unit below each other on a logarithmic scale."""

    height: float
    plot_height: float
    bars: list[Bar]
    ticks: list[Tick]


class Dot(NamedTuple):
    x: float
    y: float
    title: str


class Lines(NamedTuple):
    """Values over what is varied; steps to the right are doublings."""

    height: float
    bottom: float
    left: float
    dots: list[Dot]
    path: str
    xs: list[Tick]
    ys: list[Tick]


def ranges(metrics: Mapping[str, Mapping[str, float]], unit: str = "") -> Ranges:
    """`metrics`: name -> `min`, `p50`, `max`. What is 0 lies at the left edge: a logarithmic scale never reaches it."""
    positive = [value for figures in metrics.values() for value in (figures["min"], figures["max"]) if value > 0]
    low = 10 ** math.floor(math.log10(min(positive, default=1)))
    high = 10 ** math.ceil(math.log10(max(positive, default=10)) + 1e-9)
    high = high if high > low else low * 10
    span, left, right = math.log10(high / low), _LABEL_WIDTH, WIDTH - _RIGHT

    def place(value: float) -> float:
        share = math.log10(value / low) / span if value > 0 else 0.0
        return round(left + (right - left) * share, 1)

    bars = [
        Bar(
            name=name,
            y=_TOP + _ROW * (row + 0.5),
            low=place(figures["min"]),
            middle=place(figures["p50"]),
            high=place(figures["max"]),
            words=number(figures["p50"]),
            title=f"{name}: {' – '.join(number(figures[key]) for key in ('min', 'p50', 'max'))} {unit}".rstrip(),
        )
        for row, (name, figures) in enumerate(metrics.items())
    ]
    decades = [low * 10**step for step in range(round(span) + 1)]
    plot = _TOP + _ROW * len(bars)
    return Ranges(plot + _AXIS, plot, bars, [Tick(place(value), number(value)) for value in decades])


def lines(points: Sequence[tuple[float, float]], unit: str = "") -> Lines:
    """Points by ascending x, which must be positive; the scale of y begins at 0."""
    bottom, left, right = float(_LINES_HEIGHT), float(_LINES_LEFT), float(LINES_WIDTH - _LINES_RIGHT)
    top = max((y for _, y in points), default=0.0)
    step = _nice_step(top)
    highest = step * max(1, math.ceil(top / step - 1e-9))
    first, last = (math.log2(points[0][0]), math.log2(points[-1][0])) if points else (0.0, 1.0)

    def across(x: float) -> float:
        return round(left + (right - left) * (math.log2(x) - first) / ((last - first) or 1.0), 1)

    def up(y: float) -> float:
        return round(bottom - (bottom - _TOP) * y / highest, 1)

    dots = [Dot(across(x), up(y), f"{number(x)}: {number(y)} {unit}".rstrip()) for x, y in points]
    path = " ".join(f"{'L' if index else 'M'}{dot.x} {dot.y}" for index, dot in enumerate(dots))
    xs = [Tick(across(x), number(x)) for x, _ in points]
    ys = [Tick(up(step * index), number(step * index)) for index in range(round(highest / step) + 1)]
    return Lines(bottom + _AXIS, bottom, left, dots, path, xs, ys)


def number(value: float) -> str:
    """Three figures that count, without an exponent: `0.27`, `34.1`, `1 860`."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if digits else text
    return text.replace(",", " ")


def _nice_step(top: float) -> float:
    if top <= 0:
        return 1.0
    rough = top / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    return next(power * step for step in _STEPS if power * step >= rough)
