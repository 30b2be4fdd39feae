"""Of virtual machines too it is known what they hold, why they were late, and what a killed process left."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed; run: AGENT_S3_TEST_VM=1 make test")

from vm_pool.errors import BootTimeout, MachineLost
from vm_pool.holdings import holdings
from vm_pool.provider import Spec
from vm_pool.providers.libvirt import LibvirtProvider
from vm_pool.providers.vm_places import VmPlaces
from vm_pool.strays import gc

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

SLIM = Spec(image="slim", width=640, height=480, memory_mib=512)
DIES = (
    "import asyncio, os, pathlib, signal, sys\n"
    "from vm_pool.holdings import running\n"
    "from vm_pool.provider import Spec\n"
    "from vm_pool.providers.libvirt import LibvirtProvider\n"
    "from vm_pool.providers.vm_places import VmPlaces\n"
    "places = VmPlaces(pathlib.Path(sys.argv[1]))\n"
    "async def die():\n"
    "    while not any('qemu-system' in command for _, command in running([places.machines])):\n"
    "        await asyncio.sleep(0.01)\n"
    "    os.kill(os.getpid(), signal.SIGKILL)\n"
    "async def main():\n"
    "    provider = LibvirtProvider(places=places)\n"
    "    async with provider.session():\n"
    "        await asyncio.gather(die(), provider.boot(Spec(image='slim', width=640, height=480, memory_mib=512)))\n"
    "asyncio.run(main())\n"
)


@pytest.fixture
def places() -> Generator[VmPlaces]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="s3r-") as name:
        places = VmPlaces(Path(name))
        places.make()
        yield places


def test_only_the_domains_of_ones_own_state_folder_are_counted(places: VmPlaces) -> None:
    noted = places.hosts / f"{os.getpid()}-zz" / "run" / "qemu"
    noted.mkdir(parents=True)
    (noted / "m-ours.xml").write_text(f"<source file='{places.root}/machines/m-ours/disk.qcow2'/>")
    (noted / "m-theirs.xml").write_text("<source file='/elsewhere/machines/m-theirs/disk.qcow2'/>")
    assert places.domains() == {"m-ours"}
    shutil.rmtree(noted.parents[1])


async def test_what_a_killed_process_left_is_counted_and_collected(places: VmPlaces) -> None:
    provider = LibvirtProvider(places=places)
    before = await holdings([provider])
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES, str(places.root), stderr=subprocess.DEVNULL
    )
    await killed.wait()
    left = await holdings([provider]) - before
    assert "qemu-system" in " ".join(left.processes)
    assert len(left.domains) == 1
    assert {name.split()[1] for name in left.strays} == {"machine", "host"}
    assert (await gc([provider])).failed == []
    assert (await holdings([provider]) - before).lines() == []


async def test_a_virtual_machine_that_is_late_is_explained_by_its_console(places: VmPlaces) -> None:
    provider = LibvirtProvider(places=places, boot_timeout_s=4.0)
    async with provider.session():
        with pytest.raises(BootTimeout, match="see: agent-s3 pool logs m-") as caught:
            await provider.boot(SLIM)
    assert caught.value.report is not None
    assert caught.value.report.provider == "libvirt"
    assert caught.value.report.elapsed_s >= 4.0


async def test_a_virtual_machine_without_a_display_says_why_as_soon_as_it_ends(places: VmPlaces) -> None:
    provider = LibvirtProvider(places=places)
    async with provider.session():
        with pytest.raises(MachineLost, match="ended while it started") as caught:
            await provider.boot(SLIM.model_copy(update={"width": 0}))
    report = caught.value.report
    assert report is not None
    assert report.elapsed_s < 250  # not after all the time that a start may take
    assert "Fatal server error" in report.evidence.log
    assert "session ended: Xvfb did not start" in report.evidence.log
    assert "Linux version" in report.evidence.console
    assert "Fatal server error" not in report.evidence.console
    assert report.evidence.screen is None
    assert list(places.machines.iterdir()) == []
