"""The numbered element list."""

from rollout_stage import editor_tree, node

from agent_s3.elements import list_elements, squeeze
from vm_pool.types import Tree


def test_only_what_shows_and_is_of_use_is_listed():
    lines = list_elements(editor_tree(node("e/pane", "panel", "Pane", (0, 0, 9, 9))), limit=80).lines()
    assert lines == [
        "[notes.txt - Editor]",
        '#1 push-button "Save"',
        '#2 push-button "Cancel"',
        '#3 text "Name"',
        '#4 text = "old words" (focused)',
    ]


def test_a_label_that_repeats_its_control_and_a_repeated_element_are_left_out():
    label = node("e/l", "label", "Save", (12, 12, 20, 10))
    again = node("e/save3", "push-button", "Save", (10, 10, 60, 20))
    assert len(list_elements(editor_tree(label, again), limit=80).elements) == 4


def test_menus_of_a_bar_that_is_nowhere_are_left_out():
    """LibreOffice has a second menu bar, which does not show, while its menus say that they do."""
    hidden = node("e/bar", "menu-bar", children=[node("e/bar/help", "menu", "Help", (50, 20, 20, 9))])
    shown = node("e/top", "menu-bar", "", (0, 0, 300, 9), children=[node("e/top/help", "menu", "Help", (60, 0, 20, 9))])
    helps = [e.node.box for e in list_elements(editor_tree(hidden, shown), limit=80).elements if e.node.name == "Help"]
    assert [box.y for box in helps if box] == [0]


def test_names_are_told_as_a_person_would():
    calculator = node("e/c", "push-button", "7 7", (150, 10, 20, 20))
    internal = node("e/g", "push-button", "GtkMenuButton", (180, 10, 20, 20), actions=("click",))
    lines = list_elements(editor_tree(calculator, internal), limit=80).lines()
    assert '#5 push-button "7"' in lines
    assert "#6 push-button" in lines


def test_states_that_matter_are_told():
    off = node("e/x", "check-box", "Bold", (0, 0, 9, 9), states={"checked"})
    assert '#5 check-box "Bold" (checked, disabled)' in list_elements(editor_tree(off), limit=80).lines()


def test_the_active_window_comes_first():
    other = node("o/f", "frame", "Other", (0, 0, 9, 9), children=[node("o/b", "push-button", "Go", (0, 0, 9, 9))])
    tree = editor_tree()
    both = Tree(
        root=tree.root.model_copy(
            update={"children": (node("o", "application", "O", children=[other]), *tree.root.children)}
        )
    )
    assert [e.window for e in list_elements(both, limit=80).elements][:1] == ["notes.txt - Editor"]


def test_a_long_list_is_cut_but_keeps_the_focus():
    listed = list_elements(editor_tree(), limit=2)
    assert [e.node.id for e in listed.elements] == ["e/save", "e/area"]
    assert listed.lines()[-1] == "(2 more not listed)"
    assert listed.focused is listed.by_number[2]


def test_empty_cells_of_a_sheet_are_not_listed_but_can_be_named():
    full = node("e/a1", "table-cell", "A1", (0, 0, 9, 9), text="42")
    empty = node("e/b1", "table-cell", "B1", (9, 0, 9, 9))
    listed = list_elements(editor_tree(full, empty), limit=80)
    assert listed.lines()[-1] == '#5 table-cell "A1" = "42"'
    assert [e.node.name for e in listed.unlisted] == ["B1"]


def test_cells_without_name_and_content_take_no_place_in_the_list():
    """A file list has an icon and a box around each row, as many as files and more."""
    row = [
        node(f"e/{i}", "table-cell", name, (i, 0, 9, 9), actions=("Edit",)) for i, name in enumerate(["", "", "a.txt"])
    ]
    ticked = node("e/t", "table-cell", "", (9, 0, 9, 9), states={"checked", "enabled"}, actions=("Edit",))
    listed = list_elements(editor_tree(*row, ticked), limit=80)
    assert listed.lines()[-2:] == ['#5 table-cell "a.txt"', "#6 table-cell (checked)"]
    assert listed.dropped == 0


def test_long_texts_are_squeezed_into_one_line():
    assert squeeze("a\n\n b\t c", 10) == "a b c"
    assert len(squeeze("x" * 500, 60)) == 61
