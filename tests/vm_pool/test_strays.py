"""What is collected, and what is left alone."""

from datetime import UTC, datetime, timedelta

import pytest

from vm_pool.errors import ConfigError, MachineLost
from vm_pool.provider import Spec, Stray
from vm_pool.providers.fake import FakeProvider
from vm_pool.strays import gc, ls, removable, remove_image

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def stray(*, owner: int | None = 7, alive: bool = True, expires: datetime | None = NOW + HOUR, **labels: str) -> Stray:
    return Stray(
        kind="machine",
        id="m",
        owner_pid=owner,
        owner_alive=alive,
        created=NOW,
        expires=expires,
        labels=labels,
        path="/",
    )


@pytest.mark.parametrize(
    ("one", "idle_too", "goes"),
    [
        (stray(), False, False),
        (stray(), True, False),
        (stray(alive=False), False, True),
        (stray(expires=NOW), False, True),
        (stray(expires=None), False, False),
        (stray(owner=None, alive=False), False, False),
        (stray(owner=None, alive=False), True, True),
        (stray(owner=None, alive=False, expires=NOW - HOUR), False, True),
    ],
    ids=["in use", "in use, idle too", "owner dead", "expired", "no time", "kept", "kept, idle too", "kept, expired"],
)
def test_only_the_orphaned_the_expired_and_on_request_the_kept_are_removable(one, idle_too, goes):
    assert removable(one, NOW, idle_too=idle_too) is goes


class Littered(FakeProvider):
    def __init__(self, *left: Stray, refuses: bool = False):
        super().__init__()
        self.left = list(left)
        self.refuses = refuses

    async def strays(self):
        return list(self.left)

    async def remove(self, stray):
        if self.refuses:
            raise MachineLost("it does not let go")
        self.left.remove(stray)


async def test_collection_goes_by_label_and_does_not_stop_at_a_failure():
    stubborn = Littered(stray(alive=False, run="a"), refuses=True)
    ordinary = Littered(stray(alive=False, run="a"), stray(alive=False, run="b"), stray(run="a"))
    collected = await gc([stubborn, ordinary], labels={"run": "a"}, now=NOW)
    assert [one.labels["run"] for one in collected.removed] == ["a"]
    assert [reason for _, reason in collected.failed] == ["it does not let go"]
    assert [one.labels["run"] for one in ordinary.left] == ["b", "a"]


async def test_all_providers_are_listed():
    provider = FakeProvider()
    await provider.boot(Spec(image="fake"))
    listed = await ls([provider, Littered(stray(run="a"))])
    assert sorted(one.stray.kind for one in listed) == ["machine", "machine"]
    assert [one.stray.labels for one in await ls([provider, Littered(stray(run="a"))], labels={"run": "a"})] == [
        {"run": "a"}
    ]


async def test_an_image_that_something_needs_is_not_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_S3_CACHE", str(tmp_path))
    image_id = "slim-0123456789abcdef"
    (tmp_path / "images" / f"{image_id}.partial").mkdir(parents=True)
    users = [stray().model_copy(update={"image": image_id, "id": f"m-{number}"}) for number in range(5)]
    provider = Littered(*users)
    with pytest.raises(ConfigError, match=r"needed by machine m-0 of fake, machine m-1 .* and 2 more; see: agent-s3"):
        await remove_image(image_id, [provider])
    provider.left.clear()
    await remove_image(image_id, [provider])
    assert list((tmp_path / "images").glob("*.partial")) == []


async def test_what_a_hung_process_has_is_removable():
    assert removable(stray().model_copy(update={"silent": True}), NOW)
