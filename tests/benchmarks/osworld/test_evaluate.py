"""Setting up and scoring a machine: the in-memory one, with commands answered by a function."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.osworld.assets import Assets, mirror_name
from benchmarks.osworld.cache import Cache
from benchmarks.osworld.errors import AssetMissing, EvaluationFailed, SetupFailed, Unsupported
from benchmarks.osworld.evaluate import evaluate, missing, prepare
from benchmarks.osworld.getters import fetch
from benchmarks.osworld.setup import Stage, set_up
from benchmarks.osworld.steps import argv, fill
from benchmarks.osworld.tasks import Getter, OSWorldTask, SetupStep
from benchmarks.results import Outcome
from vm_pool.providers.fake import FakeMachine, fake_info
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_shell import Reply
from vm_pool.types import Box, Node, Tree, Window

WINDOW = Window(id="1", title="Notes.TXT - Mousepad", app="Mousepad", pid=1, box=Box(x=0, y=0, width=9, height=9))


def answer(desktop: FakeDesktop, command: Sequence[str], stdin: bytes) -> Reply | None:
    """`/bin/sh -c` scripts of the form `say TEXT` and `fail`, and a wmctrl that knows one window."""
    match command:
        case ["/bin/sh", "-c", script, *_] if script.startswith("say "):
            return Reply(script.removeprefix("say "))
        case ["/bin/sh", "-c", "fail"]:
            return Reply(stderr="it broke", returncode=3)
        case ["wmctrl", *_, name]:
            return Reply(returncode=0 if name == "Notes" else 1)
        case _:
            return None


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/gold.txt").write_text("gold\n")
    machine = FakeMachine(files={"/home/user/made.txt": b"gold\n"}, script=Script(on_command=answer))
    machine.desktop.windows = (WINDOW,)
    return Stage(machine, Assets(tmp_path / "set"), Cache(tmp_path / "cache"))


def machine_of(stage: Stage) -> FakeMachine:
    assert isinstance(stage.machine, FakeMachine)
    return stage.machine


def step(kind: str, **parameters: Any) -> SetupStep:
    return SetupStep(type=kind, parameters=parameters)


def task_of(*, config: Sequence[SetupStep] = (), **evaluator: Any) -> OSWorldTask:
    data = {"id": "t", "instruction": "Do it", "evaluator": evaluator}
    return OSWorldTask.model_validate(data).model_copy(update={"config": tuple(config)})


COMPARE: dict[str, Any] = {
    "func": "compare_text_file",
    "result": {"type": "vm_file", "path": "/home/user/made.txt", "dest": "made.txt"},
    "expected": {"type": "cloud_file", "path": "gold.txt", "dest": "gold.txt"},
}


async def test_setup_puts_assets_into_the_machine_and_opens_programs(stage: Stage):
    steps = [
        step("download", files=[{"url": "gold.txt", "path": "~/in/a.txt"}]),
        step("upload_file", files=[{"local_path": "gold.txt", "path": "b.txt"}]),
        step("launch", command="mousepad ~/in/a.txt"),
        step("open", path="/home/user/notes.txt"),
        step("activate_window", window_name="Notes"),
        step("sleep", seconds=0),
    ]
    assert await set_up(steps, stage) == ()
    machine = machine_of(stage)
    assert machine.desktop.files["/home/user/in/a.txt"].data == b"gold\n"
    assert machine.desktop.files["/home/user/b.txt"].data == b"gold\n"
    assert machine.desktop.launched == [["mousepad", "/home/user/in/a.txt"], ["xdg-open", "/home/user/notes.txt"]]


async def test_a_failed_command_is_a_note_as_upstream_has_it(stage: Stage):
    (note,) = await set_up([step("execute", command="fail", shell=True)], stage)
    assert note == "setup step 1 (execute): 'fail' ended with 3: it broke"


async def test_a_failed_command_stops_a_strict_setup(tmp_path: Path, stage: Stage):
    strict = Stage(stage.machine, stage.assets, stage.cache, strict=True)
    with pytest.raises(SetupFailed, match="ended with 3"):
        await set_up([step("execute", command="fail", shell=True)], strict)


async def test_a_missing_asset_stops_any_setup_and_says_where_it_should_be(stage: Stage):
    with pytest.raises(SetupFailed, match=r"setup step 'download': asset 'no.txt' is not at .*/set/no.txt"):
        await set_up([step("download", files=[{"url": "no.txt", "path": "a"}])], stage)


async def test_unknown_steps_are_found_before_any_is_done(stage: Stage):
    steps = [step("launch", command="mousepad"), step("googledrive", settings_file="x")]
    with pytest.raises(Unsupported, match=r"setup type 'googledrive' is not supported; known: .*download"):
        await set_up(steps, stage)
    assert machine_of(stage).desktop.launched == []


async def test_saved_output_is_read_back_from_the_cache(stage: Stage):
    await set_up([step("command", command="say hello", shell="true", stdout="said.txt")], stage)
    found = await fetch(Getter(type="cache_file", parameters={"path": "said.txt"}), stage)
    assert found is not None
    assert getattr(found, "text", None) == "hello"


async def test_a_command_is_repeated_until_its_output_agrees(stage: Stage):
    said = iter(["not yet", "almost", "ready now"])
    machine = machine_of(stage)
    machine.script.on_command = lambda desktop, command, stdin: Reply(next(said), returncode=1)
    assert await set_up([step("execute", command="poll", until={"stdout": "ready"})], stage) != ()
    assert len(machine.desktop.commands) == 3


def test_commands_keep_upstreams_meaning():
    info = fake_info(width=1920, height=1080)
    assert fill("click {SCREEN_WIDTH_HALF} {SCREEN_HEIGHT}", info, "pw") == "click 960 1080"
    assert fill(("echo", "{CLIENT_PASSWORD}"), info, "pw") == ("echo", "pw")
    assert argv("cat 'a b' ~/c", shell=False, home="/h") == ("cat", "a b", "/h/c")
    assert argv(("echo $0", "x"), shell=True, home="/h") == ("/bin/sh", "-c", "echo $0", "x")
    with pytest.raises(SetupFailed, match="cannot be split"):
        argv("echo 'open", shell=False, home="/h")


async def test_a_done_task_scores_one(stage: Stage):
    assert await evaluate(task_of(**COMPARE), stage, gave_up=False) == Outcome.scored(1.0)


async def test_giving_up_on_a_task_that_can_be_done_scores_nothing(stage: Stage):
    assert (await evaluate(task_of(**COMPARE), stage, gave_up=True)).score == 0


async def test_infeasible_is_right_exactly_when_the_agent_gives_up(stage: Stage):
    task = task_of(func="infeasible")
    assert (await evaluate(task, stage, gave_up=True)).score == 1
    assert (await evaluate(task, stage, gave_up=False)).score == 0


async def test_a_file_that_was_never_made_scores_nothing(stage: Stage):
    machine_of(stage).desktop.files.clear()
    assert (await evaluate(task_of(**COMPARE), stage, gave_up=False)).score == 0


@pytest.mark.parametrize(
    ("conj", "texts", "want"),
    [("and", ["gold", "gold"], 1.0), ("and", ["gold", "lead"], 0.0), ("or", ["lead", "gold"], 1.0)],
)
async def test_comparisons_are_joined_by_and_and_or(stage: Stage, conj: str, texts: list[str], want: float):
    task = task_of(
        func=["exact_match"] * 2,
        conj=conj,
        result=[{"type": "vm_command_line", "command": f"say {text}", "shell": True} for text in texts],
        expected=[{"type": "rule", "rules": {"expected": "gold"}}] * 2,
    )
    assert (await evaluate(task, stage, gave_up=False)).score == want


async def test_a_machine_lost_while_it_is_scored_is_not_a_zero(stage: Stage):
    machine_of(stage).lose()
    outcome = await evaluate(task_of(**COMPARE), stage, gave_up=False)
    assert (outcome.kind, outcome.score) == ("guest_lost", None)


async def test_a_broken_rule_is_an_evaluator_error_and_not_a_zero(stage: Stage):
    task = task_of(func="exact_match", result=COMPARE["result"], expected={"type": "rule", "rules": {}})
    outcome = await evaluate(task, stage, gave_up=False)
    assert (outcome.kind, outcome.score) == ("evaluator_error", None)
    assert "the rule has no 'expected'" in outcome.detail


async def test_what_a_task_needs_beyond_us_is_listed_before_it_starts(stage: Stage):
    task = task_of(
        config=[step("login", platform="googledrive")],
        func="compare_table",
        result={"type": "vm_file", "path": "a.xlsx"},
        expected={"type": "googledrive_file"},
    )
    assert missing(task) == ("setup type login", "getter googledrive_file", "metric compare_table")
    with pytest.raises(Unsupported, match="task t needs setup type login, getter googledrive_file"):
        await prepare(task, stage)
    assert (await evaluate(task, stage, gave_up=False)).kind == "unsupported"


async def test_several_files_come_in_the_order_that_gives_names(stage: Stage):
    await stage.machine.write("/home/user/second.txt", b"2")
    both = {"path": ["made.txt", "second.txt"], "dest": ["a", "b"], "multi": True, "gives": [1, 0]}
    found = await fetch(Getter(type="vm_file", parameters=both), stage)
    assert isinstance(found, tuple)
    assert [item.data for item in found] == [b"2", b"gold\n"]
    with pytest.raises(EvaluationFailed, match="beyond the 2"):
        await fetch(Getter(type="vm_file", parameters=both | {"gives": [2]}), stage)


async def test_the_accessibility_tree_comes_as_upstreams_xml(stage: Stage):
    entry = Node(id="1", role="push button", name="a\x00<", text="7\ufffc", states=frozenset({"focused"}))
    machine_of(stage).desktop.tree = Tree(root=Node(id="0", role="desktop frame", children=(entry,)))
    xml = await fetch(Getter(type="accessibility_tree"), stage)
    assert isinstance(xml, str)
    assert xml.startswith("<desktop-frame")
    assert 'name="a&lt;"' in xml
    assert 'focused="true">7</push-button>' in xml


def test_assets_never_leave_the_task_set(tmp_path: Path):
    with pytest.raises(AssetMissing, match="lies outside the task set"):
        Assets(tmp_path / "set").path("../secret")


def test_hosted_assets_are_taken_from_a_mirror_or_refused_with_the_name_to_use(tmp_path: Path):
    url = "https://example.org/a/report.txt"
    with pytest.raises(AssetMissing, match=f"nothing is downloaded here.*{mirror_name(url)}"):
        Assets(tmp_path).path(url)
    (tmp_path / mirror_name(url)).write_text("x")
    assert Assets(tmp_path, mirror=tmp_path).path(url).read_text() == "x"


def test_the_cache_keeps_to_its_folder(tmp_path: Path):
    cache = Cache(tmp_path / "cache")
    with pytest.raises(EvaluationFailed, match="outside the task's cache"):
        cache.write("../x", b"")
    cache.write("a.txt", b"1")
    copy = cache.fork(tmp_path / "copy")
    copy.write("a.txt", b"2")
    assert cache.read("a.txt") == b"1"
    assert copy.read("b.txt") is None
