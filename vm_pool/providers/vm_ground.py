"""What virtual machines of an image are started with on this host, and how each of them is described."""

import secrets
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from vm_pool import images
from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.images.recipe import RECIPES, VM_SUFFIX
from vm_pool.local_state import DiskState
from vm_pool.network import check_network
from vm_pool.provider import Spec
from vm_pool.providers import vm_accel, vm_cloning, vm_screen
from vm_pool.providers.vm_domain import Domain, Memory
from vm_pool.providers.vm_guest_code import StartFiles, start_files
from vm_pool.providers.vm_hypervisor import Hypervisor
from vm_pool.providers.vm_lost import notes_of
from vm_pool.providers.vm_places import INSTALL, VmFolder, VmPlaces

_LEAST_MEMORY_MIB = 384


@dataclass(frozen=True)
class Ground:
    """What machines of an image are started with."""

    image: images.Image
    files: StartFiles
    emulator: Path
    accel: vm_accel.Acceleration
    cloning: vm_cloning.Cloning


class Grounds:
    """Found out once for each image. Raises on making: `ConfigError` for a way of cloning that there is not."""

    def __init__(self, places: VmPlaces, cloning: vm_cloning.Way | Literal["auto"]):
        if cloning != "auto" and cloning not in vm_cloning.WAYS:
            raise ConfigError(f"unknown way of cloning {cloning!r}; known: auto, {', '.join(vm_cloning.WAYS)}")
        self._cloning = None if cloning == "auto" else vm_cloning.Cloning(cloning, "it was asked for")
        self._places = places
        self._known: dict[str, Ground] = {}
        self._finding_out = Lock()

    def of(self, spec: Spec, hypervisor: Hypervisor) -> Ground:
        """Blocks. Raises: `ConfigError`, `HostUnfit`, `ImageError`."""
        emulator = shutil.which(vm_cloning.EMULATOR)
        if emulator is None or shutil.which("qemu-img") is None:
            raise HostUnfit(f"QEMU is missing; run: {INSTALL}")
        check_network(spec.network, "a virtual machine")
        if spec.memory_mib < _LEAST_MEMORY_MIB:
            raise ConfigError(
                f"a virtual machine has memory of its own, at least {_LEAST_MEMORY_MIB} MiB, not {spec.memory_mib}"
            )
        image = images.find(f"{spec.image}{VM_SUFFIX}" if spec.image in RECIPES else spec.image)
        if not image.is_vm:
            raise ConfigError(f"{image.id} is for sandboxes; name it {image.name!r} to have it as a virtual machine")
        with self._finding_out:
            if image.id not in self._known:
                self._known[image.id] = self._find_out(image, Path(emulator), hypervisor)
            return self._known[image.id]

    def _find_out(self, image: images.Image, emulator: Path, hypervisor: Hypervisor) -> Ground:
        accel = vm_accel.choose(emulator, image.kernel, image.initrd, hypervisor.user)
        reason = hypervisor.why_nothing_moves()
        best = vm_cloning.Cloning("boot", reason) if reason else vm_cloning.cloning_of(emulator)
        cloning = self._cloning or best
        return Ground(image, start_files(self._places, image), emulator, accel, cloning)


def describe(folder: VmFolder, state: DiskState, ground: Ground, memory: Memory, *, incoming: bool) -> Domain:
    """A machine on the files of a folder."""
    # Names of its own for each start: libvirt holds on to those of a machine that has ended, and then removes its port.
    start = secrets.token_hex(2)
    return Domain(
        name=f"{state.id}-{start}",
        uuid=str(uuid.uuid4()),
        generation=str(uuid.uuid4()),
        accel=ground.accel.accel,
        memory=memory,
        screen=vm_screen.shared_screen(folder.screen, state.spec.width, state.spec.height),
        cpus=state.spec.cpus,
        emulator=ground.emulator,
        kernel=ground.files.kernel_stub if incoming else ground.image.kernel,
        initrd=None if incoming else ground.files.initrd,
        disk=folder.disk,
        port=folder.port(start),
        console=folder.console,
        incoming=incoming,
        notes=notes_of(state, folder.path),
    )
