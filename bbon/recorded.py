"""`config.json` and `run.log`: with what a run was made, and what happened, in time order. No secrets in either."""

import hashlib
import logging
import platform
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import agent_s3.prompt
import bbon.prompt
from agent_s3.paths import RunPaths
from agent_s3.record import read_model, write_model
from agent_s3.risks import SHIPPED
from bbon.types import RecordedConfig, RunConfig

_DISTRIBUTIONS = (
    "agent-s3",
    "anthropic",
    "httpx2",
    "jinja2",
    "numpy",
    "openai",
    "pillow",
    "pydantic",
    "tesserocr",
    "xllamacpp",
)
_PACKAGES = ("agent_s3", "bbon", "benchmarks", "llm", "tools", "vm_pool")
_GIT_S = 10.0
_HERE = Path(__file__).resolve().parent.parent

_logging_run: ContextVar[Path | None] = ContextVar("logging_run", default=None)


def write_config(config: RunConfig, paths: RunPaths) -> None:
    """Write `config.json`; a resumed run keeps the time at which it was started. Blocks. Raises: `RecordError`."""
    started = read_model(paths.config, RecordedConfig).started_at if paths.config.exists() else datetime.now(UTC)
    recorded = RecordedConfig(
        **config.model_dump(), started_at=started, versions=versions(), prompts=prompt_hashes(), commit=commit()
    )
    write_model(paths.config, recorded)


def versions() -> dict[str, str]:
    """Of Python, this application and what it asks models with, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def prompt_hashes() -> dict[str, str]:
    """sha256 of every prompt file of agent, narrator and judge, and of the rules that say what is risky."""
    agent = {f"agent_s3/{name}": digest for name, digest in agent_s3.prompt.prompt_hashes().items()}
    agent["agent_s3/risk_rules"] = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    return agent | {f"bbon/{name}": digest for name, digest in bbon.prompt.prompt_hashes().items()}


def commit(folder: Path = _HERE) -> str | None:
    """The commit that the code in `folder` is checked out from, with `+` when files differ; None: no such checkout."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != folder:
        return None
    head = _git(folder, "rev-parse", "HEAD")
    return head and head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def logging_to(paths: RunPaths) -> Generator[None]:
    """Append what our packages log inside the block to `run.log`; runs side by side keep apart."""
    paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # pictures of desktops, and files that were given to them
    handler = logging.FileHandler(paths.log, encoding="utf-8", errors="replace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(lambda _record: _logging_run.get() == paths.root)
    token = _logging_run.set(paths.root)
    for name in _PACKAGES:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)  # left so: another run may be logging, and INFO costs nothing
    try:
        yield
    finally:
        for name in _PACKAGES:
            logging.getLogger(name).removeHandler(handler)
        _logging_run.reset(token)
        handler.close()
