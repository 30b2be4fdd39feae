"""OSWorld's own client, from the package index, drives our guests: both of its controllers, over a loopback port."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from loopback import in_front_of

from vm_pool.guest_client import GuestMachine
from vm_pool.provider import Spec
from vm_pool.providers.sandbox import SandboxProvider

pytestmark = pytest.mark.desktop

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pinned package and what its controllers import."""
    folder = tmp_path_factory.mktemp("osworld")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    pip += ["--retries", "1", "--timeout", "15"]
    pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", str(REQUIREMENTS)]
    done = subprocess.run([*pip, *pinned, "--target", str(folder)], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        again = f"{sys.executable} -m pip download --no-deps --require-hashes -r {REQUIREMENTS}"
        pytest.skip(f"OSWorld's client cannot be fetched: {reason}; see what is wrong by: {again}")
    return folder


@pytest.fixture
async def machine() -> AsyncGenerator[GuestMachine]:
    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(Spec(image="slim", width=1280, height=800, labels={"suite": "osworld_package"}))
        assert isinstance(machine, GuestMachine)
        yield machine
        await provider.stop(machine)


async def drive(package: Path, machine: GuestMachine, folder: Path) -> dict[str, Any]:
    """What the client's calls answered, by group."""
    place = machine._wire.place_and_token(None)
    async with in_front_of(place["socket"], token=place["token"]) as url:
        host, port = url.removeprefix("http://").split(":")
        driver = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(HERE / "drive.py"), host, port, str(folder)),
            cwd=folder,
            env={"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await driver.communicate()
        finally:
            if driver.returncode is None:
                driver.kill()
    assert driver.returncode == 0, err.decode()[-2000:]
    return json.loads(out)


async def test_osworlds_controllers_set_up_look_act_and_run(package, machine, tmp_path):
    answers = await drive(package, machine, tmp_path)

    look = answers["look"]
    assert look["picture"] == b"\x89PNG\r\n\x1a\n".hex()
    assert look["tree"].startswith("<desktop-frame")
    assert (look["platform"], look["size"]) == ("Linux", {"width": 1280, "height": 800})
    assert look["desktop"] == "/home/user/Desktop"

    assert answers["act"]["pointer"] == "(200, 300)\n"
    assert await machine.clipboard() == "By OSWorld's client: 1 + 1 = 2as uploaded\n"
    assert await machine.read("~/note é.txt") == b"By OSWorld's client: 1 + 1 = 2as uploaded\n\nA"

    run = answers["run"]
    assert (run["python"]["status"], run["python"]["output"]) == ("success", "ééé\n")
    assert "ZeroDivisionError" in run["python_error"]["error"]
    assert (run["bash"]["output"], run["bash"]["returncode"]) == ("bash /tmp\n", 4)
    assert run["bash_too_long"]["status"] == "error"
    assert run["file"] == bytes(range(256)).hex()
    assert {"type": "file", "name": "up.bin"} in run["listing"]["children"]
    assert answers["window"]["width"] > 100

    assert await machine.read("~/Documents/up.bin") == bytes(range(256))
    made = await machine.run(["ls", "-d", "by-shell", "by-command"])
    assert made.stdout.split() == ["by-command", "by-shell"]
    gone = await machine.run(["sh", "-c", "while wmctrl -l | grep -q Mousepad; do sleep 0.05; done"], timeout_s=20)
    assert not gone.timed_out
