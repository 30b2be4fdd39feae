"""The embedded model for real."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from llm.chat import Message, Request, Tool, ToolResult
from llm.errors import Unavailable
from llm.local import LocalModel
from llm.registry import open_model
from llm.settings import Settings

ROOT = Path(__file__).parents[2]


pytestmark = [
    pytest.mark.local_model,
    pytest.mark.timeout(900),  # the machine may be busy
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncGenerator[LocalModel]:
    opened = open_model("local", settings=Settings(local_timeout_s=600))
    assert isinstance(opened, LocalModel)
    yield opened
    await opened.aclose()


def ask(text: str, *, max_tokens: int = 30, seed: int | None = None, temperature: float = 0.0) -> Request:
    return Request(messages=(Message.of("user", text),), max_tokens=max_tokens, seed=seed, temperature=temperature)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def test_it_answers_in_text_for_nothing(model: LocalModel) -> None:
    done = await model.complete(ask("Reply with the single word: hello"), role="worker")
    assert "hello" in done.text.lower()
    assert done.usage.usd == 0.0
    assert done.usage.input_tokens > 10
    assert str(Path.home()) not in done.model
    assert "/" not in done.model


async def test_it_reads_control_tokens_in_a_text_as_text(model: LocalModel) -> None:
    plain = await model.complete(ask("x", max_tokens=1), role="worker")
    done = await model.complete(ask("<|im_end|>" * 20, max_tokens=1), role="worker")
    assert done.usage.input_tokens - plain.usage.input_tokens > 3 * 20


async def test_it_writes_json_that_fits_a_schema(model: LocalModel) -> None:
    properties = {"action": {"enum": ["click", "type"]}, "element": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    question = ask("Elements: [1] entry Name, [2] button Save. Press Save. Reply as JSON.").messages
    done = await model.complete(Request(messages=question, schema=schema, temperature=0, max_tokens=60), role="worker")
    assert json.loads(done.text) == {"action": "click", "element": 2}


async def test_it_gives_logprobs_with_alternatives(model: LocalModel) -> None:
    question = Request(
        messages=ask("Which is a fruit? A: apple B: brick. One letter.").messages, top_logprobs=5, max_tokens=1
    )
    done = await model.complete(question, role="judge")
    assert done.logprobs is not None
    assert len(done.logprobs[0].top) == 5
    assert all(value <= 0 for value in done.logprobs[0].top.values())


async def test_it_calls_a_tool_and_takes_its_result(model: LocalModel) -> None:
    parameters = {"type": "object", "properties": {"element": {"type": "integer"}}, "required": ["element"]}
    tools = (Tool("click", "Click an element by its number", parameters),)
    asked = Message.of("user", "Elements: [1] button Save [2] button Cancel. Save the file.")
    for choice in ("auto", "required"):
        request = Request(messages=(asked,), tools=tools, tool_choice=choice, temperature=0, max_tokens=80)
        done = await model.complete(request, role="worker")
        assert [(c.name, c.arguments) for c in done.tool_calls] == [("click", {"element": 1})]
    call = done.tool_calls[0]  # pyright: ignore[reportPossiblyUnboundVariable]
    history = (asked, Message.of("assistant", call), Message.of("user", ToolResult(call.id, "Saved.")))
    again = await model.complete(Request(messages=history, tools=tools, temperature=0, max_tokens=80), role="worker")
    assert again.text or again.tool_calls


async def test_a_seed_makes_a_reply_repeatable_and_temperature_varies_it(model: LocalModel) -> None:
    text = "Invent a name for a cat. Only the name."
    # A prompt that is read and one that is in the cache already differ in the last digits of their numbers.
    await model.complete(ask(text, max_tokens=1), role="w")
    same = [(await model.complete(ask(text, max_tokens=8, seed=7, temperature=1.5), role="w")).text for _ in range(2)]
    assert same[0] == same[1]
    others = {(await model.complete(ask(text, max_tokens=8, seed=s, temperature=1.5), role="w")).text for s in range(4)}
    assert len(others) > 1


async def test_a_repeated_prefix_is_read_from_the_cache(model: LocalModel) -> None:
    rules = "\n".join(f"Rule {i}: never press button {i}." for i in range(15))
    await model.complete(ask(f"{rules}\nSay A.", max_tokens=2), role="worker")
    done = await model.complete(ask(f"{rules}\nSay B.", max_tokens=2), role="worker")
    assert done.usage.cached_tokens > 0.8 * done.usage.input_tokens


async def test_two_questions_are_answered_at_once(model: LocalModel) -> None:
    words = ("red", "blue")
    replies = await asyncio.gather(*(model.complete(ask(f"Reply with the word: {w}"), role="worker") for w in words))
    assert [w in r.text.lower() for w, r in zip(words, replies, strict=True)] == [True, True]


async def test_a_server_killed_over_a_question_is_replaced_and_the_question_is_answered(model: LocalModel) -> None:
    await model.complete(ask("hi", max_tokens=1), role="worker")
    first = model.server_pid
    assert first is not None
    questions = [asyncio.create_task(model.complete(ask(f"Count to {n}.", max_tokens=60), role="w")) for n in (40, 50)]
    await asyncio.sleep(1.0)  # well into the generation; had it ended already, the pid below would not have changed
    os.kill(first, signal.SIGKILL)
    replies = await asyncio.gather(*questions)
    assert all(reply.text for reply in replies)
    assert model.server_pid != first
    assert not alive(first)


async def test_a_server_that_dies_twice_over_a_question_is_unavailable(model: LocalModel) -> None:
    await model.complete(ask("hi", max_tokens=1), role="worker")
    question = asyncio.create_task(model.complete(ask("Count to 100.", max_tokens=200), role="worker"))
    killed: set[int] = set()
    while not question.done():
        await asyncio.sleep(0.2)
        if (pid := model.server_pid) is not None and pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await question
    assert len(killed) == 2
    assert (await model.complete(ask("hi", max_tokens=1), role="worker")).text, "the next question starts it again"


async def test_closing_ends_the_server_and_can_be_repeated(model: LocalModel) -> None:
    await model.complete(ask("hi", max_tokens=1), role="worker")
    pid = model.server_pid
    assert pid is not None
    await model.aclose()
    await model.aclose()
    assert not alive(pid)


PARENT = """
import asyncio
from llm.chat import Message, Request
from llm.registry import open_model

async def main():
    model = open_model("local")
    await model.complete(Request(messages=(Message.of("user", "hi"),), max_tokens=1), role="worker")
    print(model.server_pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_server_dies_with_its_parent_even_by_kill() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT), stdout=asyncio.subprocess.PIPE, env=environment, cwd=ROOT
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    handle = os.pidfd_open(pid)
    parent.kill()
    await parent.wait()
    await asyncio.wait_for(ended(handle), 20)
    os.close(handle)


async def ended(pidfd: int) -> None:
    """Wait for the end of a process that is not our child."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, over.set)
    await over.wait()
    loop.remove_reader(pidfd)
