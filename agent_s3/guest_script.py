"""Small programs of ours that run inside the machine: fixed source, data only by stdin and stdout, as JSON."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from vm_pool.errors import GuestError
from vm_pool.machine import Machine

_FOLDER = Path(__file__).parent / "guest_scripts"


@cache
def _source(name: str) -> str:
    return (_FOLDER / f"{name}.py").read_text(encoding="utf-8")


async def run_script(
    machine: Machine, name: str, data: Mapping[str, object], *, timeout_s: float = 20.0, request_id: str | None = None
) -> dict[str, Any]:
    """Run `guest_scripts/NAME.py` and return the object that it prints.

    Raises: `GuestError` with the script's own reason (its key `error`), or with the last line of what it complained.
    """
    stdin = json.dumps(data).encode()
    done = await machine.run(["python3", "-c", _source(name)], stdin=stdin, timeout_s=timeout_s, request_id=request_id)
    if done.timed_out:
        raise GuestError(f"{name} took longer than {timeout_s:g} s")
    answer = _object(done.stdout)
    if answer is None:
        complaint = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise GuestError(f"{name} failed in the machine: {complaint[:300]}")
    if "error" in answer:
        raise GuestError(str(answer["error"])[:1000])
    return answer


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
