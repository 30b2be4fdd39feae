"""Child processes: started, limited in time and output, reaped and killed in one place."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import Refused

_CHUNK = 65536
_AFTER_EXIT_S = 0.2
"""How long to wait for output that a finished command's children may still hold the pipes for."""


class Kept:
    """The first and the last bytes of a stream, at most `limit` in all."""

    def __init__(self, limit: int):
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.dropped = 0
        """Bytes that were left out between head and tail."""

    def add(self, data: bytes) -> None:
        room = self._head_limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        excess = len(self._tail) - self._tail_limit
        if excess > 0:
            self.dropped += excess
            del self._tail[:excess]

    def text(self) -> str:
        """The stream as UTF-8; a cut is marked by a line that says how much is missing."""
        gap = f"\n[{self.dropped} bytes left out]\n" if self.dropped else ""
        return self._head.decode(errors="replace") + gap + self._tail.decode(errors="replace")


class Processes:
    """All children of the session server. `env` is the session's environment, which every child gets.

    `note` is a file that always holds `launched` as JSON, for a host that must start a killed machine again.
    """

    def __init__(self, env: dict[str, str], home: str, note: Path | None = None):
        self.env = env
        self.home = home
        self._note = note
        self.launched: list[list[str]] = []
        """Command lines of `launch`, oldest first: what a fork has to start again."""
        self._lock = threading.Lock()
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def spawn(self, argv: Sequence[str], *, own_session: bool = True, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a child, in a session of its own or in this process's. Raises: `Refused` when it cannot be started."""
        env = {**self.env, **options.pop("env", {})}
        with self._lock:
            try:
                child = subprocess.Popen(argv, env=env, start_new_session=own_session, **options)
            except (OSError, ValueError) as error:
                raise Refused(f"cannot start {argv[0]!r}: {error}", kind="not_started") from error
            self._children[child.pid] = child
        return child

    def launch(self, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None) -> int:
        """Start a program detached from the caller; returns its pid."""
        null = subprocess.DEVNULL
        child = self.spawn(argv, stdin=null, stdout=null, stderr=null, cwd=cwd or self.home, env=dict(env or {}))
        self.launched.append(list(argv))
        if self._note:
            fresh = self._note.with_suffix(".new")
            fresh.write_text(json.dumps(self.launched))
            fresh.replace(self._note)
        return child.pid

    def reap(self) -> None:
        """Collect finished children that nobody waits for, and orphans that were given to this process."""
        with self._lock:
            while (pid := _ended_child()) and self._collect(pid):
                pass
            for pid in [pid for pid, child in self._children.items() if child.returncode is not None]:
                del self._children[pid]

    def _collect(self, pid: int) -> bool:
        """Whether it is gone now; a child that somebody waits for is his."""
        if child := self._children.get(pid):
            return child.poll() is not None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return True

    def kill_all(self) -> None:
        with self._lock:
            for child in self._children.values():
                kill_group(child.pid)
                child.kill()  # one in this process's session leads no group

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        output_limit: int,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        merge_stderr: bool = False,
    ) -> dict[str, Any]:
        """Run a command and wait; returns the fields of `vm_pool.types.Completed`."""
        pipe = subprocess.PIPE
        started = time.monotonic()
        child = self.spawn(
            argv,
            stdin=pipe if stdin else subprocess.DEVNULL,
            stdout=pipe,
            stderr=subprocess.STDOUT if merge_stderr else pipe,
            cwd=cwd or self.home,
            env=dict(env or {}),
            bufsize=0,
        )
        out, err = Kept(output_limit), Kept(output_limit)
        timed_out = not _converse(child, stdin, out, err, started + timeout_s)
        if timed_out:
            kill_group(child.pid)
        return {
            "returncode": child.wait(),
            "stdout": out.text(),
            "stderr": err.text(),
            "seconds": round(time.monotonic() - started, 4),
            "timed_out": timed_out,
            "truncated": bool(out.dropped or err.dropped),
        }


def _ended_child() -> int | None:
    """One that is still to be collected; None when there is none. Costs one call to the kernel, however many run."""
    with contextlib.suppress(ChildProcessError):
        if ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return ended.si_pid
    return None


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _converse(child: "subprocess.Popen[bytes]", stdin: bytes, out: Kept, err: Kept, deadline: float) -> bool:
    """Feed and drain a child until it ends; False when the deadline came first."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for stream, kept in ((child.stdout, out), (child.stderr, err)):
            if stream is not None:
                stack.callback(stream.close)
                selector.register(stream, selectors.EVENT_READ, kept)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            stack.callback(child.stdin.close)
            selector.register(child.stdin, selectors.EVENT_WRITE, memoryview(stdin))
        return _pump(child, selector, deadline)


def _pump(child: "subprocess.Popen[bytes]", selector: selectors.BaseSelector, deadline: float) -> bool:
    ended_at: float | None = None
    while selector.get_map():
        now = time.monotonic()
        if now >= deadline:
            return False
        if ended_at is None and child.poll() is not None:
            ended_at = now
        limit = deadline if ended_at is None else min(deadline, ended_at + _AFTER_EXIT_S)
        if now >= limit:
            return True
        # A child of the command may hold the pipes open after its end, so look at least every 50 ms.
        for key, _ in selector.select(min(limit - now, 0.05)):
            _move_bytes(selector, key)
    return _ends_before(child, deadline)


def _move_bytes(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    if isinstance(key.data, Kept):
        chunk = os.read(key.fd, _CHUNK)
        key.data.add(chunk)
        if not chunk:
            selector.unregister(key.fileobj)
        return
    rest = _write_some(key.fd, key.data)
    if rest:
        selector.modify(key.fileobj, selectors.EVENT_WRITE, rest)
    else:
        selector.unregister(key.fileobj)
        key.fileobj.close()


def _write_some(fd: int, data: memoryview) -> memoryview:
    try:
        return data[os.write(fd, data[:_CHUNK]) :]
    except BrokenPipeError:
        return data[:0]


def _ends_before(child: "subprocess.Popen[bytes]", deadline: float) -> bool:
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True
