"""The host's own package sources, and fetching packages into a cache that outlives a build that was cut short."""

import os
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vm_pool.errors import HostUnfit, ImageError
from vm_pool.images.progress import BuildProgress, OnProgress
from vm_pool.images.recipe import Suite
from vm_pool.types import Frozen

COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
KEYRINGS = {
    "debian": Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    "ubuntu": Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
}
_FIELDS = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"


class Source(Frozen):
    """One line of package sources."""

    uri: str
    release: str
    component: str

    def line(self, keyring: Path | None) -> str:
        signed = f"[signed-by={keyring}] " if keyring else ""
        return f"deb {signed}{self.uri} {self.release} {self.component}"


def host_sources(suite: Suite) -> list[Source]:
    """The host's sources for its own distribution, whichever file format they are kept in.

    Other vendors' repositories are left out. Raises: `HostUnfit` when apt knows none.
    """
    command = ["apt-get", "indextargets", "--format", _FIELDS, "Created-By: Packages"]
    try:
        listing = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostUnfit("apt-get does not work here; images are built with it on Debian or Ubuntu") from error
    sources = parse_index_targets(listing.stdout, suite)
    if not sources:
        raise HostUnfit(f"apt has no {suite.codename} sources; add the distribution's own to /etc/apt/sources.list.d")
    return sources


def parse_index_targets(listing: str, suite: Suite) -> list[Source]:
    """Sources of the suite and its updates in `apt-get indextargets` lines of uri, release, component, origin."""
    releases = {suite.codename, f"{suite.codename}-updates", f"{suite.codename}-security"}
    found: dict[Source, None] = {}
    for line in listing.splitlines():
        uri, release, component, origin = line.split("|")
        ours = origin.startswith("$(") or origin.lower() == suite.distribution
        if ours and release in releases and component in COMPONENTS[suite.distribution]:
            found[Source(uri=uri, release=release, component=component)] = None
    return list(found)


def source_lines(sources: Sequence[Source], suite: Suite) -> list[str]:
    """One-line sources, signed by the distribution's archive keyring where the host has it."""
    keyring = KEYRINGS[suite.distribution]
    return [source.line(keyring if keyring.exists() else None) for source in sources]


class PackageCache:
    """Downloaded packages of one suite: `<cache>/apt/<codename>-<architecture>/archives`."""

    def __init__(self, root: Path, suite: Suite) -> None:
        self._root = root / f"{suite.codename}-{suite.architecture}"

    @property
    def archives(self) -> Path:
        return self._root / "archives"

    def download(self, packages: Sequence[str], lines: Sequence[str], on_progress: OnProgress) -> None:
        """Fetch packages and all they depend on; what is there already is not fetched again.

        Raises: `ImageError` with apt's own complaint.
        """
        self._prepare(lines)
        on_progress(BuildProgress(stage="index", message="reading the package index"))
        self._apt(["update"], on_progress)
        self._apt(["autoclean"], on_progress)
        on_progress(BuildProgress(stage="download", message=f"fetching {len(packages)} packages and what they need"))
        self._apt(["--yes", "--no-install-recommends", "--download-only", "install", *packages], on_progress)

    def _prepare(self, lines: Sequence[str]) -> None:
        for part in ("lists/partial", "archives/partial", "empty"):
            (self._root / part).mkdir(parents=True, exist_ok=True)
        (self._root / "status").touch()
        (self._root / "sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _apt(self, arguments: Sequence[str], on_progress: OnProgress) -> None:
        process = subprocess.Popen(
            ["apt-get", *self._options(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(),
        )
        output: deque[str] = deque(maxlen=200)
        with process:
            assert process.stdout is not None
            for percent in download_percents(keeping(process.stdout, output)):
                on_progress(BuildProgress(stage="download", message="fetching packages", percent=percent))
        if process.returncode != 0:
            raise ImageError(f"apt-get could not fetch the packages: {first_error(output)}")

    def _options(self) -> list[str]:
        settings = {
            "Dir::State": self._root,
            "Dir::State::Lists": self._root / "lists",
            "Dir::State::Status": self._root / "status",
            "Dir::Cache": self._root,
            "Dir::Cache::Archives": self._root / "archives",
            "Dir::Etc::SourceList": self._root / "sources.list",
            "Dir::Etc::SourceParts": self._root / "empty",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": self._root / "empty",
            "APT::Sandbox::User": "",
            "APT::Status-Fd": "1",
            "APT::Keep-Downloaded-Packages": "true",
        }
        return [f"-o{key}={value}" for key, value in settings.items()]


def download_percents(lines: Iterator[str]) -> Iterator[float]:
    """Whole percents of `dlstatus:` lines on apt's status descriptor, each once."""
    last = -1
    for line in lines:
        fields = line.split(":")
        if fields[0] == "dlstatus" and len(fields) > 2 and int(float(fields[2])) > last:
            last = int(float(fields[2]))
            yield float(last)


def keeping(lines: Iterable[str], kept: deque[str]) -> Iterator[str]:
    """Hand lines on and keep the last ones for an error message."""
    for line in lines:
        kept.append(line)
        yield line


def first_error(output: Iterable[str]) -> str:
    """The line of a tool's output that says what is wrong, for a one-line message."""
    lines = [line.strip() for line in output if line.strip()]
    if any("No space left on device" in line for line in lines):
        return "No space left on device"
    blamed = [line for line in lines if line.startswith(("E:", "Err:", "ERROR"))]
    return (blamed or lines or ["it said nothing"])[0]


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
