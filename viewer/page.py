"""Pages that are one file, load nothing and run no script, from `templates/`; what is put into them is escaped."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).with_name("templates")


def style(*names: str) -> str:
    """Style sheets one after the other."""
    return "\n".join(_TEMPLATES.joinpath(name).read_text(encoding="utf-8") for name in names)


def fill(
    template: str,
    values: Mapping[str, Any],
    *,
    css: str,
    words: Mapping[str, Any],
    filters: Mapping[str, Callable[..., Any]],
) -> str:
    """A page as text. `css` is not escaped, so it must be ours; `words` are seen by macros too.

    Raises: `jinja2.UndefinedError` when a value is missing.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words)
    environment.filters.update(filters)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode("ascii")
    trusted = Markup(css)  # noqa: S704  # see above
    return environment.get_template(template).render(values, css=trusted, css_hash=digest)
