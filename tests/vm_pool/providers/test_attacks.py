"""What a hostile program in a desktop, and another user of this host, try in vain: sandboxes and containers alike.

Each attack is first seen to work where nothing protects against it, as far as this host lets us.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator, Generator, Iterable
from pathlib import Path
from typing import Any

import attacks
import pytest

from vm_pool.contract import clones
from vm_pool.errors import GuestError, GuestFileNotFound, MachineLost, VMPoolError
from vm_pool.guest_client import GuestMachine
from vm_pool.local_state import HOST_UID, MachineFolder, Places
from vm_pool.machine import Machine
from vm_pool.provider import Spec
from vm_pool.providers.docker import DockerProvider
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.providers.sandbox_cgroup import find_hierarchy

SLIM = Spec(image="slim", width=640, height=480, labels={"suite": "test_attacks"})
PROGRAM = Path(attacks.__file__).read_text(encoding="utf-8")
REACH = (Path(clones.__file__).parent / "programs" / "reach.py").read_text(encoding="utf-8")
NOBODY = 65_534
NOT_ON_EVERY_HOST = {
    "sysrq",
    "kernel memory",
    "escape from the memory limit",
    "terminal injection",
    "ptrace of the control server",
}
"""Kernels can be built without the first two, root may lack what the next ones need, and the last meets machines."""

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="another user can only be played by root; run: sudo make test"
)
needs_groups = pytest.mark.skipif(find_hierarchy() is None, reason="no control group can be made; run as root")

Provider = SandboxProvider | DockerProvider


@pytest.fixture
def places() -> Generator[Places]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-test-") as state:
        Path(state).chmod(0o711)
        yield Places(Path(state), Path("/dev/shm") / Path(state).name)


@pytest.fixture(
    params=[
        pytest.param("sandbox", marks=pytest.mark.desktop),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.desktop]),
    ]
)
async def provider(request: pytest.FixtureRequest, places: Places) -> AsyncGenerator[Provider]:
    if request.param == "sandbox":
        provider: Provider = SandboxProvider(places=places)
    else:
        provider = DockerProvider(host=request.getfixturevalue("dockerd").host, places=places)
    async with provider.session():
        yield provider
    assert list(places.machines.iterdir()) == []
    places.runtime.rmdir()


@pytest.fixture
async def machine(provider: Provider) -> Machine:
    return await provider.boot(SLIM)


@pytest.fixture
def secret() -> Generator[Path]:
    """A file that every user of this host may read."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-secret-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "secret"
        path.write_text(f"secret{uuid.uuid4().hex}")
        path.chmod(0o644)
        yield path


def content(secret: Path) -> tuple[str, list[str]]:
    """What is in the file, and what lies beside it."""
    return secret.read_text(), sorted(path.name for path in secret.parent.iterdir())


async def output(machine: Machine, *argv: str) -> str:
    done = await machine.run(argv)
    return done.stdout + done.stderr


async def python(machine: Machine, code: str, *words: str) -> Any:
    """What a program in the machine printed as JSON."""
    done = await machine.run(["python3", "-c", code, *words])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def on_the_host(code: str, *words: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def as_uid(uid: int, *argv: str) -> "subprocess.CompletedProcess[str]":
    become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--"]
    return subprocess.run([*become, *argv], capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"})


# --- the kernel ----------------------------------------------------------------------------------------------------


@needs_root
def test_the_attacks_work_where_nothing_protects_against_them():
    tried = on_the_host(PROGRAM, *(set(attacks.ATTACKS) - NOT_ON_EVERY_HOST))
    assert {name: outcome for name, outcome in tried.items() if outcome != "succeeded"} == {}


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


# --- files ---------------------------------------------------------------------------------------------------------


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


# --- the control server --------------------------------------------------------------------------------------------


_ROUTES = """
import json, sys
sys.path.insert(0, '/opt/agent-s3')
from guest import osworld, v1
print(json.dumps([*v1.ROUTES, *osworld.ROUTES]))
"""


async def test_every_route_wants_the_token_and_tells_strangers_nothing(machine: Machine) -> None:
    assert isinstance(machine, GuestMachine)
    token = machine._wire.place_and_token(None)["token"]
    wrong = ["", "x", token[:-1], f"{token}x", token.swapcase(), f" {token} x"]
    answers = set[tuple[int, str]]()
    routes = await python(machine, _ROUTES)
    assert len(routes) > 40
    for method, path in [*routes, ("GET", "/no/such/route"), ("DELETE", "/v1/run"), ("GET", "/v1/../platform")]:
        for guess in wrong:
            stranger = machine.another_client(token=guess)
            answer = await stranger._wire.send(method, path, body=b"")
            answers.add((answer.status, answer.body.decode()))
            await stranger.aclose()
    assert {status for status, _ in answers} == {401}
    assert len(answers) == 1
    assert (await machine._wire.send("GET", "/platform")).status == 200


async def test_a_stranger_cannot_make_the_server_take_in_a_gigabyte(machine: Machine, provider: Provider) -> None:
    assert isinstance(machine, GuestMachine)
    stranger = machine.another_client(token="guessed")
    with pytest.raises(GuestError, match="a valid token is needed"):
        await stranger.write("~/large", b"x" * (64 << 20))
    await stranger.aclose()
    assert await output(machine, "ls", "/home/user") != ""


# --- another user of this host -------------------------------------------------------------------------------------


def doors(folder: MachineFolder, places: Places, snapshot_id: str) -> list[Path]:
    found = [folder.socket, folder.token, folder.launched, folder.disk, folder.runtime, folder.journal, places.machines]
    found += [*folder.frames.iterdir(), folder.disk / "state.json", places.snapshot(snapshot_id), places.snapshots]
    return [path for path in [*found, folder.upper] if path.exists()]


_OPEN = """
import json, os, socket, stat, sys
opened = []
for path in sys.argv[1:]:
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            socket.socket(socket.AF_UNIX).connect(path)
        else:
            os.listdir(path) if os.path.isdir(path) else open(path, 'rb').close()
        opened.append(path)
    except OSError:
        pass
print(json.dumps(opened))
"""


@needs_root
async def test_another_user_gets_at_no_socket_token_picture_disk_or_snapshot(
    provider: Provider, machine: Machine, places: Places
) -> None:
    snapshot = await provider.snapshot(machine)
    await machine.launch(["sleep", "100"])
    found = list(map(str, doors(places.machine(machine.info.machine_id), places, snapshot.snapshot_id)))
    assert len(found) >= 10
    assert on_the_host(_OPEN, *found) == found
    assert json.loads(as_uid(NOBODY, "/usr/bin/python3", "-c", _OPEN, *found).stdout) == []
    await provider.drop(snapshot)


@needs_root
async def test_another_user_cannot_run_a_set_uid_program_that_a_machine_left_on_its_disk(
    provider: Provider, machine: Machine, places: Places
) -> None:
    await machine.run(["sh", "-c", "cp /usr/bin/id ~/id && chmod 6755 ~/id"])
    assert "-rwsr-sr-x" in await output(machine, "ls", "-l", "/home/user/id")
    if isinstance(provider, DockerProvider):
        return  # its layers lie in a folder of the daemon's that only root can enter
    left = places.machine(machine.info.machine_id).upper / "home/user/id"
    assert left.stat().st_mode & 0o6000
    assert "Permission denied" in as_uid(NOBODY, "sh", "-c", str(left)).stderr


@needs_root
async def test_signals_reach_no_process_outside_even_of_the_same_user(provider: Provider, machine: Machine) -> None:
    other = await provider.boot(SLIM)
    outside = sleeping_as(HOST_UID)
    try:
        pids = sorted({outside.pid, *provider.process_ids(other)} - provider.process_ids(machine))
        kill = "import os, sys\nfor pid in map(int, sys.argv[1:]):\n  try: os.kill(pid, 9)\n  except OSError: pass\n"
        await machine.run(["python3", "-c", kill, *(str(pid) for pid in pids if pid > 1000)])
        with pytest.raises(VMPoolError):
            await _end_all_of_it(machine)
        assert outside.poll() is None
        assert await output(other, "echo", "alive") == "alive\n"
    finally:
        outside.kill()
        outside.wait()


def sleeping_as(uid: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["setpriv", "--reuid", str(uid), "--clear-groups", "sleep", "60"])


async def _end_all_of_it(machine: Machine) -> None:
    """Returns never: the answer, or at last a question, finds the machine gone."""
    await machine.run(["sh", "-c", "kill -9 -1"])
    async with asyncio.timeout(20):
        while True:
            await machine.look(frozenset())


# --- the network ---------------------------------------------------------------------------------------------------


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


# --- using up what there is ----------------------------------------------------------------------------------------


@needs_groups
async def test_a_fork_bomb_stays_in_its_machine_which_answers_again_when_it_is_over(provider: Provider) -> None:
    bombed, other = await provider.boot(SLIM.model_copy(update={"pids": 100})), await provider.boot(SLIM)
    bomb = (
        "import os, signal, time\n"
        "end = time.monotonic() + 2\n"
        "while time.monotonic() < end:\n"
        "    try: os.fork()\n"
        "    except OSError: time.sleep(0.05)\n"
    )
    bombing = asyncio.create_task(bombed.run(["python3", "-c", bomb], timeout_s=30))
    await asyncio.sleep(0.5)
    assert await output(other, "echo", "alive") == "alive\n"
    assert len(provider.process_ids(bombed)) <= 110
    await bombing
    async with asyncio.timeout(30):
        assert await _answers_again(bombed) == "alive\n"


async def _answers_again(machine: Machine) -> str:
    while True:
        try:
            return await output(machine, "echo", "alive")
        except MachineLost:
            raise
        except GuestError:
            await asyncio.sleep(0.05)


@needs_groups
async def test_memory_behind_the_control_folders_is_counted_too(provider: Provider, places: Places) -> None:
    """The picture and the socket lie in this host's memory, in folders that the machine may write to."""
    machine = await provider.boot(SLIM.model_copy(update={"memory_mib": 300}))
    fill = ["dd", "if=/dev/zero", "of=/run/agent-s3/frames/fill", "bs=1M", "count=600"]
    try:
        filled = (await machine.run(fill, timeout_s=60)).returncode
    except VMPoolError:
        filled = -9  # the kernel chose the server of the machine to make room
    assert filled != 0
    frames = places.machine(machine.info.machine_id).frames
    assert bytes_in(frames) < 400 << 20
    await provider.stop(machine)
    assert bytes_in(frames) == 0


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.exists() else 0


_HOARD = """
import ctypes, os, sys, time
take = ctypes.CDLL(None).inotify_init
count = 0
while count < 1000 and take() >= 0: count += 1
with open('/home/user/new', 'w') as file: file.write(str(count))
os.rename('/home/user/new', '/home/user/count')
time.sleep(60)
"""


@pytest.mark.desktop
async def test_one_sandbox_does_not_use_up_what_the_kernel_counts_by_user(places: Places) -> None:
    provider = SandboxProvider(places=places)
    async with provider.session():
        greedy, other = await provider.boot(SLIM), await provider.boot(SLIM)
        assert await _hoarded(greedy) < 40
        assert await _hoarded(other) > 10
    places.runtime.rmdir()


async def _hoarded(machine: Machine) -> int:
    await machine.launch(["python3", "-c", _HOARD])
    async with asyncio.timeout(20):
        while True:
            try:
                return int(await machine.read("~/count"))
            except GuestFileNotFound:
                await asyncio.sleep(0.05)


async def test_using_up_file_descriptors_hurts_nobody_else(provider: Provider, machine: Machine) -> None:
    other = await provider.boot(SLIM)
    hoard = (
        "import json, os, resource\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n"
        "count = 0\n"
        "try:\n"
        "    while count < 100_000: os.open('/dev/null', os.O_RDONLY); count += 1\n"
        "except OSError: pass\n"
        "print(json.dumps(count))\n"
    )
    assert await python(machine, hoard) > 100
    assert await output(machine, "echo", "alive") == "alive\n"
    assert await output(other, "echo", "alive") == "alive\n"


async def test_connections_that_say_nothing_do_not_lock_the_host_out(machine: Machine) -> None:
    hold = (
        "import socket, time, sys\n"
        "held = []\n"
        "for _ in range(400):\n"
        "    one = socket.socket(socket.AF_UNIX); one.connect('/run/agent-s3/ctl/guest.sock'); held.append(one)\n"
        "print(len(held), flush=True); time.sleep(3)\n"
    )
    assert "400" in await output(machine, "python3", "-c", hold)
    assert await output(machine, "echo", "alive") == "alive\n"


@pytest.fixture
def small() -> Generator[Places]:
    """A state on a file system of its own with little room."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agent-s3-small-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "tmpfs", folder], check=True)
        places = Places(Path(folder) / "state", Path("/dev/shm") / Path(folder).name)
        try:
            yield places
            assert [*places.machines.iterdir(), *places.snapshots.iterdir()] == []
            places.runtime.rmdir()
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@needs_root
@pytest.mark.desktop
async def test_a_full_disk_is_an_error_in_one_line_and_ends_nobody_elses_machine(small: Places) -> None:
    """Disks are not limited: a machine can fill the file system of the state folder. What is promised is this."""
    provider = SandboxProvider(places=small)
    async with provider.session():
        await _fill_up(provider)


async def _fill_up(provider: SandboxProvider) -> None:
    greedy, other = await provider.boot(SLIM), await provider.boot(SLIM)
    filled = await greedy.run(["dd", "if=/dev/zero", "of=/home/user/fill", "bs=1M", "count=100"])
    assert "No space left" in filled.stderr
    for machine in (greedy, other):
        assert await output(machine, "echo", "alive") == "alive\n"
    with pytest.raises(GuestError, match="No space left"):
        await other.write("~/more", b"x" * (2 << 20))
    for refused in (provider.snapshot(greedy), provider.boot(SLIM)):
        with pytest.raises((VMPoolError, OSError), match="No space left") as error:
            await refused
        assert "\n" not in str(error.value)
    await provider.stop(greedy)
    await other.write("~/more", b"x" * (2 << 20))


# --- what is told to a guest ---------------------------------------------------------------------------------------


@pytest.mark.docker
@pytest.mark.desktop
async def test_a_container_that_is_taken_over_is_not_told_what_its_token_links_to(
    places: Places, dockerd: Any, secret: Path
) -> None:
    """The guest owns the folder with its token: a link there once led to any line of text that root can read."""
    one_line_of_text = content(secret)[0]
    provider = DockerProvider(host=dockerd.host, places=places, boot_timeout_s=20)
    async with provider.session():
        machine = await provider.boot(SLIM)
        spy = (
            "import os, socket, sys\n"
            "os.chdir('/run/agent-s3/ctl'); os.unlink('guest.sock'); os.unlink('token')\n"
            "os.symlink(sys.argv[1], 'token')\n"
            "listener = socket.socket(socket.AF_UNIX); listener.bind('guest.sock'); listener.listen()\n"
            "open('/home/user/ready', 'w').close()\n"
            "while True:\n"
            "    said = listener.accept()[0]\n"
            "    with open('/home/user/heard', 'ab', 0) as heard: heard.write(said.recv(65536))\n"
        )
        await machine.run(["sh", "-c", 'python3 -c "$1" "$2" >/dev/null 2>&1 &', "sh", spy, str(secret)])
        async with asyncio.timeout(20):
            while (await machine.run(["test", "-e", "/home/user/ready"])).returncode:  # noqa: ASYNC110  # no events
                await asyncio.sleep(0.05)
        taking_over = DockerProvider(host=dockerd.host, places=places)
        async with taking_over.session():
            revived = await taking_over.revive(machine.info.machine_id)
            heard = await output(revived, "cat", "/home/user/heard")
            assert one_line_of_text not in heard
            assert await output(revived, "echo", "alive") == "alive\n"
