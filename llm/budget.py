"""One hard limit of money and tokens over a whole run, and the account of who spent what.

Before a call an upper estimate of its cost is reserved, after it the reservation is replaced by the real cost. A call
whose reservation does not fit beside the reservations of running calls waits for them; one that would not fit alone
is refused. So parallel rollouts can pass the limit only by what single replies cost above their own estimate (nothing
for text, as a byte never takes more than one token, and for pictures what a provider counts above
`Price.image_tokens`), and by tries that were sent again because no answer came: each is charged as one more estimate.
"""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from llm.chat import (
    ChatModel,
    Completion,
    ImagePart,
    Request,
    ScreenCall,
    ScreenResult,
    TextPart,
    ThinkingPart,
    ToolCall,
    Usage,
)
from llm.errors import BadReply, BudgetExceeded, ConfigError, LLMError, PriceUnknown, RateLimited, Refused
from llm.pricing import FREE, Price
from llm.wire import dumps
from llm.wrapped import Wrapped

MESSAGE_TOKENS = 16
"""Room for the role markers around a message or a tool."""
COMPUTER_TOOL_TOKENS = 4000
"""Room for what a provider tells its model of its own computer tool, which no request shows.

Source: Anthropic names 735 to 1,500 tokens for tool and system prompt in its documentation; the rest is for safety.
"""


@dataclass(frozen=True)
class Spend:
    """An amount of both currencies: tokens in and out, and USD."""

    tokens: int = 0
    usd: float = 0.0

    @classmethod
    def of(cls, usage: Usage) -> "Spend":
        """What a usage took from the budget; an unknown price counts as 0 USD."""
        return cls(usage.input_tokens + usage.output_tokens, usage.usd or 0.0)

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: "Spend") -> "Spend":
        return Spend(self.tokens - other.tokens, self.usd - other.usd)

    def __mul__(self, times: int) -> "Spend":
        return Spend(self.tokens * times, self.usd * times)


def upper_estimate(request: Request, price: Price | None) -> Spend:
    """The most that one attempt at `request` can take: all text bytes as tokens, and `max_tokens` of output."""
    inputs = _most_input_tokens(request, image_tokens=(price or FREE).image_tokens)
    usd = 0.0 if price is None else price.most_usd(input_tokens=inputs, output_tokens=request.max_tokens)
    return Spend(inputs + request.max_tokens, usd)


def _most_input_tokens(request: Request, *, image_tokens: int) -> int:
    tokens = len(dumps(request.schema).encode()) if request.schema is not None else 0
    tokens += COMPUTER_TOOL_TOKENS if request.computer is not None else 0
    for tool in request.tools:
        tokens += MESSAGE_TOKENS + len((tool.name + tool.description + dumps(tool.parameters)).encode())
    for message in request.messages:
        tokens += MESSAGE_TOKENS
        for part in message.parts:
            match part:
                case ImagePart():
                    tokens += image_tokens
                case ToolCall():
                    tokens += MESSAGE_TOKENS + len((part.id + part.name + dumps(part.arguments)).encode())
                case ThinkingPart():
                    tokens += MESSAGE_TOKENS + len(dumps(part.data).encode())
                case ScreenCall():
                    tokens += MESSAGE_TOKENS + len(dumps([*part.echo, *part.actions]).encode())
                case ScreenResult():
                    tokens += MESSAGE_TOKENS + image_tokens + len((part.call_id + part.text).encode())
                case TextPart():
                    tokens += len(part.text.encode())
                case _:
                    tokens += MESSAGE_TOKENS + len((part.call_id + part.text).encode())
    return tokens


class Hold:
    """A reservation; give it back with `settle`, or leave the `with` block and forfeit it whole."""

    def __init__(self, budget: "Budget", amount: Spend) -> None:
        self._budget = budget
        self.amount = amount

    def settle(self, charge: Spend) -> None:
        """Replace the reservation by what the call took. Later calls change nothing."""
        self._budget.settle(self, charge)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle(self.amount)


class Budget:
    """A limit, shared by all roles of a run or of one rollout. Safe to use from many tasks, loops and threads.

    `usd` and `tokens` (input and output together) of None mean no limit. `name` is how a refusal calls it. `spent` is
    what answered calls of an earlier part of a resumed run took, `forfeited` what its calls without an answer may have
    taken.
    """

    def __init__(
        self,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        spent: Usage | None = None,
        forfeited: Spend | None = None,
        name: str = "the budget",
    ) -> None:
        spent = spent or Usage()
        if usd is not None and spent.usd is None:
            raise PriceUnknown("the run so far has calls of unknown price: drop the USD budget or start a new run")
        self.usd = usd
        self.tokens = tokens
        self._name = name
        self._lock = threading.Lock()
        self._spent = Spend.of(spent) + (forfeited or Spend())
        self._holds: list[Hold] = []
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def spent(self) -> Spend:
        """What finished calls took, forfeited reservations included."""
        with self._lock:
            return self._spent

    async def reserve(self, amount: Spend) -> Hold:
        """Take `amount` out of the budget, waiting for running calls if it only fits without them.

        Raises: BudgetExceeded.
        """
        while True:
            with self._lock:
                if self._fits(amount, self._held()):
                    hold = Hold(self, amount)
                    self._holds.append(hold)
                    return hold
                if not self._fits(amount, Spend()):
                    raise BudgetExceeded(self._refusal(amount))
                settled = asyncio.Event()
                self._waiting.append((asyncio.get_running_loop(), settled))
            await settled.wait()

    def settle(self, hold: Hold, charge: Spend) -> None:
        """Replace `hold` by `charge` and let waiting calls look again; nothing if it was settled before."""
        with self._lock:
            if hold not in self._holds:
                return
            self._holds.remove(hold)
            self._spent += charge
            waiting, self._waiting = self._waiting, []
        for loop, settled in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settled.set)

    def _held(self) -> Spend:
        return sum((h.amount for h in self._holds), Spend())

    def _fits(self, amount: Spend, held: Spend) -> bool:
        after = self._spent + held + amount
        return (self.usd is None or after.usd <= self.usd) and (self.tokens is None or after.tokens <= self.tokens)

    def _refusal(self, amount: Spend) -> str:
        spent, parts = self._spent, list[str]()
        if self.usd is not None:
            parts.append(f"{spent.usd:.4f} of {self.usd:.4f} USD spent, the next call may take {amount.usd:.4f}")
        if self.tokens is not None:
            parts.append(f"{spent.tokens} of {self.tokens} tokens spent, the next call may take {amount.tokens}")
        return f"{self._name} is used up: {'; '.join(parts)}. Raise it to go on"


class Ledger:
    """Usage per role. Safe to use from many threads."""

    def __init__(self, saved: Mapping[str, Usage] | None = None) -> None:
        self._lock = threading.Lock()
        self._roles = dict(saved or {})

    def add(self, role: str, usage: Usage) -> None:
        with self._lock:
            self._roles[role] = self._roles.get(role, Usage()) + usage

    @property
    def by_role(self) -> dict[str, Usage]:
        """A copy, for the record; `Ledger(saved)` restores it."""
        with self._lock:
            return dict(self._roles)

    @property
    def total(self) -> Usage:
        return sum(self.by_role.values(), Usage())


class Metered(Wrapped):
    """A `ChatModel` whose every call is held against a budget and written into a ledger.

    Raises: PriceUnknown, when made, if the budget has a limit in USD and the model has no price.
    """

    def __init__(self, model: ChatModel, *, budget: Budget, ledger: Ledger, price: Price | None) -> None:
        if budget.usd is not None and price is None:
            raise PriceUnknown(
                f"{model.name!r} has no known price: limit the run in tokens (--budget-tokens) instead of USD"
            )
        super().__init__(model)
        self._budget = budget
        self._ledger = ledger
        self._price = price

    async def complete(self, request: Request, *, role: str) -> Completion:
        """As the wrapped model's.

        A call that failed in a way that is not billed gives its reservation back; a timeout, a cut connection or a
        cancellation may have been billed, so it forfeits the reservation, and once more for every try so lost.
        """
        with await self._budget.reserve(upper_estimate(request, self._price)) as hold:
            try:
                completion = await self._model.complete(request, role=role)
            except BadReply as error:
                self._book(hold, role, error.usage, error.lost)
                raise
            except BudgetExceeded:  # another budget refused the call before it was made
                hold.settle(Spend())
                raise
            except (ConfigError, RateLimited, Refused) as error:
                hold.settle(hold.amount * error.lost)
                raise
            except LLMError as error:
                hold.settle(hold.amount * max(1, error.lost))
                raise
            self._book(hold, role, completion.usage, completion.lost)
            return completion

    def _book(self, hold: Hold, role: str, usage: Usage | None, lost: int) -> None:
        if usage is not None:
            self._ledger.add(role, usage)
        hold.settle((hold.amount if usage is None else Spend.of(usage)) + hold.amount * lost)
