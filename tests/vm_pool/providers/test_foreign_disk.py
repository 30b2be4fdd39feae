"""Disks that others made: what a path says of one, what is refused, and what libvirt is told."""

import re
import subprocess
from pathlib import Path
from shutil import which
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vm_pool.errors import ConfigError, GuestError
from vm_pool.providers.foreign_disk import ForeignDisk, is_foreign, read_foreign_disk
from vm_pool.providers.foreign_domain import ForeignDomain, UefiFiles, forwarded_port
from vm_pool.providers.foreign_machine import Card, ForeignMachine, pixels_of_ppm
from vm_pool.types import MachineInfo

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
needs_qemu_img = pytest.mark.skipif(which("qemu-img") is None, reason="no qemu-img; run: apt-get install qemu-utils")


def disk(path: Path, *options: str) -> Path:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "1M"]
    subprocess.run(command, check=True)
    return path


@needs_qemu_img
def test_a_disk_alone_is_an_ordinary_computer(tmp_path):
    path = disk(tmp_path / "ubuntu.qcow2")
    assert read_foreign_disk(str(path)) == ForeignDisk(disk=path)
    assert (is_foreign(str(path)), is_foreign("desktop"), is_foreign("slim-vm-0123456789abcdef")) == (
        True,
        False,
        False,
    )


@needs_qemu_img
def test_what_stands_beside_a_disk_is_heard_by_either_name(tmp_path):
    path = disk(tmp_path / "win.qcow2")
    path.with_suffix(".toml").write_text('firmware = "uefi"\ntpm = true\nmemory_mib = 8192\ncard = "e1000e"\n')
    found = read_foreign_disk(str(path))
    assert (found.firmware, found.tpm, found.memory_mib, found.disk) == ("uefi", True, 8192, path)
    assert read_foreign_disk(str(path.with_suffix(".toml"))) == found


@needs_qemu_img
def test_the_file_in_the_documentation_is_understood(tmp_path):
    page = Path(__file__).parents[3] / "docs/images-and-pool.md"
    [example] = re.findall(r"```toml\n(disk.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    disk(tmp_path / "Ubuntu.qcow2")
    (tmp_path / "Ubuntu.toml").write_text(example)
    found = read_foreign_disk(str(tmp_path / "Ubuntu.qcow2"))
    assert found.model_fields_set == set(ForeignDisk.model_fields)


@needs_qemu_img
def test_a_description_may_be_about_a_disk_elsewhere(tmp_path):
    (tmp_path / "disks").mkdir()
    path = disk(tmp_path / "disks/a.qcow2")
    (tmp_path / "b.toml").write_text('disk = "disks/a.qcow2"')
    assert read_foreign_disk(str(tmp_path / "b.toml")).disk == path


@needs_qemu_img
def test_a_disk_that_shows_other_files_of_this_host_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"key" * 1000)
    backed = disk(tmp_path / "backed.qcow2", "-F", "raw", "-b", str(tmp_path / "secret"))
    elsewhere = disk(tmp_path / "elsewhere.qcow2", "-o", f"data_file={tmp_path}/data,data_file_raw=on")
    for path in (backed, elsewhere):
        with pytest.raises(ConfigError, match="content elsewhere"):
            read_foreign_disk(str(path))


@needs_qemu_img
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('firmware = "efi"', r"firmware: .*'bios' or 'uefi'"),
        ("colour = 1", "colour: Extra inputs"),
        ("port = 0", "port: "),
        ("port = ", "x.toml: "),
        ('disk = "none.qcow2"', "no disk at .*none.qcow2"),
        ('disk = "x.toml"', "no qcow2 disk; convert it"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, text, complaint):
    disk(tmp_path / "x.qcow2")
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_foreign_disk(str(tmp_path / "x.qcow2"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image", ["desktop", "/no/such.toml", "/no/such.qcow2"])
def test_what_is_no_path_of_a_disk_says_what_would_be(image):
    with pytest.raises(ConfigError, match=r"\.toml about one"):
        read_foreign_disk(image)


def described(
    *, uefi: UefiFiles | None = None, incoming: bool = False, tunnels: int | None = None, **said: object
) -> Xml.Element:
    domain = ForeignDomain(
        name="m-1",
        uuid="6f8d6f0e-7a0c-4d0e-9d0a-0123456789ab",
        generation="11111111-7a0c-4d0e-9d0a-0123456789ab",
        accel="tcg",
        emulator=Path("/usr/bin/qemu-system-x86_64"),
        what=ForeignDisk.model_validate({"disk": Path("/d"), **said}),
        memory_mib=4096,
        cpus=2,
        disk=Path("/state/m-1/disk.qcow2"),
        uefi=uefi,
        tunnels=tunnels,
        console=Path("/state/m-1/console"),
        incoming=incoming,
        notes={"task": "</metadata><devices/>"},
    )
    return Xml.fromstring(domain.xml())


def words(root: Xml.Element) -> list[str]:
    return [str(argument.get("value")) for argument in root.iter(f"{QEMU}arg")]


def test_its_network_is_one_port_of_the_loopback_interface():
    root = described(port=5001)
    assert words(root)[:2] == ["-netdev", "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-10.0.2.15:5001"]
    assert not {"interface", "graphics", "filesystem", "hostdev"} & {element.tag for element in root.iter()}
    assert len(list(root.iter("devices"))) == 1


@pytest.mark.parametrize(
    ("said", "target", "card"),
    [({}, ("sda", "sata"), "e1000e,"), ({"bus": "virtio", "card": "virtio"}, ("vda", "virtio"), "virtio-net-pci,")],
)
def test_disk_and_card_are_of_the_kind_that_was_named(said, target, card):
    root = described(**said)
    found = root.find("devices/disk/target")
    assert found is not None
    assert (found.get("dev"), found.get("bus")) == target
    assert words(root)[3].startswith(card)


def test_firmware_and_tpm_are_there_when_asked_for():
    plain, full = described(), described(tpm=True, uefi=UefiFiles(Path("/code"), Path("/state/m-1/variables")))
    assert [plain.find(path) for path in ("os/loader", "os/nvram", "devices/tpm")] == [None] * 3
    assert (full.findtext("os/loader"), full.findtext("os/nvram")) == ("/code", "/state/m-1/variables")
    assert full.find("devices/tpm/backend[@version='2.0']") is not None


def test_only_a_machine_that_gets_state_waits_for_it():
    assert "-incoming" not in words(described())
    assert words(described(incoming=True))[-2:] == ["-incoming", "defer"]


def test_a_machine_that_may_reach_something_has_one_more_port_and_no_other_way_out():
    assert words(described())[1].count("hostfwd") == 1
    open_one = words(described(tunnels=3129))[1]
    assert "restrict=on" in open_one
    assert open_one.endswith(",hostfwd=tcp:127.0.0.1:0-10.0.2.15:5000,hostfwd=tcp:127.0.0.1:0-10.0.2.15:3129")


def test_the_port_is_read_off_what_qemu_says():
    said = (
        "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[ESTABLISHED]   31       127.0.0.1 41000       10.0.2.15  5000     0     0\r\n"
        "  TCP[HOST_FORWARD]  27       127.0.0.1 40123       10.0.2.15  5000     0     0\r\n"
    )
    assert forwarded_port(said, 5000) == 40123
    assert forwarded_port(said, 5001) is None
    assert forwarded_port("", 5000) is None


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_picture_of_the_card_is_read_pixel_by_pixel(pixels):
    head = f"P6\n{pixels.shape[1]} {pixels.shape[0]}\n255\n".encode()
    assert np.array_equal(pixels_of_ppm(head + pixels.tobytes()), pixels)
    with pytest.raises(ValueError, match="no picture"):
        pixels_of_ppm(head + pixels.tobytes()[1:])


@pytest.mark.parametrize("data", [b"", b"P5\n1 1\n255\n\0", b"P6\n1 1\n65535\n\0\0\0", b"P6\n-1 1\n255\n\0\0\0"])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(ValueError, match="PPM"):
        pixels_of_ppm(data)


async def test_frames_come_from_the_card_and_must_fit_what_the_server_says(tmp_path):
    info = MachineInfo(
        machine_id="m-1", provider="x", image="x", platform="windows", width=2, height=1, user="u", home="C:\\"
    )
    shown = [b"P6\n2 1\n255\nabcdef", b"P6\n1 1\n255\nabc", b"nonsense"]

    def draw(path: Path) -> None:
        path.write_bytes(shown.pop(0))

    machine = ForeignMachine(info, url="http://127.0.0.1:9", card=Card(draw, tmp_path / "screen"))
    assert (await machine.screenshot()).pixels.tobytes() == b"abcdef"
    with pytest.raises(GuestError, match=r"shows 1x1 px, its guest server 2x1; .* say screen = \"server\""):
        await machine.screenshot()
    with pytest.raises(GuestError, match="no picture"):
        await machine.screenshot()
    await machine.aclose()
