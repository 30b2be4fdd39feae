"""The doctor's checks say what is there, and name the command that mends what is not."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from vm_pool import images
from vm_pool.errors import VMPoolError
from vm_pool.host import checks, namespace_fix


def test_every_check_that_fails_names_its_mending_command():
    found = checks()
    assert [check.name for check in found[:5]] == ["kernel", "tools", "user namespaces", "overlayfs", "bubblewrap"]
    for check in found:
        assert check.detail
        assert "\n" not in check.detail
        assert check.ok == (check.fix is None), check


def test_an_image_that_is_not_built_is_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_S3_CACHE", str(tmp_path))
    try:
        images.find("slim")
    except VMPoolError:
        check = next(check for check in checks() if check.name == "image slim")
        assert (check.ok, check.fix) == (False, "agent-s3 pool image build slim")
    else:
        pytest.skip("root has built the image for all users")


def emulator(folder: Path, capability: str) -> None:
    """A QEMU that can do one thing."""
    program = folder / "qemu-system-x86_64"
    program.write_text(f"""#!/bin/sh\necho '{{"return": [{{"capability": "{capability}", "state": false}}]}}'\n""")
    program.chmod(0o755)


@pytest.mark.parametrize(("capability", "way"), [("x-ignore-shared", "fork"), ("events", "restore"), ("other", "boot")])
def test_how_virtual_machines_run_and_are_copied_is_said_where_there_is_qemu(tmp_path, monkeypatch, capability, way):
    emulator(tmp_path, capability)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    check = next(check for check in checks() if check.name == "virtual machines")
    assert not check.required
    if find_spec("libvirt") is None:
        assert check.fix == "pip install 'agent-s3[libvirt]'"
    else:
        assert f"; copied by {way}: " in check.detail
        assert check.ok


def test_it_is_said_by_which_libvirt_machines_are_started_and_which_one_cannot_be(tmp_path, monkeypatch):
    if find_spec("libvirt") is None:
        pytest.skip("libvirt-python is not installed; run: make test")
    emulator(tmp_path, "x-ignore-shared")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("AGENT_S3_LIBVIRT", raising=False)
    check = next(check for check in checks() if check.name == "virtual machines")
    assert check.detail.endswith("; started by libvirt inside agent-s3")
    monkeypatch.setenv("AGENT_S3_LIBVIRT", "qemu+ssh://far/system")
    check = next(check for check in checks() if check.name == "virtual machines")
    assert (check.ok, check.fix) == (False, "export AGENT_S3_LIBVIRT=embed")
    assert "is not on this host" in check.detail


@pytest.mark.parametrize(
    ("setting", "value", "command"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("kernel/unprivileged_userns_clone", "1", "user.max_user_namespaces=15000"),
    ],
)
def test_the_setting_that_forbids_namespaces_is_found(tmp_path, setting, value, command):
    (tmp_path / setting).parent.mkdir(parents=True)
    (tmp_path / setting).write_text(f"{value}\n")
    fix = namespace_fix(tmp_path)
    assert command in fix
    assert fix.startswith("sudo ") == (os.geteuid() != 0)
