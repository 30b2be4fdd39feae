"""What all tests share: a state folder of their own, no way out of this machine, and loud skips.

Images and models are taken from the user's real cache, since making them anew would take minutes.
"""

import ipaddress
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

from agent_s3 import ocr
from llm.pull import model_path
from vm_pool import images
from vm_pool.disk import delete_tree
from vm_pool.errors import VMPoolError
from vm_pool.host import Check, checks
from vm_pool.providers.vm_places import INSTALL

# A busy machine breaks no property. In CI examples are the same each time; elsewhere new ones are looked for.
hypothesis.settings.register_profile("ours", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("ours")

# --- state ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def state_of_their_own() -> Generator[Path]:
    """Machines of tests live in a folder of the session's own, away from those of the user's runs.

    Its name is short because sockets lie in it.
    """
    folder = Path(tempfile.mkdtemp(prefix="s3t-"))
    folder.chmod(0o711)  # as root, machines have a uid of their own that must get through
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_S3_STATE", str(folder))
        yield folder
    delete_tree(folder)


# --- network -------------------------------------------------------------------------------------------------------


class ReachedOut(Exception):
    """A test tried to connect to another machine."""


def is_here(host: object) -> bool:
    """Whether a host, as given to connect or getaddrinfo, is this machine. None and "" are."""
    text = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return text == "localhost"


def _refuse_other_machines(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook: it sees every connection and look-up of this process, whichever library makes it."""
    host: object = None
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]  # pyright: ignore[reportUnknownVariableType]
    elif event == "socket.getaddrinfo":
        host = args[0]
    if not is_here(host):
        raise ReachedOut(f"a test tried to reach {host!r}; tests talk to this machine only")


sys.addaudithook(_refuse_other_machines)


# --- what the host must have ---------------------------------------------------------------------------------------


class Lack(NamedTuple):
    """Why a marked test cannot run here."""

    reason: str
    mend: str
    """The command that mends it."""


@cache
def host_checks() -> list[Check]:
    return checks()


def lacks_desktop(image: str = "slim") -> Lack | None:
    """The first thing that `agent-s3 doctor` finds missing for desktops of that image."""
    for check in host_checks():
        if not check.ok and (check.required or check.name == f"image {image}"):
            return Lack(f"no real desktops here: {check.name}: {check.detail}", check.fix or "agent-s3 doctor")
    return None


def lacks_local_model() -> Lack | None:
    if find_spec("xllamacpp") is None:
        return Lack("xllamacpp is not installed", "make setup")
    if not model_path().is_file():
        return Lack("the embedded model is not pulled", "agent-s3 model pull local")
    return None


def lacks_browser() -> Lack | None:
    if not any(map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))):
        return Lack("there is no Chromium", "sudo apt-get install -y chromium")
    return None


def lacks_docker() -> Lack | None:
    """A daemon of their own is started by root only."""
    if find_spec("docker") is None:
        return Lack("docker-py is not installed", f"{sys.executable} -m pip install 'agent-s3[docker]'")
    if shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        return Lack("there is no dockerd", "sudo apt-get install -y docker.io iptables")
    return None if os.geteuid() == 0 else Lack("dockerd is started by root only", "sudo make test")


def lacks_vm(image: str = "slim") -> Lack | None:
    """What is missing for virtual machines of that image."""
    if find_spec("libvirt") is None:
        return Lack("libvirt-python is not installed", "make test")
    if not all(map(shutil.which, ("qemu-system-x86_64", "qemu-img"))):
        return Lack("QEMU is not installed", INSTALL)
    try:
        images.find(f"{image}-vm")
    except VMPoolError as error:
        return Lack(*str(error).split("; run: "))
    return None


def lacks_chaos() -> Lack | None:
    """It takes ten minutes, so it is asked for by name."""
    asked = os.environ.get("AGENT_S3_TEST_CHAOS")
    return None if asked else Lack("nobody asked for ten minutes of chaos", "AGENT_S3_TEST_CHAOS=1 make test")


def lacks_patience() -> Lack | None:
    if os.environ.get("AGENT_S3_TEST_VM"):
        return None
    return Lack("long tests on virtual machines were not asked for", "AGENT_S3_TEST_VM=1 make test")


def lacks_criu() -> Lack | None:
    """What `agent-s3 doctor` finds missing for desktops that are saved with their programs."""
    check = next(check for check in host_checks() if check.name == "saved programs")
    return None if check.ok else Lack(check.detail, check.fix or "agent-s3 doctor")


def lacks_ocr() -> Lack | None:
    missing = ocr.missing()
    return None if missing is None else Lack(*missing)


CHECKS: dict[str, Callable[..., Lack | None]] = {
    "desktop": lacks_desktop,
    "local_model": lacks_local_model,
    "browser": lacks_browser,
    "docker": lacks_docker,
    "chaos": lacks_chaos,
    "vm": lacks_vm,
    "vm_long": lacks_patience,
    "criu": lacks_criu,
    "ocr": lacks_ocr,
}
"""Marker -> what is checked before its tests, with the marker's arguments: `desktop("desktop")` names an image."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test whose needs this host does not meet, and say what would."""
    for marker in item.iter_markers():
        lack = CHECKS[marker.name](*marker.args) if marker.name in CHECKS else None
        if lack is not None:
            pytest.skip(f"{lack.reason}; run: {lack.mend}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last, and in red, what this run did not prove."""
    skipped: list[pytest.TestReport] = terminalreporter.getreports("skipped")
    reasons = Counter(report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    if reasons:
        terminalreporter.section("NOT TESTED HERE", red=True, bold=True)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} x {reason.removeprefix('Skipped: ')}", red=True)


def pytest_configure() -> None:
    """No test can spend the user's money: keys are taken out of the environment."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AGENT_S3_API_KEY"):
        os.environ.pop(name, None)
