"""Running a program of an image inside its own tree, while an image is built or prepared for use."""

import subprocess
from pathlib import Path

from vm_pool.errors import ImageError
from vm_pool.images.apt import first_error


def run_in_tree(rootfs: Path, argv: list[str], *, extra: tuple[Path, str] | None = None) -> None:
    """Run a command inside a tree that it may change, without network or host files.

    `extra` is one more host folder and where it appears. Raises: `ImageError` when the command fails.
    """
    isolation = ["--unshare-all", "--die-with-parent", "--bind", str(rootfs), "/", "--proc", "/proc", "--tmpfs", "/tmp"]  # noqa: S108
    if extra:
        isolation += ["--tmpfs", "/mnt", "--bind", str(extra[0]), extra[1]]
    environment = ["--clearenv", "--setenv", "PATH", "/usr/bin:/usr/sbin", "--setenv", "HOME", "/tmp"]  # noqa: S108
    process = subprocess.run(
        ["bwrap", *isolation, "--dev", "/dev", *environment, "--", *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if process.returncode != 0:
        raise ImageError(f"{argv[0]} failed inside {rootfs}: {first_error(process.stderr.splitlines())}")
