"""A limit of wall time on a model."""

import pytest

from llm.budget import Budget, Ledger, Metered, upper_estimate
from llm.chat import Message, Request
from llm.deadline import Deadline, Timed
from llm.errors import OutOfTime, ProviderTimeout
from llm.pricing import FREE
from llm.scripted import Reply, ScriptedModel

ASK = Request(messages=(Message.of("user", "hi"),), max_tokens=10)
FOREVER = Reply(text="late", delay_s=600)


async def test_no_call_is_begun_after_the_deadline() -> None:
    inner = ScriptedModel(["hello"])
    with pytest.raises(OutOfTime, match="the rollout's time is over"):
        await Timed(inner, Deadline(0, name="the rollout's time")).complete(ASK, role="worker")
    assert inner.asked == []


async def test_a_call_under_way_is_given_up_at_the_deadline_and_counts_as_spent() -> None:
    budget = Budget(tokens=1000)
    model = Timed(Metered(ScriptedModel([FOREVER]), budget=budget, ledger=Ledger(), price=FREE), Deadline(0.05))
    with pytest.raises(OutOfTime):
        await model.complete(ASK, role="worker")
    assert budget.spent == upper_estimate(ASK, FREE)


async def test_without_a_limit_nothing_is_given_up() -> None:
    assert (await Timed(ScriptedModel(["hello"]), Deadline(None)).complete(ASK, role="worker")).text == "hello"


async def test_a_providers_own_timeout_stays_one() -> None:
    slow = ScriptedModel([Reply(error="timeout", text="no answer")])
    with pytest.raises(ProviderTimeout):
        await Timed(slow, Deadline(600)).complete(ASK, role="worker")


async def test_of_two_deadlines_the_first_holds() -> None:
    soon, late, never = Deadline(1), Deadline(100), Deadline(None)
    assert soon.sooner(late) is late.sooner(soon) is soon.sooner(never) is never.sooner(soon) is soon
