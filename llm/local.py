"""A model on this machine: a GGUF file served by a child process on loopback. Free, keyless, text only.

The child starts with the first call and ends with `aclose()` or with this process. If it dies it is started again and
the question is asked once more; a second death in a row is `Unavailable`.
"""

import asyncio
import contextlib
import importlib.util
import json
import math
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import httpx2

from llm.chat import Abilities, ChatModel, Completion, Request
from llm.client import Endpoint, HttpModel
from llm.control_tokens import defused
from llm.errors import ConfigError, Unavailable
from llm.http_client import http_client
from llm.openai_chat import ChatWire
from llm.pricing import FREE
from llm.pull import model_path
from llm.settings import Settings

SERVER = Path(__file__).with_name("local_server.py")
TEMPLATE = Path(__file__).with_name("local_chat.j2")
LOAD_S = 180.0
"""Longest wait for the model to load; it takes 2 to 8 s from a warm disk."""
STOP_S = 5.0
REAP_S = 2.0
SLOT_TOKENS = 8192
"""Context of one question, prompt and reply together."""


@dataclass(frozen=True)
class LocalConfig:
    """How a GGUF file is served."""

    path: Path
    template: str | None = None
    """Chat template in Jinja; None: the one in the file."""
    threads: int = 1
    slots: int = 4
    """Questions generated at once; more wait. Each slot keeps the prompt of its last question, so parallel rollouts do
    not push each other's history out. With four rollouts of one prefix (277 tokens in, 16 out, one thread) the first
    round took 62 CPU s in four slots and 31 in one, which shares the prefix; every further round 7 against 21.
    """
    unified: bool = True
    """One context buffer for all slots, so that a long question may use what the others leave."""

    @property
    def context_tokens(self) -> int:
        """Of all slots together."""
        return self.slots * SLOT_TOKENS


class LocalServer:
    """One server process. `start` before use, `stop` after."""

    def __init__(self, config: LocalConfig) -> None:
        self._config = config
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None
        self._key = secrets.token_urlsafe(24)

    @property
    def pid(self) -> int | None:
        """Process id; None before the start."""
        return None if self._process is None else self._process.pid

    async def ended(self, *, within_s: float) -> bool:
        """Whether the process has ended, or does so within a time: its sockets close a little before it is reaped."""
        if self._process is None:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def start(self) -> Endpoint:
        """Load the model and wait until it answers.

        Raises: Unavailable, with the engine's last words.
        """
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(SERVER)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        try:
            async with asyncio.timeout(LOAD_S):
                endpoint = await self._handshake(self._process)
                await _check_health(endpoint.base_url)
        except (TimeoutError, ValueError, OSError, httpx2.HTTPError) as error:
            words = self._last_words()
            await self.stop()
            raise Unavailable(f"the local model did not start: {words or type(error).__name__}") from error
        except asyncio.CancelledError:
            await asyncio.shield(self.stop())
            raise
        return endpoint

    async def stop(self) -> None:
        """End the process; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            await _end(process)
        if self._log is not None:
            self._log.close()

    async def _handshake(self, process: asyncio.subprocess.Process) -> Endpoint:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(self._wishes()).encode() + b"\n")
        await process.stdin.drain()
        port = int(json.loads(await process.stdout.readline())["port"])
        return Endpoint(f"http://127.0.0.1:{port}/v1", self._key, LOAD_S)

    def _wishes(self) -> Mapping[str, object]:
        config = self._config
        return {
            "model": str(config.path),
            "alias": config.path.stem,
            "template": config.template,
            "key": self._key,
            "slots": config.slots,
            "threads": config.threads,
            "context_tokens": config.context_tokens,
            "unified": config.unified,
        }

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 2000))
        lines = [line.strip() for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()] or lines
        return telling[-1][:300] if telling else ""


async def _check_health(base_url: str) -> None:
    """The port is only named once the model is loaded, so the first answer has to be a good one."""
    async with http_client(base_url, LOAD_S) as client:
        (await client.get(base_url.removesuffix("/v1") + "/health")).raise_for_status()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):  # it went just now, which is what we want
            process.kill()
        await process.wait()


class LocalModel:
    """A `ChatModel` over a server process of its own."""

    def __init__(self, config: LocalConfig, *, name: str, settings: Settings) -> None:
        self._config = config
        self._name = name
        # A fault of this server is not mended by asking again, but by a restart, and that is done here. No deadline
        # holds over the wait for a free slot: the answers before are limited, and they come from the same few cores.
        self._settings = replace(settings, retry=replace(settings.retry, attempts=1, deadline_s=math.inf))
        self._server = LocalServer(config)
        self._model: HttpModel | None = None
        self._retired: list[HttpModel] = []
        self._starting = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._name

    @property
    def abilities(self) -> Abilities:
        return Abilities(tools=True, schema=True, logprobs=True, context_tokens=SLOT_TOKENS)

    @property
    def server_pid(self) -> int | None:
        """Process id of the server; None before the first call."""
        return self._server.pid

    async def complete(self, request: Request, *, role: str) -> Completion:
        """Ask the server; if it dies over the question, start it again and ask once more.

        Raises: any of `llm.errors`.
        """
        request = defused(request)
        model = await self._up()
        try:
            return await model.complete(request, role=role)
        except Unavailable:
            if not await self._lost(model):
                raise
        model = await self._up(instead_of=model)
        return await model.complete(request, role=role)

    async def aclose(self) -> None:
        async with self._starting:
            await self._retire()
            while self._retired:
                await self._retired.pop().aclose()

    async def _lost(self, model: HttpModel) -> bool:
        """Whether the server behind `model` is gone, so that asking another one makes sense."""
        return self._model is not model or await self._server.ended(within_s=REAP_S)

    async def _up(self, instead_of: HttpModel | None = None) -> HttpModel:
        """The client of a running server, started if there is none, or if its client is `instead_of`."""
        async with self._starting:
            if self._model is not None and self._model is not instead_of:
                return self._model
            await self._retire()
            self._model = self._client(await self._server.start())
            return self._model

    async def _retire(self) -> None:
        """Stop the server. Its client is only closed at the end: other questions may be failing on it just now."""
        if self._model is not None:
            self._retired.append(self._model)
            self._model = None
        await self._server.stop()

    def _client(self, endpoint: Endpoint) -> HttpModel:
        settings = replace(self._settings, timeout_s=self._settings.local_timeout_s)
        endpoint = replace(endpoint, timeout_s=settings.timeout_s)
        return HttpModel(
            ChatWire(self._config.path.stem, endpoint, extra={"cache_prompt": True}),
            name=self._name,
            provider="local",
            abilities=self.abilities,
            settings=settings,
            price=FREE,
            secret=endpoint.key,
        )


def threads_for(cores: int) -> int:
    """Half the cores: the desktops that the model drives need the others.

    The engine's threads spin while they wait for each other, so one that is pushed off its core stops them all. With
    two cores shared with busy desktops, two threads took 27 CPU s for a question and wrote 0.3 tokens a second; one
    thread took 11 CPU s and wrote 2 to 4.
    """
    return max(1, cores // 2)


def open_local(path: Path | None, *, name: str, settings: Settings) -> ChatModel:
    """The embedded model, or the GGUF file at `path`.

    Raises: ConfigError for a missing extra or file.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigError(f"{name!r} needs the extra `local`: pip install 'agent-s3[local]'")
    threads = threads_for(len(os.sched_getaffinity(0)))
    if path is None:
        embedded = model_path(env=settings.env)
        if not embedded.is_file():
            raise ConfigError("the embedded model is not on this machine: run `agent-s3 model pull local`")
        template = TEMPLATE.read_text(encoding="utf-8")
        return LocalModel(LocalConfig(embedded, template, threads), name=name, settings=settings)
    if not path.is_file():
        raise ConfigError(f"{name!r}: there is no file {str(path)!r}")
    return LocalModel(LocalConfig(path, threads=threads), name=name, settings=settings)
