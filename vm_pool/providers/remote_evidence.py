"""What a guest elsewhere says and shows when it did not become ready: a few questions, each answered or not."""

import asyncio
import time
from collections.abc import Sequence

from PIL import UnidentifiedImageError

from vm_pool.boot_report import keep_screen, printable
from vm_pool.errors import GuestError, GuestTimeout, MachineLost
from vm_pool.guest_wire import Answer, GuestWire
from vm_pool.output import one_line
from vm_pool.provider import Evidence
from vm_pool.types import Frame

_SCREEN = "/screenshot"
_QUESTIONS = {"/v1/info": 65536, "/v1/ready": 65536, "/platform": 65536, _SCREEN: 64 << 20}
"""Routes of ours and of OSWorld's, to the most bytes of an answer; a guest that has only some of them says so."""
_ASK_S = 5.0
_LOOKED_AT, _TOLD = 1200, 300
"""Most bytes of an answer that are read, and characters that are repeated of it."""


async def evidence_at(url: str, *, token: str, machine_id: str, hooks: Sequence[str] = ()) -> Evidence:
    """Takes 5 s at most. `hooks`: what the user's commands for this guest wrote, which comes first."""
    wire = GuestWire(machine_id, socket=None, url=url, token=token)
    try:
        asked = (_ask(wire, machine_id, path, limit) for path, limit in _QUESTIONS.items())
        outcomes = await asyncio.gather(*asked)
    finally:
        await wire.aclose()
    answers = dict(zip(_QUESTIONS, outcomes, strict=True))
    said = [f"GET {url}{path}: {_told(path, outcome)}" for path, outcome in answers.items()]
    screen = await asyncio.to_thread(_kept, machine_id, answers[_SCREEN])
    return Evidence(log=printable("\n".join([*hooks, *said]).encode(), without=token), screen=screen)


async def _ask(wire: GuestWire, machine_id: str, path: str, limit: int) -> Answer | str:
    """The answer, else why there was none."""
    try:
        return await wire.send("GET", path, timeout_s=_ASK_S, answer_limit=limit)
    except (MachineLost, GuestError, GuestTimeout) as error:
        return str(error).removeprefix(f"{machine_id}: ").removeprefix(f"GET {path}: ")


def _told(path: str, outcome: Answer | str) -> str:
    if isinstance(outcome, str):
        return outcome
    if path == _SCREEN and outcome.status == 200:
        return f"HTTP 200, {len(outcome.body)} bytes"
    return f"HTTP {outcome.status} {one_line(outcome.body[:_LOOKED_AT].decode(errors='replace'), _TOLD)}".strip()


def _kept(machine_id: str, outcome: Answer | str) -> str | None:
    """Decoded and written anew, so that what lies among the reports is a picture."""
    if isinstance(outcome, str) or outcome.status != 200:
        return None
    try:
        frame = Frame.from_image_file(outcome.body, taken_at=time.time())
    except (UnidentifiedImageError, OSError, ValueError):
        return None
    return keep_screen(machine_id, frame.png())
