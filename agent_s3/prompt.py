"""Prompts are files: Jinja templates in `prompts/`, where a missing value is an error and not an empty string."""

import hashlib
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from llm.chat import Message

_TURN = re.compile(r"^=== (user|assistant)\n", re.MULTILINE)
_FOLDER = Path(__file__).parent / "prompts"


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(_FOLDER)
    return Environment(  # noqa: S701 - plain text for a model, no page
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )


def render(name: str, **values: object) -> str:
    """Fill `prompts/NAME.md`. Raises: `jinja2.UndefinedError` when a value is missing."""
    return _environment().get_template(f"{name}.md").render(values).strip()


def turns(name: str, **values: object) -> tuple[Message, ...]:
    """A conversation written in `prompts/NAME.md`: example turns, each under a line `=== user` or `=== assistant`."""
    _, *parts = _TURN.split(render(name, **values))
    said = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message.of("user" if who == "user" else "assistant", text.strip()) for who, text in said)


def prompt_hashes() -> dict[str, str]:
    """sha256 of each prompt file by name, for the record of a run."""
    return {p.stem: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(_FOLDER.glob("*.md"))}
