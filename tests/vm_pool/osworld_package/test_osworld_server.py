"""OSWorld's own guest server, run beside our desktop in one of our machines, keeps what its routes can keep.

Its package does not carry the server, and none of its code is here: whoever has a copy names its folder.
"""

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from loopback import in_front_of

from vm_pool.contract.certify import certify
from vm_pool.contract.check import Result
from vm_pool.guest_client import GuestMachine
from vm_pool.local_state import Places
from vm_pool.provider import Spec
from vm_pool.providers.remote import RemoteProvider
from vm_pool.providers.sandbox import SandboxProvider

pytestmark = [pytest.mark.desktop, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
VARIABLE = "AGENT_S3_OSWORLD_SERVER"
FILES = ("main.py", "pyxcursor.py")
MEND = (
    "git clone --depth 1 https://github.com/xlang-ai/OSWorld /tmp/OSWorld &&"
    f" {VARIABLE}=/tmp/OSWorld/desktop_env/server make test TESTS=tests/vm_pool/osworld_package"
)
SLIM = Spec(image="slim", width=1280, height=800, labels={"suite": "osworld_server"})
LIBREOFFICE = "#!/bin/sh\necho LibreOffice 7.4.7.2\n"
"""Its accessibility route asks for the version first, whatever is on the screen."""
FOLDER = "/home/user/.osworld"
SERVE = "import main; main.app.run(host='127.0.0.1', port=5000, threaded=True)"


@pytest.fixture(scope="module")
def server() -> Path:
    """A folder with OSWorld's server."""
    folder = Path(os.environ.get(VARIABLE, "/nowhere"))
    if not all((folder / name).is_file() for name in FILES):
        pytest.skip(f"the package desktop-env does not hold OSWorld's guest server; run: {MEND}")
    return folder


@pytest.fixture(scope="module")
def packages(server: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the server imports, and itself, as a tar file."""
    folder = tmp_path_factory.mktemp("osworld-server")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    pip += ["--retries", "1", "--timeout", "15", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    pip += ["--python-version", "3.11", "--requirement", str(HERE / "server_requirements.txt"), "--target", str(folder)]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        pytest.skip(f"what OSWorld's server imports cannot be fetched: {reason}; see what is wrong by: {' '.join(pip)}")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(folder, ".")
        for name in FILES:
            tar.add(server / name, name)
    return packed.getvalue()


@asynccontextmanager
async def osworlds_server(places: Places, packages: bytes) -> AsyncGenerator[Path]:
    """A socket of this host behind which OSWorld's server serves a desktop."""
    provider = SandboxProvider(places=places)
    async with provider.session():
        machine = await provider.boot(SLIM)
        assert isinstance(machine, GuestMachine)
        await machine.write(f"{FOLDER}/packages.tar", packages)
        await machine.run(["tar", "-xf", f"{FOLDER}/packages.tar", "-C", FOLDER])
        await machine.write("~/.local/bin/libreoffice", LIBREOFFICE.encode(), mode=0o755)
        await machine.write(f"{FOLDER}/relay.py", (HERE / "relay.py").read_bytes())
        log = f"exec >{FOLDER}/log 2>&1; exec env PYTHONPATH={FOLDER} python3 -c "
        await machine.launch(["sh", "-c", f'{log} "$1"', "sh", SERVE], cwd=FOLDER)
        await machine.launch(["python3", f"{FOLDER}/relay.py", "/run/agent-s3/ctl/osworld.sock", "5000"])
        socket = places.machine(machine.info.machine_id).ctl / "osworld.sock"
        await _until_it_answers(machine)
        yield socket


async def _until_it_answers(machine: GuestMachine) -> None:
    ask = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/platform')"
    for _ in range(100):
        if (await machine.run(["python3", "-c", ask])).returncode == 0:
            return
        await asyncio.sleep(0.1)
    pytest.fail((await machine.read(f"{FOLDER}/log"))[-2000:].decode(errors="replace"))


async def test_osworlds_own_server_keeps_all_but_what_its_routes_lack(
    places: Places, packages: bytes, tmp_path: Path
) -> None:
    async with osworlds_server(places, packages) as socket, in_front_of(socket) as url:
        certificate = await certify(RemoteProvider(urls=[url], state=tmp_path / "remote"), SLIM)
    assert failures(certificate.results).keys() == {"output that is no text does not break the answer"}


def failures(results: tuple[Result, ...]) -> dict[str, str]:
    return {result.check: result.reason for result in results if result.outcome == "failed"}
