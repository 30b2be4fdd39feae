"""By which libvirt of this host virtual machines are started: the words for it, and what is refused.

embed                 libvirt inside this process, without a daemon
session               the user's own daemon, which libvirt starts when it is asked
system                root's daemon; where none answers, one of our own, beside this host's own settings
qemu:///system        a daemon by its address, here with its socket: qemu+unix:///system?socket=/run/x/libvirt-sock
"""

import os
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from vm_pool.errors import ConfigError
from vm_pool.types import Frozen

VARIABLE = "AGENT_S3_LIBVIRT"
Kind = Literal["embed", "session", "system"]
_KNOWN = "embed, session, system, or an address on this host such as qemu:///system"


class Choice(Frozen):
    """Which libvirt."""

    kind: Kind
    uri: str | None = None
    """What the user wrote; None: the usual address of that kind."""

    @property
    def address(self) -> str:
        return self.uri or f"qemu:///{self.kind}"


def choice_of(text: str | None) -> Choice:
    """What somebody wrote; None: what the environment says, else `embed`. Raises: `ConfigError` in one line."""
    text = text or os.environ.get(VARIABLE) or "embed"
    if text in ("embed", "session", "system"):
        return Choice(kind=text)
    if "://" not in text:
        raise ConfigError(f"unknown libvirt {text!r}; known: {_KNOWN}")
    return Choice(kind=_kind_of(text), uri=text)


def _kind_of(address: str) -> Literal["session", "system"]:
    parts = urlsplit(address)
    if parts.scheme.partition("+")[0] != "qemu":
        raise ConfigError(f"{address!r} is no address of QEMU's; known: {_KNOWN}")
    if parts.netloc or parts.scheme not in ("qemu", "qemu+unix"):
        raise ConfigError(
            f"the libvirt at {address!r} is not on this host, where disks and memory of machines lie; known: {_KNOWN}"
        )
    if set(parse_qs(parts.query, keep_blank_values=True)) - {"socket"} or parts.fragment:
        raise ConfigError(f"{address!r} says more than a socket; known: {_KNOWN}")
    if parts.path == "/system":
        return "system"
    if parts.path == "/session":
        return "session"
    raise ConfigError(f"{address!r} is neither a system's nor a session's; known: {_KNOWN}")


def check_allowed(choice: Choice, *, uid: int) -> None:
    """Whether a user can have machines there. Raises: `ConfigError` in one line."""
    if choice.kind == "session" and uid == 0:
        raise ConfigError("libvirt has no session of root's: it takes that for system's; use: embed, or system")
    if choice.kind == "system" and uid != 0:
        raise ConfigError(
            "libvirt's system daemon runs machines as a user who may not read your files, nor you theirs;"
            " use: embed, or session"
        )
