"""What a call costs: the price table and the sum."""

import re
import tomllib
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm.errors import ConfigError

SHIPPED = Path(__file__).with_name("pricing.toml")
_DATED = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


class Price(BaseModel):
    """USD per million tokens of one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    cached: float = Field(ge=0)
    """Input read from the provider's cache."""
    output: float = Field(ge=0)
    written: float | None = Field(default=None, ge=0)
    """Input written to the provider's cache; None: as fresh input."""
    long_above: int | None = None
    """Input tokens above which the whole request is dearer; None: never."""
    long_input: float = 1.0
    """Times the input prices, above `long_above`."""
    long_output: float = 1.0
    image_tokens: int = Field(default=5_000, gt=0)
    """Most tokens that one picture is counted as; the default covers all listed models that do not say more (4,784 is
    the documented maximum of a high-resolution Claude picture).

    Source: https://platform.claude.com/docs/en/build-with-claude/vision
    """

    def usd(self, *, input_tokens: int, cached_tokens: int, output_tokens: int, written_tokens: int = 0) -> float:
        """USD of one call; `input_tokens` includes the cached and the written ones."""
        written = self.input if self.written is None else self.written
        fresh = input_tokens - cached_tokens - written_tokens
        inputs = fresh * self.input + cached_tokens * self.cached + written_tokens * written
        outputs = output_tokens * self.output
        if self.long_above is not None and input_tokens > self.long_above:
            inputs, outputs = inputs * self.long_input, outputs * self.long_output
        return (inputs + outputs) / 1_000_000

    def most_usd(self, *, input_tokens: int, output_tokens: int) -> float:
        """The most that one call can cost: nothing read from a cache, all input written to one if that is dearer."""
        written = input_tokens if self.written is not None and self.written > self.input else 0
        return self.usd(input_tokens=input_tokens, cached_tokens=0, output_tokens=output_tokens, written_tokens=written)


FREE = Price(input=0, cached=0, output=0)


class _Provider(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    """The page the prices were read from."""
    checked: date
    """When they were read."""
    models: dict[str, Price]


class PriceTable(BaseModel):
    """Prices by provider and model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: tuple[_Provider, ...]

    def find(self, provider: str, model: str) -> Price | None:
        """The price of a model, a date at the end of its name left out; None if unknown. Local ones are free."""
        if provider in ("local", "scripted"):
            return FREE
        prices = {k: v for p in self.provider if p.name == provider for k, v in p.models.items()}
        return prices.get(model) or prices.get(_DATED.sub("", model))


def load_prices(path: Path = SHIPPED) -> PriceTable:
    """Read a price table: the shipped one, or a file in the same form.

    Raises: ConfigError.
    """
    try:
        return PriceTable.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        message = f"cannot read the price table {str(path)!r}: {error}; write it like llm/pricing.toml"
        raise ConfigError(message) from error
