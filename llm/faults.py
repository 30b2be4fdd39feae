"""Foreign errors become ours, once, here: from the SDKs' exceptions and HTTP statuses to `llm.errors`."""

import re
from collections.abc import Iterable, Mapping

import anthropic
import httpx2
import openai

from llm.errors import ContextTooLong, LLMError, ProviderError, ProviderTimeout, RateLimited, Refused, Unavailable
from llm.retry import retry_after_s

_TOO_LONG = re.compile(
    r"context[_ ](length|limit|size|window)|maximum context|prompt is too long|exceed_context|too many (input )?tokens",
    re.I,
)
_NO_MONEY = re.compile(r"insufficient_quota|billing_\w*(limit|not_active)|credit balance", re.I)
"""Told apart by the code, since the words of a plain rate limit name quota and billing page too."""
_NO_IMAGES = re.compile(r"image input is not supported", re.I)
"""llama.cpp's words, with status 500, for a model that reads text only."""
_KEY_LIKE = re.compile(r"\b(sk|key|AKIA)-?[A-Za-z0-9_*-]{12,}|Bearer\s+\S+", re.I)
_TIMEOUTS = (408, 504)


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` without the given secrets and without what looks like a key, in at most 500 characters."""
    for secret in secrets:
        if len(secret) >= 8:
            text = text.replace(secret, "[key]")
    text = _KEY_LIKE.sub("[key]", text)
    return text if len(text) <= 500 else text[:500] + "..."


def of_status(status: int, message: str, headers: Mapping[str, str]) -> ProviderError:
    """The error that an HTTP status stands for."""
    line = f"HTTP {status}: {message}"
    if status == 429 and not _NO_MONEY.search(message):
        return RateLimited(line, retry_after_s=retry_after_s(headers))
    if status in _TIMEOUTS:
        return ProviderTimeout(line, retry_after_s=retry_after_s(headers))
    if status >= 500 and _NO_IMAGES.search(message):
        return Refused(line)
    if status >= 500:
        too_long = ContextTooLong(line) if _TOO_LONG.search(message) else None
        return too_long or Unavailable(line, retry_after_s=retry_after_s(headers))
    if status == 413 or (status in (400, 422) and _TOO_LONG.search(message)):
        return ContextTooLong(line)
    return Refused(line)


def of_exception(error: Exception, *, name: str, secrets: Iterable[str]) -> LLMError | None:
    """Our error for what an SDK raised, with keys taken out of its message; None if it is not a provider's fault."""
    match error:
        case LLMError():
            return error
        case openai.APITimeoutError() | anthropic.APITimeoutError() | httpx2.TimeoutException():
            return ProviderTimeout(f"{name}: no answer in time", unanswered=True)
        case openai.APIStatusError() | anthropic.APIStatusError():
            message = redact(_message(error), secrets)
            return of_status(error.status_code, f"{name}: {message}", error.response.headers)
        case openai.APIConnectionError() | anthropic.APIConnectionError() | httpx2.TransportError():
            cause = error.__cause__ or error
            words = redact(str(cause) or type(cause).__name__, secrets)
            return Unavailable(f"{name}: {words}", unanswered=not isinstance(cause, httpx2.ConnectError))
        case openai.OpenAIError() | anthropic.AnthropicError():
            return Refused(f"{name}: {redact(str(error), secrets)}")
        case _:
            return None


def _message(error: openai.APIStatusError | anthropic.APIStatusError) -> str:
    body = error.response.text.strip()
    return " ".join((body or error.message).split())
