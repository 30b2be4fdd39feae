"""What lies in the state folder, whatever state it was left in."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vm_pool.disk_strays import stray_of
from vm_pool.local_state import DiskState, Places, write_state
from vm_pool.owner import Owner
from vm_pool.provider import Spec
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.strays import gc

NOW = datetime.now(UTC)
DEAD = Owner(pid=1, started=-1, boot_id="another boot")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path / "state", tmp_path / "run")
    places.make()
    return places


def left_behind(folder: Path, kind: str) -> None:
    folder.mkdir()
    (folder / "upper").mkdir()
    name = folder.name.strip(".").partition(".")[0]
    state = DiskState.model_validate(
        {
            "kind": kind,
            "id": name,
            "owner": DEAD,
            "image_id": "slim-0",
            "spec": Spec(),
            "created": NOW,
            "expires": NOW + timedelta(hours=1),
        }
    )
    write_state(folder, state)


async def test_what_was_cut_short_while_it_was_deleted_is_collected(places):
    left_behind(places.machines / ".m-1.77.deleting", "machine")
    left_behind(places.snapshots / ".s-1.77.deleting", "snapshot")
    provider = SandboxProvider(places=places)
    collected = await gc([provider])
    assert sorted(stray.id for stray in collected.removed) == [".m-1.77.deleting", ".s-1.77.deleting"]
    assert [*places.machines.iterdir(), *places.snapshots.iterdir()] == []


async def test_what_a_deleted_state_folder_left_is_collected_by_whoever_looks(places, tmp_path):
    (tmp_path / "other" / "machines").mkdir(parents=True)
    for name, home in (("m-1", "other"), ("m-2", "deleted")):
        (places.runtime / name).mkdir()
        (places.runtime / name / "disk").symlink_to(tmp_path / home / "machines" / name)
    provider = SandboxProvider(places=places)
    collected = await gc([provider], now=NOW + timedelta(hours=1))
    assert [stray.id for stray in collected.removed] == ["m-2"]
    assert [path.name for path in places.runtime.iterdir()] == ["m-1"]


def test_what_goes_while_it_is_looked_at_is_nothing(places):
    assert stray_of(places.machines / "m-gone", "machine", 0) is None
