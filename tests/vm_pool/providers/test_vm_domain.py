"""What libvirt is told of a virtual machine, and when hardware support is believed in."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from vm_pool.providers.vm_accel import guest_runs, why_no_kvm
from vm_pool.providers.vm_domain import METADATA, Domain, Label, Memory
from vm_pool.providers.vm_screen import SharedScreen
from vm_pool.providers.vm_user import QemuUser

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
DOMAIN = Domain(
    name="m-1",
    uuid="6f8d6f0e-7a0c-4d0e-9d0a-0123456789ab",
    generation="11111111-7a0c-4d0e-9d0a-0123456789ab",
    accel="tcg",
    memory=Memory(mib=768),
    screen=SharedScreen(file=Path("/state/m-1/screen"), size=4 << 20),
    cpus=0,
    emulator=Path("/usr/bin/qemu-system-x86_64"),
    kernel=Path("/k"),
    initrd=Path("/i"),
    disk=Path("/state/m-1/disk.qcow2"),
    port=Path("/state/m-1/port"),
    console=Path("/state/m-1/console"),
    incoming=False,
)


def described(**changes: object) -> Xml.Element:
    return Xml.fromstring(DOMAIN.model_copy(update=changes).xml())


def words(root: Xml.Element) -> list[str]:
    return [str(argument.get("value")) for argument in root.iter(f"{QEMU}arg")]


def attributes(root: Xml.Element, path: str) -> dict[str, str]:
    element = root.find(path)
    assert element is not None
    return element.attrib


def test_labels_are_noted_and_cannot_become_part_of_the_description():
    notes = {"owner": "1", "task": "</metadata><devices/>&'\"", "]]>": "x"}
    root = described(notes=notes)
    assert {note.get("name"): note.text for note in root.iter(f"{{{METADATA}}}note")} == notes
    assert len(list(root.iter("devices"))) == 1


def test_qemus_user_is_named_and_no_file_changes_its_owner_for_it():
    labels = (Label("dac", "+60974:+60974"), Label("apparmor", None))
    root = Xml.fromstring(DOMAIN.xml(labels))
    assert [label.attrib for label in root.iter("seclabel")] == [
        {"type": "static", "model": "dac", "relabel": "no"},
        {"type": "none", "model": "apparmor"},
    ]
    assert root.findtext("seclabel/label") == "+60974:+60974"
    assert not list(described().iter("seclabel"))


def test_what_qemu_writes_is_known_and_an_images_files_are_not_among_it():
    memory = Memory(mib=768, file=Path("/state/s-1/ram"))
    names = {path.name for path in DOMAIN.model_copy(update={"memory": memory}).writes}
    assert names == {"disk.qcow2", "console", "screen", "ram"}
    assert set(DOMAIN.reads) == {Path("/k"), Path("/i")}


def test_a_machine_has_no_way_out_but_its_control_port():
    kinds = {element.tag for element in described().iter()}
    assert not kinds & {"interface", "graphics", "filesystem", "hostdev", "redirdev", "shmem"}
    assert attributes(described(), "devices/channel/source") == {"mode": "bind", "path": "/state/m-1/port"}


@pytest.mark.parametrize(
    ("memory", "kept"),
    [
        (Memory(mib=768), ("memory-backend-ram", None, None)),
        (Memory(mib=768, file=Path("/s,hare=on/ram")), ("memory-backend-file", "/s,hare=on/ram", False)),
        (Memory(mib=768, file=Path("/ram"), shared=True), ("memory-backend-file", "/ram", True)),
    ],
)
def test_memory_is_anonymous_shared_or_copied_on_write(memory, kept):
    made = json.loads(words(described(memory=memory))[1])
    assert (made["qom-type"], made.get("mem-path"), made.get("share")) == kept
    assert (made["id"], made["size"]) == ("mem", 768 << 20)


def test_a_machine_that_waits_for_its_memory_is_given_no_initramfs():
    assert described().findtext("os/initrd") == "/i"
    assert described(initrd=None).find("os/initrd") is None


@pytest.mark.parametrize(("mib", "gib"), [(384, 4), (2815, 4), (2816, 5), (3072, 5), (3073, 6), (8192, 10)])
def test_the_screen_is_shared_above_all_other_memory(mib, gib):
    root = described(memory=Memory(mib=mib))
    line = words(root)
    made = json.loads(line[7])
    assert (made["mem-path"], made["share"], made["size"]) == ("/state/m-1/screen", True, 4 << 20)
    assert line[5] == f"slots=1,maxmem={(mib + 4) << 20}B"
    assert line[9] == f"nvdimm,id=screen0,memdev=screen,addr={gib << 30}"
    assert (root.findtext("os/cmdline") or "").endswith(f" memmap={4 << 20}!{gib << 30}")


def test_only_a_machine_that_gets_state_waits_for_it():
    assert "-incoming" not in words(described())
    assert words(described(incoming=True))[-2:] == ["-incoming", "defer"]


def test_each_copy_has_a_generation_of_its_own():
    assert described().findtext("genid") == DOMAIN.generation


@pytest.mark.parametrize(("accel", "kind", "cpu"), [("tcg", "qemu", "maximum"), ("kvm", "kvm", "host-passthrough")])
def test_the_kind_of_machine_follows_the_acceleration(accel, kind, cpu):
    root = described(accel=accel)
    assert (root.get("type"), attributes(root, "cpu")["mode"]) == (kind, cpu)


@pytest.mark.parametrize(("cpus", "vcpu"), [(0, "1"), (0.5, "1"), (1.5, "2"), (4, "4")])
def test_processors_are_whole(cpus, vcpu):
    assert described(cpus=cpus).findtext("vcpu") == vcpu


def test_kvm_is_ruled_out_without_the_processors_support_or_the_device(tmp_path):
    there = tmp_path / "kvm"
    there.touch()
    assert "neither vmx nor svm" in (why_no_kvm("flags\t\t: fpu sse2\n", there) or "")
    assert "there is no" in (why_no_kvm("flags\t\t: fpu vmx\n", tmp_path / "none") or "")
    assert why_no_kvm("flags\t\t: fpu svm\n", there, QemuUser(os.geteuid(), os.getegid())) is None
    if os.geteuid() == 0:
        assert "may not be opened by uid 60974" in (why_no_kvm("flags\t\t: fpu svm\n", there) or "")


def test_a_guest_that_says_nothing_does_not_run(tmp_path):
    assert not guest_runs("tcg", Path("/bin/true"), tmp_path, tmp_path, timeout_s=5)
    waiting = tmp_path / "waiting"
    waiting.write_text("#!/bin/sh\nexec sleep 60\n")
    waiting.chmod(0o755)
    assert not guest_runs("tcg", waiting, tmp_path, tmp_path, timeout_s=0.2)
    assert not guest_runs("tcg", tmp_path / "missing", tmp_path, tmp_path, timeout_s=5)
