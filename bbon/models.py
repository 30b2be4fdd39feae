"""The models of a run: opened from their specs, each once, and held against one budget."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bbon.mixture import model_of, models_of
from bbon.types import RunConfig
from llm.budget import Budget, Ledger, Metered, Spend
from llm.chat import ChatModel
from llm.errors import ConfigError
from llm.limits import Limits
from llm.pricing import Price
from llm.registry import open_model, parse_spec, price_of
from llm.settings import Settings

LOCAL_TEMPERATURE = 0.7
"""Of workers on the embedded model: at its default all N rollouts would be nearly the same."""


@dataclass(frozen=True)
class Models:
    """Who does what. Two roles may share one model."""

    worker: ChatModel
    narrator: ChatModel
    judge: ChatModel
    others: tuple[ChatModel, ...] = ()
    """Further workers of a mixture, which take turns with the first; one that runs several rollouts may stand here
    several times."""

    ground: ChatModel | None = None
    """Finds elements on pictures; None: each worker does itself."""

    def worker_of(self, index: int) -> ChatModel:
        """Whoever runs this rollout."""
        every = (self.worker, *self.others)
        return every[index % len(every)]

    @property
    def worker_names(self) -> str:
        """Specs of all workers, each once."""
        return ", ".join(dict.fromkeys(model.name for model in (self.worker, *self.others)))


@asynccontextmanager
async def opened(config: RunConfig, given: Models | None) -> AsyncGenerator[Models]:
    """The models given, else those that the config names; only the latter are closed. Raises: `ConfigError`."""
    if given is not None:
        _check_tool(config, given)
        yield given
        return
    settings = settings_of(config)
    async with AsyncExitStack() as stack:
        first, *others = models_of(config.model)
        narrator, judge = config.narrator or first, config.judge or first
        known: dict[str, ChatModel] = {}
        for spec in (first, *others, narrator, judge, config.ground):
            if spec is not None and spec not in known:
                known[spec] = open_model(spec, settings=settings)
                stack.push_async_callback(known[spec].aclose)
        models = Models(
            worker=known[first],
            narrator=known[narrator],
            judge=known[judge],
            others=tuple(known[spec] for spec in others),
            ground=known[config.ground] if config.ground else None,
        )
        _check_tool(config, models)
        yield models


def _check_tool(config: RunConfig, models: Models) -> None:
    """Raises: `ConfigError` for native actions of a worker that has none."""
    without = [model.name for model in (models.worker, *models.others) if model.abilities.computer is None]
    if config.actions == "native" and without:
        message = "has no computer tool that we know; leave out --actions native, or name a model that has one"
        raise ConfigError(f"{without[0]} {message}, e.g. --model anthropic:claude-opus-5-5")


def settings_of(config: RunConfig) -> Settings:
    """Places enough that no rollout waits for another: each asks as its worker and, beside that, as its narrator."""
    return Settings(limits=Limits(least=2 * max(config.n, config.max_n or 0)))


def budget_of(config: RunConfig, ledger: Ledger, forfeited: Spend) -> Budget:
    """The run's budget less what an earlier part of it took. Raises: `PriceUnknown` when that cannot be told."""
    return Budget(usd=config.budget_usd, tokens=config.budget_tokens, spent=ledger.total, forfeited=forfeited)


def metered(models: Models, budget: Budget, ledger: Ledger) -> Models:
    """The same models under one budget. Raises: `PriceUnknown` when money is limited and a model has no price."""
    made: dict[int, ChatModel] = {}
    for model in (models.worker, models.narrator, models.judge, *models.others, models.ground):
        if model is not None:
            made.setdefault(id(model), Metered(model, budget=budget, ledger=ledger, price=known_price(model)))
    return Models(
        worker=made[id(models.worker)],
        narrator=made[id(models.narrator)],
        judge=made[id(models.judge)],
        others=tuple(made[id(model)] for model in models.others),
        ground=made[id(models.ground)] if models.ground else None,
    )


def known_price(model: ChatModel) -> Price | None:
    """None: it has none that we know of."""
    try:
        return price_of(model.name)
    except ConfigError:  # a model of a test or a plug-in, whose name is no spec
        return None


def worker_temperature(config: RunConfig, index: int) -> float | None:
    """Of the worker of one rollout; None: its provider's default."""
    if config.temperature is not None:
        return config.temperature
    return LOCAL_TEMPERATURE if parse_spec(model_of(config.model, index)).provider == "local" else None
