"""Turning a freshly installed tree into a desktop: the user, home template, wrappers, pyautogui.

Its own text is part of the content address of images, so that a change here makes new images.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from vm_pool.errors import HostUnfit, ImageError
from vm_pool.images.apt import first_error
from vm_pool.images.recipe import REQUIREMENTS, Recipe, layer_files
from vm_pool.images.tree import run_in_tree

USER = "user"
UID = 1000
HOME_FOLDERS = ("Desktop", "Documents", "Downloads", "Music", "Pictures", "Public", "Templates", "Videos")
MUST_EXIST = (
    "usr/bin/Xvfb",
    "usr/bin/openbox",
    "usr/bin/python3",
    "usr/bin/dbus-daemon",
    "usr/libexec/at-spi-bus-launcher",
)


def customise(rootfs: Path, recipe: Recipe, wheels: Path) -> None:
    """Raises: `ImageError` when the tree lacks something that a desktop cannot do without."""
    for name in MUST_EXIST:
        if not (rootfs / name).exists():
            raise ImageError(f"the installed tree has no /{name}; build again, and report it if it happens twice")
    _add_user(rootfs)
    for layer in recipe.layers:
        _copy_layer(layer_files(layer), rootfs)
    for folder in HOME_FOLDERS:
        (rootfs / "etc/skel" / folder).mkdir(exist_ok=True)
    _identity(rootfs, recipe)
    _install_wheels(wheels, rootfs)
    _fill_caches(rootfs)
    _empty_dev(rootfs)


def fetch_guest_packages(target: Path) -> None:
    """Install pyautogui and what it needs, checked by hash, into a folder of its own.

    Raises: `HostUnfit` without pip, `ImageError` when it cannot be fetched.
    """
    options = ["--quiet", "--no-deps", "--require-hashes", "--target", str(target), "-r", str(REQUIREMENTS)]
    process = subprocess.run([*_pip(), "install", *options], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if process.returncode != 0:
        raise ImageError(f"pyautogui for the guest could not be fetched: {first_error(process.stderr.splitlines())}")


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip"]
    raise HostUnfit(f"building an image needs pip; run: {sys.executable} -m ensurepip")


def _add_user(rootfs: Path) -> None:
    """The home directory itself is made for each machine, from /etc/skel."""
    lines = {
        "etc/passwd": f"{USER}:x:{UID}:{UID}:{USER}:/home/{USER}:/bin/bash\n",
        "etc/group": f"{USER}:x:{UID}:\n",
        "etc/shadow": f"{USER}:*:19000:0:99999:7:::\n",
    }
    for name, line in lines.items():
        path = rootfs / name
        path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")


def _copy_layer(source: Path, rootfs: Path) -> None:
    for path in sorted(source.rglob("*")):
        target = rootfs / path.relative_to(source)
        if path.is_symlink():
            target.unlink(missing_ok=True)
            target.symlink_to(path.readlink())
        elif path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o755 if path.parent.name == "bin" else 0o644)


def _identity(rootfs: Path, recipe: Recipe) -> None:
    """A machine id of the image's own, and names that need no resolver."""
    (rootfs / "etc/machine-id").unlink(missing_ok=True)
    machine_id = hashlib.md5(recipe.sha256.encode(), usedforsecurity=False).hexdigest()
    (rootfs / "etc/machine-id").write_text(f"{machine_id}\n", encoding="utf-8")
    (rootfs / "etc/hostname").write_text("desktop\n", encoding="utf-8")
    (rootfs / "etc/hosts").write_text("127.0.0.1 localhost desktop\n::1 localhost\n", encoding="utf-8")
    (rootfs / "etc/resolv.conf").unlink(missing_ok=True)
    (rootfs / "etc/resolv.conf").touch()


def _install_wheels(wheels: Path, rootfs: Path) -> None:
    version = (rootfs / "usr/bin/python3").readlink().name
    target = Path("usr/local/lib") / version / "dist-packages"
    shutil.copytree(wheels, rootfs / target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("bin", "__pycache__"))
    run_in_tree(rootfs, ["python3", "-m", "compileall", "-q", f"/{target}"])


def _fill_caches(rootfs: Path) -> None:
    """What programs would otherwise work out again in each machine."""
    run_in_tree(rootfs, ["fc-cache", "--force", "--system-only"])
    run_in_tree(rootfs, ["update-desktop-database", "-q", "/usr/share/applications"])


def _empty_dev(rootfs: Path) -> None:
    """Machines get a /dev of their own; device nodes in the tree would only be a risk."""
    shutil.rmtree(rootfs / "dev")
    for folder in ("dev", "proc", "sys", "run", "tmp", "opt/agent-s3/guest"):
        (rootfs / folder).mkdir(exist_ok=True, parents=True)
    (rootfs / "tmp").chmod(0o1777)
