"""A Docker daemon of our own, away from the user's, that may be killed and started again."""

import asyncio
import shutil
import subprocess
from pathlib import Path

from vm_pool.disk import delete_tree
from vm_pool.errors import HostUnfit
from vm_pool.providers.docker_daemon import Daemon

_START_S = 60.0
_END_S = 30.0


class OwnDaemon:
    """In a folder. Raises on starting: `HostUnfit`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and alive else None

    async def start(self) -> None:
        """Idempotent."""
        if self.pid is not None:
            return
        dockerd = shutil.which("dockerd", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
        if dockerd is None:
            raise HostUnfit("dockerd is missing; run: sudo apt-get install -y docker.io")
        places = [f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid"]
        # Its containerd died with it, but where nobody reaps the dead their numbers seem to be in use.
        for left in ("pid", "exec/containerd/containerd.pid"):
            (self.folder / left).unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(dockerd, *places, f"--host={self.host}", "--bridge=none", "--iptables=false"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        await self._answers(self._process)

    async def _answers(self, process: asyncio.subprocess.Process) -> None:
        daemon, deadline = Daemon(self.host), asyncio.get_running_loop().time() + _START_S
        while process.returncode is None and asyncio.get_running_loop().time() < deadline:
            try:
                await asyncio.to_thread(daemon.version)
            except HostUnfit:
                await asyncio.sleep(0.1)
            else:
                return
        raise HostUnfit(f"dockerd did not start within {_START_S:g} s; see {self.folder}/log")

    async def end(self) -> None:
        """With all that it left mounted; its data go."""
        if self._process is not None and self.pid is not None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _END_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await asyncio.to_thread(self._clear)

    def _clear(self) -> None:
        mounts = (line.split()[1] for line in reversed(Path("/proc/mounts").read_text().splitlines()))
        for place in mounts:
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", place], check=False)
        for part in ("data", "exec"):
            delete_tree(self.folder / part)
