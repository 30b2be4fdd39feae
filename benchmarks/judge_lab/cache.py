"""Answers of models, kept by the hash of model and question: what was asked once costs nothing the next time.

A run that was killed goes on by being started again: all that was answered comes from here.
"""

import asyncio
import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from agent_s3.record import RecordError, read_model, write_model
from llm.chat import (
    ChatModel,
    Completion,
    ImagePart,
    Message,
    Part,
    Request,
    StopReason,
    TokenLogprob,
    Usage,
)
from llm.wrapped import Wrapped

log = logging.getLogger(__name__)

_VERSION = 1


class Kept(BaseModel):
    """A completion on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    model: str
    usage: Usage
    stop_reason: StopReason
    logprobs: tuple[TokenLogprob, ...] | None


class CachedModel(Wrapped):
    """A `ChatModel` that asks another one only what it was never asked before. Equal questions at a time are one."""

    def __init__(self, model: ChatModel, folder: Path) -> None:
        super().__init__(model)
        self._folder = folder
        self._asking: dict[str, asyncio.Task[Completion]] = {}

    async def complete(self, request: Request, *, role: str) -> Completion:
        """As the model's; `usage` of a kept answer is what it took when it was given. Raises: `RecordError` as well."""
        key = key_of(self.name, request)
        if (known := self._known(key)) is not None:
            return known
        if key not in self._asking:
            self._asking[key] = asyncio.create_task(self._ask(key, request, role))
        return await asyncio.shield(self._asking[key])

    async def aclose(self) -> None:
        """Give up questions that nobody waits for any more. The model itself is whose it was."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, key: str, request: Request, role: str) -> Completion:
        try:
            answer = await self._model.complete(request, role=role)
            write_model(self._path(key), _kept(answer))
            return answer
        finally:
            self._asking.pop(key, None)

    def _known(self, key: str) -> Completion | None:
        path = self._path(key)
        if not path.exists():
            return None
        try:
            kept = read_model(path, Kept)
        except RecordError as error:
            log.warning("the model is asked again: %s", error)
            return None
        return Completion(
            text=kept.text, model=kept.model, usage=kept.usage, stop_reason=kept.stop_reason, logprobs=kept.logprobs
        )

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def _kept(answer: Completion) -> Kept:
    if answer.tool_calls:
        raise ValueError("an answer that calls tools cannot be kept")  # no judge and no narrator has tools
    return Kept(
        text=answer.text,
        model=answer.model,
        usage=answer.usage,
        stop_reason=answer.stop_reason,
        logprobs=answer.logprobs,
    )


def key_of(model: str, request: Request) -> str:
    """sha256 of all that decides an answer: the model's spec, every word and picture, and the settings."""
    told = {name: value for name, value in vars(request).items() if name != "messages"}
    told["tools"] = [asdict(tool) for tool in request.tools]
    whole = [_VERSION, model, [_message(message) for message in request.messages], told]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _message(message: Message) -> list[Any]:
    return [message.role, *(_part(part) for part in message.parts)]


def _part(part: Part) -> list[Any]:
    if isinstance(part, ImagePart):
        return ["image", part.media_type, part.detail, hashlib.sha256(part.data).hexdigest()]
    return [type(part).__name__, asdict(part)]
