"""Answers are kept, and found again for the same question only."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.judge_lab.cache import CachedModel, key_of
from llm.chat import ImagePart, Message, Request
from llm.errors import Unavailable
from llm.scripted import Reply, ScriptedModel

REQUEST = Request(messages=(Message.of("user", "which?", ImagePart(b"one")),), temperature=0.0, top_logprobs=5)
ANSWER = Reply(text="A", logprobs=({"A": -0.1, "B": -2.0},))


async def test_a_question_is_asked_once_and_its_answer_is_whole(tmp_path: Path) -> None:
    before = await CachedModel(ScriptedModel([ANSWER]), tmp_path).complete(REQUEST, role="judge")
    silent = ScriptedModel([])
    after = await CachedModel(silent, tmp_path).complete(REQUEST, role="judge")
    assert after == before
    assert after.logprobs is not None
    assert after.logprobs[0].top == {"A": -0.1, "B": -2.0}
    assert not silent.asked


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, temperature=1.0),
        replace(REQUEST, max_tokens=7),
        replace(REQUEST, schema={"type": "object"}),
        replace(REQUEST, top_logprobs=0),
        replace(REQUEST, seed=3),
        replace(REQUEST, messages=(Message.of("user", "which?", ImagePart(b"two")),)),
        replace(REQUEST, messages=(Message.of("user", "what?", ImagePart(b"one")),)),
        replace(REQUEST, messages=(Message.of("system", "which?", ImagePart(b"one")),)),
    ],
)
def test_whatever_could_change_an_answer_makes_another_question(other: Request) -> None:
    assert key_of("m", other) != key_of("m", REQUEST)
    assert key_of("n", REQUEST) != key_of("m", REQUEST)
    assert key_of("m", replace(REQUEST)) == key_of("m", REQUEST)


async def test_the_same_question_at_the_same_time_is_asked_once(tmp_path: Path) -> None:
    model = ScriptedModel([Reply(text="A", delay_s=0.01)])
    cached = CachedModel(model, tmp_path)
    answers = await asyncio.gather(*(cached.complete(REQUEST, role="judge") for _ in range(5)))
    assert [answer.text for answer in answers] == ["A"] * 5
    assert len(model.asked) == 1


async def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    cached = CachedModel(ScriptedModel([Reply(error="unavailable"), ANSWER]), tmp_path)
    with pytest.raises(Unavailable):
        await cached.complete(REQUEST, role="judge")
    assert (await cached.complete(REQUEST, role="judge")).text == "A"


async def test_a_damaged_answer_is_asked_for_again(tmp_path: Path) -> None:
    model = ScriptedModel([ANSWER, ANSWER])
    await CachedModel(model, tmp_path).complete(REQUEST, role="judge")
    [kept] = list(tmp_path.rglob("*.json"))  # noqa: ASYNC240
    kept.write_text("{torn")
    assert (await CachedModel(model, tmp_path).complete(REQUEST, role="judge")).text == "A"
    assert len(model.asked) == 2
