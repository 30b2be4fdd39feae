"""A disk that starts by its own boot loader and serves OSWorld's routes, as a virtual machine: used, copied, kept.

No disk of OSWorld's or Windows itself was run.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
import pytest_asyncio
from foreign_guest import PORT, SYSLINUX_MBR, kernel_package, make_foreign_disk
from PIL import Image
from web_server import GET, PAGE, web_server

from vm_pool import images
from vm_pool.contract import CHECKS
from vm_pool.errors import BootTimeout, ConfigError, GuestError, HostUnfit, MachineLost
from vm_pool.events import Move, Text
from vm_pool.local_state import folders_in
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.provider import Spec
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.providers.vm_user import OWN_UID

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]

TOOLS = {"syslinux": "syslinux", "mcopy": "mtools", "mkfs.vfat": "dosfstools"}
SAID = 'disk = "guest.qcow2"\nbus = "virtio"\ncard = "virtio"\nmemory_mib = 640\nboot_timeout_s = 300\n'
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
SHOP = "shop.test"
REACH = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


@pytest.fixture(scope="module")
def disks() -> Generator[Path]:
    for tool, package in TOOLS.items():
        if shutil.which(tool, path="/usr/bin:/usr/sbin:/sbin") is None or not SYSLINUX_MBR.exists():
            pytest.skip(f"{tool} is missing; run: sudo apt-get install -y {package} syslinux-common")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="s3f-") as folder:
        Path(folder).chmod(0o711)  # root's QEMU is not root
        make_foreign_disk(Path(folder))
        yield Path(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider():
    from vm_pool.providers.libvirt_disk import LibvirtDiskProvider

    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="s3v-") as state:
        places = VmPlaces(Path(state))
        provider = LibvirtDiskProvider(places=places)
        async with provider.session():
            yield provider
        assert folders_in(places.machines) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(provider, disks):
    (disks / "bios.toml").write_text(SAID)
    async with web_server() as port:
        network = f"allow:{SHOP}=127.0.0.1:{port}"
        machine = await provider.boot(
            Spec(image=str(disks / "bios.toml"), labels={"suite": "foreign"}, network=network)
        )
        yield machine
        await provider.stop(machine)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's QEMU is his own; run: sudo make test")
async def test_qemu_of_roots_is_not_root(provider, machine):
    assert _uid_of(*provider.process_ids(machine)) == OWN_UID


def _uid_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:"))


async def test_it_is_used_by_osworlds_routes_alone(machine):
    assert isinstance(machine, OSWorldMachine)
    assert (machine.info.provider, machine.info.platform, machine.info.home) == ("libvirt-disk", "linux", "/home/user")
    frame = await machine.screenshot()
    assert (frame.width, frame.height) == (machine.info.width, machine.info.height) == (800, 600)
    await machine.perform([Move(x=70, y=80)])
    assert (await machine.look(frozenset())).pointer == (70, 80)
    assert "BOOT_IMAGE=" in (await machine.run(["cat", "/proc/cmdline"])).stdout  # which its own boot loader put there


async def test_it_reaches_neither_this_host_nor_anything_else(machine):
    port = int(machine._wire._base_url.rpartition(":")[2])
    for place, number in (("10.0.2.2", port), ("127.0.0.1", port), ("10.0.2.3", 53), ("192.0.2.1", 80)):
        tried = await machine.run(["python3", "-c", REACH, place, str(number)], timeout_s=20)
        assert tried.returncode != 0, f"reached {place}:{number}"
    own = await machine.run(["python3", "-c", REACH, "127.0.0.1", str(PORT)], timeout_s=20)
    assert own.returncode == 0


async def test_its_port_is_on_the_loopback_interface_only(machine):
    port = int(machine._wire._base_url.rpartition(":")[2])
    assert listening_places(port) == ["0100007F"]


def listening_places(port: int) -> list[str]:
    """Addresses at which something listens on a TCP port, as the kernel writes them: 0100007F is 127.0.0.1."""
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()]
    found = [words[1].split(":") for words in lines if words[3] == "0A"]
    return [address for address, number in found if int(number, 16) == port]


async def test_its_screen_is_seen_from_outside_as_well(provider, machine):
    from vm_pool.providers.foreign_machine import Card, ForeignMachine, pixels_of_ppm

    vm, picture = provider._machines.of(machine).vm, provider._machines.of(machine).folder.screen
    vm.draw(picture)
    console = pixels_of_ppm(picture.read_bytes())
    assert console.any()
    seen = ForeignMachine(machine.info, url="http://127.0.0.1:9", card=Card(vm.draw, picture))
    with pytest.raises(GuestError, match="its graphics card shows"):  # this guest's desktop is not on the card
        await seen.screenshot()
    await seen.aclose()


async def test_copies_begin_where_it_was_saved_and_go_their_own_ways(provider, machine):
    await machine.write("/home/user/x", b"before")
    snapshot = await provider.snapshot(machine)
    assert snapshot.includes_memory
    await machine.write("/home/user/x", b"after")
    copy = await provider.fork(snapshot, labels={"fork": "1"})
    await provider.drop(snapshot)
    port = int(copy._wire._base_url.rpartition(":")[2])
    assert await copy.read("/home/user/x") == b"before"
    await copy.write("/home/user/x", b"its own")
    assert await machine.read("/home/user/x") == b"after"
    machine_id = copy.info.machine_id
    await provider.stop(copy, keep_disk=True)
    assert listening_places(port) == []
    revived = await provider.revive(machine_id)
    assert await revived.read("/home/user/x") == b"its own"
    assert {stray.id: stray.labels.get("fork") for stray in await provider.strays()}[machine_id] == "1"
    await provider.stop(revived)
    with pytest.raises(MachineLost):
        await provider.revive(machine_id)


@pytest.mark.skipif(
    shutil.which("swtpm_setup") is None or not OVMF.exists(),
    reason="no UEFI firmware or TPM here; run: sudo apt-get install -y ovmf swtpm swtpm-tools",
)
@pytest.mark.vm_long
async def test_uefi_and_a_tpm_are_there_and_can_be_copied(provider, disks):
    (disks / "uefi.toml").write_text(f'{SAID}firmware = "uefi"\ntpm = true\n')
    machine = await provider.boot(Spec(image=str(disks / "uefi.toml")))
    snapshot = await provider.snapshot(machine)
    copy = await provider.fork(snapshot)
    assert _uid_of(*provider.process_ids(copy)) == os.geteuid()  # its TPM lets nobody else connect
    for one in (machine, copy):
        found = await one.run(["cat", "/sys/class/tpm/tpm0/tpm_version_major", "/sys/firmware/efi/fw_platform_size"])
        assert found.stdout.split() == ["2", "64"]
    for one in (copy, machine):
        await provider.stop(one)
    await provider.drop(snapshot)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's QEMU is his own; run: sudo make test")
async def test_a_disk_that_qemus_user_cannot_reach_is_refused_with_what_mends_it(provider, disks):
    disks.chmod(0o700)
    try:
        with pytest.raises(HostUnfit, match=f"cannot pass {disks} on its way to .*; run: chmod o.x {disks}$"):
            await provider.boot(Spec(image=str(disks / "bios.toml")))
    finally:
        disks.chmod(0o711)


async def test_of_one_whose_server_never_answers_its_console_and_its_graphics_card_are_told(provider, disks):
    (disks / "deaf.toml").write_text(f"{SAID}port = 5001\n".replace("boot_timeout_s = 300", "boot_timeout_s = 12"))
    with pytest.raises(BootTimeout, match="see: agent-s3 pool logs m-") as caught:
        await provider.boot(Spec(image=str(disks / "deaf.toml")))
    report = caught.value.report
    assert report is not None
    assert report.elapsed_s >= 12
    assert len(report.evidence.log.splitlines()) == 4  # what became of each question
    assert report.evidence.screen is not None
    with Image.open(report.evidence.screen) as shown:
        assert shown.convert("L").getextrema() != (0, 0)


@pytest.fixture(scope="module")
def driven_disk() -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="s3f-"))
    folder.chmod(0o711)
    package = kernel_package(images.find("slim-vm"))
    command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{package} cannot be had: {done.stderr.strip()[-200:]}; run: sudo apt-get update")
    [drivers] = folder.glob("*.deb")
    make_foreign_disk(folder, drivers=drivers)
    (folder / "guest.toml").write_text(SAID)
    yield folder / "guest.toml"
    shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driven(provider, driven_disk):
    """One whose desktop reads its tablet and its keyboard, as those of others do."""
    machine = await provider.boot(Spec(image=str(driven_disk)))
    yield machine
    await provider.stop(machine)


BY_DEVICES = [
    "the_pointer_goes_where_it_is_sent",
    "a_click_is_a_press_and_a_release_at_its_pixel",
    "a_double_click_is_two_quick_clicks",
    "a_drag_moves_while_its_button_is_down",
]


@pytest.mark.vm_long
@pytest.mark.parametrize("name", BY_DEVICES)
async def test_where_its_desktop_reads_its_devices_input_comes_from_outside(driven, name):
    assert driven.uses_devices
    await CHECKS[name](driven, pace=20.0)


@pytest.mark.vm_long
async def test_a_copy_is_used_from_outside_too_and_text_still_goes_by_its_server(provider, driven):
    snapshot = await provider.snapshot(driven)
    copy = await provider.fork(snapshot)
    await provider.drop(snapshot)
    assert (await copy.perform([Move(x=9, y=8)])).pointer == (9, 8)
    assert copy.uses_devices
    done = await copy.perform([Move(x=70, y=60), Text(text="é")])
    assert (done.executed, done.pointer) == (2, (70, 60))
    await provider.stop(copy)


async def test_a_desktop_that_reads_no_devices_is_used_by_its_server(machine):
    assert not machine.uses_devices


async def test_a_network_of_containers_is_refused_before_anything_is_made(provider, disks):
    with pytest.raises(ConfigError, match="no network 'bridge', which is for containers"):
        await provider.boot(Spec(image=str(disks / "guest.qcow2"), network="bridge"))


async def test_programs_reach_by_the_proxy_what_the_machine_may_and_nothing_else(machine):
    assert "internet" in machine.info.capabilities
    assert PAGE.decode() in await fetched(machine, f"http://{SHOP}/")
    assert "not among the names" in await fetched(machine, "http://example.org/")
    assert "not among the names" in await fetched(machine, "http://10.0.2.2/")


async def test_a_copy_reaches_the_same_by_tunnels_of_its_own(provider, machine):
    snapshot = await provider.snapshot(machine)
    copy = await provider.fork(snapshot)
    await provider.drop(snapshot)
    assert PAGE.decode() in await fetched(copy, f"http://{SHOP}/")
    await provider.stop(copy)
    assert PAGE.decode() in await fetched(machine, f"http://{SHOP}/")


async def fetched(machine, url: str) -> str:
    """What a program in the machine gets that goes by its environment."""
    done = await machine.run(["python3", "-c", GET, url], timeout_s=60)
    return done.stdout + done.stderr
