"""The winner's machine stays up after the run, lent to the user until its time is over or it is released."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from agent_s3.record import write_atomically
from bbon.session import Session
from bbon.types import Promoted, Promotion
from vm_pool.errors import MachineError
from vm_pool.front_door import front_door
from vm_pool.machine import Machine, Reachable
from vm_pool.releasing import PROMOTED

log = logging.getLogger(__name__)

_LOOK_S = 1.0


@asynccontextmanager
async def promoted(session: Session, winner: int | None) -> AsyncGenerator[Promotion | None]:
    """Stop the machines of the others, and open the winner's to its user while the block runs; None: there is none."""
    await session.let_go(winner)
    kept = session.kept.get(winner) if winner is not None else None
    if winner is None or kept is None:
        yield None
        return
    async with AsyncExitStack() as stack:
        stack.push_async_callback(session.let_go)
        try:
            made = await _opened(session, kept.machine, stack)
        except (MachineError, OSError) as error:
            log.warning("the winner's machine cannot stay up: %s", error)
            yield None
            return
        yield made


async def _opened(session: Session, machine: Machine, stack: AsyncExitStack) -> Promotion:
    """Raises: `MachineLost` when it is gone, `OSError`."""
    seconds = session.config.promote_minutes * 60
    until = session.pool.relet(machine, labels=PROMOTED, seconds=seconds)
    url, token_file = "", ""
    if isinstance(machine, Reachable):
        address = machine.address
        url = await stack.enter_async_context(front_door(address))
        if address.token:
            path = session.paths.winner_token
            write_atomically(path, address.token.encode())
            path.chmod(0o600)
            stack.callback(path.unlink, missing_ok=True)
            token_file = str(path)
    return Promotion(machine_id=machine.info.machine_id, url=url, token_file=token_file, until=until)


async def until_released(session: Session, winner: int, promotion: Promotion) -> None:
    """Tell of it, and wait until its time is over or it is released; being cancelled releases it as well."""
    machine = session.kept[winner].machine
    session.listener(Promoted(rollout=winner, promotion=promotion))
    try:
        while True:
            if not await session.pool.healthy(machine):
                break
            await asyncio.sleep(_LOOK_S)  # the pool ends the lease in time, and the machine is lost then
    except asyncio.CancelledError:
        # All of the run is over and on disk; to stop waiting is the usual way to give the machine back.
        if task := asyncio.current_task():
            task.uncancel()
    log.info("the winner's machine %s was given back", promotion.machine_id)


def unpromoted(session: Session, winner: int | None, promotion: Promotion | None) -> str | None:
    """Why a machine that should stay up does not, in one line; None: nothing is amiss."""
    if session.config.deliver != "promote" or winner is None or promotion is not None:
        return None
    return f"not promoted: the machine of rollout {winner} is gone; do it again: agent-s3 replay {session.paths.root}"
