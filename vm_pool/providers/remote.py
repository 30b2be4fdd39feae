"""The `remote` provider: desktops that run elsewhere, behind a guest server of OSWorld, WindowsAgentArena or ours.

    make_provider("remote", urls=["http://10.0.0.7:5000"], reset=["my-cloud", "revert", "{url}"])
    --provider remote:http://10.0.0.7:5000,http://10.0.0.8:5000
    --provider remote:fleet.toml

Each URL is a place for one machine. Image, screen and memory are what the guests have; what this provider cannot do by
itself it does by the user's hooks, or refuses with `NotSupported`. Only https URLs are encrypted on their way.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm_pool.boot_report import explained
from vm_pool.errors import ConfigError, MachineLost, NotSupported
from vm_pool.guest_client import GuestMachine
from vm_pool.machine import Machine
from vm_pool.osworld_client import OSWorldMachine
from vm_pool.provider import Evidence, Snapshot, Spec, Stray
from vm_pool.providers.remote_config import Hook, read_config
from vm_pool.providers.remote_evidence import evidence_at
from vm_pool.providers.remote_guest import attach
from vm_pool.providers.remote_hooks import run_hook
from vm_pool.providers.remote_slots import Note, Slots
from vm_pool.shield import shielded

_FORK_TTL_S = Spec().ttl_s


@dataclass(frozen=True)
class _Lent:
    machine: GuestMachine | OSWorldMachine
    note: Note


class RemoteProvider:
    """Options are the fields of `RemoteConfig`, or `text` as it stands after `remote:`. Raises: `ConfigError`."""

    name = "remote"
    birth_mib = 0
    """Guests take no memory of this host."""

    def __init__(self, *, text: str | None = None, state: Path | None = None, **options: Any):
        self._config = read_config(text, options)
        self._token = self._config.token()
        self._slots = Slots(self._config.urls, state)
        self._lent: dict[str, _Lent] = {}
        self._saved: dict[str, str] = {}
        """URL of the guest of which each snapshot was taken."""
        self._said: dict[str, str] = {}
        """What the last hook for the guest at a URL wrote."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Of `vm_pool.provider.CAPABILITIES`; hooks add to them."""
        by_hooks = {
            "fresh": self._config.reset is not None,
            "snapshot": self._config.save is not None,
            "fork": self._config.save is not None and self._config.restore is not None,
        }
        return frozenset({"labels", "keep_disk"}) | {name for name, given in by_hooks.items() if given}

    def session(self) -> AbstractAsyncContextManager[None]:
        return self._session()

    async def boot(self, spec: Spec) -> Machine:
        if spec.network != "none":
            raise ConfigError(f"guests elsewhere have the network they have, not {spec.network!r}; ask for 'none'")
        note = self._take(spec.labels, spec.ttl_s)
        return await self._start(note, "reset", self._config.reset, {})

    async def snapshot(self, machine: Machine) -> Snapshot:
        lent = self._of(machine)
        hook = self._need("save", self._config.save, "snapshot", "take snapshots")
        snapshot_id = f"s-{secrets.token_hex(5)}"
        await self._run("save", hook, lent.note.url, {"snapshot": snapshot_id})
        self._saved[snapshot_id] = lent.note.url
        memory = self._config.saves_memory
        return Snapshot(snapshot_id=snapshot_id, provider=self.name, image=lent.note.url, includes_memory=memory)

    async def fork(self, snapshot: Snapshot, *, labels: Mapping[str, str] | None = None) -> Machine:
        hook = self._need("restore", self._config.restore, "fork", "make forks")
        source = self._saved.get(snapshot.snapshot_id)
        if source is None:
            raise ConfigError(f"no snapshot {snapshot.snapshot_id!r} of this process; take one before forking")
        note = self._take(labels or {}, _FORK_TTL_S)
        return await self._start(note, "restore", hook, {"snapshot": snapshot.snapshot_id, "source": source})

    async def revive(self, machine_id: str) -> Machine:
        if lent := self._lent.get(machine_id):
            return lent.machine
        note = await asyncio.to_thread(self._slots.take_again, machine_id)
        try:
            return await self._attach(note)
        except BaseException:
            await shielded(asyncio.to_thread(self._slots.keep, note))
            raise

    async def stop(self, machine: Machine, *, keep_disk: bool = False) -> None:
        lent = self._lent.pop(machine.info.machine_id, None)
        if lent is not None:
            await shielded(self._let_go(lent, keep_disk=keep_disk))

    async def drop(self, snapshot: Snapshot) -> None:
        source = self._saved.pop(snapshot.snapshot_id, None)
        if source is not None and self._config.forget is not None:
            values = {"snapshot": snapshot.snapshot_id, "source": source}
            await shielded(self._run("forget", self._config.forget, source, values))

    async def strays(self) -> list[Stray]:
        return await asyncio.to_thread(self._slots.strays)

    async def remove(self, stray: Stray) -> None:
        """The guest goes on, wherever it runs; only the loan ends."""
        if lent := self._lent.pop(stray.id, None):
            await shielded(self._let_go(lent, keep_disk=False))
        else:
            await shielded(asyncio.to_thread(self._slots.give_back, stray.id))

    async def evidence(self, machine_id: str) -> Evidence:
        """What its guest answers now, and what the hook before its lease wrote, if that was in this process."""
        notes = await asyncio.to_thread(self._slots.notes)
        note = next((one for one in notes if one.machine_id == machine_id), None)
        if note is None:
            return Evidence()
        said = self._said.get(note.url)
        hooks = [said] if said else []
        return await evidence_at(note.url, token=self._token_for(note.url), machine_id=machine_id, hooks=hooks)

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            lent, self._lent = list(self._lent.values()), {}
            await shielded(asyncio.gather(*(self._let_go(one, keep_disk=False) for one in lent)))

    def _take(self, labels: Mapping[str, str], ttl_s: int) -> Note:
        """Without a pause in which a cancellation could lose the loan."""
        note = self._slots.take(labels, ttl_s)
        if note is None:
            raise ConfigError(f"all {len(self._slots)} guests are lent; add a URL, or run fewer machines at once")
        return note

    async def _start(self, note: Note, name: str, hook: Hook | None, values: Mapping[str, str]) -> Machine:
        """Make a lent guest ready; it is given back when that fails or is cancelled."""
        try:
            async with explained(self, note.machine_id):
                if hook is not None:
                    await self._run(name, hook, note.url, values)
                return await self._attach(note)
        except BaseException:
            await shielded(asyncio.to_thread(self._slots.give_back, note.machine_id))
            raise

    async def _attach(self, note: Note) -> Machine:
        timeout_s = self._config.ready_timeout_s
        machine = await attach(note.url, token=self._token, machine_id=note.machine_id, timeout_s=timeout_s)
        self._lent[note.machine_id] = _Lent(machine, note)
        return machine

    async def _let_go(self, lent: _Lent, *, keep_disk: bool) -> None:
        try:
            await lent.machine.aclose()
        finally:
            if keep_disk:
                await asyncio.to_thread(self._slots.keep, lent.note)
            else:
                await asyncio.to_thread(self._slots.give_back, lent.note.machine_id)

    async def _run(self, name: str, hook: Hook, url: str, values: Mapping[str, str]) -> None:
        def keep(output: str) -> None:
            self._said[url] = f"the {name} hook wrote: {output or 'nothing'}"

        await run_hook(name, hook, {"url": url, **values}, self._config.hook_timeout_s, on_output=keep)

    def _token_for(self, url: str) -> str:
        """Loans of other fleets are noted in the same place; their guests are not told this one's token."""
        return self._token if url in self._config.urls else ""

    def _need(self, name: str, hook: Hook | None, capability: str, what: str) -> Hook:
        if hook is None:
            message = f"the remote provider cannot {what} by itself; give it the hook {name!r}, a command that can"
            raise NotSupported(capability, message)
        return hook

    def _of(self, machine: Machine) -> _Lent:
        lent = self._lent.get(machine.info.machine_id)
        if lent is None:
            raise MachineLost(f"{machine.info.machine_id} is not lent by this provider")
        return lent
