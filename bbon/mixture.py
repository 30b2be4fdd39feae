"""Which model runs which rollout. Pure.

A mixture is written as counts before specs, `2xopenai:gpt-5,2xanthropic:claude-opus-5-5`: no spec begins with a number
and an x, so names and URLs may hold colons, commas and digits, and no shell changes it.

Source: arXiv 2510.02250, the table of mixtures: rollouts of two strong models held a right one among four more often
than those of either.
"""

import re

from llm.errors import ConfigError
from llm.registry import parse_spec

MOST = 32
_PART = re.compile(r"(\d{1,9})x(.+)", re.DOTALL)
_BETWEEN = re.compile(r",(?=\d+x)")


def is_mixture(text: str) -> bool:
    """Whether it begins with a count."""
    return _PART.fullmatch(text) is not None


def models_of(text: str) -> tuple[str, ...]:
    """The model specs of rollouts 0, 1, 2 ...; further rollouts begin anew. One for a plain spec.

    The models take turns, so that whatever number of rollouts is run, each has about its share of them.
    Raises: `llm.errors.ConfigError` that shows the form.
    """
    if not is_mixture(text):
        parse_spec(text)
        return (text,)
    counted = [_part(part, text) for part in _BETWEEN.split(text)]
    if sum(count for count, _ in counted) > MOST:
        raise ConfigError(f"{text!r} asks for more than {MOST} rollouts; write smaller counts")
    rounds = max(count for count, _ in counted)
    return tuple(spec for turn in range(rounds) for count, spec in counted if turn < count)


def model_of(text: str, index: int) -> str:
    """The model spec of one rollout."""
    every = models_of(text)
    return every[index % len(every)]


def _part(part: str, text: str) -> tuple[int, str]:
    match = _PART.fullmatch(part)
    if match is None or int(match[1]) == 0:
        raise ConfigError(f"cannot read the mixture {text!r}: write 2xSPEC,2xSPEC, e.g. 2xopenai:gpt-5,2xlocal")
    parse_spec(match[2])
    return int(match[1]), match[2]
