"""What changed between two looks."""

import time

import numpy as np
from rollout_stage import editor_tree, editor_window, node

from agent_s3.delta import MAX_REGIONS, changed_regions, compute, window_changes
from agent_s3.tree_diff import MAX_CHANGES
from vm_pool.types import Box, FileChange, FileChanges, Frame, Look


def frame(*painted: tuple[int, int, int, int], width: int = 320, height: int = 200) -> Frame:
    """A grey picture with boxes (x, y, width, height) painted on it."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    for x, y, w, h in painted:
        pixels[y : y + h, x : x + w] = (200, 10, 90)
    return Frame(pixels, 0.0)


def boxes(before: Frame, after: Frame) -> list[tuple[int, int, int, int]]:
    found = [r.box for r in changed_regions(before, after)]
    return sorted((b.x, b.y, b.width, b.height) for b in found)


def test_equal_looks_make_an_empty_delta():
    look = Look(frame=frame(), tree=editor_tree(), windows=(editor_window(),), clipboard="a", pointer=(3, 3))
    assert compute(look, look).empty


def test_a_changed_rectangle_is_found_to_the_pixel():
    assert boxes(frame(), frame((33, 47, 101, 20))) == [(33, 47, 101, 20)]


def test_far_apart_changes_stay_apart_and_touching_ones_are_joined():
    assert boxes(frame(), frame((0, 0, 10, 10), (300, 190, 10, 10))) == [(0, 0, 10, 10), (300, 190, 10, 10)]
    assert boxes(frame(), frame((10, 10, 30, 8), (36, 18, 30, 8))) == [(10, 10, 56, 16)]


def test_screens_whose_size_is_no_multiple_of_a_tile_are_compared_to_the_edge():
    size = {"width": 101, "height": 67}
    assert boxes(frame(**size), frame((99, 65, 2, 2), **size)) == [(99, 65, 2, 2)]


def test_changed_pixels_are_counted_exactly():
    delta = compute(Look(frame=frame()), Look(frame=frame((0, 0, 32, 20))))
    assert delta.regions[0].changed_pixels == 640
    assert delta.changed_fraction == 640 / 64000


def test_a_blinking_caret_is_no_change():
    assert compute(Look(frame=frame()), Look(frame=frame((50, 50, 2, 18)))).empty


def test_the_moved_pointer_is_no_change_but_what_it_highlights_is():
    before = Look(frame=frame((100, 100, 12, 20)), pointer=(100, 100))
    after = Look(frame=frame((200, 150, 12, 20)), pointer=(200, 150))
    assert compute(before, after).empty
    highlighted = Look(frame=frame((200, 150, 12, 20), (170, 140, 100, 24)), pointer=(200, 150))
    assert [r.box for r in compute(before, highlighted).regions] == [Box(x=170, y=140, width=100, height=30)]


def test_specks_all_over_are_summed_up_in_few_regions_quickly():
    specks = [(x, y, 5, 1) for x in range(0, 1900, 40) for y in range(0, 1060, 40)]
    before, after = frame(width=1920, height=1080), frame(*specks, width=1920, height=1080)
    assert before.sha256 != after.sha256
    began = time.perf_counter()
    found = changed_regions(before, after)
    assert len(found) <= MAX_REGIONS
    assert time.perf_counter() - began < 1.0


def test_a_screen_of_another_size_is_wholly_different():
    assert boxes(frame(), frame(width=100, height=50)) == [(0, 0, 100, 50)]


def test_windows_open_close_change_their_title_and_become_active():
    old = (editor_window(), editor_window(id="0x2", title="B", active=False), editor_window(id="0x3", title="C"))
    new = (editor_window(title="*notes"), editor_window(id="0x2", title="B"), editor_window(id="0x4", title="D"))
    assert [(c.kind, c.title) for c in window_changes(old, new)] == [
        ("opened", "D"),
        ("closed", "C"),
        ("retitled", "*notes"),
        ("activated", "B"),
    ]


def test_the_tree_tells_what_appeared_what_went_away_and_what_changed():
    dialog = node("e/dlg", "dialog", "Save as?", (5, 5, 50, 50))
    delta = compute(Look(tree=editor_tree()), Look(tree=editor_tree(dialog, text="new words")))
    assert [(c.kind, c.role, c.field, c.after) for c in delta.tree] == [
        ("added", "dialog", None, None),
        ("changed", "text", "text", "new words"),
    ]


def test_an_element_that_only_got_a_new_id_is_the_same_one():
    old, same = (node(f"e/{i}", "table-cell", "B1", (0, 0, 9, 9), text="5") for i in (1, 2))
    assert compute(Look(tree=editor_tree(old)), Look(tree=editor_tree(same))).empty
    other = node("e/3", "table-cell", "B1", (0, 0, 9, 9), text="6")
    changes = compute(Look(tree=editor_tree(old)), Look(tree=editor_tree(other))).tree
    assert [(c.kind, c.name, c.before, c.after) for c in changes] == [("changed", "B1", "5", "6")]


def test_of_a_long_text_only_the_changed_part_is_told():
    long = "x" * 5000
    change = compute(
        Look(tree=editor_tree(text=long + "old" + long)), Look(tree=editor_tree(text=long + "new" + long))
    ).tree[0]
    assert change.after is not None
    assert "new" in change.after
    assert len(change.after) < 200


def test_tree_changes_are_bounded_and_the_rest_is_counted():
    many = [node(f"e/{i}", "push-button", f"B{i}", (0, 0, 5, 5)) for i in range(MAX_CHANGES + 7)]
    delta = compute(Look(tree=editor_tree()), Look(tree=editor_tree(*many)))
    assert (len(delta.tree), delta.tree_dropped) == (MAX_CHANGES, 7)


def test_files_clipboard_and_output_are_taken_over():
    files = FileChanges(cursor="2", changes=(FileChange(path="/a", kind="created"),), dropped=3)
    delta = compute(Look(clipboard=None), Look(clipboard="new", files=files), output="42", settled=False)
    assert (delta.files, delta.files_dropped, delta.output, delta.settled) == (files.changes, 3, "42", False)
    assert delta.clipboard is not None
    assert delta.clipboard.after == "new"
