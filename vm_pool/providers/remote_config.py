"""Options of the `remote` provider: guests that run elsewhere, and commands of the user's that look after them."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError

from vm_pool.errors import ConfigError
from vm_pool.types import Frozen

_HOW = "write remote:http://HOST:PORT[,http://HOST:PORT...] or remote:FILE.toml"


def _guest_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise ValueError(f"{text!r} is no URL: {error}") from error
    if not whole or parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{_without_secrets(text)!r} is not of the form http://HOST:PORT")
    return text.rstrip("/")


def _without_secrets(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


Hook = Annotated[tuple[str, ...], Field(min_length=1)]
"""A command line, run on this host without a shell; `{url}` and the like are replaced within its words."""


class RemoteConfig(Frozen):
    """What `make_provider("remote", ...)` and a TOML file may say."""

    urls: Annotated[tuple[Annotated[str, AfterValidator(_guest_url)], ...], Field(min_length=1)]
    """Where guests listen, e.g. `http://10.0.0.7:5000`; each is a place for one machine at a time."""
    token_env: str | None = None
    """Name of the environment variable that holds the guests' token; None: they ask for none, as OSWorld's own do."""
    reset: Hook | None = None
    """Makes the guest at `{url}` as good as new, before each lease; None: it is lent as it is."""
    save: Hook | None = None
    """Saves the state of the guest at `{url}` under the name `{snapshot}`; None: there are no snapshots."""
    restore: Hook | None = None
    """Puts the guest at `{url}` into the state `{snapshot}`, saved of the guest at `{source}`; None: no forks."""
    forget: Hook | None = None
    """Deletes the state `{snapshot}`, which was saved of the guest at `{source}`; None: saved states stay."""
    saves_memory: bool = False
    """Whether saved states hold running programs."""
    hook_timeout_s: float = Field(default=600.0, gt=0)
    """After this long a command of these is killed, with all that it started."""
    ready_timeout_s: float = Field(default=120.0, gt=0)
    """How long a guest may take to answer and to show its screen."""

    def token(self) -> str:
        """From the environment; "" when there is none. Raises: `ConfigError` when the variable is not set."""
        if self.token_env is None:
            return ""
        token = os.environ.get(self.token_env, "")
        if not token or not token.isascii() or not token.isprintable():
            raise ConfigError(f"the guests' token is not in ${self.token_env}; set that variable to it")
        return token


def read_config(text: str | None, options: dict[str, Any]) -> RemoteConfig:
    """From URLs separated by commas or the path of a TOML file (`text`), or from options by name.

    Raises: `ConfigError`, in one line.
    """
    if text is not None and options:
        raise ConfigError("the remote provider takes either text or options; leave one of them out")
    fields = options if text is None else _fields_of(text)
    try:
        return RemoteConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "options"
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"the remote provider's {where}: {reason}; {_HOW}") from None


def _fields_of(text: str) -> dict[str, Any]:
    if "://" in text:
        return {"urls": text.split(",")}
    if not text.endswith(".toml"):
        raise ConfigError(f"{text!r} names no guests; {_HOW}")
    try:
        return tomllib.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {text!r}: {str(error).splitlines()[0]}; {_HOW}") from error
