"""A replay as a user sees it: a line for each step, how far it came, and the exit code."""

import typer

from agent_s3.paths import RunPaths
from agent_s3.replay import Replayed, ReplayReport
from bbon.replaying import replay_run
from viewer.exits import BREAKDOWN, WINNER
from viewer.faults import tell
from viewer.plain import plain
from viewer.signals import run_until_signal
from vm_pool.provider import Provider


def show(paths: RunPaths, provider: Provider, rollout: int | None, *, as_json: bool) -> int:
    """Returns the exit code: 0 when all steps came out as recorded, 1 at the first that did not."""
    report = run_until_signal(replay_run(paths, provider, rollout=rollout, on_step=_tell))
    typer.echo(report.model_dump_json(indent=2) if as_json else summary(report))
    return WINNER if report.diverged is None else BREAKDOWN


def _tell(step: Replayed) -> None:
    tell(step_line(step))


def step_line(step: Replayed) -> str:
    """`step 3: click 'Save': same`."""
    name = f"step {step.step}: {plain(step.did, 120)}" if step.step >= 0 else "start"
    return f"{name}: {step.outcome}" if step.outcome != "diverged" else f"{name}: {plain(step.words, 500)}"


def summary(report: ReplayReport) -> str:
    """How far it came, in one line."""
    done = sum(step.outcome == "same" for step in report.steps)
    if report.diverged is None:
        return f"all {done} steps that did something came out as recorded"
    where = f"step {report.diverged.step}" if report.diverged.step >= 0 else "the start"
    return f"stopped at {where}, which came out otherwise; {done} steps before it came out as recorded"
