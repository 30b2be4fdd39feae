"""What is said of the cost at the end of a run."""

from bbon.types import RunResult
from llm.chat import Usage
from viewer.summary import cost_words


def result(**usage: Usage) -> RunResult:
    return RunResult(
        run_dir="r",
        instruction="Rename it",
        winner=None,
        verdict=None,
        rollouts=(),
        usage=usage,
        seconds={"total": 41.2},
        model="local",
    )


def test_the_share_of_the_input_that_came_from_a_cache_is_said_when_there_is_one() -> None:
    worker = Usage(calls=3, input_tokens=900, cached_tokens=620, output_tokens=50)
    words = cost_words(result(worker=worker, judge=Usage(calls=1, input_tokens=100)))
    assert words == "41.2 s, 4 model calls, 1.1k tokens (62 % of the input from a cache), free"
    assert "cache" not in cost_words(result(worker=Usage(calls=1, input_tokens=100)))
