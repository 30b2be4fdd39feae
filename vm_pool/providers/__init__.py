"""Where machines come from, by name. A provider's module is imported only when it is asked for."""

import importlib
from typing import Any, NamedTuple, cast

from vm_pool.errors import ConfigError, HostUnfit
from vm_pool.provider import Provider


class Entry(NamedTuple):
    """Where a provider lives and which extra of this package brings what it imports (None: the base does)."""

    module: str
    class_name: str
    extra: str | None = None


PROVIDERS: dict[str, Entry] = {
    "sandbox": Entry("vm_pool.providers.sandbox", "SandboxProvider"),
    "fake": Entry("vm_pool.providers.fake", "FakeProvider"),
}


def make_provider(name: str, **options: Any) -> Provider:
    """The provider of that name, made with its own options.

    Raises: `ConfigError` for an unknown name, `HostUnfit` when the extra it needs is not installed.
    """
    if name not in PROVIDERS:
        raise ConfigError(f"unknown provider {name!r}; known providers: {', '.join(PROVIDERS)}")
    return cast("Provider", provider_class(name, PROVIDERS[name])(**options))


def provider_class(name: str, entry: Entry) -> Any:
    """Import a provider's class. Raises: `HostUnfit` when the extra it needs is not installed."""
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if entry.extra is None:
            raise
        raise HostUnfit(
            f"provider {name!r} needs {error.name!r}; run: pip install 'agent-s3[{entry.extra}]'"
        ) from error
    return getattr(module, entry.class_name)
