"""Recorded rollouts with known scores, as data and as folders, and judges of known skill."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from agent_s3.actions import ACTION
from agent_s3.paths import RunPaths
from agent_s3.record import FrameStore, append_line, write_atomically, write_model
from agent_s3.types import Delta, FrameRef, RolloutResult, Step, WindowChange
from bbon.types import Candidate, Fact, RecordedConfig
from benchmarks.judge_lab.cases import Attempt, Case, Moment
from benchmarks.results import AttemptPaths, BenchConfig, BenchPaths, Outcome, RolloutScore, TaskResult
from llm.chat import Abilities, Request, Usage
from llm.scripted import Reply, ScriptedModel
from vm_pool.types import FileChange, Frame

WRITER = Abilities(schema=True, context_tokens=1_000_000)
"""Reads text only and gives no log-probabilities, so it is asked in writing."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


# --- cases in memory -----------------------------------------------------------------------------------------------


def case_of(name: str, scores: Sequence[float | None], folder: Path, *, steps: Sequence[int] | None = None) -> Case:
    """A task whose rollouts say in their facts what they are worth, for scripted judges."""
    lengths = steps or [2] * len(scores)
    pairs = zip(scores, lengths, strict=True)
    attempts = tuple(attempt_of(name, index, score, length, folder) for index, (score, length) in enumerate(pairs))
    return Case(name, "files", f"Do {name}", attempts, FrameStore(folder))


def attempt_of(name: str, index: int, score: float | None, steps: int, folder: Path) -> Attempt:
    fact = Fact(step=0, text=f"Rollout {index} of {name} is worth {score}.", source="delta")
    candidate = Candidate(
        index=index, status="done", facts=(fact,), first=None, last=None, steps=steps, changes=(f"State {index}.",)
    )
    moments = tuple(Moment(number, "click 'OK'", f"thought {number}") for number in range(steps))
    return Attempt(candidate, moments, score, folder)


# --- judges --------------------------------------------------------------------------------------------------------

_ATTEMPT = re.compile(r"Attempt ([A-Z]), .*?is worth ([\d.]+)", re.DOTALL)


def options_of(request: Request) -> list[tuple[str, float]]:
    """Letter and worth of each attempt in a written question, in order."""
    return [(letter, float(worth.rstrip("."))) for letter, worth in _ATTEMPT.findall(request.messages[-1].text)]


def task_of(request: Request) -> str:
    return request.messages[1].text.split("<task>")[1].split("</task>")[0].strip()


def answer(choice: str, confidence: float = 0.7) -> Reply:
    usage = Usage(calls=1, input_tokens=3000, output_tokens=10, usd=0.001)
    return Reply(json={"reasons": "so", "citations": [], "choice": choice, "confidence": confidence}, usage=usage)


def judge_of(choose: Callable[[Request, list[tuple[str, float]]], str], name: str = "scripted:judge") -> ScriptedModel:
    """A judge that chooses a letter by a function of the question and its options."""
    return ScriptedModel(
        [lambda request, _role: answer(choose(request, options_of(request)))], name=name, abilities=WRITER
    )


def right(_request: Request, options: list[tuple[str, float]]) -> str:
    return max(options, key=lambda option: option[1])[0]


def wrong(_request: Request, options: list[tuple[str, float]]) -> str:
    return min(options, key=lambda option: option[1])[0]


def first(_request: Request, options: list[tuple[str, float]]) -> str:
    return options[0][0]


# --- folders of our own --------------------------------------------------------------------------------------------


def frame_of(shade: int, *, width: int = 1280, height: int = 720) -> Frame:
    pixels = np.full((height, width, 3), shade, np.uint8)
    pixels[100:200, 100:400] = (200, 30, 30)
    return Frame(pixels, 0.0)


def put(paths: RunPaths, frame: Frame) -> FrameRef:
    write_atomically(paths.frame(frame.sha256), frame.png())
    return FrameRef(sha256=frame.sha256, width=frame.width, height=frame.height)


def write_run(root: Path, worths: Sequence[float | None], *, name: str = "task", said: str = "") -> RunPaths:
    """A run folder with a rollout for each score; the scores themselves are only in its facts."""
    paths = RunPaths(root)
    config: dict[str, Any] = {"instruction": f"Do {name}", "n": len(worths), "model": "local", "out": str(root / "out")}
    write_model(paths.config, RecordedConfig(**config, started_at=NOW, versions={}, prompts={}))
    start = put(paths, frame_of(10))
    for index, worth in enumerate(worths):
        write_rollout(paths, index, worth, start, put(paths, frame_of(20 + index)), said=said)
    return paths


def write_rollout(
    paths: RunPaths, index: int, worth: float | None, start: FrameRef, end: FrameRef, *, said: str
) -> None:
    mine = paths.rollout(index)
    change = FileChange(path=f"/home/user/{index}.txt", kind="created", sha256=str(index) * 64, size=3, text="abc")
    window = WindowChange(kind="opened", title=f"W{index}", app="mousepad")
    acts: list[dict[str, Any]] = [{"action": "click", "element_description": "OK"}, {"action": "done"}]
    for number, act in enumerate(acts):
        step = Step(
            index=number,
            started_at=NOW,
            thought=f"I do it. {said}",
            action=ACTION.validate_python(act),
            before=start,
            after=end,
            delta=Delta(windows=(window,), files=(change,), changed_fraction=0.1) if number == 0 else Delta(),
        )
        append_line(mine.trajectory, step)
    append_line(mine.narrative, Fact(step=0, text=f"Rollout {index} is worth {worth}.", source="delta"))
    result = RolloutResult(
        index=index, status="done", reason="says so", steps=2, seconds=1.0, first=start, last=end, files=(change,)
    )
    write_model(mine.result, result)


def write_bench(root: Path, tasks: dict[str, Sequence[float | None]], *, said: str = "") -> BenchPaths:
    """A benchmark folder: task -> scores of its rollouts, None for one that was not scored."""
    paths = BenchPaths(root)
    config = BenchConfig(
        suite="s",
        suite_sha256="0",
        model="local",
        judge=None,
        n=2,
        tasks=tuple(tasks),
        provider="fake",
        temperature=None,
        max_steps=None,
    )
    write_model(paths.config, config)
    for name, scores in tasks.items():
        mine = paths.task(name)
        run = write_run(mine.attempt(1).root, scores, name=name, said=said)
        outcomes = [Outcome(kind="guest_lost") if s is None else Outcome.scored(s) for s in scores]
        for index, outcome in enumerate(outcomes):
            write_model(AttemptPaths(run.root).outcome(index), outcome)
        rollouts = tuple(
            RolloutScore(index=index, status="done", steps=2, seconds=1.0, outcome=outcome)
            for index, outcome in enumerate(outcomes)
        )
        result = TaskResult(
            task_id=name,
            domain="files",
            instruction=f"Do {name}",
            image="slim",
            rollouts=rollouts,
            pick="none",
            run_dir=str(run.root.relative_to(root)),
        )
        write_model(mine.result, result)
    return paths


# --- result folders of other programs ------------------------------------------------------------------------------


def write_result(root: Path, task: str, score: str | None, *, agent_s3: bool = True, last: str = "DONE") -> Path:
    """One task in a result folder, of Agent S3's scripts or of OSWorld's own runner."""
    folder = root / task
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for number, action in enumerate(["pyautogui.click(5, 5)", last], start=1):
        name = f"step_{number}_20260101@10101{number}.png"
        (folder / name).write_bytes(frame_of(number, width=320, height=200).png())
        line: dict[str, Any] = {
            "step_num": number,
            "action": action,
            "reward": 0,
            "done": False,
            "screenshot_file": name,
        }
        lines.append(line | ({"exec_code": action, "plan": f"plan {number}"} if agent_s3 else {"response": "words"}))
    (folder / "traj.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if score is not None:
        (folder / "result.txt").write_text(f"{score}\n")
    if agent_s3:
        (folder / "step_0.png").write_bytes(frame_of(0, width=320, height=200).png())
        (folder / "instruction.txt").write_text("Do it\n")
    return folder
