"""Virtual machines by a daemon of the system's or of a session's, and by libvirt inside an ordinary user's process.

One process has one libvirt, so each of them is used by a process of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Generator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed; run: AGENT_S3_TEST_VM=1 make test")

from vm_pool.disk import delete_tree
from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.owner import process_started
from vm_pool.providers.libvirt import LibvirtProvider
from vm_pool.providers.vm_connection import check_allowed, choice_of
from vm_pool.providers.vm_daemon import DaemonLink, OwnDaemon, base_labels, why_no_files_pass
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.providers.vm_user import OWN_UID, QemuUser

ROOT = Path(__file__).parents[3]
DRIVE = Path(__file__).with_name("drive_libvirt.py")
NOBODY = 65534
LIBVIRTD = shutil.which("libvirtd", path="/usr/sbin:/usr/bin")
by_a_daemon = [
    pytest.mark.vm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users; run: sudo make test"),
    pytest.mark.skipif(
        LIBVIRTD is None or not Path("/etc/libvirt/libvirtd.conf").exists(),
        reason="no libvirtd with its settings; run: sudo apt-get install -y libvirt-daemon-system",
    ),
]


def vm(test: Any) -> Any:
    for mark in by_a_daemon:
        test = mark(test)
    return test


# --- the words for it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "address"),
    [
        (None, "embed", "qemu:///embed"),
        ("system", "system", "qemu:///system"),
        ("session", "session", "qemu:///session"),
        ("qemu:///session", "session", "qemu:///session"),
        ("qemu+unix:///system?socket=/run/x/sock", "system", "qemu+unix:///system?socket=/run/x/sock"),
    ],
)
def test_a_libvirt_of_this_host_is_named_by_a_word_or_an_address(text, kind, address, monkeypatch):
    monkeypatch.delenv("AGENT_S3_LIBVIRT", raising=False)
    choice = choice_of(text)
    assert (choice.kind, choice.address) == (kind, address)


def test_the_environment_says_which_one_unless_the_caller_does(monkeypatch):
    monkeypatch.setenv("AGENT_S3_LIBVIRT", "session")
    assert choice_of(None).kind == "session"
    assert choice_of("embed").kind == "embed"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sytsem", "unknown libvirt 'sytsem'; known: embed, session, system"),
        ("qemu+ssh://root@far/system", "is not on this host, where disks and memory of machines lie"),
        ("qemu://far/system", "is not on this host"),
        ("qemu+tcp:///system", "is not on this host"),
        ("qemu+ext:///system?command=/bin/sh", "is not on this host"),
        ("qemu:///system?command=/bin/sh", "says more than a socket"),
        ("qemu:///embed?root=/", "says more than a socket"),
        ("qemu:///embed", "neither a system's nor a session's"),
        ("xen:///system", "no address of QEMU's"),
    ],
)
def test_what_is_elsewhere_or_unknown_is_refused_in_one_line(text, complaint):
    with pytest.raises(ConfigError) as caught:
        LibvirtProvider(connection=text)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "uid", "complaint"), [("session", 0, "no session of root's"), ("system", 1, "nor you")]
)
def test_a_daemon_whose_machines_the_user_could_not_reach_is_refused(word, uid, complaint):
    with pytest.raises(ConfigError, match=complaint):
        check_allowed(choice_of(word), uid=uid)
    check_allowed(choice_of(word), uid=1 - uid)


def test_where_no_daemon_answers_it_is_said_what_starts_one(tmp_path):
    link = DaemonLink(choice_of(f"qemu+unix:///system?socket={tmp_path}/none"), VmPlaces(tmp_path))
    with pytest.raises(HostUnfit, match=r"no libvirt daemon answers at .*; run: sudo systemctl start libvirtd"):
        link.open()


def test_whom_a_daemon_runs_qemu_as_and_what_confines_it_is_read_from_what_it_says():
    said = """<capabilities><host><secmodel><model>apparmor</model><doi>0</doi></secmodel><secmodel><model>dac</model>
    <doi>0</doi><baselabel type='kvm'>+64055:+108</baselabel><baselabel type='qemu'>+64055:+108</baselabel></secmodel>
    <secmodel><model>none</model><doi>0</doi></secmodel></host></capabilities>"""
    assert base_labels(said) == {"apparmor": "", "dac": "+64055:+108"}
    assert base_labels("<capabilities><host/></capabilities>") == {}


def test_a_daemon_that_is_too_old_to_save_state_is_named_as_the_reason():
    assert why_no_files_pass("the daemon", 9_000_000) is None
    assert why_no_files_pass("the daemon", 8_002_000) is None
    assert why_no_files_pass("the daemon", 8_001_000) == "the daemon is older than 8.2 and hands no open files to QEMU"


# --- machines ----------------------------------------------------------------------------------------------------


class Lab(NamedTuple):
    """Where an ordinary user and root have their machines, and a snapshot that the former took."""

    folder: Path
    snapshot: str

    def drive(self, deed: str, connection: str, *, uid: int = 0, fails: bool = False) -> dict[str, Any]:
        return drive(self.folder, deed, connection, self.snapshot, uid=uid, fails=fails)


@cache
def interpreter() -> tuple[str, ...] | None:
    """A Python of our version that ordinary users can run too; None when there is none."""
    version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    for program in (sys.executable, "/usr/bin/python3"):
        with suppress(OSError):
            if QemuUser(NOBODY, NOBODY).run([program, "-c", version], timeout_s=20).returncode == 0:
                return (program,)
    return None


def environment(folder: Path, uid: int) -> dict[str, str]:
    home = folder / str(uid)
    kept = {name: os.environ[name] for name in ("AGENT_S3_CACHE",) if name in os.environ}
    return {
        **kept,
        "PATH": os.environ["PATH"],
        "HOME": str(home / "home"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "AGENT_S3_STATE": str(home / "state"),
        "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def drive(folder: Path, deed: str, connection: str, *words: str, uid: int, fails: bool = False) -> dict[str, Any]:
    """What a process of that user saw."""
    state = folder / str(uid) / "state"
    command = [*(interpreter() or ()), str(DRIVE), deed, connection, str(state), *words]
    done = subprocess.run(
        command,
        capture_output=True,
        env=environment(folder, uid),
        cwd="/",
        timeout=280,
        user=uid,
        group=uid,
        extra_groups=(),
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stderr.decode()
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def lab() -> Generator[Lab]:
    if interpreter() is None:
        pytest.skip(f"an ordinary user can use no Python like {sys.executable}; run: sudo apt-get install -y python3")
    if not QemuUser(NOBODY, NOBODY).may(DRIVE, "r"):
        pytest.skip(f"an ordinary user cannot read {DRIVE}; run: make test, in a folder that all may enter")
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="s3n-"))
    folder.chmod(0o755)
    try:
        for uid in (0, NOBODY):
            for part in (".", "home", "run", "state"):
                (folder / str(uid) / part).mkdir(mode=0o711, exist_ok=True)
                os.chown(folder / str(uid) / part, uid, uid)
        yield Lab(folder, _snapshot_of_both(folder))
    finally:
        for note in folder.rglob("*"):
            if note.name in ("libvirtd.pid", "virtlogd.pid") or note.parts[-2:] == ("daemon", "pid"):
                with suppress(ValueError, ProcessLookupError):
                    os.kill(int(note.read_text()), signal.SIGTERM)
        delete_tree(folder)


def _snapshot_of_both(folder: Path) -> str:
    """Taken by an ordinary user in his session, and root has a copy."""
    seen = drive(folder, "boot", "session", uid=NOBODY)
    assert seen["uid"] == NOBODY
    assert seen["ways"][1].startswith("copies by fork")
    assert seen["ways"][2] == "started by the libvirt daemon at qemu:///session"
    theirs, ours = (folder / str(uid) / "state" / "snapshots" for uid in (NOBODY, 0))
    subprocess.run(["cp", "-r", "--sparse=always", "--no-preserve=all", str(theirs), str(ours)], check=True)
    return seen["snapshot"]


@vm
@pytest.mark.parametrize("connection", ["embed", pytest.param("session", marks=pytest.mark.vm_long)])
def test_an_ordinary_users_machines_are_forked_as_himself(lab, connection):
    seen = lab.drive("fork", connection, uid=NOBODY)
    assert seen["marks"] == ["booted", "branched"]
    assert seen["uid"] == NOBODY
    assert not lives(seen)


@vm
@pytest.mark.vm_long
def test_roots_machines_at_a_daemon_that_was_started_by_hand_are_not_roots(lab):
    seen = lab.drive("fork", "system")
    assert seen["marks"] == ["booted", "branched"]
    assert seen["uid"] == OWN_UID
    assert seen["ways"][2].startswith("started by the libvirt daemon at qemu")


@vm
def test_machines_outlive_their_daemon_and_are_copied_by_the_next(lab):
    seen = lab.drive("outlive", "system")
    assert (seen["marks"], seen["uid"]) == (["outlived"], OWN_UID)


@vm
@pytest.mark.parametrize("deed", [pytest.param("vanish", marks=pytest.mark.vm_long), "die"])
def test_what_killed_runs_left_at_a_daemon_is_collected_with_and_without_it(lab, deed):
    seen = lab.drive(deed, "system", fails=True)
    assert lives(seen)
    collected = lab.drive("collect", "system")
    assert collected == {"found": [f"machine {seen['machine']}"], "failed": [], "left": []}
    assert not lives(seen)


@vm
def test_a_machine_whose_files_are_gone_is_found_at_its_daemon_by_its_label(lab):
    seen = lab.drive("vanish", "system", fails=True)
    delete_tree(lab.folder / "0/state/machines" / seen["machine"])
    collected = lab.drive("collect", "system")
    (found,) = collected["found"]
    assert found.startswith(f"domain {seen['machine']}-")
    assert (collected["failed"], collected["left"]) == ([], [])
    assert not lives(seen)


@pytest.mark.vm
@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a daemon; run: sudo make test")
def test_a_daemon_that_starts_and_does_not_answer_is_explained_in_one_line(tmp_path, monkeypatch):
    silent = tmp_path / "libvirtd"
    silent.write_text("#!/bin/sh\necho 'no driver came up' >> /var/log/libvirt/libvirtd.log\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(HostUnfit, match=r"^libvirtd does not answer: .*no driver came up.*; run: .*, or use: embed$"):
        OwnDaemon(tmp_path / "daemon").started()


def lives(seen: dict[str, Any]) -> bool:
    """One that has ended may wait for its parent to notice."""
    return process_started(seen["pid"]) is not None
