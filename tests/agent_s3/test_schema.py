"""What models are shown of the actions: one source, three forms."""

from agent_s3.actions import ACTION, ACTIONS, AskUser
from agent_s3.schema import name_of, offered, signatures, text_schema, tools


def test_every_action_has_a_tool_a_branch_of_the_schema_and_a_line():
    names = [name_of(a) for a in ACTIONS]
    assert len(names) == 16
    assert [t.name for t in tools(ACTIONS)] == names
    assert [b["properties"]["action"]["enum"] for b in text_schema(ACTIONS)["anyOf"]] == [[n] for n in names]
    assert [line.partition("(")[0] for line in signatures(ACTIONS).splitlines()] == names


def test_all_tools_take_a_thought_first_and_nothing_unknown():
    for tool in tools(ACTIONS):
        assert next(iter(tool.parameters["properties"])) == "thought"
        assert tool.parameters["additionalProperties"] is False


def test_what_the_schema_requires_is_what_the_models_require():
    for kind, tool in zip(ACTIONS, tools(ACTIONS), strict=True):
        required = {n for n, f in kind.model_fields.items() if f.is_required()}
        assert set(tool.parameters["required"]) == required | {"thought"}


def test_bounds_that_grammars_choke_on_are_not_shown():
    assert "maxLength" not in str(text_schema(ACTIONS))


def test_actions_that_need_what_the_machine_lacks_are_hidden():
    assert "set_cell_values" not in [name_of(a) for a in offered(can_run=True, has_office=False, short=False)]
    bare = [name_of(a) for a in offered(can_run=False, has_office=False, short=False)]
    assert "call_code_agent" not in bare
    assert {"click", "type", "done", "fail"} <= set(bare)


def test_a_question_to_the_user_is_offered_only_where_there_is_one():
    asked = offered(can_run=True, has_office=True, short=True, ask=True)
    assert set(asked) - set(offered(can_run=True, has_office=True, short=True)) == {AskUser}


def test_a_small_model_is_offered_fewer_actions():
    assert len(offered(can_run=True, has_office=True, short=True)) < len(ACTIONS)


def test_actions_survive_the_way_to_json_and_back():
    for value in (
        {"action": "hotkey", "keys": ["ctrl", "s"]},
        {"action": "scroll", "element_description": "x", "clicks": -3},
    ):
        action = ACTION.validate_python(value)
        assert ACTION.validate_json(ACTION.dump_json(action)) == action
