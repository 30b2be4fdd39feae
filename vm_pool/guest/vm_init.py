#!/usr/bin/python3
"""First process of a virtual machine after its initramfs: control channel, identity, guest server.

It runs as root and its end is the machine's end (the kernel stops without it). The desktop runs as its user.
"""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# `python3 -I` leaves the script's directory out; the server is a package next to it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from guest.channel import Calls, Channel
from guest.channel_wire import SERVER_STARTS

PORT_NAME = "org.agent-s3.control"
USER = "user"
RUN = Path("/run/agent-s3")
TOKEN, SOCKET, FRAMES = RUN / "ctl/token", RUN / "ctl/guest.sock", RUN / "frames"
EGRESS = RUN / "ctl/egress.sock"
STOCK = Path("/var/lib/agent-s3/stock.json")
_PORT_S = 20.0
_POLL_S = 0.02


class Machine:
    """What the host decides about this machine, at its start and again for each copy of it."""

    def __init__(self) -> None:
        self.user = pwd.getpwnam(USER)
        self._server: subprocess.Popen[bytes] | None = None
        for folder in (TOKEN.parent, FRAMES, STOCK.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        RUN.chmod(0o755)
        self._token = HeldFile(TOKEN, 0o400, self.user.pw_uid)
        self._names = {name: name_file(name) for name in ("machine-id", "hostname", "hosts")}

    def take_identity(self, hello: bytes) -> None:
        """A `HELLO`'s JSON: token, machine id, hostname, screen size."""
        facts = json.loads(hello)
        socket.sethostname(facts["hostname"])
        self._names["machine-id"].say(facts["machine_id"] + "\n")
        self._names["hostname"].say(facts["hostname"] + "\n")
        self._names["hosts"].say(f"127.0.0.1 localhost {facts['hostname']}\n::1 localhost\n")
        self._token.say(facts["token"])
        if self._server is None:
            self._server = self._start_server(facts["size"], by_proxy=facts["egress"])

    def look_after(self) -> None:
        """Reap what has ended; without the guest server there is no desktop and so no machine."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if self._server and ended[0] == self._server.pid:
                    stop(f"the guest server ended with status {ended[1]}")

    def _start_server(self, size: str, *, by_proxy: bool) -> "subprocess.Popen[bytes]":
        home = self.user.pw_dir
        command = ["/usr/bin/python3", "-I", str(Path(__file__).with_name("main.py"))]
        command += ["--socket", str(SOCKET), "--token-file", str(TOKEN), "--size", size, "--frames", str(FRAMES)]
        command += ["--journal", home, "--journal-stock", str(STOCK)]
        command += ["--egress", str(EGRESS)] if by_proxy else []
        command += ["--log-to-stderr"]
        sys.stderr.write(f"{SERVER_STARTS}\n")
        sys.stderr.flush()
        return subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL)


class HeldFile:
    """A file in memory that is another one in each copy of a machine; it is kept open and overwritten.

    Making files anew is a large part of what a fork does first, in a kernel whose code is still to be translated. Who
    reads it is told first: the guest server hears of no request before the machine has taken its identity.
    """

    def __init__(self, path: Path, mode: int, owner: int = 0) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchown(self._fd, owner, owner)
        os.fchmod(self._fd, mode)
        self._length = 0

    def say(self, text: str) -> None:
        data = text.encode()
        os.pwrite(self._fd, data, 0)
        if len(data) != self._length:
            os.ftruncate(self._fd, len(data))
            self._length = len(data)


def name_file(name: str) -> HeldFile:
    """A file of `/etc`, which is a link to it from now on."""
    file = HeldFile(RUN / name, 0o644)
    link = Path("/etc", f".{name}.new")
    link.unlink(missing_ok=True)
    link.symlink_to(RUN / name)
    link.replace(Path("/etc", name))
    return file


def set_clock(seconds: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, seconds)


def open_port() -> int:
    """The serial port of the control channel. Its driver may still be finding it."""
    deadline = time.monotonic() + _PORT_S
    while time.monotonic() < deadline:
        for name in Path("/sys/class/virtio-ports").glob("*/name"):
            if name.read_text().strip() == PORT_NAME:
                return os.open(f"/dev/{name.parent.name}", os.O_RDWR | os.O_CLOEXEC)
        time.sleep(_POLL_S)
    stop(f"there is no port {PORT_NAME}")
    raise AssertionError


def stop(reason: str) -> None:
    sys.stderr.write(f"agent-s3: {reason}\n")
    sys.stderr.flush()
    os._exit(1)


def main() -> None:
    wake, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    machine = Machine()
    calls = Calls(machine.take_identity, set_clock, machine.look_after)
    Channel(open_port(), str(SOCKET), calls, {b"egress": str(EGRESS)}).serve(wake)


if __name__ == "__main__":
    main()
