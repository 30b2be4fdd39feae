"""QEMU of root's is not root: whom it runs as, and what changes hands for that."""

import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from vm_pool.local_state import HOST_UID
from vm_pool.providers.vm_user import OWN_UID, QemuUser, own_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away; run: sudo make test")
STRANGER = QemuUser(OWN_UID, OWN_UID)


@pytest.fixture
def folder() -> Generator[Path]:
    """Below folders that all may pass."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="s3u-") as name:
        yield Path(name)


def test_whoever_is_not_root_runs_qemu_himself_and_root_never_does():
    user = own_user()
    assert user.differs == (os.geteuid() == 0)
    assert user.uid not in (0, HOST_UID)


@as_root
def test_files_that_are_given_are_its_own_and_their_folder_is_not(folder):
    folder.chmod(0o700)
    file, new = folder / "disk", folder / "console"
    file.write_text("kept")
    STRANGER.give([file, new])
    assert file.read_text() == "kept"
    assert [(one.stat().st_uid, stat.S_IMODE(one.stat().st_mode)) for one in (file, new)] == [(OWN_UID, 0o600)] * 2
    assert (folder.stat().st_uid, stat.S_IMODE(folder.stat().st_mode)) == (0, 0o711)
    assert STRANGER.may(file, "rw")
    assert not STRANGER.may(folder, "w")
    assert not QemuUser(65534, 65534).may(file, "r")


@as_root
def test_a_folder_that_others_may_pass_stays_as_it_is(folder):
    folder.chmod(0o1777)
    STRANGER.give([folder / "picture"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777


@as_root
def test_a_link_in_the_place_of_a_file_gives_nothing_away(folder):
    secret = folder / "secret"
    secret.touch(0o600)
    (folder / "disk").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        STRANGER.give([folder / "disk"])
    assert secret.stat().st_uid == 0


@as_root
def test_what_it_cannot_get_at_is_named_with_the_command_that_mends_it(folder):
    closed, file = folder / "closed", folder / "closed" / "image"
    closed.mkdir(0o700)
    folder.chmod(0o711)
    file.touch(0o644)
    assert f"cannot pass {closed} on its way to {file}; run: chmod o+x {closed}" in (STRANGER.barred_from([file]) or "")
    closed.chmod(0o711)
    assert STRANGER.barred_from([file]) is None
    file.chmod(0o600)
    assert f"may not open {file}; run: chgrp {OWN_UID} {file} && chmod g+r {file}" in (
        STRANGER.barred_from([file]) or ""
    )
    assert STRANGER.barred_from([folder / "none"]) is None


def test_for_ones_own_user_nothing_changes(folder):
    file = folder / "disk"
    file.touch(0o644)
    me = QemuUser(os.geteuid(), os.getegid())
    me.give([file, folder / "other"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert not (folder / "other").exists()
    assert me.may(file, "rw")
