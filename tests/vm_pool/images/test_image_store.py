"""The store shows what is there, finished or not, and keeps builders apart."""

import shutil
from datetime import UTC, datetime

import pytest

from vm_pool import images
from vm_pool.errors import ConfigError, ImageError
from vm_pool.images.build import building, check_space
from vm_pool.images.recipe import recipe
from vm_pool.images.store import Manifest, images_dir, lock
from vm_pool.local_state import Places
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.strays import gc


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_S3_CACHE", str(tmp_path))
    return tmp_path


def put(name: str = "slim", *, change: str = "") -> str:
    wanted = recipe(name).model_copy(update={"files_sha256": change} if change else {})
    folder = images_dir() / wanted.image_id
    (folder / "rootfs").mkdir(parents=True)
    manifest = Manifest(
        id=wanted.image_id,
        created=datetime.now(UTC),
        bytes=5,
        recipe=wanted,
        recipe_sha256=wanted.sha256,
        versions={"bash": "5"},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return wanted.image_id


def ours() -> list[images.Image]:
    return [image for image in images.ls() if images_dir() in image.path.parents]


def test_an_image_is_found_by_name_and_by_id():
    image_id = put()
    assert images.find("slim") == images.find(image_id)
    assert (images.find("slim").packages, images.find("slim").bytes) == (1, 5)
    older = put(change="0" * 64)
    assert images.find("slim").id == image_id
    assert images.find(older).id == older


def test_an_unknown_image_says_what_there_is():
    image_id = put()
    with pytest.raises(ConfigError, match=f"names: slim, desktop; ids: .*{image_id}"):
        images.find("windows")
    with pytest.raises(ConfigError):
        images.find("../../etc")


def test_a_finished_build_is_found_and_a_failed_one_leaves_nothing():
    with building("slim-0123456789abcdef") as folder:
        (folder / "file").touch()
    assert (images_dir() / "slim-0123456789abcdef/file").exists()
    with pytest.raises(ImageError, match="broken"), building("slim-00000000000000ff"):
        raise ImageError("broken")
    assert [path.name for path in images_dir().iterdir()] == ["slim-0123456789abcdef"]


def test_a_full_disk_is_one_line_and_leaves_nothing():
    with pytest.raises(ImageError, match="No space left on device") as caught, building("slim-0123456789abcdef"):
        raise OSError(28, "No space left on device")
    assert "\n" not in str(caught.value)
    assert list(images_dir().iterdir()) == []


def test_an_interrupted_build_is_listed_and_the_next_one_clears_it():
    with pytest.raises(KeyboardInterrupt), building("slim-0123456789abcdef"):
        raise KeyboardInterrupt
    (partial,) = ours()
    assert (partial.id, partial.state, partial.recipe) == ("slim-0123456789abcdef", "partial", None)
    with pytest.raises(ConfigError):
        images.find("slim-0123456789abcdef")
    with building("slim-0123456789abcdef") as folder:
        assert list(folder.iterdir()) == []


def test_images_and_remains_are_removed_by_id():
    image_id = put()
    (images_dir() / "slim-0123456789abcdef.partial" / "deep").mkdir(parents=True)
    images.rm(image_id)
    images.rm("slim-0123456789abcdef")
    assert ours() == []
    with pytest.raises(ConfigError, match="image ls"):
        images.rm(image_id)
    with pytest.raises(ConfigError, match="not an image id"):
        images.rm("../apt")


def test_two_builders_of_one_image_are_kept_apart():
    with (
        lock("slim-0123456789abcdef"),
        pytest.raises(ImageError, match="by another process"),
        lock("slim-0123456789abcdef"),
    ):
        pass
    with lock("slim-0123456789abcdef"), lock("slim-00000000000000ff"):
        pass


def test_a_damaged_image_is_said_to_be_damaged():
    image_id = put()
    (images_dir() / image_id / "manifest.json").write_text("{")
    with pytest.raises(ImageError, match="damaged image"):
        images.find(image_id)
    assert [image.state for image in ours()] == ["partial"]
    images.rm(image_id)
    assert ours() == []


def test_building_what_is_there_returns_at_once():
    image_id = put()
    said: list[images.BuildProgress] = []
    assert images.build("slim", on_progress=said.append).id == image_id
    assert [one.stage for one in said] == ["cached"]


def test_too_small_a_disk_is_refused_before_anything_is_fetched(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    if free > 2**60:
        pytest.skip("an endless disk")
    check_space(tmp_path, 1)
    with pytest.raises(ImageError, match="disk full"):
        check_space(tmp_path, free * 2)


async def test_a_build_that_was_cut_short_is_a_stray_and_one_at_work_is_not_collected(tmp_path):
    (images_dir() / "slim-0123456789abcdef.partial").mkdir(parents=True)
    provider = SandboxProvider(places=Places(tmp_path / "state", tmp_path / "run"))
    with lock("slim-0123456789abcdef"):
        (stray,) = await provider.strays()
        assert (stray.kind, stray.id, stray.owner_alive) == ("build", "slim-0123456789abcdef", True)
        assert (await gc([provider], idle_too=True)).removed == []
    assert [one.id for one in (await gc([provider])).removed] == ["slim-0123456789abcdef"]
    assert await provider.strays() == []


async def test_what_a_killed_removal_left_is_collected_and_the_image_built_since_stays(tmp_path):
    image_id = put()
    for name in (f".{image_id}.77.deleting", f"..{image_id}.partial.77.deleting.78.deleting"):
        (images_dir() / name / "rootfs").mkdir(parents=True)
    provider = SandboxProvider(places=Places(tmp_path / "state", tmp_path / "run"))
    assert [stray.id for stray in await provider.strays()] == [image_id, image_id]
    await gc([provider])
    assert [(image.id, image.state) for image in ours()] == [(image_id, "ready")]
    assert await provider.strays() == []
