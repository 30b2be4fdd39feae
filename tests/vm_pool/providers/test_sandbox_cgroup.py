"""Control groups: where they can be made and what is written into them, on made-up hierarchies."""

import subprocess
import sys

import pytest

from vm_pool.providers.sandbox_cgroup import Limits, find_hierarchy, limit_files, make_group, prlimit_options


def test_version_1_has_a_folder_per_controller(tmp_path):
    for controller in ("memory", "pids", "cpu", "freezer", "blkio"):
        (tmp_path / controller).mkdir()
    hierarchy = find_hierarchy(tmp_path, tmp_path / "own")
    assert hierarchy is not None
    assert hierarchy.version == 1
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in hierarchy.folders.items()} == {
        "memory": "memory/agent-s3",
        "pids": "pids/agent-s3",
        "cpu": "cpu/agent-s3",
        "freezer": "freezer/agent-s3",
    }
    group = make_group(hierarchy, "m-1", Limits(memory_mib=64, pids=9, cpus=1.5))
    assert (tmp_path / "memory/agent-s3/m-1/memory.limit_in_bytes").read_text() == str(64 * 2**20)
    assert (tmp_path / "pids/agent-s3/m-1/pids.max").read_text() == "9"
    assert (tmp_path / "cpu/agent-s3/m-1/cpu.cfs_quota_us").read_text() == "150000"
    assert len(group.join_files) == 4


def test_version_2_goes_to_the_topmost_group_that_is_delegated(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    own = tmp_path / "own"
    own.write_text("0::/user.slice/app.scope\n")
    delegated = tmp_path / "user.slice"
    (delegated / "app.scope").mkdir(parents=True)
    (delegated / "agent-s3").mkdir()
    for folder in (delegated, delegated / "app.scope", delegated / "agent-s3"):
        (folder / "cgroup.procs").touch()
        (folder / "cgroup.subtree_control").touch()
    hierarchy = find_hierarchy(tmp_path, own)
    assert hierarchy is not None
    assert hierarchy.version == 2
    assert set(hierarchy.folders.values()) == {delegated / "agent-s3"}
    assert (delegated / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    group = make_group(hierarchy, "m-1", Limits(memory_mib=64, pids=9, cpus=0.5))
    folder = delegated / "agent-s3/m-1"
    assert (folder / "memory.max").read_text() == str(64 * 2**20)
    assert (folder / "cpu.max").read_text() == "50000 100000"
    assert group.join_files == [folder / "cgroup.procs"]


def test_without_a_place_for_groups_there_is_none(tmp_path):
    (tmp_path / "pids").mkdir()
    assert find_hierarchy(tmp_path, tmp_path / "own") is None


@pytest.mark.parametrize("version", [1, 2])
def test_no_limit_writes_nothing(version):
    assert limit_files(version, Limits()) == []
    assert prlimit_options(0, 0) == []


def test_the_stand_in_limits_bite():
    options = prlimit_options(100, 50)
    assert options == ["--nproc=50", f"--data={100 * 2**20}"]
    eaten = subprocess.run(
        ["prlimit", *options, "--", sys.executable, "-c", "bytearray(300 << 20)"], capture_output=True, text=True
    )
    assert "MemoryError" in eaten.stderr
