"""Opening local models, as far as it needs no model."""

import asyncio
import importlib.util
from pathlib import Path

import pytest
from peer_models import HI
from scripted_peers import Peer, Slow

from llm.chat import Message, Request
from llm.client import Endpoint
from llm.errors import ConfigError, Unavailable
from llm.limits import Limits
from llm.local import LocalConfig, LocalModel, threads_for
from llm.registry import open_model
from llm.retry import RetryPolicy
from llm.settings import Settings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None,
    reason="the extra `local` is not installed: pip install 'agent-s3[local]'",
)


async def test_a_file_that_is_no_model_is_unavailable_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF but not really")
    model = open_model(f"local:{path}")
    with pytest.raises(Unavailable, match=r"did not start: .+"):
        await model.complete(Request(messages=(Message.of("user", "hi"),)), role="worker")
    await model.aclose()


async def test_a_model_on_this_machine_is_waited_for_beyond_the_deadline_of_remote_ones() -> None:
    hasty = Settings(local_timeout_s=60, retry=RetryPolicy(deadline_s=0.1), limits=Limits({"local": 1}))
    async with Peer("chat", Slow(0.3)) as peer:
        local = LocalModel(LocalConfig(Path("/x.gguf")), name="local", settings=hasty)
        model = local._client(Endpoint(peer.base_url, "key", 60))
        replies = await asyncio.gather(*(model.complete(HI, role="worker") for _ in range(2)))
        await model.aclose()
    assert [reply.text for reply in replies] == ["hello", "hello"]


def test_a_model_that_was_not_pulled_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="agent-s3 model pull local"):
        open_model("local", settings=Settings(env={"AGENT_S3_CACHE": str(tmp_path)}))
    with pytest.raises(ConfigError, match=r"there is no file '/nowhere\.gguf'"):
        open_model("local:/nowhere.gguf")


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_the_desktops_keep_half_of_the_cores(cores: int, threads: int) -> None:
    assert threads_for(cores) == threads
