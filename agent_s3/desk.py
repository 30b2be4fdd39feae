"""Observing the machine: one round trip per look, frames named and stored, deltas computed."""

import logging
from dataclasses import dataclass

from agent_s3.actions import Action, AskUser, Look, Open, SaveToKnowledge
from agent_s3.delta import compute
from agent_s3.execute import Executed
from agent_s3.observation import Observation, observed, parts_of
from agent_s3.record import FrameStore
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally
from agent_s3.types import Delta
from vm_pool.errors import GuestError, GuestTimeout, MachineError
from vm_pool.machine import Machine
from vm_pool.types import FileChange
from vm_pool.types import Look as Seen

log = logging.getLogger(__name__)

_LONG_QUIET_MS = 400


@dataclass(frozen=True)
class After:
    """What was seen after a step."""

    seen: Observation | None = None
    """None: it could not be looked at."""
    delta: Delta | None = None
    """None: it could not be looked at."""
    fatal: Exception | None = None
    """Why it could not be looked at, when that ends the rollout."""


class Desk:
    """The machine as it is looked at."""

    def __init__(self, machine: Machine, frames: FrameStore, settings: AgentSettings, *, short: bool) -> None:
        self._machine = machine
        self._frames = frames
        self._settings = settings
        self._limit = max(1, settings.elements_listed // (2 if short else 1))
        self._parts = parts_of(machine.info)

    async def observe(self, *, since: str | None) -> Observation:
        """Look once. `since`: cursor of the file journal. Raises: errors of `vm_pool.errors`."""
        look = await self._look(since)
        ref = self._frames.put(look.frame) if look.frame else None
        return observed(look, self._machine.info, ref=ref, limit=self._limit)

    async def _look(self, since: str | None) -> Seen:
        """A guest whose accessibility bus is broken can still be looked at without the tree."""
        try:
            return await self._machine.look(self._parts, files_since=since)
        except GuestError as error:
            if "tree" not in self._parts:
                raise
            log.warning("looking again without the accessibility tree: %s", error)
            return await self._machine.look(self._parts - {"tree"}, files_since=since)

    async def look_again(self, action: Action | None, done: Executed, before: Observation, tally: Tally) -> After:
        """Settle if something was done, look and compare; a lost machine is part of the answer.

        Steps that do nothing are looked at as well: what earlier actions bring about late must not be lost, and the
        last screen that a judge sees is that of the moment when the agent was done.
        """
        if done.fatal is not None:
            return After()
        try:
            return await self._compare(action, done, before, tally)
        except MachineError as error:
            return After(fatal=error)

    async def _compare(self, action: Action | None, done: Executed, before: Observation, tally: Tally) -> After:
        aside = isinstance(action, SaveToKnowledge | AskUser | Look)
        idle = action is None or action.ends_rollout or aside or done.nothing_done
        if idle:
            return await self._look_now(before, done, tally, settled=True)
        # A new window is mapped well before its program has drawn it.
        quiet_ms = max(self._settings.quiet_ms, _LONG_QUIET_MS) if isinstance(action, Open) else self._settings.quiet_ms
        after = await self._look_settled(before, done, tally, quiet_ms=quiet_ms)
        if done.events and after.delta is not None and not after.delta.regions:
            # A busy machine may not have drawn yet; nothing seen is believed only at the second look.
            after = await self._look_settled(before, done, tally, quiet_ms=_LONG_QUIET_MS)
        return after

    async def _look_settled(self, before: Observation, done: Executed, tally: Tally, *, quiet_ms: int) -> After:
        with tally.phase("settle"):
            settled = await self._settle(quiet_ms)
        return await self._look_now(before, done, tally, settled=settled)

    async def _look_now(self, before: Observation, done: Executed, tally: Tally, *, settled: bool) -> After:
        with tally.phase("observe"):
            after = await self.observe(since=before.cursor)
        with tally.phase("delta"):
            return After(after, compute(before.look, after.look, output=done.output, settled=settled))

    async def _settle(self, quiet_ms: int) -> bool:
        """Whether the screen became quiet; a guest that cannot tell counts as not settled."""
        try:
            settled = await self._machine.settle(quiet_ms=quiet_ms, timeout_ms=self._settings.settle_timeout_ms)
        except (GuestError, GuestTimeout):
            return False
        return settled.quiet

    async def changed_files(self, cursor: str | None) -> tuple[FileChange, ...]:
        """Files that differ since the rollout began; empty when this machine keeps no journal or is gone.

        A machine that was restarted in between no longer knows the cursor; its first start is used then.
        """
        if "files" not in self._parts:
            return ()
        for since in dict.fromkeys((cursor, None)):
            try:
                look = await self._machine.look(frozenset({"files"}), files_since=since)
            except GuestError:
                continue
            except MachineError:
                return ()
            return look.files.changes if look.files else ()
        return ()
