"""What a host can say about input events before a guest sees them."""

from collections.abc import Sequence

from vm_pool.errors import GuestError
from vm_pool.events import InputEvent
from vm_pool.guest.batches import BadBatch, check_batch
from vm_pool.types import MachineInfo


def check_events(events: Sequence[InputEvent], info: MachineInfo) -> None:
    """For guests that do not check them themselves. Raises: `GuestError` naming the first that cannot be sent."""
    try:
        check_batch([event.model_dump() for event in events], width=info.width, height=info.height)
    except BadBatch as error:
        raise GuestError(f"{info.machine_id}: {error}") from error
