"""The description of a virtual machine that libvirt gets. Pure.

Machines that share saved state must be alike in all devices, so everything here is the same for booted, forked and
baked ones but the names, the files and how memory is kept.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree as Xml

from vm_pool.providers.vm_screen import SharedScreen
from vm_pool.types import Frozen

PORT_NAME = "org.agent-s3.control"
METADATA = "https://agent-s3.invalid/machine"
"""A name, not an address: the XML namespace of what we note in a domain."""
KERNEL_LINE = "console=ttyS0 loglevel=6 panic=-1 net.ifnames=0 random.trust_cpu=on mitigations=off nokaslr"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
_TRANSLATED_MIB = 128
"""Most memory for translated code, where a machine runs without hardware support; QEMU's own default is 1 GiB."""

_LOW_MIB, _MOST_LOW_MIB = 2048, 2816
"""Below 4 GiB a machine has the former, unless all it has is less than the latter. Source: QEMU, hw/i386/pc_q35.c."""

Accel = Literal["kvm", "tcg"]


class Label(NamedTuple):
    """How one of libvirt's security drivers is to treat QEMU."""

    model: str
    """`dac` (as which user it runs), `apparmor`, `selinux`."""
    text: str | None
    """In that driver's words; None: not at all."""


class Memory(Frozen):
    """How a machine keeps its memory."""

    mib: int
    file: Path | None = None
    """None: anonymous."""
    shared: bool = False
    """Write to the file; False: map it copy-on-write."""


class AnyDomain(Frozen):
    """What decides how virtual machines of all kinds are started."""

    name: str
    uuid: str
    generation: str
    """A fresh UUID for each copy of a machine; its kernel takes new random numbers when it changes."""
    accel: Accel
    emulator: Path
    disk: Path
    """What it writes on."""
    console: Path
    incoming: bool
    """True: it waits for saved state instead of booting."""
    notes: Mapping[str, str] = {}
    """Owner and labels, for whoever lists domains."""

    @property
    def as_we(self) -> bool:
        """Whether QEMU has to be the user who runs us."""
        return False

    @property
    def reads(self) -> tuple[Path, ...]:
        """Files that QEMU opens to read."""
        return ()

    @property
    def writes(self) -> tuple[Path, ...]:
        """Files that QEMU opens to write, its control channel aside."""
        return self.disk, self.console

    def begun(self, *, memory_mib: int, cpus: int) -> Xml.Element:
        """A description as far as names, memory and the number of processors."""
        root = Xml.Element("domain", {"type": "kvm" if self.accel == "kvm" else "qemu"})
        for tag, text in (("name", self.name), ("uuid", self.uuid), ("genid", self.generation)):
            add(root, tag, text)
        notes = add(add(root, "metadata"), f"{{{METADATA}}}machine")
        for key, value in self.notes.items():
            add(notes, f"{{{METADATA}}}note", value, name=key)
        add(root, "memory", str(memory_mib), unit="MiB")
        add(root, "vcpu", str(cpus))
        return root

    def add_processor(self, root: Xml.Element, *, translated_mib: int, on_reboot: str) -> None:
        """`translated_mib`: most memory for translated code, where a machine runs without hardware support."""
        features = add(root, "features")
        add(features, "acpi")
        if self.accel == "tcg":
            add(add(features, "tcg"), "tb-cache", str(translated_mib), unit="MiB")
        add(root, "cpu", mode="host-passthrough" if self.accel == "kvm" else "maximum")
        add(root, "clock", offset="utc")
        for event, deed in (("on_poweroff", "destroy"), ("on_reboot", on_reboot), ("on_crash", "destroy")):
            add(root, event, deed)

    def add_disk(self, devices: Xml.Element, *, target: str, bus: str) -> None:
        disk = add(devices, "disk", type="file", device="disk")
        # A machine's disk does not outlive a crash of this host, so nothing is forced out to it.
        add(disk, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
        add(disk, "source", file=str(self.disk))
        add(disk, "target", dev=target, bus=bus)

    def add_labels(self, root: Xml.Element, labels: Iterable["Label"]) -> None:
        for model, text in labels:
            if text is None:
                add(root, "seclabel", type="none", model=model)
            else:
                # libvirt is to leave the owners of files alone: an image's, which all machines share, are among them.
                add(add(root, "seclabel", type="static", model=model, relabel="no"), "label", text)

    def add_console(self, devices: Xml.Element) -> None:
        serial = add(devices, "serial", type="file")
        add(serial, "source", path=str(self.console))
        add(serial, "target", port="0")

    def add_arguments(self, root: Xml.Element, words: Sequence[str]) -> None:
        """What libvirt has no words for; waiting for state is one of them."""
        line = add(root, f"{{{QEMU}}}commandline")
        for word in (*words, *(("-incoming", "defer") if self.incoming else ())):
            add(line, f"{{{QEMU}}}arg", value=word)


class Domain(AnyDomain):
    """Everything that decides how a virtual machine of an image of ours is started."""

    memory: Memory
    screen: SharedScreen
    cpus: float
    """0: one."""
    kernel: Path
    initrd: Path | None
    """None: it is not booted."""
    port: Path

    @property
    def reads(self) -> tuple[Path, ...]:
        return (self.kernel, *((self.initrd,) if self.initrd else ()))

    @property
    def writes(self) -> tuple[Path, ...]:
        # What it maps for itself it opens to write all the same.
        memory = (self.memory.file,) if self.memory.file else ()
        return *super().writes, self.screen.file, *memory

    def xml(self, labels: Iterable[Label] = ()) -> str:
        root = self.begun(memory_mib=self.memory.mib, cpus=max(1, math.ceil(self.cpus)))
        self._add_platform(root)
        self._add_devices(add(root, "devices"))
        self.add_labels(root, labels)
        self.add_arguments(root, self._arguments())
        # libvirt would ask for each of 400 features of the processor, which is longer than all else that it does.
        add(add(root, f"{{{QEMU}}}capabilities"), f"{{{QEMU}}}del", capability="cpu-unavailable-features")
        return Xml.tostring(root, encoding="unicode")

    def _add_platform(self, root: Xml.Element) -> None:
        system = add(root, "os")
        add(system, "type", "hvm", arch="x86_64", machine="q35")
        add(system, "kernel", str(self.kernel))
        if self.initrd:
            add(system, "initrd", str(self.initrd))
        # The kernel is told of the memory that this host sees too, as of a place to keep files.
        add(system, "cmdline", f"{KERNEL_LINE} memmap={self.screen.size}!{self._screen_address()}")
        self.add_processor(root, translated_mib=_TRANSLATED_MIB, on_reboot="destroy")

    def _add_devices(self, devices: Xml.Element) -> None:
        add(devices, "emulator", str(self.emulator))
        self.add_disk(devices, target="vda", bus="virtio")
        channel = add(devices, "channel", type="unix")
        add(channel, "source", mode="bind", path=str(self.port))
        add(channel, "target", type="virtio", name=PORT_NAME)
        self.add_console(devices)
        random = add(devices, "rng", model="virtio")
        add(random, "backend", "/dev/urandom", model="random")
        add(devices, "controller", type="usb", model="none")
        add(devices, "memballoon", model="none")

    def _arguments(self) -> list[str]:
        """Memory files of our choice."""
        words = ["-object", json.dumps(self._memory_object()), "-machine", "memory-backend=mem,nvdimm=on"]
        words += ["-m", f"slots=1,maxmem={(self.memory.mib << 20) + self.screen.size}B"]
        words += ["-object", json.dumps(_file_memory("screen", self.screen.size, self.screen.file, share=True))]
        return [*words, "-device", f"nvdimm,id=screen0,memdev=screen,addr={self._screen_address()}"]

    def _memory_object(self) -> dict[str, object]:
        size = self.memory.mib << 20
        if self.memory.file is None:
            return {"qom-type": "memory-backend-ram", "id": "mem", "size": size}
        return _file_memory("mem", size, self.memory.file, share=self.memory.shared)

    def _screen_address(self) -> int:
        """Where the machine sees it: at the first GiB above all other memory."""
        high_mib = self.memory.mib - _LOW_MIB if self.memory.mib >= _MOST_LOW_MIB else 0
        return (4 + -(-high_mib // 1024)) << 30


def _file_memory(name: str, size: int, path: Path, *, share: bool) -> dict[str, object]:
    return {"qom-type": "memory-backend-file", "id": name, "size": size, "mem-path": str(path), "share": share}


def add(parent: Xml.Element, tag: str, text: str | None = None, **attributes: str) -> Xml.Element:
    """Returns the new element."""
    element = Xml.SubElement(parent, tag, attributes)
    element.text = text
    return element
