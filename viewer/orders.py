"""From what the user asked for to a `RunConfig` and a run folder."""

import os
import re
import secrets
import shlex
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from agent_s3.paths import RunPaths
from agent_s3.record import read_model
from agent_s3.risks import RiskRules, RiskRulesError, read_rules
from bbon.types import RecordedConfig, RunConfig
from viewer.faults import UserMistake


class Order(NamedTuple):
    """A run that can begin."""

    config: RunConfig
    paths: RunPaths


LIMITS = frozenset(
    {
        "budget_usd",
        "budget_tokens",
        "budget_steps",
        "max_minutes",
        "rollout_budget_usd",
        "rollout_budget_tokens",
        "rollout_max_minutes",
    }
)
"""Fields of a `RunConfig` that only limit what it may take."""
CHANGEABLE = LIMITS | {"concurrency", "out", "approve", "approve_timeout_s", "risk_rules", "promote_minutes"}
"""What may be given anew with --resume."""


def new_run_name(now: datetime) -> str:
    """`YYYYmmdd-HHMMSS-` and four random hex digits; sorts by time."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def require_instruction(text: str | None) -> str:
    """Raises: `UserMistake` when there is none."""
    if text is None or not text.strip():
        raise UserMistake('say what to do: agent-s3 run "Rename report.txt in Documents to final.txt"')
    return text.strip()


def allowed_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a resumed run takes from the command line. Raises: `UserMistake` for anything else."""
    changes = {name: value for name, value in given.items() if name not in ("resume", "as_json")}
    if refused := sorted(set(changes) - CHANGEABLE):
        names = ", ".join("the instruction" if name == "instruction" else _flag(name) for name in refused)
        raise UserMistake(f"--resume goes on with the run as it was asked for: leave out {names}")
    if "risk_rules" in changes:
        changes["risk_rules"] = risk_rules(changes["risk_rules"])
    if "out" in changes:
        check_out(changes["out"])
        changes["out"] = str(changes["out"].absolute())
    return changes


def _flag(name: str) -> str:
    return "-n" if name == "n" else f"--{name.replace('_', '-')}"


def rollouts_of(model: str, n: int) -> int:
    """How many rollouts a mixture of models counts; `n` for a single model. Raises: `ConfigError` of `llm.errors`."""
    from bbon.mixture import is_mixture, models_of

    return len(models_of(model)) if is_mixture(model) else n


def parse_size(text: str) -> tuple[int, int]:
    """`1920x1080` as width and height in pixels. Raises: `UserMistake`."""
    match = re.fullmatch(r"(\d{3,4})[xX×](\d{3,4})", text.strip())
    if match is None:
        raise UserMistake(f"cannot read the size {text!r}: write WIDTHxHEIGHT, e.g. --size 1920x1080")
    return int(match[1]), int(match[2])


def check_bench(*, stress: float | None, quick: bool, grow: bool, html: Path | None) -> None:
    """Raises: `UserMistake` for options that do not go together, before machines are started for nothing."""
    useless = {"--quick": quick, "--grow": grow, "--html": html is not None}
    if stress is not None and (named := [option for option, given in useless.items() if given]):
        raise UserMistake(f"--stress counts what is lost and measures little; leave out {' and '.join(named)}")
    if html is not None and not html.parent.is_dir():
        raise UserMistake(f"there is no folder {str(html.parent)!r} for the page; make it: mkdir -p {html.parent}")


def build_config(fields: Mapping[str, Any], command: str = "run") -> RunConfig:
    """`command` is whose help page a mistake points to.

    Raises: `UserMistake` naming the first field that is out of range, `ConfigError` of `llm.errors` for a model
    spec and of `vm_pool.errors` for a provider or a network.
    """
    from bbon.mixture import models_of
    from llm.registry import parse_spec
    from vm_pool.network import parse_network
    from vm_pool.providers import check_known

    try:
        config = RunConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        flag = "--size, " + name if name in ("width", "height") else _flag(name)
        raise UserMistake(f"{flag}: {first['msg']}; see agent-s3 {command} -h") from error
    models_of(config.model)
    for spec in (config.judge, config.narrator, config.ground):
        if spec is not None:
            parse_spec(spec)
    check_known(config.provider)
    parse_network(config.network)
    return config


def risk_rules(path: Path | None) -> RiskRules:
    """The user's rules; none without a file. Raises: `UserMistake`."""
    try:
        return RiskRules() if path is None else read_rules(path)
    except RiskRulesError as error:
        raise UserMistake(f"--risk-rules: {error}") from error


@contextmanager
def permitted() -> Generator[None]:
    """Raises: `UserMistake` for a path of the user's that this account may not even look at."""
    try:
        yield
    except PermissionError as error:
        raise UserMistake(f"no permission for {str(error.filename)!r}; name another path") from error


@permitted()
def check_files(files: Sequence[Path]) -> None:
    """Raises: `UserMistake` when one is missing, not a file, or named like another."""
    seen: dict[str, Path] = {}
    for path in files:
        if not path.is_file():
            raise UserMistake(f"--file {str(path)!r} {_no_file(path)}")
        if path.name in seen:
            raise UserMistake(f"--file {str(path)!r} and {str(seen[path.name])!r} have the same name; rename one")
        seen[path.name] = path


def _no_file(path: Path) -> str:
    if path.is_dir():
        return "is a folder; give its files one by one"
    return "is no regular file; copy its content into one" if path.exists() else "is not there; check the path"


@permitted()
def check_out(out: Path | None) -> None:
    """Raises: `UserMistake` when `--out` cannot be a folder, or not be written."""
    if out is None:
        return
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserMistake(f"--out {str(out)!r} is not a folder; name a folder, it is made when missing")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserMistake(f"--out {str(out)!r} cannot be written; name a folder that can be")


@permitted()
def create(config: RunConfig, files: Sequence[Path], run_dir: Path) -> Order:
    """Make the run folder and copy the input files into it. Raises: `UserMistake`."""
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UserMistake(f"{str(run_dir)!r} is not an empty folder; to go on with its run: {resume_command(run_dir)}")
    paths = RunPaths(run_dir)
    try:
        paths.inputs.mkdir(parents=True)
        for path in files:
            shutil.copyfile(path, paths.inputs / path.name)
    except OSError as error:
        raise UserMistake(f"cannot make the run folder {str(run_dir)!r}: {error.strerror}; name another") from error
    return Order(config, paths)


def discard(paths: RunPaths) -> None:
    """Remove the folder of a run that never began; a folder with other files in it stays."""
    shutil.rmtree(paths.inputs, ignore_errors=True)
    for path in (paths.config, paths.state, paths.log):
        path.unlink(missing_ok=True)
    if paths.root.is_dir() and not any(paths.root.iterdir()):
        paths.root.rmdir()


@permitted()
def existing(run_dir: Path) -> RunPaths:
    """Raises: `UserMistake` when it is not a run folder."""
    paths = RunPaths(run_dir)
    if not paths.config.is_file():
        raise UserMistake(f"{str(run_dir)!r} holds no run (config.json is missing); name a folder like runs/DATE-TIME")
    return paths


def reopen(run_dir: Path, changes: Mapping[str, Any]) -> Order:
    """The run of an earlier session, with raised limits in `changes`. Raises: `UserMistake`, `RecordError`."""
    paths = existing(run_dir)
    config = recorded(paths)
    return Order(build_config({**config.model_dump(), **changes}), paths)


def recorded(paths: RunPaths) -> RunConfig:
    """What a run was asked for. Raises: `RecordError`."""
    return read_model(paths.config, RecordedConfig).plain


def bench_folder(out: Path | None, *, resume: bool, now: datetime) -> Path:
    """Where a benchmark's results go. Raises: `UserMistake` when it is said to go on and not with what."""
    if resume and out is None:
        raise UserMistake("--resume goes on with the results in --out: name that folder")
    check_out(out)
    return out or Path("runs") / f"bench-mini-{new_run_name(now)}"


def resume_command(run_dir: Path) -> str:
    """What to type to go on with a run."""
    return f"agent-s3 run --resume {shlex.quote(str(run_dir))}"
