"""The smallest rectangle of change, by bytes alone."""

from hypothesis import given
from hypothesis import strategies as st

from vm_pool.guest.regions import Region, changed_region

WIDTH, HEIGHT = 40, 30


def picture(points: dict[tuple[int, int], int]) -> bytes:
    block = bytearray(4 * WIDTH * HEIGHT)
    for (x, y), value in points.items():
        block[4 * (y * WIDTH + x)] = value
    return bytes(block)


@given(st.sets(st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1)), min_size=1, max_size=12))
def test_the_region_is_the_box_around_all_differences(points):
    region = changed_region(picture({}), picture(dict.fromkeys(points, 9)), WIDTH, 100)
    columns, rows = [x for x, _ in points], [y for _, y in points]
    assert region == Region(min(columns), 100 + min(rows), max(columns) + 1, 100 + max(rows) + 1)


def test_equal_pictures_have_no_region():
    assert changed_region(picture({}), picture({}), WIDTH, 0) is None


def test_a_caret_is_small_and_two_carets_far_apart_are_not():
    caret = Region(10, 10, 12, 30)
    assert caret.is_small()
    assert not caret.joined(Region(300, 10, 302, 30)).is_small()
    assert caret.joined(None) == caret
