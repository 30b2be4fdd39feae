"""From a spec in words, such as `openai:gpt-5`, to a model."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llm.chat import ChatModel
from llm.errors import ConfigError
from llm.pricing import Price, PriceTable, load_prices
from llm.settings import Settings

FORMS: Mapping[str, str] = {
    "openai:NAME": "OpenAI's Responses API, e.g. openai:gpt-5; needs OPENAI_API_KEY",
    "openai+http://HOST:PORT/v1:NAME": "chat completions of a compatible server; AGENT_S3_API_KEY if it wants a key",
    "anthropic:NAME": "Anthropic's Messages API, e.g. anthropic:claude-opus-5-5; needs ANTHROPIC_API_KEY",
    "anthropic+http://HOST:PORT:NAME": "messages of a compatible server; AGENT_S3_API_KEY if it wants a key",
    "local": "the embedded model; needs `agent-s3 model pull local` and the extra `local`",
    "local:/PATH/TO.gguf": "any other GGUF file; needs the extra `local`",
    "scripted:FILE": "replies from a JSON or JSONL file; no key, no network",
}
"""The known forms of a spec, with what each needs."""

_AT_URL = re.compile(r"(https?://(?:\[[0-9a-fA-F:]+\]|[^/:\s\[\]]+)(?::\d+)?(?:/[^:\s]*)?):(.+)")


@dataclass(frozen=True)
class Spec:
    """A model spec taken apart."""

    provider: str
    model: str
    """Name, path or, for the embedded model, an empty string."""
    base_url: str | None = None
    """None: the provider's own."""


def parse_spec(spec: str) -> Spec:
    """Take a spec apart.

    Raises: ConfigError that lists the known forms.
    """
    provider, plus, rest = spec.partition("+")
    if plus and provider in ("openai", "anthropic"):
        return _at_url(spec, provider, rest)
    provider, _, model = spec.partition(":")
    if provider == "local" or (provider in ("openai", "anthropic", "scripted") and model):
        return Spec(provider, model)
    raise ConfigError(f"unknown model {spec!r}; known forms: {', '.join(FORMS)}; more: agent-s3 model ls")


def known_forms() -> str:
    """The known forms of a spec, one per line."""
    width = max(map(len, FORMS))
    return "\n".join(f"  {form:{width}}  {meaning}" for form, meaning in FORMS.items())


def _at_url(spec: str, provider: str, rest: str) -> Spec:
    if "@" in rest.split("://")[-1].split("/")[0]:
        raise ConfigError("a model URL must not hold a password: put the key into AGENT_S3_API_KEY")
    match = _AT_URL.fullmatch(rest)
    if match is None or (match[2].isdigit() and match[1].count(":") == 1):
        raise ConfigError(f"cannot read {spec!r}: write {provider}+http://HOST:PORT/PATH:NAME")
    return Spec(provider, match[2], match[1])


def price_of(spec: str, prices: PriceTable | None = None) -> Price | None:
    """The price of the model that `spec` names, for `llm.budget.Metered`; None if unknown.

    A server given by URL has no price unless the table names a provider `openai+URL` or `anthropic+URL`.
    Raises: ConfigError for an unknown form.
    """
    parsed = parse_spec(spec)
    provider = parsed.provider if parsed.base_url is None else f"{parsed.provider}+{parsed.base_url}"
    return (prices or load_prices()).find(provider, parsed.model)


def open_model(spec: str, *, settings: Settings | None = None) -> ChatModel:
    """Make the model that `spec` names. Nothing is sent or started before the first call. Close it with `aclose()`.

    Models of one run should share one `Settings`, so that the concurrency limits hold over all of them.
    Raises: ConfigError for an unknown form, a missing key, a missing file or a missing extra.
    """
    parsed = parse_spec(spec)
    return _OPENERS[parsed.provider](parsed, spec, settings or Settings())


def _open_openai(parsed: Spec, spec: str, settings: Settings) -> ChatModel:
    from llm.openai import open_openai

    key = _key(parsed, settings)
    return open_openai(parsed.model, name=spec, base_url=parsed.base_url, key=key, settings=settings)


def _open_anthropic(parsed: Spec, spec: str, settings: Settings) -> ChatModel:
    from llm.anthropic import open_anthropic

    key = _key(parsed, settings)
    return open_anthropic(parsed.model, name=spec, base_url=parsed.base_url, key=key, settings=settings)


def _open_local(parsed: Spec, spec: str, settings: Settings) -> ChatModel:
    from llm.local import open_local

    return open_local(Path(parsed.model) if parsed.model else None, name=spec, settings=settings)


def _open_scripted(parsed: Spec, _spec: str, _settings: Settings) -> ChatModel:
    from llm.scripted import load_script

    return load_script(Path(parsed.model))


_OPENERS: Mapping[str, Callable[[Spec, str, Settings], ChatModel]] = {
    "openai": _open_openai,
    "anthropic": _open_anthropic,
    "local": _open_local,
    "scripted": _open_scripted,
}


def _key(parsed: Spec, settings: Settings) -> str:
    """The key from the environment; a server given by URL gets only the key that is meant for it.

    Raises: ConfigError for a missing key, and for one that no header can hold: the error of the HTTP client quotes it.
    """
    variable = f"{parsed.provider.upper()}_API_KEY" if parsed.base_url is None else "AGENT_S3_API_KEY"
    key = settings.env.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{variable} holds a character that no key has: export it anew")
    if not key and parsed.base_url is None:
        raise ConfigError(f"{parsed.provider}:{parsed.model} needs a key: export {variable}=...")
    return key or "none"
