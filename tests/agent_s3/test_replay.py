"""Doing recorded steps again on another machine, checked against what they did then."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rollout_stage import BLIND, Stage, act, editor_tree, editor_window, new_stage, says

from agent_s3 import replay as replaying
from agent_s3.record import FrameStore, read_lines, read_model
from agent_s3.replay import Replayed, ReplayReport, replay
from agent_s3.rollout_log import RolloutStart
from agent_s3.settings import AgentSettings
from agent_s3.types import Step, StepError
from llm.scripted import ScriptedModel
from vm_pool.errors import GuestError, MachineLost
from vm_pool.events import Click, InputEvent, Text
from vm_pool.providers.fake import FakeMachine
from vm_pool.providers.fake_desktop import FakeDesktop, FakeFile
from vm_pool.providers.fake_shell import Reply as ShellReply
from vm_pool.types import Box

NOTES = "/home/user/Documents/notes.txt"
SAVE = act("click", element_description="Save")
TYPE = act("type", element_description="Name", text="final")


def editor(desktop: FakeDesktop, event: InputEvent) -> None:
    """Typing changes the text that is shown, a click on Save writes it and opens a message."""
    if isinstance(event, Text):
        desktop.tree = editor_tree(text=event.text)
        desktop.paint(Box(x=10, y=70, width=200, height=100), (len(event.text), 2, 3))
    if isinstance(event, Click) and event.x == 40:
        desktop.files[NOTES] = FakeFile(b"saved")
        desktop.windows = (editor_window(), editor_window(id="0x2", title="Saved", app="Message", active=False))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = new_stage(tmp_path)
    made.machine.script.on_event = editor
    return made


class Recorded:
    """A rollout that was played, and another machine like the one that it was played on."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.paths = stage.paths
        self.steps = read_lines(stage.paths.rollout(0).trajectory, Step)
        self.first = read_model(stage.paths.rollout(0).start, RolloutStart).first
        other = new_stage(folder)
        other.machine.script.on_event = editor
        other.machine.script.on_command = stage.machine.script.on_command
        self.machine: FakeMachine = other.machine
        self.heard: list[Replayed] = []

    async def again(self, request_prefix: str = "again", **more: Any) -> ReplayReport:
        stage = replaying.Stage(
            machine=self.machine,
            frames=FrameStore(self.paths.frames),
            settings=AgentSettings(),
            request_prefix=request_prefix,
            on_step=self.heard.append,
            **more,
        )
        return await replay(self.steps, stage, first=self.first)


@pytest.fixture
def play(stage: Stage, tmp_path: Path) -> Callable[..., Any]:
    async def played(*replies: Any) -> Recorded:
        await stage.play(ScriptedModel([*replies, act("done")], abilities=BLIND))
        return Recorded(stage, tmp_path / "other")

    return played


async def test_recorded_events_are_sent_once_each_and_lead_to_the_same_state(
    stage: Stage, play: Callable[..., Any]
) -> None:
    recorded = await play(TYPE, SAVE)
    report = await recorded.again()
    assert report.diverged is None
    assert [step.outcome for step in report.steps] == ["same", "same", "skipped"]
    assert recorded.machine.desktop.events == stage.machine.desktop.events
    assert recorded.machine.desktop.files[NOTES].data == b"saved"
    assert recorded.heard == list(report.steps)


async def test_a_file_that_comes_out_otherwise_stops_it_at_that_step(play: Callable[..., Any]) -> None:
    recorded = await play(SAVE, TYPE)

    def other(desktop: FakeDesktop, event: InputEvent) -> None:
        editor(desktop, event)
        desktop.files[NOTES] = FakeFile(b"something else")

    recorded.machine.script.on_event = other
    report = await recorded.again()
    assert report.diverged is not None
    assert (report.diverged.step, len(report.steps)) == (0, 1)
    assert [d.aspect for d in report.diverged.differences] == ["files"]
    assert "something else" in report.diverged.words
    assert len(recorded.machine.desktop.events) == 1


async def test_a_window_that_does_not_open_is_a_divergence(play: Callable[..., Any]) -> None:
    recorded = await play(SAVE)

    def other(desktop: FakeDesktop, event: InputEvent) -> None:
        editor(desktop, event)
        desktop.windows = (editor_window(),)

    recorded.machine.script.on_event = other
    report = await recorded.again()
    assert [d.aspect for d in report.steps[-1].differences] == ["windows"]
    assert "opened 'Message'" in report.steps[-1].words


async def test_a_text_that_comes_out_otherwise_is_a_divergence(play: Callable[..., Any]) -> None:
    recorded = await play(TYPE)

    def other(desktop: FakeDesktop, event: InputEvent) -> None:
        editor(desktop, event)
        if isinstance(event, Text):
            desktop.tree = editor_tree(text="finla")

    recorded.machine.script.on_event = other
    report = await recorded.again()
    assert [d.aspect for d in report.steps[-1].differences] == ["elements"]
    assert "'final'" in report.steps[-1].words
    assert "finla" in report.steps[-1].words


async def test_a_screen_that_looks_otherwise_is_a_divergence_and_a_clock_is_none(play: Callable[..., Any]) -> None:
    recorded = await play(TYPE)
    recorded.machine.desktop.paint(Box(x=300, y=190, width=10, height=8), (250, 250, 250))
    assert (await recorded.again()).diverged is None
    recorded = await play()  # what follows begins with another picture
    recorded.machine.desktop.paint(Box(x=0, y=0, width=160, height=100), (250, 250, 250))
    report = await recorded.again()
    assert report.diverged is not None
    assert (report.diverged.step, report.diverged.did) == (-1, "start")


async def test_code_is_run_again_and_compared_by_its_exit_code(stage: Stage, play: Callable[..., Any]) -> None:
    codes = {"ls": 0, "grep x y": 1}
    ran: list[str] = []

    def shell(_desktop: FakeDesktop, argv: Any, _stdin: bytes) -> ShellReply | None:
        if argv[0] != "bash":
            return ShellReply("")
        ran.append(argv[2])
        return ShellReply(f"run {len(ran)}", returncode=codes[argv[2]])

    stage.machine.script.on_command = shell
    blocks = [says("code", f"```bash\n{code}\n```") for code in codes]
    recorded = await play(act("call_code_agent"), *blocks, says("code", "DONE"))
    assert (await recorded.again()).diverged is None
    assert ran == ["ls", "grep x y"] * 2
    codes["ls"] = 2
    report = await recorded.again("and-again")
    assert [d.aspect for d in report.steps[-1].differences] == ["code"]


async def test_what_sent_nothing_is_skipped(stage: Stage, play: Callable[..., Any]) -> None:
    recorded = await play(act("click", element_description="no such thing"), SAVE)
    report = await recorded.again()
    assert [step.outcome for step in report.steps] == ["skipped", "same", "skipped"]


async def test_a_question_of_the_agent_is_not_asked_again(stage: Stage, play: Callable[..., Any]) -> None:
    stage.settings = AgentSettings(ask=True, ask_timeout_s=0.01)
    recorded = await play(act("ask_user", question="Which year?"), SAVE)
    report = await recorded.again()
    assert [step.outcome for step in report.steps] == ["skipped", "same", "skipped"]


async def test_a_step_of_which_it_is_not_known_whether_it_happened_cannot_be_done_again(
    play: Callable[..., Any],
) -> None:
    recorded = await play(SAVE)
    cut = StepError(kind="interrupted", message="stopped")
    recorded.steps[0] = recorded.steps[0].model_copy(update={"error": cut, "delta": None, "events": ()})
    report = await recorded.again()
    assert report.diverged is not None
    assert "not known whether it happened" in report.diverged.words
    assert recorded.machine.desktop.events == []


async def test_a_guest_that_refuses_is_a_divergence_and_a_lost_one_is_raised(play: Callable[..., Any]) -> None:
    recorded = await play(SAVE)
    recorded.machine.script.fail_next("perform", GuestError("no such key"))
    report = await recorded.again()
    assert "no such key" in report.steps[-1].words
    recorded.machine.script.fail_next("perform", MachineLost("gone"))
    with pytest.raises(MachineLost):
        await recorded.again()


def in_a_cache(path: str) -> bool:
    return "/.cache/" in path


async def test_files_that_programs_write_by_themselves_are_not_compared(play: Callable[..., Any]) -> None:
    recorded = await play(SAVE)

    def noisy(desktop: FakeDesktop, event: InputEvent) -> None:
        editor(desktop, event)
        desktop.files["/home/user/.cache/x"] = FakeFile(b"noise")

    recorded.machine.script.on_event = noisy
    assert (await recorded.again(ignore=in_a_cache)).diverged is None


async def test_pictures_that_are_gone_are_not_compared(play: Callable[..., Any]) -> None:
    recorded = await play(SAVE)
    for path in recorded.paths.frames.iterdir():
        path.unlink()
    assert (await recorded.again()).diverged is None
