"""Recorded exchanges, replayed with no server behind them. See cassettes/README.md for what they are.

Record them anew with `AGENT_S3_RECORD=1 pytest tests/llm/test_cassettes.py`.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import vcr
from peer_models import CLICK, HI, KEY, SCHEMA, World, connect
from scripted_peers import Deed, Dialect, Fault, Peer, Say

from llm.chat import Completion, Request
from llm.settings import Settings

FOLDER = Path(__file__).parent / "cassettes"
RECORDING = os.environ.get("AGENT_S3_RECORD") == "1"
NOWHERE = "http://127.0.0.1:9"
"""What the cassettes say in place of the peer's port."""
SECRETS = re.compile(r"(sk-[A-Za-z0-9]|Bearer |x-api-key|authorization|cookie)", re.I)


@dataclass(frozen=True)
class Case:
    name: str
    dialect: Dialect
    request: Request
    deeds: tuple[Deed, ...]


CASES = (
    Case("responses_text", "responses", HI, (Say("good morning"),)),
    Case("responses_tool", "responses", replace(HI, tools=(CLICK,)), (Say("", calls=(("click", '{"x":3}'),)),)),
    Case("chat_retry", "chat", HI, (Fault(429, headers={"retry-after": "1"}), Say("at last"))),
    Case("chat_logprobs", "chat", replace(HI, top_logprobs=2), (Say("A", logprobs=True),)),
    Case("messages_schema", "messages", replace(HI, schema=SCHEMA), (Say('{"winner":2}'),)),
    Case("messages_tool", "messages", replace(HI, tools=(CLICK,)), (Say("", calls=(("click", '{"x":3}'),)),)),
)


def at_nowhere(request: Any) -> Any:
    request.uri = re.sub(r"http://127\.0\.0\.1:\d+", NOWHERE, request.uri)
    return request


def recorder() -> Any:
    return vcr.VCR(
        cassette_library_dir=str(FOLDER),
        record_mode=vcr.mode.ALL if RECORDING else vcr.mode.NONE,
        match_on=("method", "uri", "body"),
        filter_headers=["authorization", "x-api-key", "host", "user-agent", "cookie"],
        before_record_request=at_nowhere,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_recorded_exchange_replays_with_no_server(case: Case) -> None:
    done = await play(case)
    said = next(deed for deed in case.deeds if isinstance(deed, Say))
    assert done.text == said.text
    assert [call.name for call in done.tool_calls] == [name for name, _ in said.calls]
    assert done.usage.input_tokens == said.input_tokens
    assert (done.logprobs is not None) is said.logprobs


async def play(case: Case) -> Completion:
    """Ask the case's question: of a peer while recording, of the cassette otherwise."""
    settings = Settings(timeout_s=5.0, retry=World().policy())
    async with Peer(case.dialect, *case.deeds) as peer:
        model = connect(peer, settings)
        with recorder().use_cassette(f"{case.name}.yaml"):
            done = await model.complete(case.request, role="worker")
        await model.aclose()
        assert len(peer.seen) == (len(case.deeds) if RECORDING else 0), "a replay asks nobody"
    return done


def test_no_cassette_holds_a_secret() -> None:
    files = sorted(FOLDER.glob("*.yaml"))
    assert len(files) == len(CASES)
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert KEY not in text
        assert SECRETS.search(text) is None, path.name
