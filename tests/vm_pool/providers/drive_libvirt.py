"""Use virtual machines by one libvirt, and print what was seen as JSON. Processes of their own do so, as one user each.

Words: what to do, the connection, the state folder, and the snapshot to fork, where there is one.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from vm_pool import strays
from vm_pool.contract import CHECKS
from vm_pool.contract.pace import pace_of
from vm_pool.holdings import holdings
from vm_pool.machine import Machine
from vm_pool.provider import Snapshot, Spec
from vm_pool.providers.libvirt import LibvirtProvider
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.strays import gc

SLIM = Spec(image="slim", width=640, height=480, memory_mib=512, labels={"suite": "drive_libvirt"})
MARK = "/home/user/mark"
A_FEW = (
    "a_frame_has_the_size_of_the_screen",
    "a_click_is_a_press_and_a_release_at_its_pixel",
    "a_command_gives_its_output_and_code",
    "a_file_of_1_MiB_comes_back_whole",
    "a_wrong_token_is_refused_everywhere",
)


class OwnPlaces(VmPlaces):
    """With nothing that other runs of the same user could share, such as a daemon."""

    @property
    def hosts(self) -> Path:
        return self.root.parent / "h"  # short, for sockets


async def boot(provider: LibvirtProvider, _: Snapshot | None) -> dict[str, object]:
    """Start cold, and save."""
    machine = await provider.boot(SLIM)
    await machine.write(MARK, b"booted")
    snapshot = await provider.snapshot(machine)
    return {"snapshot": snapshot.model_dump_json(), **await _seen(provider, machine)}


async def fork(provider: LibvirtProvider, snapshot: Snapshot | None) -> dict[str, object]:
    """Copies of copies, and some of the contract of machines."""
    assert snapshot is not None
    first = await provider.fork(snapshot)
    mark = await first.read(MARK)
    await first.write(MARK, b"branched")
    branch = await provider.snapshot(first)
    second = await provider.fork(branch)
    await provider.drop(branch)
    pace = await pace_of(second)
    for name in A_FEW:
        await CHECKS[name](second, pace=pace)
    marks = [mark.decode(), (await second.read(MARK)).decode()]
    return {"marks": marks, **await _seen(provider, second)}


async def outlive(provider: LibvirtProvider, snapshot: Snapshot | None) -> dict[str, object]:
    """The daemon is killed while a machine runs, which goes on, and can be saved and copied by the next one."""
    assert snapshot is not None
    machine = await provider.fork(snapshot)
    os.kill(_daemon(provider), signal.SIGKILL)
    await machine.write(MARK, b"outlived")
    branch = await provider.snapshot(machine)
    copy = await provider.fork(branch)
    await provider.drop(branch)
    return {"marks": [(await copy.read(MARK)).decode()], **await _seen(provider, copy)}


async def die(provider: LibvirtProvider, snapshot: Snapshot | None) -> dict[str, object]:
    """The daemon and this process are killed while a machine runs."""
    assert snapshot is not None
    machine = await provider.fork(snapshot, labels={"run": "killed"})
    print(json.dumps(await _seen(provider, machine)), flush=True)
    os.kill(_daemon(provider), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def vanish(provider: LibvirtProvider, snapshot: Snapshot | None) -> dict[str, object]:
    """This process is killed while a machine runs at a daemon."""
    assert snapshot is not None
    machine = await provider.fork(snapshot, labels={"run": "killed"})
    print(json.dumps(await _seen(provider, machine)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def collect(provider: LibvirtProvider, _: Snapshot | None) -> dict[str, object]:
    """What there was of killed runs, and what is left when it is collected."""
    found = [stray for stray in await provider.strays() if stray.labels.get("run") == "killed"]
    first = await gc([provider], labels={"run": "killed"})
    second = await strays.collect([one for one in await strays.ls([provider]) if one.stray.kind == "domain"])
    left = await holdings([provider])
    return {
        "found": [f"{stray.kind} {stray.id}" for stray in found],
        "failed": [reason for _, reason in (*first.failed, *second.failed)],
        "left": sorted({*left.domains, *(name for name in left.strays if "machine" in name or "domain" in name)}),
    }


def _daemon(provider: LibvirtProvider) -> int:
    return int((provider._places.hosts / "daemon/pid").read_text())


async def _seen(provider: LibvirtProvider, machine: Machine) -> dict[str, object]:
    (pid,) = provider.process_ids(machine)
    status = await asyncio.to_thread(Path(f"/proc/{pid}/status").read_text)
    uid = next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:"))
    ways = await provider.ways(SLIM)
    return {"machine": machine.info.machine_id, "pid": pid, "uid": int(uid), "ways": ways}


DEEDS = {deed.__name__: deed for deed in (boot, fork, outlive, die, vanish, collect)}


async def main(deed: str, connection: str, state: str, snapshot: str = "") -> None:
    provider = LibvirtProvider(places=OwnPlaces(Path(state)), connection=connection)
    async with provider.session():
        saved = Snapshot.model_validate_json(snapshot) if snapshot else None
        print(json.dumps(await DEEDS[deed](provider, saved)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
