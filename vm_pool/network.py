"""What machines may reach: one vocabulary for all providers, in `Spec.network`. Pure.

none                  nothing
allow:NAME[,NAME...]  these names by HTTP and HTTPS, through a proxy of this host's. `*.NAME`: all names below one.
                      `NAME=ADDRESS:PORT`: this name, whose server you name yourself, private or not
open                  any name with a public address, by the same proxy
bridge, internal      (containers only) a network of Docker's, with or without a way out, past any proxy
"""

import ipaddress
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from vm_pool.errors import ConfigError
from vm_pool.types import Frozen

Kind = Literal["none", "allow", "open", "bridge", "internal"]
_LONGEST_NAME = 253
_HOW = "write none, open, or allow:NAME[,NAME...], e.g. allow:example.org,*.wikipedia.org,shop.test=127.0.0.1:8080"


class Server(NamedTuple):
    """Where a name leads."""

    address: str
    port: int


class Network(Frozen):
    """What `Spec.network` says."""

    kind: Kind
    names: frozenset[str] = frozenset()
    """Whole names that may be reached."""
    above: frozenset[str] = frozenset()
    """Names below which all may be."""
    servers: Mapping[str, Server] = {}
    """Names that lead to a server which the user named."""

    @property
    def by_proxy(self) -> bool:
        return self.kind in ("allow", "open")

    def admits(self, name: str) -> bool:
        """Whether a name, as `plain_name` gives it, may be reached at all."""
        if self.kind == "open" or name in self.names or name in self.servers:
            return self.by_proxy
        parents = (name[at + 1 :] for at, char in enumerate(name) if char == ".")
        return any(parent in self.above for parent in parents)


def parse_network(text: str) -> Network:
    """Raises: `ConfigError` in one line."""
    kind, colon, rest = text.partition(":")
    if kind not in get_args(Kind) or (kind == "allow") != bool(rest) or (colon and not rest):
        raise ConfigError(f"no network {text!r}; {_HOW}")
    if kind != "allow":
        return Network.model_validate({"kind": kind})
    words = [word.strip() for word in rest.split(",")]
    named = dict(_named_server(word) for word in words if "=" in word)
    above = frozenset(_checked(word[2:]) for word in words if word.startswith("*."))
    names = frozenset(_checked(word) for word in words if "=" not in word and not word.startswith("*."))
    return Network(kind="allow", names=names, above=above, servers=named)


def check_network(text: str, provider: str) -> Network:
    """What a provider makes of it that has a proxy and no networks. Raises: `ConfigError`."""
    network = parse_network(text)
    if network.kind in ("bridge", "internal"):
        raise ConfigError(f"{provider} has no network {text!r}, which is for containers; {_HOW}")
    return network


def plain_name(name: str) -> str:
    """A host name in lower case, in ASCII, without a final dot; an address in its usual form. Raises: `ValueError`."""
    bare = name.strip().removesuffix(".").removeprefix("[").removesuffix("]").lower()
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        plain = bare.encode("idna").decode()
    if not plain or len(plain) > _LONGEST_NAME or not all(char.isalnum() or char in "-._" for char in plain):
        raise ValueError(f"{name[:40]!r} is no host name")
    return plain


def _checked(name: str) -> str:
    try:
        return plain_name(name)
    except ValueError as error:
        raise ConfigError(f"{name!r} is no host name; {_HOW}") from error


def _named_server(word: str) -> tuple[str, Server]:
    name, _, place = word.partition("=")
    address, _, port = place.rpartition(":")
    try:
        found = Server(str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))), int(port))
    except ValueError as error:
        raise ConfigError(f"{word!r} names no server; {_HOW}") from error
    if not 0 < found.port < 65536:
        raise ConfigError(f"{word!r} names no port; {_HOW}")
    return _checked(name), found
