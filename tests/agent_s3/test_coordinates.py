"""Frame px, model px and screen px."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_s3.coordinates import Display, Limits, Point, Size, View, around, fit
from vm_pool.types import Box

SIDES = st.integers(1, 8000)
SIZES = st.builds(Size, SIDES, SIDES)
LIMITS = st.builds(
    Limits, longest=st.integers(64, 4000), pixels=st.none() | st.integers(4096, 10_000_000), multiple=st.just(1)
)


@st.composite
def boxes(draw: st.DrawFn, least: int = 1) -> Box:
    corner = st.integers(-4000, 4000)
    return Box(
        x=draw(corner), y=draw(corner), width=draw(st.integers(least, 4000)), height=draw(st.integers(least, 4000))
    )


@st.composite
def within(draw: st.DrawFn, box: Box) -> Point:
    return Point(draw(st.integers(box.x, box.x + box.width - 1)), draw(st.integers(box.y, box.y + box.height - 1)))


@given(SIZES, LIMITS, st.floats(1.0, 4.0))
def test_a_picture_keeps_to_all_limits_and_to_its_shape(size: Size, limits: Limits, enlarge: float):
    fitted = fit(size, limits, enlarge=enlarge)
    assert max(fitted) <= max(limits.longest, 1)
    assert fitted.width <= size.width * enlarge + 0.001  # sides are rounded up when they are all but whole
    if limits.pixels is not None and min(fitted) > 1:
        assert fitted.width * fitted.height <= limits.pixels
    if min(fitted) > 20:
        assert fitted.width / fitted.height == pytest.approx(size.width / size.height, rel=0.06)


@given(SIZES, st.sampled_from([14, 28, 32]))
def test_sides_are_multiples_where_a_model_wants_patches(size: Size, multiple: int):
    assert all(side % multiple == 0 and side > 0 for side in fit(size, Limits(1440, multiple=multiple)))


@given(SIZES)
def test_a_picture_within_the_limits_stays_as_it_is(size: Size):
    assert fit(size, Limits(longest=8000)) == size


@given(st.data(), boxes(), SIZES)
def test_a_view_leads_every_pixel_of_the_picture_into_its_part(data: st.DataObject, part: Box, size: Size):
    view = View(part, *size)
    x, y = data.draw(st.floats(0, size.width, exclude_max=True)), data.draw(st.floats(0, size.height, exclude_max=True))
    point = view.to_frame(x, y)
    assert point is not None
    assert part.contains(*point)


@given(st.data(), boxes(), st.floats(1.0, 4.0))
def test_an_enlarged_view_and_back_is_the_same_pixel(data: st.DataObject, part: Box, enlarge: float):
    view = View.of(part, Limits(longest=16_000), enlarge=enlarge)
    point = data.draw(within(part))
    assert view.to_frame(*view.to_model(point)) == point


@given(st.data(), boxes(), LIMITS)
def test_a_shrunk_view_and_back_is_off_by_no_more_than_a_pixel_of_the_picture(
    data: st.DataObject, part: Box, limits: Limits
):
    view = View.of(part, limits)
    point = data.draw(within(part))
    back = view.to_frame(*view.to_model(point))
    assert back is not None
    assert abs(back.x - point.x) <= part.width / view.width + 1
    assert abs(back.y - point.y) <= part.height / view.height + 1


@given(boxes(), SIZES, st.integers(0, 1000), st.integers(0, 1000))
def test_thousandths_lead_into_the_part_up_to_its_far_edge(part: Box, size: Size, x: int, y: int):
    point = View(part, *size).share_to_frame(x, y, of=1000)
    assert point is not None
    assert part.contains(*point)


def test_thousandths_do_not_depend_on_the_size_of_the_picture():
    whole = Box(x=0, y=0, width=1920, height=1080)
    for size in (Size(1440, 810), Size(1428, 812), Size(1920, 1080)):
        point = View(whole, *size).share_to_frame(500, 250, of=1000)
        assert point is not None
        assert (abs(point.x - 960) <= 1, abs(point.y - 270) <= 1) == (True, True)


@pytest.mark.parametrize("at", [(-1, 5), (5, -0.5), (100, 5), (5, 50)])
def test_what_is_outside_of_the_picture_is_nowhere(at: tuple[float, float]):
    view = View(Box(x=0, y=0, width=1000, height=500), 100, 50)
    assert view.to_frame(*at) is None
    assert view.share_to_frame(1001, 5, of=1000) is None
    assert view.share_to_frame(5, -1, of=1000) is None


@given(st.data(), SIZES, boxes())
def test_every_pixel_of_a_frame_lies_on_its_screen_and_the_other_way_round(
    data: st.DataObject, frame: Size, screen: Box
):
    display = Display(frame, screen)
    all_of_it = Box(x=0, y=0, width=frame.width, height=frame.height)
    assert screen.contains(*display.to_screen(data.draw(within(all_of_it))))
    assert all_of_it.contains(*display.to_frame(data.draw(within(screen))))


@given(st.data(), boxes(), st.integers(1, 3))
def test_a_screen_pixel_on_a_dense_display_is_found_again(data: st.DataObject, screen: Box, density: int):
    display = Display(Size(screen.width * density, screen.height * density), screen)
    point = data.draw(within(screen))
    assert display.to_screen(display.to_frame(point)) == point


def test_the_second_monitor_begins_where_it_begins():
    left = Display(Size(1920, 1080), Box(x=-1920, y=100, width=1920, height=1080))
    assert left.to_screen(Point(0, 0)) == (-1920, 100)
    assert left.to_frame(Point(-1, 1179)) == (1919, 1079)
    dense = Display(Size(3840, 2160), Box(x=1920, y=0, width=1920, height=1080))
    assert dense.to_screen(Point(3839, 2159)) == (3839, 1079)
    assert dense.to_frame(Point(1920, 0)) == (1, 1)


@given(st.data(), SIZES, boxes(2))
def test_a_box_on_the_screen_holds_all_of_the_box_on_the_frame(data: st.DataObject, frame: Size, screen: Box):
    display = Display(frame, screen)
    inner = data.draw(within(Box(x=0, y=0, width=frame.width, height=frame.height)))
    wide, high = (data.draw(st.integers(1, side - at)) for side, at in zip(frame, inner, strict=True))
    box = Box(x=inner.x, y=inner.y, width=wide, height=high)
    on_screen = display.box_to_screen(box)
    assert on_screen.contains(*display.to_screen(inner))
    assert on_screen.contains(*display.to_screen(Point(box.x + wide - 1, box.y + high - 1)))
    again = display.box_to_frame(on_screen)
    assert again.contains(*inner)


@given(st.data(), boxes(), SIZES)
def test_a_crop_about_a_point_lies_within_and_holds_the_point(data: st.DataObject, screen: Box, size: Size):
    point = data.draw(within(screen))
    box = around(point, size, screen)
    assert box.contains(*point)
    assert (box.width, box.height) == (min(size.width, screen.width), min(size.height, screen.height))
    assert box.x >= screen.x
    assert box.y >= screen.y
    assert box.x + box.width <= screen.x + screen.width
    assert box.y + box.height <= screen.y + screen.height
