"""Events are checked on the host for guests that do not check them."""

import pytest

from vm_pool.errors import GuestError
from vm_pool.event_check import check_events
from vm_pool.events import Chord, Click, Text
from vm_pool.types import MachineInfo


@pytest.fixture
def info() -> MachineInfo:
    return MachineInfo(
        machine_id="m-1",
        provider="any",
        image="any",
        platform="linux",
        width=640,
        height=480,
        user="user",
        home="/home/user",
    )


def test_what_a_screen_has_room_for_passes(info):
    check_events([Click(x=639, y=479), Chord(keys=("ctrl", "a")), Text(text="é")], info)


def test_a_point_off_the_screen_is_named_with_its_machine(info):
    with pytest.raises(GuestError, match=r"m-1: .*640.*outside the screen, which is 640 px wide"):
        check_events([Click(x=640, y=0)], info)


def test_a_key_that_there_is_not_is_named(info):
    with pytest.raises(GuestError, match=r"m-1: .*hyper-drive"):
        check_events([Chord(keys=("hyper-drive",))], info)
