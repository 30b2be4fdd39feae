"""What a host holds for machines is counted by kind, and is back where it was when they are gone."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vm_pool.holdings import Holdings, holdings
from vm_pool.local_state import Places
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.sandbox import SandboxProvider

SLIM = Spec(image="slim", width=640, height=480)


def test_the_difference_is_what_came_since() -> None:
    before = Holdings(files=frozenset({"a"}), cgroups=frozenset({"g"}))
    after = Holdings(files=frozenset({"a", "b"}))
    assert after - before == Holdings(files=frozenset({"b"}))
    assert not before - before
    assert (after - before).lines() == ["files: b"]
    assert (after - before).counts()["files"] == 1


async def test_machines_that_run_nowhere_are_counted_by_what_their_provider_lists() -> None:
    provider = FakeProvider()
    before = await holdings([provider])
    machine = await provider.boot(Spec(image="fake"))
    assert (await holdings([provider]) - before).lines() == ["strays: fake machine fake-0"]
    await provider.stop(machine)
    assert not await holdings([provider]) - before


async def test_files_sockets_and_processes_are_known_by_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "machines"
    folder.mkdir()
    argv = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)", str(folder / "m-1")]
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "s"))
        held = await holdings([], folders=[folder])
    assert [name.split()[0] for name in held.processes] == [str(process.pid)]
    assert held.files == {str(folder / "s")}
    assert [name.split()[0] for name in held.sockets] == [str(folder / "s")]
    (folder / "s").unlink()
    process.kill()
    await process.wait()
    assert not await holdings([], folders=[folder])


@pytest.mark.desktop("slim")
async def test_all_of_a_desktop_is_counted_until_it_is_gone(places: Places) -> None:
    provider = SandboxProvider(places=places)
    async with provider.session():
        before = await holdings([provider])
        machine = await provider.boot(SLIM)
        snapshot = await provider.snapshot(machine)
        held = await holdings([provider]) - before
        commands = " ".join(held.processes)
        assert "Xvfb" in commands
        assert "bwrap" in commands
        assert held.namespaces
        assert {Path(name).name for name in held.files} == {machine.info.machine_id, snapshot.snapshot_id}
        assert held.strays == {
            f"sandbox machine {machine.info.machine_id}",
            f"sandbox snapshot {snapshot.snapshot_id}",
        }
        await provider.drop(snapshot)
        await provider.stop(machine)
        assert not await holdings([provider]) - before
