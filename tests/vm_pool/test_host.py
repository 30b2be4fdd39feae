"""The doctor's checks say what is there, and name the command that mends what is not."""

import os

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
