"""Models that talk to the scripted peers, and a clock that only sleeping moves."""

from collections.abc import Callable

from scripted_peers import Dialect, Peer

from llm.anthropic import MessagesWire
from llm.chat import Abilities, Message, Request, Tool
from llm.client import Endpoint, HttpModel, Wire
from llm.openai import ResponsesWire
from llm.openai_chat import ChatWire
from llm.pricing import Price
from llm.retry import RetryPolicy
from llm.settings import Settings

KEY = "sk-test-0123456789abcdef"
PRICE = Price(input=2.0, cached=0.5, output=8.0)
CLICK = Tool("click", "Click an element", {"type": "object", "properties": {"x": {"type": "integer"}}})
SCHEMA = {
    "type": "object",
    "properties": {"winner": {"type": "integer"}},
    "required": ["winner"],
    "additionalProperties": False,
}
HI = Request(messages=(Message.of("user", "hi"),))


class World:
    """A clock that only sleeping moves, and what was slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def policy(self, attempts: int = 4) -> RetryPolicy:
        return RetryPolicy(attempts=attempts, clock=lambda: self.now, sleep=self.sleep, random=lambda: 0.5)


def connect(peer: Peer, settings: Settings, *, images: bool = True) -> HttpModel:
    endpoint = Endpoint(peer.base_url, KEY, settings.timeout_s)
    makers: dict[Dialect, Callable[[], Wire]] = {
        "responses": lambda: ResponsesWire("m", endpoint),
        "chat": lambda: ChatWire("m", endpoint),
        "messages": lambda: MessagesWire("m", endpoint, schema_by="output_config"),
    }
    abilities = Abilities(images=images, tools=True, schema=True, logprobs=True)
    wire = makers[peer.dialect]()
    return HttpModel(
        wire,
        name=f"test:{peer.dialect}",
        provider="test",
        abilities=abilities,
        settings=settings,
        price=PRICE,
        secret=KEY,
    )
