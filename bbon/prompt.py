"""Prompts are files: Jinja templates in `prompts/`, where a missing value is an error and not an empty string."""

import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER = Path(__file__).parent / "prompts"


@cache
def _environment() -> Environment:
    return Environment(  # noqa: S701 - plain text for a model, no page
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def render(name: str, **values: object) -> str:
    """Fill `prompts/NAME.md`. Raises: `jinja2.UndefinedError` when a value is missing."""
    return _environment().get_template(f"{name}.md").render(values).strip()


def prompt_hashes() -> dict[str, str]:
    """sha256 of each prompt file by name, for the record of a run."""
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(_FOLDER.glob("*.md"))}
