"""What of the past is shown to a model, in which order, and what that spares at providers that cache."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from peer_models import connect
from rollout_stage import Stage, act
from scripted_peers import DIALECTS, Dialect, Fault, Peer, Say

from agent_s3 import context
from agent_s3.record import read_lines
from agent_s3.settings import AgentSettings
from agent_s3.types import RolloutResult, Step
from llm.chat import Abilities, Request
from llm.errors import ContextTooLong
from llm.scripted import ScriptedModel
from llm.settings import Settings
from vm_pool.events import InputEvent
from vm_pool.providers.fake_desktop import FakeDesktop
from vm_pool.types import Box

KEYS = "abcdefghijklmnopqrstuvwxyz"


def repaints(stage: Stage) -> None:
    """Every event changes the picture."""
    shade = iter(range(1, 250))

    def react(desktop: FakeDesktop, _event: InputEvent) -> None:
        desktop.paint(Box(x=0, y=0, width=80, height=60), (next(shade), 2, 3))

    stage.machine.script.on_event = react


async def asked_over_the_wire(stage: Stage, dialect: Dialect, steps: int) -> tuple[list[Any], RolloutResult]:
    """The bodies that a server got in a rollout of so many steps, and how the rollout ended."""
    repaints(stage)
    presses = [Say(text="", calls=(("hotkey", json.dumps({"thought": "t", "keys": [k]})),)) for k in KEYS[: steps - 1]]
    done = Say(text="", calls=(("done", json.dumps({"thought": "it is there"})),))
    async with Peer(dialect, *presses, done) as peer:
        model = connect(peer, Settings())
        result: RolloutResult = await stage.play(model)
        await model.aclose()
        assert (result.status, result.steps) == ("done", steps), result.reason
        return [seen.body for seen in peer.seen], result


def blocks(body: dict[str, Any]) -> Iterator[str]:
    """Everything that is said, in order, as it goes over the wire; where a cache can end is no part of it."""
    for item in body["messages"] if "messages" in body else body["input"]:
        content = item.pop("content", None)
        for part in content if isinstance(content, list) else [content]:
            plain = {k: v for k, v in part.items() if k != "cache_control"} if isinstance(part, dict) else part
            yield json.dumps([item.get("role"), plain])
        if rest := {k: v for k, v in item.items() if k != "role"}:
            yield json.dumps(rest)


def extends(before: list[str], after: list[str]) -> bool:
    """Whether a question begins with the whole of the one before, but for the state at its end."""
    return after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_question_begins_with_the_whole_of_the_one_before(stage: Stage, dialect: Dialect):
    bodies, _ = await asked_over_the_wire(stage, dialect, 6)
    assert all(body.get("tools") == bodies[0]["tools"] for body in bodies)
    assert all(body.get("system") == bodies[0].get("system") for body in bodies)
    said = [list(blocks(body)) for body in bodies]
    assert [extends(one, two) for one, two in itertools.pairwise(said)] == [True] * 5
    assert all("Elements:" in words[-1] for words in said)
    assert ["Step 1 of at most" in "".join(words) for words in said] == [True] + [False] * 5


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_pictures_are_left_out_several_at_a_time(stage: Stage, dialect: Dialect):
    stage.settings = AgentSettings(images_kept=4, reflection="never")
    bodies, _ = await asked_over_the_wire(stage, dialect, 12)
    said = [list(blocks(body)) for body in bodies]
    pictures = [sum('"image' in block or "input_image" in block for block in words) for words in said]
    assert pictures == [1, 2, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4]
    whole = [extends(one, two) for one, two in itertools.pairwise(said)]
    assert whole.count(False) == 4


async def test_the_cache_marks_of_a_question_stand_where_the_next_one_finds_them(stage: Stage):
    bodies, _ = await asked_over_the_wire(stage, "messages", 5)
    assert all("cache_control" in body["system"][-1] for body in bodies)
    parts = [[part for turn in body["messages"] for part in turn["content"]] for body in bodies]
    for before, after in itertools.pairwise(parts):
        end = len(before) - 2
        assert "cache_control" in before[end], "the last part before the state ends what can be cached"
        assert "cache_control" in after[end], "and the next question marks the same place"
        assert sum("cache_control" in part for part in after) <= 3


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_cached_share_that_the_provider_counts_is_recorded(stage: Stage, dialect: Dialect):
    _, result = await asked_over_the_wire(stage, dialect, 3)
    assert result.usage["worker"].cached_tokens == 3 * 400
    assert result.usage["worker"].cached_share == pytest.approx(0.4)


def test_pictures_shown_are_at_most_those_asked_for_and_more_than_half():
    for keep in (1, 2, 3, 8):
        shown = [turns - context.first_pictured(turns, keep) for turns in range(1, 60)]
        assert shown[:keep] == list(range(1, keep + 1))
        assert all(keep / 2 < count <= keep for count in shown[keep:])


def test_steps_are_left_out_in_hops_and_the_newest_ones_stay():
    costs = [10] * 40
    starts = [context.first_told(costs[:n], 100) for n in range(1, 41)]
    assert starts == sorted(starts)
    assert all(sum(costs[start:n]) <= 100 for n, start in enumerate(starts, start=1))
    assert len(set(starts)) == 7, "not at every step"
    assert context.first_told([10, 1000], 100) == 2, "a step that does not fit is told in a line"


def test_lines_about_earlier_steps_give_way_oldest_first():
    lines = [f"{i}. press esc" for i in range(100)]
    assert context.lines_that_fit(lines, 100_000) == lines
    kept = context.lines_that_fit(lines, 1000)
    assert kept[0] == f"({100 - len(kept) + 1} more before that)"
    assert kept[-1] == lines[-1]


def test_other_scripts_take_more_tokens_than_letters_of_english():
    assert context.text_tokens("漢字かな") > len("漢字かな")
    assert context.text_tokens("word " * 100) < 200
    assert context.picture_tokens(1920, 1080) == 2765


def test_pictures_take_at_most_half_of_a_small_context():
    assert context.pictures_that_fit(8, each=2765, context=32_768) == 5
    assert context.pictures_that_fit(8, each=2765, context=2000) == 1
    assert context.pictures_that_fit(8, each=2765, context=200_000) == 8


async def test_when_the_provider_counts_more_tokens_than_we_did_more_of_the_past_is_left_out(stage: Stage):
    """Task and newest state stay."""
    stage.settings = AgentSettings(style="full", reflection="never", max_steps=20)
    sizes: list[int] = []

    def too_long(request: Request, _role: str) -> Any:
        words = "\n".join(message.text for message in request.messages)
        sizes.append(len(words))
        assert "Task: Save the notes" in words
        assert "Elements:" in request.messages[-1].text
        if len(request.messages) > 20:
            raise ContextTooLong("prompt is too long: 200001 tokens > 200000 maximum")

    long_thoughts = [{"thought": "long " * 80, "action": "hotkey", "keys": [key]} for key in KEYS[:14]]
    replies = [act("wait", time=0.01).model_copy(update={"data": data}) for data in long_thoughts]
    model = ScriptedModel([too_long, *replies, act("done")], abilities=Abilities(schema=True, context_tokens=12_000))
    result = await stage.play(model)
    assert (result.status, result.steps) == ("done", 15), result.reason
    assert len(sizes) > 15
    assert [step.error for step in read_lines(stage.paths.rollout(0).trajectory, Step)] == [None] * 15


PRESS = Say(text="", calls=(("hotkey", json.dumps({"thought": "t", "keys": ["a"]})),), thinking="sealed-1")
OVER = Say(text="", calls=(("done", json.dumps({"thought": "t"})),), thinking="sealed-2")


async def talk(stage: Stage, dialect: Dialect, *deeds: Any) -> list[dict[str, Any]]:
    stage.settings = AgentSettings(reflection="never")
    async with Peer(dialect, *deeds) as peer:
        model = connect(peer, Settings())
        result = await stage.play(model)
        await model.aclose()
        assert (result.status, result.steps) == ("done", 2), result.reason
        return [seen.body for seen in peer.seen]


@pytest.mark.parametrize(("dialect", "call"), [("messages", "tool_use"), ("responses", "function_call")])
async def test_thoughts_that_a_provider_signed_go_back_to_it_before_their_call(
    stage: Stage, dialect: Dialect, call: str
):
    *_, last = await talk(stage, dialect, PRESS, OVER)
    said = last["input"] if dialect == "responses" else [p for turn in last["messages"] for p in turn["content"]]
    kinds = [part.get("type") for part in said]
    place = kinds.index(call)
    assert kinds[place - 1] in ("thinking", "reasoning")
    assert "sealed-1" in json.dumps(said[place - 1])
    assert [step.thinking[0].provider for step in read_lines(stage.paths.rollout(0).trajectory, Step)] == [
        "anthropic" if dialect == "messages" else "openai"
    ] * 2


@pytest.mark.parametrize(
    ("dialect", "refusal"),
    [
        ("messages", "messages.1.content.0: Invalid `signature` in `thinking` block"),
        ("responses", "Item 'rs_1' of type 'reasoning' was provided without its required following item."),
    ],
)
async def test_where_a_provider_refuses_thoughts_they_are_left_out_from_then_on(
    stage: Stage, dialect: Dialect, refusal: str
):
    first, second, third = await talk(stage, dialect, PRESS, Fault(400, refusal), OVER)
    assert ["sealed-1" in json.dumps(body) for body in (first, second, third)] == [False, True, False]
