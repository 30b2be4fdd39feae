"""Prompts are files: Jinja templates in `prompts/`, where a missing value is an error and not an empty string."""

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agent_s3.foreign import block, neutral
from llm.chat import Message

_TURN = re.compile(r"^=== (user|assistant)\n", re.MULTILINE)


class Prompts:
    """Those of a folder: `NAME.md`, a purpose each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def render(self, name: str, **values: object) -> str:
        """Fill one. Raises: `jinja2.UndefinedError` when a value is missing."""
        return self._environment.get_template(f"{name}.md").render(values).strip()

    def turns(self, name: str, **values: object) -> tuple[Message, ...]:
        """A conversation: example turns, each under a line `=== user` or `=== assistant`."""
        _, *parts = _TURN.split(self.render(name, **values))
        said = zip(parts[::2], parts[1::2], strict=True)
        return tuple(Message.of("user" if who == "user" else "assistant", text.strip()) for who, text in said)

    def hashes(self) -> dict[str, str]:
        """sha256 of each by name, for the record of a run."""
        paths = sorted(self._folder.glob("*.md"))
        return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    @cached_property
    def _environment(self) -> Environment:
        made = Environment(  # noqa: S701 - plain text for a model, no page
            loader=FileSystemLoader(self._folder),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        cast("dict[str, Any]", made.filters).update(block=block, neutral=neutral)
        return made


_OURS = Prompts(Path(__file__).parent / "prompts")
render, turns, prompt_hashes = _OURS.render, _OURS.turns, _OURS.hashes
