"""libvirt inside this process: no daemon, no change to this host's own libvirt, all its files in one folder of ours.

Source: https://libvirt.org/drvqemu.html#driver-instances ("embed").
"""

import atexit
import os
import secrets
import shutil
from typing import Any

from vm_pool.errors import HostUnfit
from vm_pool.providers.vm_domain import Label
from vm_pool.providers.vm_library import libvirt
from vm_pool.providers.vm_places import INSTALL, VmPlaces
from vm_pool.providers.vm_user import own_user

# Nothing of it is shared with other users. Which user QEMU runs as is said of each machine: this one only looks what
# QEMU can do. Were it another than ours, libvirt would find /dev/kvm closed to it, believe nothing that it knows of
# QEMU, and look again dozens of times at each start, for a minute.
SETTINGS = """\
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
seccomp_sandbox = 1
max_queued = 0
"""
AS_ROOT = 'user = "root"\ngroup = "root"\nswtpm_user = "root"\nswtpm_group = "root"\n'


class Embedded:
    """A link to it; the process has one in its whole life, for libvirt remembers the folder, and takes no other."""

    words = "libvirt inside this process"
    lasts = True

    def __init__(self, places: VmPlaces) -> None:
        self.user = own_user()
        self.labels = (Label("dac", self.user.label()),) if self.user.differs else ()
        self._places = places
        self._root = places.hosts / f"{os.getpid()}-{secrets.token_hex(1)}"

    def open(self) -> Any:
        """Blocks. Raises: `HostUnfit`."""
        (self._root / "etc").mkdir(mode=0o700, parents=True)
        self._root.chmod(0o711)  # QEMU reads its key by its path
        (self._root / "etc/qemu.conf").write_text(self._settings())
        # Finding out what a QEMU can do takes 4 s, so that is kept for the next process.
        (self._root / "cache").symlink_to(self._places.cache)
        try:
            connection = libvirt.open(f"qemu:///embed?root={self._root}")
        except libvirt.libvirtError as error:
            shutil.rmtree(self._root, ignore_errors=True)
            raise HostUnfit(f"libvirt does not start here: {error}; run: {INSTALL}") from error
        atexit.register(shutil.rmtree, self._root, ignore_errors=True)
        return connection

    def pid_of(self, name: str) -> int:
        return int((self._root / f"run/qemu/{name}.pid").read_text())

    def _settings(self) -> str:
        return SETTINGS + (AS_ROOT if self.user.differs else "")
