"""What CRIU complains of becomes one line with the program that it is about."""

import pytest

from vm_pool.providers.sandbox_criu_images import StateNotSaved, complaint, failure, program_in_log

HARMLESS = "Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
SAVING = """Error (criu/fsnotify.c:284): fsnotify: \tCan't dump that handle
Error (criu/cr-dump.c:1681): Dump files (pid: 29503) failed with -1
Error (criu/cr-dump.c:2111): Dumping FAILED.
"""
RESTORING = """(00.132713)      4: Error (criu/files-reg.c:1): Can't open file home/user/x: No such file or directory
(00.174899) Error (criu/cr-restore.c:2320): Restoring FAILED.
"""


@pytest.mark.parametrize(
    ("log", "reason", "program"),
    [
        (HARMLESS + SAVING, "it watches a file that CRIU cannot find any more", 29503),
        (HARMLESS + RESTORING, "Can't open file home/user/x: No such file or directory", 4),
        (HARMLESS, None, None),
        ("", None, None),
    ],
)
def test_the_first_complaint_is_the_reason(tmp_path, log, reason, program):
    path = tmp_path / "log"
    path.write_text(log)
    assert (complaint(path), program_in_log(path)) == (reason, program)


def test_what_is_otherwise_a_moment_later_is_told_from_what_is_not(tmp_path):
    path = tmp_path / "log"
    path.write_text(SAVING)
    assert not failure(path).passing
    for passing in (
        "Error (criu/sk-unix.c:506): unix: Non-empty write queue on an in-flight socket 0x2b5c9d\n",
        "    64: Error (criu/memfd.c:310): Cannot apply seals on memfd: Operation not permitted\n",
    ):
        path.write_text(passing)
        assert failure(path).passing


def test_control_characters_of_a_guest_do_not_get_into_the_reason(tmp_path):
    path = tmp_path / "log"
    path.write_text("     7: Error (a.c:1): Can't open \x1b[31mred\x07\n")
    assert complaint(path) == "Can't open  [31mred "


def test_a_reason_names_the_program_when_it_is_known():
    error = StateNotSaved("it is odd", 4)
    assert error.of_program({4: "firefox"}) == "firefox: it is odd"
    assert error.of_program({}) == "it is odd"
