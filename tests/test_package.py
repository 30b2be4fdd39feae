"""What is installed with `pip install .` is all that the program needs."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Files of the project, as git knows them."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The project's wheel, built from a copy of its files with the build tools of this environment."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_the_wheel_holds_every_file_of_every_package(wheel: zipfile.ZipFile, tracked: list[str]) -> None:
    """Prompts, templates, prices, the guest server, image recipes, task assets."""
    rooms = {Path(name).parts[0] for name in tracked if name.endswith("/__init__.py")} - {"tests"}
    ours = {name for name in tracked if Path(name).parts[0] in rooms} | {"cli.py"}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {"bbon/prompts/judge.md", "vm_pool/guest/main.py", "vm_pool/images/slim.txt"} <= ours
    assert ours - held == set()
    assert held - ours == set()


def test_the_wheel_carries_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    info = next(name for name in wheel.namelist() if name.endswith("/entry_points.txt")).rpartition("/")[0]
    assert b"agent-s3 = cli:main" in wheel.read(f"{info}/entry_points.txt")
    assert b"Apache License" in wheel.read(f"{info}/licenses/LICENSE")
