"""Opening local models, as far as it needs no model."""

import importlib.util
from pathlib import Path

import pytest

from llm.chat import Message, Request
from llm.errors import ConfigError, Unavailable
from llm.local import threads_for
from llm.registry import open_model
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


def test_a_model_that_was_not_pulled_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="agent-s3 model pull local"):
        open_model("local", settings=Settings(env={"AGENT_S3_CACHE": str(tmp_path)}))
    with pytest.raises(ConfigError, match=r"there is no file '/nowhere\.gguf'"):
        open_model("local:/nowhere.gguf")


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_the_desktops_keep_half_of_the_cores(cores: int, threads: int) -> None:
    assert threads_for(cores) == threads
