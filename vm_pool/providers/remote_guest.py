"""Attaching to a guest that runs already: finding out what it speaks, who it is, and waiting until it is ready.

Source of the routes: OSWorld, `desktop_env/server/main.py`; WindowsAgentArena's server has the same ones.
"""

import asyncio
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from vm_pool.errors import BootTimeout, ConfigError, GuestError, GuestTimeout, MachineLost
from vm_pool.guest_answers import GuestInfo
from vm_pool.guest_client import GuestMachine
from vm_pool.guest_wire import GuestWire
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.types import MachineInfo, Platform

_POLL_S = 0.25
_ASK_S = 10.0
_ANSWER = 65536
"""Bytes."""
_KNOWN = frozenset({"v1", "tree", "journal", "clipboard", "settle"})
"""Capabilities that a guest may claim; others mean nothing here."""
_PLATFORMS: Mapping[str, Platform] = {
    "linux": "linux",
    "windows": "windows",
    "darwin": "macos",
    "macos": "macos",
    "android": "android",
}
_HOME = "import os; print(os.path.expanduser('~'))"


class _Size(BaseModel):
    model_config = ConfigDict(extra="ignore")

    width: int = Field(ge=1, le=16384)
    height: int = Field(ge=1, le=16384)


class _Executed(BaseModel):
    model_config = ConfigDict(extra="ignore")

    output: str = ""


async def attach(
    url: str, *, token: str, machine_id: str, timeout_s: float, known: Mapping[str, str] | None = None
) -> GuestMachine | OSWorldMachine:
    """The machine at a URL, by `/v1/` when its guest has it, else by OSWorld's routes.

    `known` replaces what its info says of `provider` and `image`; None: `remote` and the URL.

    Raises: `BootTimeout` with what it still waited for; `ConfigError` when the guest wants another token.
    """
    wire = GuestWire(machine_id, socket=None, url=url, token=token)
    reason = "its server"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    info = await _info_of(wire, url, machine_id, bool(token))
                    break
                except (MachineLost, GuestError, GuestTimeout) as error:
                    reason = str(error)
                await asyncio.sleep(_POLL_S)
            return await _ready(info.model_copy(update=known), url, token, timeout_s)
    except TimeoutError as error:
        if isinstance(error, BootTimeout):
            raise
        raise BootTimeout(f"the guest at {url} was not ready after {timeout_s:g} s; it waited for {reason}") from error
    finally:
        await wire.aclose()


async def _ready(info: MachineInfo, url: str, token: str, timeout_s: float) -> GuestMachine | OSWorldMachine:
    kind = GuestMachine if "v1" in info.capabilities else OSWorldMachine
    machine = kind(info, url=url, token=token)
    try:
        await machine.ready(timeout_s)
    except BaseException:
        await machine.aclose()
        raise
    return machine


async def _info_of(wire: GuestWire, url: str, machine_id: str, has_token: bool) -> MachineInfo:
    answer = await wire.send("GET", "/v1/info", timeout_s=_ASK_S, answer_limit=_ANSWER)
    if answer.status in (401, 403):
        raise ConfigError(f"the guest at {url} wants another token; name its variable by token_env")
    extra = frozenset({"token"}) if has_token else frozenset[str]()
    if answer.status == 200:
        known = wire.parse(answer.body, GuestInfo)
        size = _Size(width=known.width, height=known.height)
        capabilities = (known.capabilities & _KNOWN) | extra
        return _info(machine_id, url, _platform(known.platform), size, known.user, known.home, capabilities)
    if answer.status != 404:
        raise wire.refusal(answer)
    return await _osworld_info(wire, machine_id, url, extra)


async def _osworld_info(wire: GuestWire, machine_id: str, url: str, extra: frozenset[str]) -> MachineInfo:
    size = await wire.post_json("/screen_size", {}, _Size, timeout_s=_ASK_S, answer_limit=_ANSWER)
    said = await wire.ok("GET", "/platform", timeout_s=_ASK_S, answer_limit=_ANSWER)
    platform = _platform(said.decode(errors="replace").strip())
    python = "python3" if platform == "linux" else "python"
    body = {"command": [python, "-c", _HOME], "shell": False}
    done = await wire.post_json("/execute", body, _Executed, timeout_s=_ASK_S, answer_limit=_ANSWER)
    home = done.output.strip()
    user = home.replace("\\", "/").rpartition("/")[2]
    return _info(machine_id, url, platform, size, user, home, frozenset({"tree"}) | extra)


def _info(
    machine_id: str, url: str, platform: Platform, size: _Size, user: str, home: str, capabilities: frozenset[str]
) -> MachineInfo:
    if not (home and len(home) < 1024 and home.isprintable() and len(user) < 256 and user.isprintable()):
        raise GuestError(f"the guest at {url} names no home directory")
    return MachineInfo(
        machine_id=machine_id,
        provider="remote",
        image=url,
        platform=platform,
        width=size.width,
        height=size.height,
        user=user,
        home=home,
        capabilities=capabilities,
    )


def _platform(said: str) -> Platform:
    """Raises: `GuestError`."""
    found = _PLATFORMS.get(said.lower())
    if found is None:
        raise GuestError(f"{said[:40]!r} is no platform that is known here")
    return found
