"""Reading OSWorld's task files."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.osworld.errors import TaskFileError
from benchmarks.osworld.tasks import Check, Evaluator, Getter, OSWorldTask, load_list, load_set, load_task

DATA = Path(__file__).parent / "data"
INFEASIBLE_TASK = DATA / "examples/os/c288e301-e626-4b98-a1ab-159dcb162af5.json"


def task_data(**changes: Any) -> dict[str, Any]:
    evaluator = {"func": "exact_match", "result": {"type": "vm_command_line", "command": "true"}}
    return {"id": "t", "instruction": "Do it", "evaluator": evaluator} | changes


def write(folder: Path, data: object, name: str = "t.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(data))
    return path


def test_a_list_loads_what_it_can_and_names_what_it_cannot():
    loaded = load_set(DATA)
    assert [task.domain for task in loaded.tasks] == [
        "os",
        "os",
        "multi_apps",
        "multi_apps",
        "libreoffice_impress",
        "vs_code",
    ]
    assert len(loaded.faults) == 1
    assert "00000000-0000-0000-0000-000000000000.json: file: No such file" in loaded.faults[0]


def test_a_task_file_becomes_frozen_data():
    task = load_task(DATA / "examples/os/28cc3b7e-b194-4bc9-8353-d04c0f4d56d2.json")
    assert task.setup_types == {"execute"}
    assert task.getter_types == {"vm_command_line", "rule"}
    (check,) = task.evaluator.checks()
    assert check.metric == "exact_match"
    assert check.result is not None
    assert check.result.parameters["shell"] is True
    with pytest.raises(ValueError, match="frozen"):
        task.instruction = "something else"


def test_several_functions_pair_up_with_their_sides():
    task = load_task(DATA / "examples/multi_apps/e1fc0df3-c8b9-4ee7-864c-d0b590d3aa56.json")
    checks = list(task.evaluator.checks())
    assert [check.metric for check in checks] == ["check_list", "check_list"]
    assert [check.result.parameters["path"] for check in checks if check.result] == ["grep.out", "apt.out"]


def test_infeasible_tasks_have_no_sides():
    task = load_task(INFEASIBLE_TASK)
    assert task.evaluator.infeasible
    assert list(task.evaluator.checks()) == [Check("infeasible", None, None, {})]


def test_stray_fields_of_upstream_are_left_out(tmp_path: Path):
    step = {"type": "sleep", "parameters": {"seconds": 1}, "_comment": "x"}
    data = task_data(hint="x", env_may_change=False, comments="x", _comments="x", source=None, config=[step])
    data["evaluator"]["_config_note"] = "x"
    task = load_task(write(tmp_path, data))
    assert (task.id, task.source, len(task.config)) == ("t", (), 1)


def test_the_infeasible_tasks_of_windows_arena_may_have_empty_sides_and_ids_of_another_case(tmp_path: Path):
    data = task_data(id="INF-T-wos", evaluator={"func": "infeasible", "result": {}, "expected": {}})
    task = load_task(write(tmp_path, data, "INF-T-WOS.json"))
    assert list(task.evaluator.checks()) == [Check("infeasible", None, None, {})]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (task_data(instructions="x"), "instructions: Extra inputs are not permitted; remove it"),
        ({"id": "t", "evaluator": {"func": "infeasible"}}, "instruction: Field required; add it"),
        (task_data(config=[{"parameters": {}}]), "config.0.type: Field required; add it"),
        (task_data(evaluator={"func": []}), "evaluator.func: Tuple should have at least 1 item"),
        (
            task_data(evaluator={"func": ["a", "b"], "result": [{"type": "rule"}]}),
            "evaluator: result has 1 entries where func has 2",
        ),
        (task_data(id="other"), "id: is 'other', the file name says 't'"),
        ([], "file: holds a list, not an object"),
    ],
)
def test_a_bad_file_gives_one_line_with_file_field_and_next_step(tmp_path: Path, data: object, complaint: str):
    path = write(tmp_path, data)
    with pytest.raises(TaskFileError) as caught:
        load_task(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {complaint}")
    assert "\n" not in message
    assert ";" in message


def test_torn_and_missing_files_are_named(tmp_path: Path):
    path = tmp_path / "t.json"
    path.write_text('{"id": ')
    with pytest.raises(TaskFileError, match=r"t\.json: file: no valid JSON"):
        load_task(path)
    with pytest.raises(TaskFileError, match="expected a list of task ids"):
        load_list(write(tmp_path, {"os": "abc"}))


@given(st.dictionaries(st.text(min_size=1).filter(lambda key: key != "type"), st.integers()))
def test_a_getter_keeps_all_its_fields(fields: dict[str, int]):
    if "parameters" not in fields:
        assert Getter.model_validate({"type": "vm_file", **fields}).parameters == fields


def test_data_survive_a_round_trip():
    task = load_task(INFEASIBLE_TASK)
    assert OSWorldTask.model_validate_json(task.model_dump_json()) == task
    assert Evaluator.model_validate(task.evaluator.model_dump()) == task.evaluator
