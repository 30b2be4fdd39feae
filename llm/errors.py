"""Errors of language models.

LLMError
├── ConfigError        the user's to mend: unknown spec, missing key, missing extra, missing model file
├── BudgetExceeded     a limit of USD, tokens or steps would be or has been passed
│   ├── OutOfTime      a limit of wall time is over
│   └── PriceUnknown   a money budget is set and the model has no price
├── ProviderError      the provider failed; after the retries
│   ├── RateLimited    429
│   ├── Unavailable    5xx, dropped or refused connection, cut stream
│   ├── ProviderTimeout
│   ├── Refused        4xx that no retry mends: bad key, bad request, content filter
│   └── ContextTooLong the messages do not fit the model's context, or the pictures the server's limit of bytes
└── BadReply           the reply is not what was asked for: malformed JSON, schema violation, empty
"""

from llm.chat import Usage


class LLMError(Exception):
    """Base of all errors of this package."""

    lost: int = 0
    """Tries at the question, this one included, that were sent and not answered: they may have been billed."""


class ConfigError(LLMError, ValueError):
    """The user's to mend; the message ends with the next step."""


class BudgetExceeded(LLMError):
    """A limit of USD, tokens or steps is reached; no further call is made."""


class OutOfTime(BudgetExceeded):
    """A limit of wall time is over; a call that was under way then was given up."""


class PriceUnknown(BudgetExceeded):
    """A money budget is set and the model has no price; limit the run in tokens instead."""


class ProviderError(LLMError):
    """The provider failed, after all retries."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, unanswered: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """Seconds the provider asked us to wait; None: it named none."""
        self.unanswered = unanswered
        """Whether the question may have reached the model, and no whole answer came."""


class RateLimited(ProviderError):
    """Too many requests, after all retries."""


class Unavailable(ProviderError):
    """5xx, or the connection was refused, dropped or cut, after all retries."""


class ProviderTimeout(ProviderError, TimeoutError):
    """No answer in time, after all retries."""


class Refused(ProviderError):
    """A 4xx that no retry mends."""


class ContextTooLong(ProviderError):
    """The messages do not fit the model's context, or are more bytes than the server takes."""


class BadReply(LLMError):
    """The reply is not what was asked for."""

    def __init__(self, message: str, *, reply: str = "", usage: Usage | None = None) -> None:
        super().__init__(message)
        self.reply = reply
        """What the model did say, for the re-ask and the record."""
        self.usage = usage
        """What the bad reply cost; None: not known."""
