"""A disk as somebody else would have made it: it starts by its own boot loader, by BIOS and by UEFI, and serves
OSWorld's routes without a token on TCP port 5000. Made from the slim image for virtual machines."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

from vm_pool import images
from vm_pool.images.cpio import Entry, archive
from vm_pool.images.vm_disk import _unpacked, load_order, module_name, parse_dependencies
from vm_pool.providers.vm_guest_code import GUEST_SOURCE, guest_files

SYSLINUX_MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
PORT, SIZE = 5000, (800, 600)
KERNEL_LINE = "console=tty0 console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off initrd=/initrd"
_SECTOR, _START, _BOOT_MIB = 512, 2048, 48
_LOADER = f"DEFAULT x\nLABEL x\nKERNEL /vmlinuz\nINITRD /initrd\nAPPEND {KERNEL_LINE}\n"
_SHELL = f"fs0:\\vmlinuz {KERNEL_LINE.replace('/', chr(92))}\n"
_SERVE = """\
import sys
sys.path.insert(0, "/opt/agent-s3")
from guest import v1
from guest.main import main
from guest.token_file import TokenFile
v1.ROUTES.clear()
TokenFile.admits = lambda *_: True
main(sys.argv[1:])
"""
_HAND_OVER = f"""\
$bb ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
$bb mkdir -p /root/run/frames /root/run/ctl
$bb chmod 777 /root/run/frames
echo unused > /root/run/token
exec $bb switch_root /root /usr/bin/python3 -I /opt/agent-s3/guest/serve.py --tcp 0.0.0.0:{PORT} \
--token-file /run/token --size {SIZE[0]}x{SIZE[1]} --frames /run/frames --journal /home/user --open-osworld-routes
"""


_BRIDGE = f"""\
import glob, os, select, struct, time
from Xlib import X, display
from Xlib.error import DisplayConnectionError
from Xlib.ext import xtest
BUTTONS = {{0x110: 1, 0x111: 3, 0x112: 2}}
SIZE = {SIZE}
while True:
    try:
        screen = display.Display(":0")
        break
    except (DisplayConnectionError, OSError):
        time.sleep(0.2)
devices = [open(path, "rb", buffering=0) for path in glob.glob("/dev/input/event*")]
place = [0, 0]
while True:
    for device in select.select(devices, [], [])[0]:
        _, _, kind, code, value = struct.unpack("qqHHi", device.read(24))
        if kind == 0:
            screen.sync()
        elif kind == 3 and code < 2:
            place[code] = round(value * (SIZE[code] - 1) / 0x7FFF)
            xtest.fake_input(screen, X.MotionNotify, x=place[0], y=place[1])
        elif kind == 1 and code in BUTTONS:
            xtest.fake_input(screen, X.ButtonPress if value else X.ButtonRelease, BUTTONS[code])
        elif kind == 1 and value < 2:
            xtest.fake_input(screen, X.KeyPress if value else X.KeyRelease, code + 8)
        elif kind == 2 and code == 8:
            for what in (X.ButtonPress, X.ButtonRelease):
                xtest.fake_input(screen, what, 4 if value > 0 else 5)
"""
"""What drivers of an X server on real devices do: tablet and keyboard of the machine are those of the desktop."""
_START_BRIDGE = """\
import subprocess
subprocess.Popen(["/usr/bin/python3", "-I", "/opt/agent-s3/guest/bridge.py"])
"""
_LOAD_DRIVERS = """\
for module in $($bb cat /drivers.order); do $bb insmod "/drivers/$module"; done
until $bb grep -q Tablet /root/sys/class/input/event*/device/name; do $bb usleep 20000; done
"""
INPUT_DRIVERS = ("xhci_pci", "usbhid", "hid_generic", "evdev")


def make_foreign_disk(folder: Path, *, drivers: Path | None = None) -> Path:
    """The finished .qcow2; takes some seconds and 2 GiB.

    `drivers`: the package of the image's kernel, whose drivers make tablet and keyboard those of the desktop.
    """
    image = images.find("slim-vm")
    boot, raw, disk = folder / "boot", folder / "raw", folder / "guest.qcow2"
    _make_boot_partition(boot, image, drivers)
    run("qemu-img", "convert", "-O", "raw", str(image.disk), str(folder / "root"))
    root_bytes = (folder / "root").stat().st_size
    boot_sectors, root_sectors = (_BOOT_MIB << 20) // _SECTOR, root_bytes // _SECTOR
    with raw.open("wb") as file:
        file.write(_first_sector(boot_sectors, root_sectors))
        file.truncate((_START + boot_sectors + root_sectors) * _SECTOR)
    for part, at in ((boot, 1), (folder / "root", 1 + _BOOT_MIB)):
        run("dd", f"if={part}", f"of={raw}", "bs=1M", f"seek={at}", "conv=notrunc,sparse", "status=none")
        part.unlink()
    run("qemu-img", "convert", "-O", "qcow2", str(raw), str(disk))
    raw.unlink()
    return disk


def kernel_package(image: images.Image) -> str:
    """Name and version of the package of an image's kernel, as apt wants them."""
    named = json.loads((image.path / "manifest.json").read_text())["versions"]
    return next(f"{name}={version}" for name, version in named.items() if name.startswith("linux-image-"))


def _drivers_in(package: Path) -> dict[str, Entry]:
    """Files for the initramfs: the drivers, and the order in which they are loaded."""
    work = package.parent / "kernel"
    run("dpkg-deb", "-x", str(package), str(work))
    (work / "usr").mkdir(exist_ok=True)
    [modules] = (work / "lib/modules").iterdir()
    run("depmod", "-b", str(work), modules.name)
    needs = parse_dependencies((modules / "modules.dep").read_text())
    order = load_order(INPUT_DRIVERS, needs)
    files = {f"drivers/{module_name(path)}": Entry(_unpacked(modules / path)) for path in order}
    shutil.rmtree(work)
    return {**files, "drivers.order": Entry("".join(f"{module_name(path)}\n" for path in order).encode())}


def _make_boot_partition(boot: Path, image: images.Image, drivers: Path | None) -> None:
    run("mkfs.vfat", "-h", str(_START), "-C", str(boot), str(_BOOT_MIB << 10))
    init = (GUEST_SOURCE.parent / "images/vm_init.sh").read_text()
    init = init.replace("[ -b /dev/vda ]", "[ -b /dev/vda2 ]").replace(" /dev/vda /root", " /dev/vda2 /root")
    init = "\n".join(line for line in init.splitlines() if not line.startswith("exec $bb switch_root")) + "\n"
    files = {**guest_files(GUEST_SOURCE), "guest/serve.py": Entry(_SERVE.encode())}
    hand_over = _HAND_OVER
    if drivers:
        files |= _drivers_in(drivers)
        files["guest/bridge.py"] = Entry(_BRIDGE.encode())
        files["guest/serve.py"] = Entry((_START_BRIDGE + _SERVE).encode())
        hand_over = _LOAD_DRIVERS + hand_over
    files["init"] = Entry((init + hand_over).encode(), 0o755)
    content = {
        "vmlinuz": image.kernel.read_bytes(),
        "initrd": image.initrd.read_bytes() + archive(files),
        "syslinux.cfg": _LOADER.encode(),
        "startup.nsh": _SHELL.encode(),
    }
    for name, data in content.items():
        (boot.parent / name).write_bytes(data)
        run("mcopy", "-i", str(boot), str(boot.parent / name), f"::{name}")
        (boot.parent / name).unlink()
    run("syslinux", "--install", str(boot))


def _first_sector(boot_sectors: int, root_sectors: int) -> bytes:
    """A boot loader that starts the active partition, and a table of two."""
    entry = struct.Struct("<B3sB3sII")
    table = entry.pack(0x80, b"\0\0\0", 0x0C, b"\xff\xff\xff", _START, boot_sectors)
    table += entry.pack(0, b"\0\0\0", 0x83, b"\xff\xff\xff", _START + boot_sectors, root_sectors)
    return SYSLINUX_MBR.read_bytes().ljust(446, b"\0") + table.ljust(64, b"\0") + b"\x55\xaa"


def run(*command: str) -> None:
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MTOOLS_SKIP_CHECK": "1"},
    )
