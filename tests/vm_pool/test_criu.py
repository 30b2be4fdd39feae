"""Which CRIU is taken, and what is said where there is none."""

from pathlib import Path

import pytest

from vm_pool.criu import find_criu
from vm_pool.errors import HostUnfit


def program(folder: Path, says: str) -> str:
    path = folder / "criu"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(folder)


def test_the_hosts_own_criu_is_taken_when_it_is_new_enough(tmp_path):
    found = find_criu(program(tmp_path, "Version: 4.1.1"), [])
    assert (found.argv, found.version) == ((str(tmp_path / "criu"),), "4.1")


@pytest.mark.parametrize("says", ["Version: 3.17.1", "what?", ""])
def test_one_that_is_too_old_or_says_nonsense_is_not(tmp_path, says):
    with pytest.raises(HostUnfit, match=r"there is no CRIU 4 or newer; run: "):
        find_criu(program(tmp_path, says), [tmp_path])


def test_without_one_the_command_that_brings_it_is_named(tmp_path):
    with pytest.raises(HostUnfit, match=r"; run: (agent-s3 pool criu|sudo apt-get install -y criu|your distribution)"):
        find_criu(str(tmp_path), [tmp_path])


def test_one_that_does_not_work_with_the_kernel_says_why(tmp_path):
    found = find_criu(program(tmp_path, "Version: 4.1"), [])
    (tmp_path / "criu").write_text("#!/bin/sh\necho 'Error (criu/x.c:1): no such thing' >&2\nexit 1\n")
    with pytest.raises(HostUnfit, match=r"needs root|does not work with this kernel: .*no such thing"):
        found.check()
