"""What the commands call, so that tests can pass doubles, and how their groups are made."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:  # imported where they are used: `agent-s3 --help` loads none of them
    from bbon.types import RunResult
    from vm_pool.provider import Provider

RunCall = Callable[..., Awaitable["RunResult"]]
"""The signature of `bbon.best_of_n.run`."""
Benchmark = Callable[..., Awaitable[Any]]
"""A coroutine function of `benchmarks`, which this room does not import."""


async def _best_of_n(*args: Any, **options: Any) -> "RunResult":
    from bbon import best_of_n

    return await best_of_n.run(*args, **options)


def _make_provider(name: str) -> "Provider":
    from vm_pool.providers import make_provider

    return make_provider(name)


def _all_providers() -> "list[Provider]":
    """All that can be made without being told where their machines are; guests elsewhere are named by the user."""
    from vm_pool.errors import HostUnfit
    from vm_pool.providers import PROVIDERS, make_provider

    made: list[Provider] = []
    for name in (name for name, entry in PROVIDERS.items() if not entry.needs_text):
        with suppress(HostUnfit):  # what it needs is not installed, so it has left nothing here
            made.append(make_provider(name))
    return made


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


@dataclass(frozen=True)
class Services:
    """What the commands call; tests pass doubles."""

    bench_mini: Benchmark
    """The signature of `benchmarks.desktop_mini.mini.run`."""
    measure: Benchmark
    """`benchmarks.pool_speed.measure`, with the options of `benchmarks.pool_speed.build_plan`."""
    stress: Benchmark
    """`benchmarks.pool_speed.stress`, with the options of `build_plan` as well."""
    measure_steps: Benchmark
    """The signature of `benchmarks.step_speed.measure`."""
    judge: Benchmark
    """`benchmarks.judge_lab.run` on the options of `benchmarks.judge_lab.Asked`, with `results` and `note` besides."""
    best_of_n: RunCall = _best_of_n
    make_provider: Callable[[str], "Provider"] = _make_provider
    all_providers: Callable[[], "list[Provider]"] = _all_providers
    """Those whose extras are installed."""
    now: Callable[[], datetime] = _local_time


def group(text: str) -> typer.Typer:
    """A group of commands, with our settings."""
    return typer.Typer(
        help=text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
