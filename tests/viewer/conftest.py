"""A run folder as a run leaves it, made from the real models, with hostile text where guests and models speak."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from agent_s3.actions import CallCodeAgent, Click, Done, Type
from agent_s3.paths import RunPaths
from agent_s3.record import append_line, write_model
from agent_s3.types import (
    CodeReport,
    CodeTurn,
    Delta,
    FrameRef,
    Grounding,
    Region,
    RolloutResult,
    Step,
    StepError,
    WindowChange,
)
from bbon.types import Ballot, Citation, Delivered, Fact, RecordedConfig, RunResult, Verdict
from llm.chat import Usage
from vm_pool.types import Box, FileChange, Frame

HOSTILE = "<script>document.title='owned'</script> {{ 7*7 }} {% raw %} \x1b[31mred\x1b[0m \u202egnol"
WHEN = datetime(2026, 11, 23, 22, 12, tzinfo=UTC)
SPENT = {"worker": Usage(calls=1, input_tokens=1820, cached_tokens=1200, output_tokens=96, usd=0.0031, seconds=2.4)}
PHASES = {"observe": 0.03, "decide": 2.4, "ground": 0.01, "act": 0.02, "settle": 0.31, "record": 0.01}
RENAMED = (
    FileChange(
        path="/home/user/Documents/report.txt",
        kind="deleted",
        size_before=58,
        sha256_before="ab" * 32,
        text_before="Quarterly report\nRevenue 1200\n",
    ),
    FileChange(
        path="/home/user/Documents/final.txt",
        kind="created",
        size=58,
        sha256="ab" * 32,
        text="Quarterly report\nRevenue 1200\n",
    ),
    FileChange(
        path="/home/user/notes.md",
        kind="modified",
        size_before=20,
        size=31,
        mode_before=0o644,
        mode=0o755,
        text_before="# Notes\n\n- rename\n- done?\n",
        text=f"# Notes\n\n- rename\n- done!\n- {HOSTILE}\n",
    ),
    FileChange(path="/home/user/.cache/thumb.db", kind="created", size=4096),
)


def draw_desktop(lines: list[str], *, tint: int) -> Frame:
    """A picture that looks like a desktop with one window, 1920x1080."""
    image = Image.new("RGB", (1920, 1080), (38, 58 + tint, 84))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 1920, 28), fill=(24, 26, 30))
    draw.text((16, 6), "Applications   Places", fill=(230, 230, 230), font_size=15)
    draw.rectangle((300, 140, 1500, 900), fill=(250, 250, 248), outline=(90, 90, 90))
    draw.rectangle((300, 140, 1500, 176), fill=(66, 72, 80))
    draw.text((318, 147), "Documents - File Manager", fill=(240, 240, 240), font_size=18)
    for number, line in enumerate(lines):
        draw.text((340, 210 + 40 * number), line, fill=(40, 40, 40), font_size=24)
    return Frame(np.asarray(image), taken_at=0.0)


class Writer:
    """Writes a run folder."""

    def __init__(self, root: Path, n: int, **config: Any) -> None:
        self.paths = RunPaths(root)
        fields: dict[str, Any] = {
            "instruction": f"Rename report.txt in Documents to final.txt {HOSTILE}",
            "n": n,
            "model": "openai:gpt-5",
            "judge": "anthropic:claude-opus-5-5",
            "image": "slim",
            "started_at": WHEN,
            "versions": {"python": "3.11.2", "agent-s3": "0.1.0"},
            "prompts": {"agent_s3/worker.md": "cd" * 32},
        }
        self.config = RecordedConfig.model_validate({**fields, **config})
        write_model(self.paths.config, self.config)

    def frame(self, lines: list[str], tint: int = 0) -> FrameRef:
        frame = draw_desktop(lines, tint=tint)
        self.paths.frames.mkdir(exist_ok=True)
        self.paths.frame(frame.sha256).write_bytes(frame.png())
        return FrameRef(sha256=frame.sha256, width=frame.width, height=frame.height)

    def crops(self, rollout: int, step: int) -> None:
        folder = self.paths.rollout(rollout).crops
        folder.mkdir(parents=True, exist_ok=True)
        for side, colour in (("before", (250, 240, 240)), ("after", (240, 250, 240))):
            image = Image.new("RGB", (300, 300), colour)
            ImageDraw.Draw(image).ellipse((130, 130, 170, 170), outline=(220, 0, 0), width=4)
            image.save(self.paths.rollout(rollout).crop(step, side))

    def steps(self, rollout: int) -> list[Step]:
        shots = [
            self.frame(["report.txt", "budget.csv"], rollout),
            self.frame(["report.txt   [selected]", "budget.csv"], rollout),
            self.frame(["final.txt", "budget.csv"], rollout),
        ]
        clicked = Step(
            index=0,
            started_at=WHEN,
            thought=f"I select the file first.\n{HOSTILE}",
            action=Click(element_description="#3"),
            reply=f'{{"action": "click"}} {HOSTILE}',
            replies=2,
            grounding=(Grounding(phrase="#3", x=412, y=222, by="number", element="list-item report.txt"),),
            before=shots[0],
            after=shots[1],
            delta=Delta(
                regions=(Region(box=Box(x=330, y=200, width=300, height=40), changed_pixels=5000),),
                changed_fraction=0.0058,
            ),
            usage=SPENT,
            seconds=PHASES,
        )
        coded = Step(
            index=1,
            started_at=WHEN,
            thought="Renaming is a plain file task, so I let code do it.",
            action=CallCodeAgent(task="rename report.txt to final.txt"),
            before=shots[1],
            after=shots[2],
            delta=Delta(files=RENAMED[:2], output="", changed_fraction=0.01),
            code=CodeReport(
                task="rename",
                turns=(
                    CodeTurn(
                        language="bash",
                        code='cd ~/Documents && mv report.txt final.txt\nls -l # "<b>"',
                        returncode=0,
                        output=f"-rw-r--r-- 1 user user 58 final.txt\n{HOSTILE}",
                        seconds=0.04,
                    ),
                ),
                ended="done",
                summary="Renamed the file with mv and looked at the folder.",
            ),
            reflection="The folder shows final.txt; nothing else is left to do.",
            usage=SPENT,
            seconds=PHASES,
        )
        lost = Step(
            index=1,
            started_at=WHEN,
            action=Type(element_description="the Nmae field", text="final.txt", enter=True),
            before=shots[1],
            after=shots[1],
            error=StepError(kind="not_found", message=f"no element matches {HOSTILE!r}"),
            usage=SPENT,
            seconds=PHASES,
        )
        done = Step(index=2, started_at=WHEN, action=Done(), before=shots[2], usage=SPENT, seconds=PHASES)
        return [clicked, coded if rollout % 2 else lost, done]

    def rollout(self, index: int, *, over: bool = True) -> RolloutResult | None:
        paths = self.paths.rollout(index)
        steps = self.steps(index)
        for step in steps if over else steps[:2]:
            append_line(paths.trajectory, step)
            append_line(paths.narrative, Fact(step=step.index, text=f"{step.index}: {HOSTILE}", source="model"))
        append_line(paths.narrative, Fact(step=1, text='"report.txt" was renamed to "final.txt".', source="delta"))
        self.crops(index, 0)
        if not over:
            paths.pending.write_text("{}")
            return None
        result = RolloutResult(
            index=index,
            status="done" if index % 2 else "step_limit",
            reason=f"the agent says so {HOSTILE}",
            steps=len(steps),
            usage={"worker": SPENT["worker"] + SPENT["worker"]},
            seconds=14.2 + index,
            first=steps[0].before,
            last=steps[-1].before,
            files=RENAMED if index % 2 else (),
            windows=(WindowChange(kind="opened", title=f"Files {HOSTILE}", app="Pcmanfm"),),
        )
        write_model(paths.result, result)
        return result

    def finish(self, results: list[RolloutResult], winner: int | None) -> RunResult:
        verdict = Verdict(
            winner=winner,
            confidence=0.87,
            reasons=f"Rollout 1 renamed the file and left its content alone; the others did not. {HOSTILE}",
            citations=(Citation(candidate=1, step=1), Citation(candidate=0, step=0)),
            method="mcq",
            ballots=(
                Ballot(order=(2, 0, 1), choice=1, probabilities={"1": 0.87, "0": 0.05, "none": 0.08}, reply=HOSTILE),
            ),
            model="anthropic:claude-opus-5-5",
            usage=Usage(calls=1, input_tokens=5210, output_tokens=310, usd=0.021),
        )
        write_model(self.paths.verdict, verdict)
        delivered = Delivered(
            path="/home/user/Documents/final.txt", kind="created", host_path="/tmp/out/final.txt", bytes=58
        )
        result = RunResult(
            run_dir=str(self.paths.root),
            instruction=self.config.instruction,
            winner=winner,
            verdict=verdict,
            rollouts=tuple(results),
            delivered=(delivered,) if winner is not None else (),
            usage={
                "worker": Usage(calls=12, input_tokens=22_000, output_tokens=1150, usd=0.04),
                "judge": verdict.usage,
            },
            seconds={"boot": 0.4, "snapshot": 0.2, "fork": 1.1, "rollouts": 22.8, "judge": 3.9, "total": 28.6},
            model=self.config.model,
        )
        write_model(self.paths.result, result)
        return result


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Writer]:
    """Starts a run folder: `new_run(n, **config)`."""

    def start(n: int, **config: Any) -> Writer:
        return Writer(tmp_path / "run", n, **config)

    return start


@pytest.fixture(scope="session")
def _finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    writer = Writer(tmp_path_factory.mktemp("golden") / "run", 4)
    results = [writer.rollout(index) for index in range(4)]
    writer.finish([result for result in results if result], winner=1)
    return writer.paths.root


@pytest.fixture
def golden_run(_finished_run: Path, tmp_path: Path) -> RunPaths:
    """A finished run of four rollouts that rollout 1 won; each test has its own copy."""
    return RunPaths(Path(shutil.copytree(_finished_run, tmp_path / "run")))


@pytest.fixture
def hostile() -> str:
    """Text that tries to break out of a page and of a terminal."""
    return HOSTILE
