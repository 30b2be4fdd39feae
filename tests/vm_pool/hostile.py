"""What tests of the borders around machines share: how programs are run inside, on the host and as another user."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attacks
import pytest

from vm_pool.contract import clones
from vm_pool.machine import Machine
from vm_pool.provider import Spec
from vm_pool.providers.docker import DockerProvider
from vm_pool.providers.sandbox import SandboxProvider
from vm_pool.providers.sandbox_cgroup import find_hierarchy

SLIM = Spec(image="slim", width=640, height=480, labels={"suite": "security"})
PROGRAM = Path(attacks.__file__).read_text(encoding="utf-8")
REACH = (Path(clones.__file__).parent / "programs" / "reach.py").read_text(encoding="utf-8")
NOBODY = 65_534

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="another user can only be played by root; run: sudo make test"
)
needs_groups = pytest.mark.skipif(find_hierarchy() is None, reason="no control group can be made; run as root")

Provider = SandboxProvider | DockerProvider


def content(secret: Path) -> tuple[str, list[str]]:
    """What is in the file, and what lies beside it."""
    return secret.read_text(), sorted(path.name for path in secret.parent.iterdir())


async def python(machine: Machine, code: str, *words: str) -> Any:
    """What a program in the machine printed as JSON."""
    done = await machine.run(["python3", "-c", code, *words])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def on_the_host(code: str, *words: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def as_uid(uid: int, *argv: str) -> "subprocess.CompletedProcess[str]":
    become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--"]
    return subprocess.run([*become, *argv], capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"})
