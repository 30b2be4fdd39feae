"""From a spec in words to a model."""

import pytest
from peer_models import HI
from scripted_peers import Peer

from llm.errors import ConfigError
from llm.pricing import FREE
from llm.registry import FORMS, Spec, open_model, parse_spec, price_of
from llm.settings import Settings


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("openai:gpt-5", Spec("openai", "gpt-5")),
        ("anthropic:claude-opus-5-5", Spec("anthropic", "claude-opus-5-5")),
        ("openai+http://127.0.0.1:8000/v1:qwen", Spec("openai", "qwen", "http://127.0.0.1:8000/v1")),
        ("openai+http://localhost:11434/v1:llama3:8b", Spec("openai", "llama3:8b", "http://localhost:11434/v1")),
        ("openai+https://host/v1:a/b", Spec("openai", "a/b", "https://host/v1")),
        ("openai+http://[::1]:80/v1:m", Spec("openai", "m", "http://[::1]:80/v1")),
        ("anthropic+http://127.0.0.1:9:m", Spec("anthropic", "m", "http://127.0.0.1:9")),
        ("local", Spec("local", "")),
        ("local:/x/y.gguf", Spec("local", "/x/y.gguf")),
        ("scripted:a.json", Spec("scripted", "a.json")),
    ],
)
def test_a_spec_is_taken_apart(spec: str, parsed: Spec) -> None:
    assert parse_spec(spec) == parsed


@pytest.mark.parametrize("spec", ["", "gpt-5", "opnai:gpt-5", "openai:", "openai", "mistral+http://x/v1:m"])
def test_an_unknown_form_lists_the_known_ones_in_one_line(spec: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_spec(spec)
    assert all(form in str(caught.value) for form in FORMS)
    assert str(caught.value).endswith("more: agent-s3 model ls")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["openai+http://127.0.0.1:8000", "openai+ftp://x/v1:m", "anthropic+http://x/"])
def test_a_url_without_a_model_name_is_explained(spec: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT/PATH:NAME"):
        parse_spec(spec)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_spec("openai+http://me:hunter2@host/v1:m")
    assert "hunter2" not in str(caught.value)


def test_local_and_scripted_models_are_free_and_strange_servers_have_no_price() -> None:
    assert price_of("local") == price_of("scripted:x.json") == FREE
    assert price_of("openai+http://127.0.0.1:1/v1:gpt-5") is None
    assert price_of("openai:gpt-99") is None


def test_a_dated_name_has_the_price_of_the_model() -> None:
    assert price_of("openai:gpt-5-2025-08-07") == price_of("openai:gpt-5")
    assert price_of("anthropic:claude-haiku-4-5-20251001") == price_of("anthropic:claude-haiku-4-5")
    assert price_of("openai:gpt-5-pro") is None


SPECS = {
    "OPENAI_API_KEY": "openai:gpt-5",
    "ANTHROPIC_API_KEY": "anthropic:claude-opus-5-5",
    "AGENT_S3_API_KEY": "anthropic+http://127.0.0.1:9:m",
}


@pytest.mark.parametrize("variable", SPECS)
@pytest.mark.parametrize("key", ["secret\r\nkey", "secret\x00key", "secret-schl\u00fcssel"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(variable: str, key: str) -> None:
    with pytest.raises(ConfigError, match=variable) as caught:
        open_model(SPECS[variable], settings=Settings(env={variable: key}))
    assert "secret" not in str(caught.value)


async def test_blanks_and_line_ends_around_a_key_are_no_part_of_it() -> None:
    async with Peer("messages") as peer:
        settings = Settings(env={"AGENT_S3_API_KEY": " the-key\r\n"})
        model = open_model(f"anthropic+{peer.base_url}:m", settings=settings)
        await model.complete(HI, role="worker")
        await model.aclose()
        assert peer.seen[0].headers["x-api-key"] == "the-key"


@pytest.mark.parametrize("spec", ["openai:gpt-5", "anthropic:claude-opus-5-5"])
def test_a_missing_key_names_its_variable(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"needs a key: export (OPENAI|ANTHROPIC)_API_KEY="):
        open_model(spec, settings=Settings(env={"AGENT_S3_API_KEY": "of another server"}))


def test_settings_do_not_show_the_environment() -> None:
    assert "secret-key" not in repr(Settings(env={"OPENAI_API_KEY": "secret-key"}))


def test_a_missing_script_file_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot read the script"):
        open_model("scripted:/nowhere.json")
