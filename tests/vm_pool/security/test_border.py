"""What a hostile program in a desktop tries in vain: on the kernel, on files of this host and on its network.

Each attack is first seen to work where nothing protects against it, as far as this host lets us.
"""

import os
import socket
import subprocess
import uuid
from collections.abc import Iterable
from pathlib import Path

import attacks
import pytest
from hostile import (
    PROGRAM,
    REACH,
    Provider,
    content,
    needs_root,
    on_the_host,
    python,
)
from looking import output

from vm_pool.errors import GuestError, GuestFileNotFound
from vm_pool.guest_client import GuestMachine
from vm_pool.machine import Machine

NOT_ON_EVERY_HOST = {
    "sysrq",
    "kernel memory",
    "escape from the memory limit",
    "terminal injection",
    "ptrace of the control server",
}
"""Kernels can be built without the first two, root may lack what the next ones need, and the last meets machines."""


@needs_root
def test_the_attacks_work_where_nothing_protects_against_them():
    tried = on_the_host(PROGRAM, *(set(attacks.ATTACKS) - NOT_ON_EVERY_HOST))
    refused = sorted(name for name, outcome in tried.items() if outcome != "succeeded")
    assert len(refused) < len(tried) / 2
    if refused:
        pytest.skip(f"this host refuses by itself: {', '.join(refused)}; run: make test  (as root of a whole machine)")


async def test_the_kernel_gives_a_hostile_program_nothing(machine: Machine) -> None:
    tried = await python(machine, PROGRAM, *attacks.ATTACKS)
    assert [name for name, outcome in tried.items() if outcome == "succeeded"] == []
    assert tried["ptrace of the control server"] == "Operation not permitted"
    assert tried["terminal injection"] == "Operation not permitted"
    assert await output(machine, "echo", "alive") == "alive\n"


_WRITABLE = """
import json, os, stat
found = []
for root in ('/proc', '/sys', '/dev'):
    for folder, folders, names in os.walk(root):
        if root == '/proc' and folder == root:
            folders[:] = [name for name in folders if not name.isdigit() and name not in ('self', 'thread-self')]
        for name in names:
            path = os.path.join(folder, name)
            try:
                info = os.lstat(path)
                if stat.S_ISLNK(info.st_mode) or name == 'ns_last_pid':  # that changes by itself
                    continue
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                found.append('/dev/null' if info.st_rdev == os.makedev(1, 3) else path)
            except OSError:
                pass
print(json.dumps(found))
"""
_DEVICES = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}
_OWN = ("/dev/shm/", "/dev/pts/", "/dev/mqueue/", "/proc/pressure/")
"""Of the machine's own mounts; and triggers of its own, with which it is told when memory gets scarce."""
_CHANGE = """
import json, sys
for path in sys.argv[1:]:
    try:
        with open(path) as file: old = file.read()
        with open(path, 'w') as file: file.write(' '.join(str(int(word) // 2) for word in old.split()))
    except (OSError, ValueError):
        pass
print('[]')
"""


async def test_what_can_be_written_of_the_kernels_file_systems_is_of_the_machines_own_namespaces(
    machine: Machine,
) -> None:
    writable = set(await python(machine, _WRITABLE))
    settings = {path for path in writable if path.startswith("/proc/sys/")}
    rest = {path for path in writable - settings if not path.startswith(_OWN)}
    assert "/dev/null" in rest
    assert rest <= {f"/dev/{name}" for name in _DEVICES}
    before = values(settings)
    await python(machine, _CHANGE, *sorted(settings))
    assert values(settings) == before


def values(paths: Iterable[str]) -> dict[str, str]:
    """Of settings of this host, those that it has."""
    return {path: Path(path).read_text() for path in paths if os.access(path, os.R_OK)}


async def test_no_process_of_a_machine_holds_a_way_out(machine: Machine, secret: Path) -> None:
    """Descriptors, roots and working folders of all processes, by which a folder outside could be entered."""
    code = (
        "import glob, json, os, sys\n"
        "ways = glob.glob('/proc/[0-9]*/root') + glob.glob('/proc/[0-9]*/cwd') + glob.glob('/proc/[0-9]*/fd/*')\n"
        "climbs = [way + '/..' * depth + path for way in ways for path in sys.argv[1:] for depth in (0, 1, 3, 9)]\n"
        "print(json.dumps([climb for climb in climbs if os.path.exists(climb)]))\n"
    )
    assert on_the_host(code, str(secret)) != []
    assert await python(machine, code, str(secret)) == []


def climbing(secret: Path) -> list[str]:
    """Paths that lead to a file of the host if anything does."""
    up = "../" * 12
    return [
        str(secret),
        f"{up}{secret}",
        f"~/{up}{secret}",
        f"/home/user/{up}{secret}",
        f"/proc/1/root{secret}",
        f"/proc/self/root/{up}{secret}",
        f"/home/user/link{secret}",
        "/home/user/direct",
        f"/run/agent-s3/ctl/{up}{secret}",
        f"/run/agent-s3/frames/link{secret}",
        f"/opt/agent-s3/guest/{up}{secret}",
    ]


async def test_no_path_and_no_link_leads_to_files_of_the_host(machine: Machine, secret: Path) -> None:
    assert isinstance(machine, GuestMachine)
    for target, link in (("/", "~/link"), (str(secret), "~/direct"), ("/", "/run/agent-s3/frames/link")):
        await machine.run(["sh", "-c", f"ln -s '{target}' {link}"])
    for path in climbing(secret):
        with pytest.raises(GuestFileNotFound):
            await machine.read(path)
        answer = await machine._wire.send("POST", "/file", form={"file_path": path})
        assert answer.status == 404
        listed = await machine._wire.send("POST", "/list_directory", json_body={"path": str(Path(path).parent)})
        assert listed.status != 200 or secret.name not in listed.body.decode()
    before = content(secret)
    for path in climbing(secret):
        for way in (_by_write, _by_upload):
            try:
                await way(machine, path)
            except GuestError:
                continue
    assert content(secret) == before


async def _by_write(machine: GuestMachine, path: str) -> None:
    await machine.write(path, b"changed")


async def _by_upload(machine: GuestMachine, path: str) -> None:
    await machine._wire.ok("POST", "/setup/upload", form={"file_path": path}, files={"file_data": ("f", b"changed")})


async def test_what_a_machine_puts_in_the_place_of_its_files_is_saved_and_copied_as_it_is(
    provider: Provider, machine: Machine, secret: Path
) -> None:
    """A snapshot and a fork are made by root: links in the disk must not be followed then."""
    await machine.run(
        ["sh", "-c", f"rm -rf ~/Documents && ln -s '{secret.parent}' ~/Documents && ln -s '{secret}' ~/s"]
    )
    snapshot = await provider.snapshot(machine)
    fork = await provider.fork(snapshot)
    for path in ("~/Documents/secret", "~/s"):
        with pytest.raises(GuestFileNotFound):
            await fork.read(path)
    assert (await output(fork, "readlink", "/home/user/s")).strip() == str(secret)
    await provider.drop(snapshot)


async def test_nothing_that_listens_on_the_host_is_reached(machine: Machine, secret: Path) -> None:
    name = f"agent-s3-{uuid.uuid4().hex}"
    with (
        socket.create_server(("0.0.0.0", 0)) as four,
        socket.create_server(("::", 0), family=socket.AF_INET6) as six,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        door = str(secret.with_name("socket"))
        abstract.bind(f"\0{name}")
        named.bind(door)
        abstract.listen()
        named.listen()
        ports = four.getsockname()[1], six.getsockname()[1]
        own = [f"{address}:{ports[0]}" for address in addresses_of_this_host()]
        places = [f"127.0.0.1:{ports[0]}", f"[::1]:{ports[1]}", f"@{name}", door, *own]
        assert on_the_host(REACH, *places) == places
        assert await python(machine, REACH, *places) == []


def addresses_of_this_host() -> list[str]:
    listed = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    return [address for address in listed if ":" not in address]


_LINKS = """
import json, socket, struct
ask = struct.pack('=IHHII', 32, 18, 0x301, 1, 0) + bytes(16)  # RTM_GETLINK, all
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
    route.bind((0, 0))
    route.send(ask)
    answer = route.recv(65536)
names = []
while len(answer) >= 16:
    length, kind = struct.unpack('=IH', answer[:6])
    rest = answer[32:length]
    while kind == 16 and len(rest) >= 4:
        size, what = struct.unpack('=HH', rest[:4])
        if what == 3:
            names.append(rest[4:size].rstrip(b'\\0').decode())
        rest = rest[(size + 3) & ~3:]
    answer = answer[(length + 3) & ~3:]
print(json.dumps(names))
"""


async def test_netlink_shows_no_device_of_the_host(machine: Machine) -> None:
    assert "lo" in on_the_host(_LINKS)
    assert await python(machine, _LINKS) == ["lo"]


_REMOVE = "import ctypes, sys; print(ctypes.CDLL(None).shmctl(int(sys.argv[1]), 0, None))"


async def test_shared_memory_and_queues_of_the_host_are_not_there(machine: Machine) -> None:
    libc_shmget = (
        "import ctypes, json, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(json.dumps(libc.shmget(int(sys.argv[1]), 4096, 0) >= 0))\n"
    )
    key = int.from_bytes(os.urandom(3), "big") + 1
    make = "import ctypes, sys; print(ctypes.CDLL(None).shmget(int(sys.argv[1]), 4096, 0o1666))"
    made = on_the_host(make, str(key))
    try:
        assert on_the_host(libc_shmget, str(key)) is True
        assert await python(machine, libc_shmget, str(key)) is False
    finally:
        assert on_the_host(_REMOVE, str(made)) == 0
