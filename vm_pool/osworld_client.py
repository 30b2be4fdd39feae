"""A machine behind OSWorld's own guest server, for official OSWorld and WindowsAgentArena images.

That server knows neither tokens nor request ids, so a request that acts is never sent twice. What it cannot do at all
(file journal, clipboard) is None in a look.
Source: OSWorld, `desktop_env/server/main.py` and `desktop_env/controllers/python.py`.
"""

import asyncio
import base64
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from vm_pool.errors import BootTimeout, GuestError, GuestFileNotFound, GuestTimeout, MachineLost
from vm_pool.event_check import check_events
from vm_pool.events import InputEvent
from vm_pool.guest_wire import FILE_LIMIT, GuestWire
from vm_pool.machine import DEFAULT_OUTPUT_LIMIT
from vm_pool.osworld_code import code_of
from vm_pool.osworld_tree import parse_tree
from vm_pool.output import keep_ends
from vm_pool.settle import settle_by_frames
from vm_pool.types import Box, Completed, Frame, Look, LookPart, MachineInfo, Performed, Settled, Tree, Window

_EXECUTE_S = 130.0
"""The server itself ends a command after 120 s."""
_PICTURE_LIMIT = 64 * 1024 * 1024
_OUTPUT_LIMIT = 64 * 1024 * 1024
"""Bytes; the server itself limits neither."""
_READY_POLL_S = 0.5
_TREE_TRIES = 3
"""That server answers 500 when a program ends while its tree is walked."""
_LAUNCH = (
    "import subprocess as s,sys; n=s.DEVNULL;"
    " print(s.Popen(sys.argv[1:],stdin=n,stdout=n,stderr=n,start_new_session=True).pid)"
)
"""That server answers when the last program that holds a command's output has ended: so this one must hold none."""
_WITH_STDIN = 'data=$1; shift; printf %s "$data" | base64 -d | "$@"'
_KILLED = (-9, 137)
_NOT_STARTED = (125, 126, 127)


class _Executed(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: str
    output: str = ""
    error: str = ""
    returncode: int = 0
    message: str = ""


class _Accessibility(BaseModel):
    model_config = ConfigDict(extra="ignore")

    AT: str


class OSWorldMachine:
    """`vm_pool.machine.Machine` over the OSWorld routes, at a URL (`http://127.0.0.1:5000`) or a unix socket."""

    def __init__(self, info: MachineInfo, *, url: str | None = None, socket: Path | None = None, token: str = ""):
        self._info = info
        self._wire = GuestWire(info.machine_id, socket=socket, url=url, token=token)
        # Windows images have `python` only, Debian has `python3` only.
        self._python = "python3" if info.platform == "linux" else "python"
        self._receipts: dict[str, Performed] = {}
        self._completed: dict[str, Completed] = {}
        self._launched: list[list[str]] = []
        self._performing = asyncio.Lock()
        """Each batch is a program of its own, and programs that type at the same time mix their letters."""
        self._looking = asyncio.Lock()
        """That server writes every picture to one file before it sends it: two at a time are torn."""

    @property
    def info(self) -> MachineInfo:
        return self._info

    async def ready(self, timeout_s: float) -> None:
        """Wait for the first picture. Raises: `BootTimeout`."""
        reason = "its server"
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        await self.screenshot()
                    except (MachineLost, GuestError) as error:
                        reason = str(error)
                    else:
                        return
                    await asyncio.sleep(_READY_POLL_S)
        except (TimeoutError, GuestTimeout) as error:
            message = f"{self._info.machine_id} was not ready after {timeout_s:g} s; it waited for {reason}"
            raise BootTimeout(message) from error

    def another_client(self, *, token: str | None = None) -> "OSWorldMachine":
        """A further client of the same machine, with receipts of its own; "" for `token` sends none."""
        return OSWorldMachine(self._info, **self._wire.place_and_token(token))

    async def launched(self) -> list[list[str]]:
        """Command lines that this client has launched, oldest first."""
        return list(self._launched)

    def lose(self, reason: str) -> None:
        self._wire.lose(reason)

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def screenshot(self) -> Frame:
        async with self._looking:
            body = await self._wire.ok("GET", "/screenshot", answer_limit=_PICTURE_LIMIT)
        try:
            return await asyncio.to_thread(Frame.from_image_file, body, taken_at=time.time())
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise GuestError(f"{self._info.machine_id}: the screenshot is no picture: {error}") from error

    async def perform(self, events: Sequence[InputEvent], *, request_id: str | None = None) -> Performed:
        async with self._performing:
            return await self._perform(events, request_id or uuid.uuid4().hex)

    async def _perform(self, events: Sequence[InputEvent], request_id: str) -> Performed:
        if request_id in self._receipts:
            return self._receipts[request_id].model_copy(update={"repeated": True})
        check_events(events, self._info)
        started = time.monotonic()
        done = await self._execute([self._python, "-c", code_of(events)])
        if done.returncode:
            raise GuestError(f"{self._info.machine_id}: pyautogui failed: {done.error.strip()[-200:]}")
        receipt = Performed(
            request_id=request_id,
            executed=len(events),
            pointer=_pointer(done.output),
            milliseconds=round((time.monotonic() - started) * 1000, 3),
        )
        self._receipts[request_id] = receipt
        return receipt

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 120.0,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
        request_id: str | None = None,
    ) -> Completed:
        if request_id is not None and request_id in self._completed:
            return self._completed[request_id]
        command = self._wrapped(argv, min(timeout_s, 115.0), stdin, cwd, env)
        started = time.monotonic()
        done = await self._execute(command)
        seconds = time.monotonic() - started
        if done.returncode in _NOT_STARTED and done.error.startswith("env:"):
            raise GuestError(f"{self._info.machine_id}: cannot start {argv[0]!r}: {done.error.strip()[-200:]}")
        timed_out = done.returncode in _KILLED and seconds >= timeout_s
        stdout, stderr = keep_ends(done.output, output_limit), keep_ends(done.error, output_limit)
        completed = Completed(
            returncode=-9 if timed_out else done.returncode,
            stdout=stdout,
            stderr=stderr,
            seconds=round(seconds, 4),
            timed_out=timed_out,
            truncated=(stdout, stderr) != (done.output, done.error),
        )
        if request_id is not None:
            self._completed[request_id] = completed
        return completed

    async def launch(self, argv: Sequence[str], *, cwd: str | None = None) -> int:
        done = await self.run([self._python, "-c", _LAUNCH, *argv], cwd=cwd)
        if done.returncode or not done.stdout.strip().isdecimal():
            raise GuestError(f"{self._info.machine_id}: cannot start {argv[0]!r}: {done.stderr.strip()[-200:]}")
        self._launched.append(list(argv))
        return int(done.stdout)

    async def read(self, path: str, *, max_bytes: int | None = None) -> bytes:
        limit = FILE_LIMIT if max_bytes is None else max_bytes
        answer = await self._wire.send("POST", "/file", form={"file_path": path}, answer_limit=limit)
        if answer.status == 404:
            raise GuestFileNotFound(f"{self._info.machine_id}: no file {path!r}")
        if answer.status != 200:
            raise self._wire.refusal(answer)
        return answer.body

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        await self._wire.ok("POST", "/setup/upload", form={"file_path": path}, files={"file_data": ("file", data)})
        if self._info.platform == "linux" and mode != 0o644:
            await self.run(["chmod", f"{mode:o}", path])

    async def tree(self) -> Tree:
        found = await self._walked()
        try:
            return await asyncio.to_thread(parse_tree, found.AT)
        except ValueError as error:
            raise GuestError(f"{self._info.machine_id}: {error}") from error

    async def _walked(self) -> _Accessibility:
        answer = await self._wire.send("GET", "/accessibility")
        for _ in range(_TREE_TRIES - 1):
            if answer.status == 500:
                answer = await self._wire.send("GET", "/accessibility")
        if answer.status != 200:
            raise self._wire.refusal(answer)
        return self._wire.parse(answer.body, _Accessibility)

    async def windows(self) -> tuple[Window, ...]:
        """From `wmctrl`, so on Linux only; empty elsewhere. Not in stacking order."""
        if self._info.platform != "linux":
            return ()
        listed = await self.run(["wmctrl", "-lGpx"])
        windows = (_window(line) for line in listed.stdout.splitlines())
        return tuple(window for window in windows if window is not None)

    async def look(self, parts: frozenset[LookPart], *, files_since: str | None = None) -> Look:  # noqa: ARG002 - no journal here
        return Look(
            frame=await self.screenshot() if "frame" in parts else None,
            tree=await self.tree() if "tree" in parts else None,
            windows=await self.windows() if "windows" in parts else None,
            pointer=await self._cursor(),
        )

    async def settle(self, *, quiet_ms: int = 150, timeout_ms: int = 3000) -> Settled:
        return await settle_by_frames(self.screenshot, quiet_ms=quiet_ms, timeout_ms=timeout_ms)

    async def _execute(self, command: Sequence[str]) -> _Executed:
        body = {"command": list(command), "shell": False}
        return await self._wire.post_json(
            "/execute", body, _Executed, timeout_s=_EXECUTE_S, answer_limit=_OUTPUT_LIMIT, repeatable=False
        )

    async def _cursor(self) -> tuple[int, int] | None:
        answer = await self._wire.ok("GET", "/cursor_position")
        numbers = answer.decode(errors="replace").strip().strip("[]()").split(",")
        if len(numbers) != 2 or not all(number.strip().isdecimal() for number in numbers):
            raise GuestError(f"{self._info.machine_id}: {answer[:40]!r} is no pointer position")
        return int(numbers[0]), int(numbers[1])

    def _wrapped(
        self, argv: Sequence[str], timeout_s: float, stdin: bytes, cwd: str | None, env: Mapping[str, str] | None
    ) -> list[str]:
        """The command with what the route lacks put in front of it; all of it GNU tools, so on Linux only."""
        if self._info.platform != "linux":
            if stdin or cwd or env:
                raise GuestError(f"{self._info.machine_id}: this guest runs commands without stdin, directory or env")
            return list(argv)
        command = ["timeout", "--signal=KILL", f"{timeout_s:g}"]
        command += ["env", "-C", cwd or self._info.home, *(f"{name}={value}" for name, value in (env or {}).items())]
        command += argv
        if stdin:
            command = ["bash", "-c", _WITH_STDIN, "bash", base64.b64encode(stdin).decode(), *command]
        return command


def _pointer(output: str) -> tuple[int, int] | None:
    words = output.split()
    if len(words) < 3 or words[-3] != "pointer" or not (words[-2].isdecimal() and words[-1].isdecimal()):
        return None
    return int(words[-2]), int(words[-1])


def _window(line: str) -> Window | None:
    """One line of `wmctrl -lGpx`: id, desktop, pid, x, y, width, height, class, host, title."""
    words = line.split(None, 9)
    if len(words) < 9 or not all(word.lstrip("-").isdecimal() for word in words[2:7]):
        return None
    pid, x, y, width, height = map(int, words[2:7])
    title = words[9] if len(words) > 9 else ""
    app = words[7].rpartition(".")[2]
    box = Box(x=x, y=y, width=max(0, width), height=max(0, height))
    return Window(id=words[0], title=title, app=app, pid=pid or None, box=box)
