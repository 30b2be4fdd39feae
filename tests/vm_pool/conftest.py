"""Places for machines, and a Docker daemon of the tests' own: started once, gone with all it made at the end."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from vm_pool.disk import delete_tree
from vm_pool.errors import HostUnfit
from vm_pool.local_state import Places
from vm_pool.providers.docker import DockerProvider
from vm_pool.providers.docker_daemon import Daemon
from vm_pool.providers.sandbox import SandboxProvider

START_S = 60
ROOM = 4 * 2**30


@pytest.fixture
def places() -> Generator[Places]:
    """A state of the test's own, where the machines' uid may pass: pytest's own folders are closed to all others."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="s3p-") as name:
        Path(name).chmod(0o711)
        places = Places(Path(name), Path("/dev/shm") / Path(name).name)
        places.make()
        yield places
        places.runtime.rmdir()


@pytest.fixture(
    params=[
        pytest.param("sandbox", marks=pytest.mark.desktop),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.desktop]),
    ]
)
async def contained(request: pytest.FixtureRequest, places: Places) -> AsyncGenerator[SandboxProvider | DockerProvider]:
    """One whose machines share this host's kernel, and of which nothing must be left at the end."""
    if request.param == "sandbox":
        provider: SandboxProvider | DockerProvider = SandboxProvider(places=places)
    else:
        provider = DockerProvider(host=request.getfixturevalue("dockerd").host, places=places)
    async with provider.session():
        yield provider
    assert list(places.machines.iterdir()) == []


@pytest.fixture(scope="session")
def dockerd() -> Generator[Daemon]:
    """Its data lie in memory where there is room: deleting an image from a busy disk can take half a minute."""
    roomy = shutil.disk_usage("/dev/shm").free > ROOM
    place = "/dev/shm" if roomy else "/var/tmp"
    with tempfile.TemporaryDirectory(dir=place, prefix="s3d-", ignore_cleanup_errors=True) as name:
        folder, forwarded = Path(name), forwards()
        process = start(folder)
        daemon = Daemon(f"unix://{folder}/docker.sock")
        try:
            wait_until_it_answers(daemon, process, folder)
            with daemon.client("say how it stores") as client:
                if client.info()["Driver"] == "vfs":
                    pytest.skip(f"dockerd has no overlayfs below {place}; run: mount -o remount,size=4G /dev/shm")
            yield daemon
            empty(daemon)
        finally:
            end(process, folder)
            if forwarded:
                subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=False)


@pytest.fixture
def dockerd_emptied(dockerd: Daemon) -> Generator[Daemon]:
    """The same for tests that leave networks for the machines that come next."""
    yield dockerd
    empty(dockerd)


def start(folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    dockerd = shutil.which("dockerd")
    assert dockerd, "the `docker` marker looks for it"
    places = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    with (folder / "log").open("ab") as log:
        command = [dockerd, *places, "--host", f"unix://{folder}/docker.sock", "--bridge", "none", *options]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")


def wait_until_it_answers(daemon: Daemon, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            daemon.version()
        except HostUnfit:
            time.sleep(0.05)
        else:
            return
    words = (folder / "log").read_text(errors="replace").strip().splitlines()[-3:]
    pytest.fail(f"dockerd did not start within {START_S} s; its log ends: {' | '.join(words)}")


def empty(daemon: Daemon) -> None:
    """Containers hold mounts and networks hold interfaces, which outlive a daemon."""
    with daemon.client("clear up") as client:
        for one in client.containers(all=True):
            client.remove_container(one["Id"], force=True, v=True)
        for network in client.networks():
            if network["Name"].startswith("agent-s3-"):
                client.remove_network(network["Id"])


def forwards() -> bool:
    """Whether this host passes packets on, which a daemon ends for all but its own networks."""
    listed = subprocess.run(["iptables", "-S", "FORWARD"], capture_output=True, text=True, check=False)
    return "-P FORWARD ACCEPT" in listed.stdout


def end(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=False)
    for part in ("data", "exec"):
        delete_tree(folder / part)
