"""Images for virtual machines: what they are made of, how drivers are ordered, and where they are found."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool import images
from vm_pool.errors import ConfigError, HostUnfit, ImageError
from vm_pool.images.cpio import Entry, archive
from vm_pool.images.recipe import Suite, recipe
from vm_pool.images.store import Manifest, images_dir
from vm_pool.images.vm_disk import load_order, module_name, parse_dependencies
from vm_pool.local_state import Places
from vm_pool.provider import Spec
from vm_pool.providers.sandbox import SandboxProvider

BOOKWORM = Suite(distribution="debian", codename="bookworm", architecture="x86_64")
NAMES = st.text("abcdefgh", min_size=1, max_size=9)


def members(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Name -> mode and content, read as the kernel reads it."""
    found: dict[str, tuple[int, bytes]] = {}
    place = 0
    while True:
        assert data[place : place + 6] == b"070701"
        fields = [int(data[place + 6 + 8 * i : place + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[place + 110 : place + 110 + name_size - 1].decode()
        start = place + 110 + name_size + -(110 + name_size) % 4
        if name == "TRAILER!!!":
            assert start == len(data)
            return found
        found[name] = (mode, data[start : start + size])
        place = start + size + -size % 4


@given(st.dictionaries(st.tuples(NAMES, NAMES).map("/".join), st.binary(max_size=40), max_size=6))
def test_an_archive_gives_back_its_files_and_their_folders(files):
    found = members(archive({name: Entry(data, 0o755) for name, data in files.items()}))
    assert {name: data for name, (mode, data) in found.items() if mode == 0o100755} == files
    assert {name for name, (mode, _) in found.items() if mode == 0o040755} == {name.split("/")[0] for name in files}
    assert list(found) == sorted(found, key=lambda name: (name in files, name))


def test_an_archive_has_the_same_bytes_each_time():
    files = {"b": Entry(b"1"), "a/c": Entry(b"2")}
    assert archive(files) == archive(dict(reversed(files.items())))
    assert struct.unpack("6s", archive(files)[:6]) == (b"070701",)


def test_drivers_are_loaded_after_those_that_they_need():
    needs = parse_dependencies(
        "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n"
        "kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko\n"
        "kernel/lib/crc16.ko:\n"
        "kernel/drivers/char/hw_random/virtio-rng.ko.xz:\n"
        "kernel/unwanted.ko:\n"
    )
    order = [module_name(path) for path in load_order(["virtio_rng", "ext4", "builtin"], needs)]
    assert order == ["virtio_rng", "crc16", "jbd2", "ext4"]


def test_a_disk_is_named_by_the_tree_it_is_made_of():
    tree, disk = recipe("slim", BOOKWORM), recipe("slim-vm", BOOKWORM)
    assert disk.image_id.startswith("slim-vm-")
    assert (disk.is_vm, disk.tree_name, tree.is_vm, tree.tree_name) == (True, "slim", False, "slim")
    assert set(disk.packages) - set(tree.packages) == {"linux-image-amd64", "busybox-static"}
    trixie = BOOKWORM.model_copy(update={"codename": "trixie"})
    assert recipe("slim-vm", trixie).image_id != disk.image_id


def test_other_processors_are_refused():
    with pytest.raises(HostUnfit, match="x86_64"):
        recipe("slim-vm", BOOKWORM.model_copy(update={"architecture": "aarch64"}))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_S3_CACHE", str(tmp_path))
    return tmp_path


def put(name: str) -> str:
    wanted = recipe(name)
    (images_dir() / wanted.image_id).mkdir(parents=True)
    manifest = Manifest(
        id=wanted.image_id,
        created=datetime.now(UTC),
        bytes=5,
        recipe=wanted,
        recipe_sha256=wanted.sha256,
        versions={},
    )
    (images_dir() / wanted.image_id / "manifest.json").write_text(manifest.model_dump_json())
    return wanted.image_id


def test_both_forms_of_an_image_are_found_listed_and_removed(cache):
    tree, disk = put("slim"), put("slim-vm")
    assert (images.find("slim").id, images.find("slim-vm").id) == (tree, disk)
    assert (images.find("slim").is_vm, images.find(disk).is_vm) == (False, True)
    assert {tree, disk} <= {image.id for image in images.ls()}
    images.rm(disk)
    assert not (images_dir() / disk).exists()
    assert (images_dir() / tree).exists()


def test_a_missing_disk_names_the_command_that_builds_it(cache):
    with pytest.raises(ImageError, match="agent-s3 pool image build desktop --format vm"):
        images.find("desktop-vm")


async def test_a_sandbox_does_not_start_from_a_disk(cache, tmp_path):
    disk = put("slim-vm")
    provider = SandboxProvider(places=Places(tmp_path / "state", tmp_path / "run"))
    with pytest.raises(ConfigError, match=f"{disk} is for virtual machines; sandboxes start from 'slim'"):
        await provider.boot(Spec(image=disk))
