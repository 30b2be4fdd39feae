"""Daemons that are not there, and trees on their way into one that is."""

import asyncio
import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cli
from vm_pool.errors import ConfigError, HostUnfit, ImageError
from vm_pool.images import Image
from vm_pool.local_state import HOST_UID, Places
from vm_pool.providers import docker_image
from vm_pool.providers.docker import DockerProvider
from vm_pool.providers.docker_daemon import Daemon
from vm_pool.strays import gc

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Image:
    """A very small image that no store knows."""
    rootfs = tmp_path / "slim-ffffffffffffffff" / "rootfs"
    for folder in ("bin", "etc/skel"):
        (rootfs / folder).mkdir(parents=True)
    (rootfs / "etc/skel/.profile").write_text("x")
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/bash\n")
    (rootfs / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    (rootfs / "bin/su").write_text("x")
    (rootfs / "bin/su").chmod(0o4755)
    os.utime(rootfs / "bin/su", ns=(0, 1_700_000_000_123_456_789))
    (rootfs.parent / "manifest.json").write_text("{}")
    return Image(id=rootfs.parent.name, name="slim", path=rootfs.parent, created=datetime.now(UTC))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path / "state", tmp_path / "run")
    places.make()
    return places


def tags(daemon: Daemon) -> list[str]:
    with daemon.client("list") as client:
        return [tag for image in client.images() for tag in image["RepoTags"] or ["<none>"] if "ffffffff" in tag]


async def test_a_daemon_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/docker.sock"
    expected = f"no Docker daemon answers at {address}; run: sudo systemctl start docker"
    with pytest.raises(HostUnfit, match=expected) as failure:
        await DockerProvider(host=address).strays()
    assert "\n" not in str(failure.value)


def test_the_command_line_says_so_in_one_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    assert cli.main(["pool", "ls", "--provider", "docker"]) == 2
    shown = capsys.readouterr().err
    assert "no Docker daemon answers" in shown
    assert shown.count("\n") == 1


def test_a_daemon_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(ConfigError, match=r"tcp://192\.0\.2\.1:2375.* not on this machine.*; run: export DOCKER_HOST="):
        DockerProvider()


def test_the_tree_keeps_its_times_and_belongs_to_root_but_for_the_home(tree: Image) -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(docker_image.archive(tree.rootfs)))) as tar:
        profile, su = tar.getmember("home/user/.profile"), tar.getmember("bin/su")
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        assert f"user:x:{HOST_UID}:{HOST_UID}:user:/home/user:/bin/bash\n" in passwd.read().decode()
        assert tar.getnames().count("etc/passwd") == 1
    assert su.pax_headers["mtime"] == "1700000000.123456789"
    assert (profile.uid, profile.gid, su.uid, su.mode) == (HOST_UID, HOST_UID, 0, 0o755)


async def test_a_tree_is_imported_once_and_collected_when_it_has_gone(
    dockerd: Daemon, places: Places, tree: Image
) -> None:
    with ThreadPoolExecutor(2) as threads:
        imports = [threads.submit(docker_image.ensure, dockerd, places, tree) for _ in range(2)]
    references = [one.result() for one in imports]
    assert tags(dockerd) == references[:1] == references[1:]
    provider = DockerProvider(host=dockerd.host, places=places)
    collected = await gc([provider])
    assert [(stray.kind, stray.id) for stray in collected.removed] == [("image", tree.id)]
    assert tags(dockerd) == []


async def test_a_tree_that_cannot_be_read_whole_leaves_no_image(dockerd: Daemon, places: Places, tree: Image) -> None:
    (tree.rootfs / "etc/group").unlink()
    with pytest.raises(ImageError, match=r"cannot be read.*build the image again"):
        await asyncio.to_thread(docker_image.ensure, dockerd, places, tree)
    assert tags(dockerd) == []


@pytest.mark.desktop
def test_a_whole_run_goes_through_containers_and_leaves_none(
    dockerd: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)
    demo, out = ROOT / "scripts/demo", tmp_path / "out"
    machines = ["--provider", "docker", "--image", "slim", "--size", "1024x768", "-n", "4"]
    given = ["--model", f"scripted:{demo}/policy.json", "--file", f"{demo}/guests.txt"]
    folders = ["--run-dir", f"{tmp_path}/run", "--out", str(out)]
    assert cli.main(["run", "Sort the guests", *machines, *given, *folders]) == 0, capsys.readouterr().err
    assert list(out.rglob("sorted.txt"))
    assert cli.main(["pool", "ls", "--provider", "docker"]) == 0
    assert "nothing is running" in capsys.readouterr().out


@pytest.mark.desktop
def test_the_doctor_names_the_daemon(
    dockerd: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)
    cli.main(["doctor"])
    assert f"{dockerd.version()} at {dockerd.host}" in " ".join(capsys.readouterr().out.split())
