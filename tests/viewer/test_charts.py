"""Charts put values where they belong, whatever the values are."""

import pytest

from viewer.charts import WIDTH, lines, number, ranges


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.27, "0.27"), (0.001234, "0.00123"), (3.0, "3"), (34.06, "34.1"), (250, "250"), (34512.4, "34 512")],
)
def test_numbers_have_three_figures_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_ranges_lie_on_a_logarithmic_scale_of_whole_decades() -> None:
    chart = ranges({"a_ms": {"min": 2, "p50": 20, "max": 200}, "b_ms": {"min": 20, "p50": 20, "max": 20}}, "ms")
    a, b = chart.bars
    assert a.middle - a.low == pytest.approx(a.high - a.middle, abs=0.2)
    assert b.low == b.middle == b.high == a.middle
    assert a.y < b.y < chart.plot_height < chart.height
    assert [tick.text for tick in chart.ticks] == ["1", "10", "100", "1 000"]
    assert a.title == "a_ms: 2 – 20 – 200 ms"


@pytest.mark.parametrize("value", [0, 1, 10, 0.3])
def test_a_single_value_has_a_place_within_the_chart(value: float) -> None:
    [bar] = ranges({"x": {"min": value, "p50": value, "max": value}}).bars
    assert 0 < bar.middle < WIDTH


def test_lines_double_to_the_right_and_begin_at_nothing() -> None:
    chart = lines([(1, 0), (2, 50), (4, 100)], "ms")
    first, second, third = chart.dots
    assert second.x - first.x == third.x - second.x
    assert first.y == chart.bottom
    assert first.y > second.y > third.y >= 0
    assert [tick.text for tick in chart.xs] == ["1", "2", "4"]
    assert chart.ys[0].text == "0"
    assert chart.path.startswith("M")
    assert third.title == "4: 100 ms"


def test_one_point_and_none_are_charts_as_well() -> None:
    assert len(lines([(16, 3.5)]).dots) == 1
    assert lines([]).dots == []
