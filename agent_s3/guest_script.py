"""Small programs of ours that run inside the machine: fixed source, data only by stdin and stdout, as JSON."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from vm_pool.errors import GuestError
from vm_pool.machine import Machine

AnswerT = TypeVar("AnswerT", bound=BaseModel)
_FOLDER = Path(__file__).parent / "guest_scripts"


@cache
def _source(name: str) -> str:
    return (_FOLDER / f"{name}.py").read_text(encoding="utf-8")


async def run_script(
    machine: Machine,
    name: str,
    data: Mapping[str, object],
    kind: type[AnswerT],
    *,
    timeout_s: float = 20.0,
    request_id: str | None = None,
) -> AnswerT:
    """Run `guest_scripts/NAME.py` and return what it prints, a `kind`.

    Raises: `GuestError` with the script's own reason (its key `error`), with the last line of what it complained, or
    when a machine that was tampered with prints something else.
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
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        raise GuestError(f"{name} answered something else than {kind.__name__}") from error


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
