"""The journal tells net changes of files, whatever happened in between."""

import os
from pathlib import Path

import pytest

from vm_pool.guest.errors import Refused
from vm_pool.guest.journal import Journal, Root
from vm_pool.guest.noise import is_noise
from vm_pool.types import FileChanges


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "old.txt").write_text("old\n")
    return tmp_path


@pytest.fixture
def journal(home: Path) -> Journal:
    journal = Journal([Root.parse(f"{home}=/home/user")])
    journal.start()
    return journal


def changes(journal: Journal, since: str | None = None) -> FileChanges:
    return FileChanges.model_validate(journal.changes(since))


def told(found: FileChanges) -> list[tuple[str, str, str | None, str | None]]:
    return [(change.path, change.kind, change.text_before, change.text) for change in found.changes]


def test_nothing_has_changed_at_the_start(journal):
    assert changes(journal).changes == ()


def test_created_modified_and_deleted_files_are_told_with_their_texts(journal, home):
    (home / "new.txt").write_text("new\n")
    (home / "old.txt").write_text("changed\n")
    first = changes(journal)
    assert told(first) == [
        ("/home/user/new.txt", "created", None, "new\n"),
        ("/home/user/old.txt", "modified", "old\n", "changed\n"),
    ]
    (home / "old.txt").unlink()
    assert told(changes(journal, first.cursor)) == [("/home/user/old.txt", "deleted", "changed\n", None)]
    assert ("/home/user/old.txt", "deleted", "old\n", None) in told(changes(journal))


def test_a_change_that_was_undone_is_no_change(journal, home):
    start = changes(journal).cursor
    (home / "old.txt").write_text("other\n")
    changes(journal)
    (home / "old.txt").write_text("old\n")
    (home / "passing").write_text("x")
    changes(journal)
    (home / "passing").unlink()
    assert changes(journal, start).changes == ()
    assert changes(journal).changes == ()


def test_a_new_mode_is_a_change(journal, home):
    (home / "old.txt").chmod(0o755)
    [change] = changes(journal).changes
    assert (change.kind, change.mode, change.mode_before) == ("modified", 0o755, 0o644)


def test_the_same_size_within_the_same_second_is_noticed(journal, home):
    changes(journal)
    (home / "old.txt").write_text("OLD\n")
    assert told(changes(journal)) == [("/home/user/old.txt", "modified", "old\n", "OLD\n")]


def test_a_moved_file_is_one_deleted_and_one_created(journal, home):
    (home / "old.txt").rename(home / "final.txt")
    assert [(change.path, change.kind) for change in changes(journal).changes] == [
        ("/home/user/final.txt", "created"),
        ("/home/user/old.txt", "deleted"),
    ]


def test_directories_end_in_a_slash_and_links_are_not_followed(journal, home):
    (home / "folder").mkdir()
    (home / "link").symlink_to("/etc/passwd")
    found = {change.path: change for change in changes(journal).changes}
    assert set(found) == {"/home/user/folder/", "/home/user/link"}
    assert found["/home/user/link"].text is None
    assert found["/home/user/link"].size == len("/etc/passwd")


def test_binary_and_large_files_have_a_hash_and_no_text(journal, home):
    (home / "binary").write_bytes(b"a\0b")
    (home / "large").write_text("x" * 20_000)
    for change in changes(journal).changes:
        assert change.text is None
        assert change.sha256 is not None


def test_names_that_are_no_utf8_can_be_told(journal, home):
    Path(os.fsdecode(os.fsencode(home) + b"/caf\xe9")).write_text("x")
    [change] = changes(journal).changes
    assert change.path == "/home/user/caf�"


def test_many_changes_are_cut_and_counted(journal, home):
    for number in range(600):
        (home / f"f{number}").write_text("x")
    found = changes(journal)
    assert len(found.changes) == 500
    assert found.dropped == 100


def test_much_text_leaves_later_changes_without_theirs(journal, home):
    for number in range(300):
        (home / f"f{number:03}").write_text("x" * 16_000)
    (home / "small").write_text("y")
    texts = [change.text for change in changes(journal).changes]
    assert texts == ["x" * 16_000] * 131 + [None] * 169 + ["y"]


def test_a_later_start_tells_what_changed_since_the_first_one(home, tmp_path_factory):
    stock = tmp_path_factory.mktemp("kept") / "stock.json"
    roots = [Root.parse(f"{home}=/home/user")]
    first = Journal(roots, stock)
    first.start()
    cursor = changes(first).cursor
    (home / "new.txt").write_text("new\n")
    (home / "old.txt").unlink()
    Path(os.fsdecode(os.fsencode(home) + b"/caf\xe9")).write_text("x")
    second = Journal(roots, stock)
    second.start()
    assert told(changes(second)) == told(changes(first))
    with pytest.raises(Refused, match="cursor"):
        second.changes(cursor)
    (home / "new.txt").unlink()
    third = Journal(roots, stock)
    third.start()
    assert [change.path for change in changes(third).changes] == ["/home/user/caf�", "/home/user/old.txt"]


@pytest.mark.parametrize("nonsense", [b"", b"{", b"[]", b'{"/a": 3}', b'{"/a": [1]}', b"\xff", b"[" * 100_000])
def test_a_stock_that_is_of_no_use_is_taken_anew(home, tmp_path_factory, nonsense, capsys):
    stock = tmp_path_factory.mktemp("kept") / "stock.json"
    stock.write_bytes(nonsense)
    for _ in range(2):
        journal = Journal([Root.parse(f"{home}=/home/user")], stock)
        journal.start()
        assert changes(journal).changes == ()
    assert "counted from now" in capsys.readouterr().err


def test_a_stock_that_cannot_be_written_costs_no_more_than_itself(home, tmp_path, capsys):
    journal = Journal([Root.parse(f"{home}=/home/user")], tmp_path / "missing" / "stock.json")
    journal.start()
    (home / "new.txt").write_text("new\n")
    assert [change.path for change in changes(journal).changes] == ["/home/user/new.txt"]
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("cursor", ["", "x", "1", "other:3", "{epoch}:99", "{epoch}:x"])
def test_a_cursor_of_another_journal_is_refused(journal, cursor):
    epoch = changes(journal).cursor.partition(":")[0]
    with pytest.raises(Refused, match="cursor"):
        journal.changes(cursor.replace("{epoch}", epoch))


@pytest.mark.parametrize(
    ("root", "path", "noise"),
    [
        ("/home/user", ".cache", True),
        ("/home/user", ".config/dconf", True),
        ("/home/user", ".local/share/recently-used.xbel", True),
        ("/home/user", "Documents/.~lock.report.odt#", True),
        ("/home/user", "Documents/report.odt", False),
        ("/home/user", "poetry.lock", False),
        ("/home/user", "dbus-notes.txt", False),
        ("/tmp", "dbus-abc", True),
        ("/tmp", ".X11-unix", True),
        ("/tmp", "result.txt", False),
    ],
)
def test_what_programs_write_for_themselves_is_left_out(root, path, noise):
    assert is_noise(root, path) is noise
