"""How copies of virtual machines are made, by what QEMU can do and by what was saved."""

from pathlib import Path

import pytest

from vm_pool.errors import ConfigError
from vm_pool.providers import make_provider
from vm_pool.providers.vm_places import VmFolder

pytest.importorskip("libvirt", reason="libvirt-python is not installed; run: make test")

from vm_pool.providers.vm_cloning import cloning_by, cloning_of
from vm_pool.providers.vm_saving import memory_for, way_of


@pytest.mark.parametrize(
    ("capabilities", "way", "reason"),
    [
        (["xbzrle", "events", "x-ignore-shared"], "fork", "apart from memory"),
        (["xbzrle", "events"], "restore", "no x-ignore-shared"),
        ([], "boot", "start cold"),
    ],
)
def test_the_best_way_that_qemu_has_is_taken_and_named(capabilities, way, reason):
    assert cloning_by(capabilities).way == way
    assert reason in cloning_by(capabilities).reason


def qemu(folder: Path, answers: str) -> Path:
    """A program that answers as QEMU does."""
    program = folder / "qemu"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answers}\nEND\n")
    program.chmod(0o755)
    return program


def test_qemu_is_asked_what_it_can_do(tmp_path):
    answers = (
        '{"QMP": {}}\n{"return": {}}\n{"return": [{"state": false, "capability": "x-ignore-shared"}]}\n{"return": {}}'
    )
    assert cloning_of(qemu(tmp_path, answers)).way == "fork"
    assert cloning_of(qemu(tmp_path, "nonsense\n[1]\n")).way == "boot"
    assert cloning_of(tmp_path / "missing").way == "boot"


def test_what_was_saved_decides_how_copies_start(tmp_path):
    folder = VmFolder(tmp_path)
    assert (way_of(folder), memory_for(folder, 512).file) == ("boot", None)
    folder.moved.touch()
    assert (way_of(folder), memory_for(folder, 512).file) == ("restore", None)
    folder.device.touch()
    assert (way_of(folder), memory_for(folder, 512).file) == ("fork", folder.ram)
    assert memory_for(None, 512).file is None


def test_an_unknown_way_is_refused():
    with pytest.raises(ConfigError, match="known: auto, fork, restore, boot"):
        make_provider("libvirt", cloning="teleport")
