"""The task files of desktop_mini as data: whole, supported, described, and each with its oracle."""

import json

import pytest

from agent_s3.actions import ACTION
from agent_s3.code_agent import Snippet, read_reply
from benchmarks.desktop_mini import suite
from benchmarks.desktop_mini.oracle import NOOP, load_oracle, oracle_path
from benchmarks.errors import BenchmarkError
from benchmarks.osworld.assets import Assets
from benchmarks.osworld.evaluate import missing
from benchmarks.osworld.steps import Download, parse_step
from llm.chat import Message, Request

IDS = list(suite.entries())
HAND_WORK = ("click", "type", "hotkey", "hold_and_press", "set_cell_values")


def test_there_are_enough_tasks_of_each_kind():
    entries = list(suite.entries().values())
    assert len(entries) >= 36
    assert {kind: sum(entry.kind == kind for entry in entries) for kind in ("code", "gui", "multi")} == {
        "code": 12,
        "gui": 12,
        "multi": 12,
    }
    assert sum(entry.image == "slim" for entry in entries) >= 7
    assert sum(entry.difficulty == "easy" for entry in entries) >= 4
    assert {entry.domain for entry in entries} == {
        "files",
        "text",
        "terminal",
        "editor",
        "office",
        "browser",
        "multi_apps",
    }


def test_the_table_and_the_folders_name_the_same_tasks():
    assert {path.stem for path in (suite.ROOT / "tasks").rglob("*.json")} == set(IDS)
    assert {path.stem for path in (suite.ROOT / "oracles").glob("*.json")} == set(IDS)


@pytest.mark.parametrize("task_id", IDS)
def test_a_task_needs_nothing_that_is_not_there(task_id: str):
    task = suite.load(task_id)
    assert missing(task) == ()
    assert task.snapshot == suite.entries()[task_id].image
    files = [file for step in task.config if isinstance(known := parse_step(step), Download) for file in known.files]
    assert all(Assets(suite.ROOT).path(file.url).is_file() for file in files)


def test_no_asset_lies_there_unused():
    told = "".join(path.read_text() for path in (suite.ROOT / "tasks").rglob("*.json"))
    assets = [path.relative_to(suite.ROOT) for path in (suite.ROOT / "assets").rglob("*") if path.is_file()]
    assert [path for path in assets if f'"{path.as_posix()}"' not in told] == []


@pytest.mark.parametrize("task_id", IDS)
def test_an_oracle_is_made_of_real_actions_and_ends(task_id: str):
    oracle = load_oracle(task_id)
    actions = [ACTION.validate_python({k: v for k, v in s.decision.items() if k != "thought"}) for s in oracle.worker]
    assert actions[-1].action == "done"
    assert any(action.action == "call_code_agent" for action in actions) == bool(oracle.code)
    assert all(isinstance(read_reply(text), Snippet) or text == "DONE" for text in oracle.code)


@pytest.mark.parametrize("task_id", IDS)
def test_a_task_of_several_programs_names_them(task_id: str):
    apps = suite.load(task_id).related_apps
    match suite.entries()[task_id].kind:
        case "code":
            assert apps == ("os",)
        case "gui":
            assert len(apps) == 1
            assert apps != ("os",)
        case "multi":
            assert len(set(apps)) == 2


@pytest.mark.parametrize("task_id", [name for name in IDS if suite.load(name).related_apps != ("os",)])
def test_the_oracle_of_a_task_in_a_program_works_by_hand(task_id: str):
    oracle = load_oracle(task_id)
    assert not oracle.code
    assert any(step.decision["action"] in HAND_WORK for step in oracle.worker)


def test_unknown_tasks_are_refused_with_the_list_of_known_ones():
    with pytest.raises(BenchmarkError, match="there is no task 'nope'; the tasks are: files-rename-report"):
        suite.bench_tasks(["nope"])


def test_the_slim_image_runs_the_tasks_it_has_programs_for():
    slim = suite.bench_tasks(image="slim")
    assert {task.image for task in slim} == {"slim"}
    assert len(slim) < len(suite.bench_tasks())
    assert {task.image for task in suite.bench_tasks(image="desktop")} == {"desktop"}
    with pytest.raises(BenchmarkError, match="none of the tasks browser-order runs on image 'slim'"):
        suite.bench_tasks(["browser-order"], image="slim")


def test_the_hash_of_the_suite_is_stable():
    assert suite.sha256() == suite.sha256()
    assert len(suite.sha256()) == 64


def question(text: str) -> Request:
    return Request(messages=(Message.of("user", text),))


async def test_an_oracle_waits_until_what_it_needs_is_shown():
    model = load_oracle("editor-new-note").model("t")
    seen = ["", "nothing yet", 'Windows: "Untitled 1 - Mousepad"']
    replies = [(await model.complete(question(text), role="worker")).text for text in seen]
    assert [ACTION.validate_python(_decision(reply)).action for reply in replies] == ["open", "wait", "type"]


def _decision(reply: str) -> dict[str, object]:
    return {key: value for key, value in json.loads(reply).items() if key != "thought"}


async def test_the_no_op_says_at_once_that_it_is_done():
    assert '"done"' in (await NOOP.model("noop").complete(question("x"), role="worker")).text


def test_oracles_lie_beside_their_tasks():
    assert oracle_path("files-rename-report").is_file()
