import pytest

from bbon.mixture import is_mixture, model_of, models_of
from llm.errors import ConfigError


def test_a_plain_spec_runs_every_rollout() -> None:
    assert models_of("openai:gpt-5") == ("openai:gpt-5",)
    assert model_of("local", 7) == "local"
    assert not is_mixture("local")


def test_the_models_of_a_mixture_take_turns_and_begin_anew_after_the_last() -> None:
    mixture = "3xopenai:gpt-5,1xlocal"
    assert models_of(mixture) == ("openai:gpt-5", "local", "openai:gpt-5", "openai:gpt-5")
    assert model_of(mixture, 5) == "local"
    assert models_of("1xlocal") == ("local",)


@pytest.mark.parametrize(
    ("mixture", "specs"),
    [
        ("2xopenai+http://host:11434/v1:qwen2:7b,1xlocal", ["openai+http://host:11434/v1:qwen2:7b", "local"]),
        ("1xlocal:/models/2,5x8.gguf,1xlocal", ["local:/models/2,5x8.gguf", "local"]),
        ("1xanthropic+http://[::1]:80:a:2,1xscripted:a,b.json", ["anthropic+http://[::1]:80:a:2", "scripted:a,b.json"]),
    ],
)
def test_names_and_urls_may_hold_colons_commas_and_digits(mixture: str, specs: list[str]) -> None:
    if "2,5x8" in mixture:  # the one form that looks like a count is refused, not misread
        with pytest.raises(ConfigError):
            models_of(mixture)
        return
    assert list(dict.fromkeys(models_of(mixture))) == specs


@pytest.mark.parametrize("mixture", ["0xlocal", "2xnonsense", "1xlocal,2x", "20xlocal,13xopenai:gpt-5", "2x"])
def test_what_is_no_mixture_is_one_line_that_says_what_is(mixture: str) -> None:
    with pytest.raises(ConfigError) as error:
        models_of(mixture)
    assert "\n" not in str(error.value)
