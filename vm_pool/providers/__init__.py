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
    text: str | None = None
    """The option that TEXT is in `NAME:TEXT`, for those who can only write one word, as on the command line."""
    needs_text: bool = False
    """Without it nothing is known of its machines."""


PROVIDERS: dict[str, Entry] = {
    "sandbox": Entry("vm_pool.providers.sandbox", "SandboxProvider"),
    "sandbox-criu": Entry("vm_pool.providers.sandbox_criu", "CriuSandboxProvider"),
    "docker": Entry("vm_pool.providers.docker", "DockerProvider", "docker"),
    "osworld-docker": Entry("vm_pool.providers.docker_osworld", "OSWorldContainerProvider", "docker"),
    "libvirt": Entry("vm_pool.providers.libvirt", "LibvirtProvider", "libvirt", "connection"),
    "libvirt-disk": Entry("vm_pool.providers.libvirt_disk", "LibvirtDiskProvider", "libvirt", "connection"),
    "remote": Entry("vm_pool.providers.remote", "RemoteProvider", text="text", needs_text=True),
    "fake": Entry("vm_pool.providers.fake", "FakeProvider"),
}


def make_provider(name: str, **options: Any) -> Provider:
    """The provider of that name, or `NAME:TEXT`, made with its own options.

    Raises: `ConfigError` for an unknown name and wrong options, `HostUnfit` when the extra it needs is not installed.
    """
    known, colon, text = name.partition(":")
    check_known(name)
    entry = PROVIDERS[known]
    if colon and entry.text:
        options[entry.text] = text
    return cast("Provider", provider_class(known, entry)(**options))


def check_known(name: str) -> None:
    """Raises: `ConfigError` for an unknown name, and for text after one that takes none."""
    known, colon, text = name.partition(":")
    if known not in PROVIDERS:
        raise ConfigError(f"unknown provider {known!r}; known providers: {', '.join(PROVIDERS)}")
    if colon and PROVIDERS[known].text is None:
        raise ConfigError(f"provider {known!r} takes nothing after its name, not {text!r}; write: {known}")


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
