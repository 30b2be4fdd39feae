"""The written run: each rollout types a line of its own into an editor and saves it; the models think for seconds."""

import itertools
import json
from collections.abc import Callable
from typing import Any

from bbon.models import Models
from llm.chat import Abilities, Request, Usage
from llm.scripted import Reply, ScriptedModel
from vm_pool.machine import Machine

NOTES = "Documents/notes.txt"
"""The document, below the desktop's home."""
SEES = Abilities(images=True, schema=True, context_tokens=1_000_000)
_SAVE: dict[str, Any] = {"action": "hotkey", "keys": ["ctrl", "s"]}
_IDLE: dict[str, Any] = {"action": "hotkey", "keys": ["shift"]}
_EDITS: tuple[dict[str, Any], ...] = (
    {"action": "hotkey", "keys": ["ctrl", "end"]},
    {"action": "click", "element_description": "Edit"},
    {"action": "hotkey", "keys": ["esc"]},
    {"action": "type", "text": "The quick brown fox jumps over the lazy dog. "},
)
_JUDGED: dict[str, Any] = {"reasons": "A has the first line", "citations": [], "choice": "A", "confidence": 0.9}
_USAGE = Usage(calls=1, input_tokens=1_000, output_tokens=100)


async def open_editor(machine: Machine) -> None:
    """The state that all rollouts start from: an open document."""
    await machine.write(f"{machine.info.home}/{NOTES}", b"first line\n")


def actions(number: int, steps: int) -> list[dict[str, Any]]:
    """What one rollout does in `steps` steps, at least three; its number makes it unlike the others."""
    own = {"action": "type", "text": f"line {number}\n"}
    edits = [_EDITS[i % len(_EDITS)] for i in range(steps - 3)]
    return [{"action": "open", "app_or_filename": NOTES}, *edits, own, _SAVE, {"action": "done"}]


def models(steps: int, latency_s: float) -> Models:
    """Worker, narrator and judge that each answer after `latency_s`, however many are asked at once."""
    return _models(lambda number, turn: actions(number, steps)[turn], latency_s)


def idle_models(latency_s: float, *, working: int) -> Models:
    """As `models`, but all rollouts after the first `working` ones only press a key that changes nothing."""
    return _models(lambda number, turn: actions(number, 3)[turn] if number < working else _IDLE, latency_s)


def _models(act: Callable[[int, int], dict[str, Any]], latency_s: float) -> Models:
    """`act`: what a rollout, by its number, does at its turn."""
    numbers = itertools.count()

    def decide(request: Request, role: str) -> Reply | None:
        if role != "worker":
            return None
        turn = sum(message.role == "assistant" for message in request.messages)
        number = _number_of(request) if turn else next(numbers)
        text = json.dumps({"thought": f"I am number {number}.", **act(number, turn)})
        return Reply(text=text, delay_s=latency_s, usage=_USAGE)

    def say(role: str, text: str) -> Reply:
        return Reply(role=role, text=text, times=0, delay_s=latency_s, usage=_USAGE)

    seeing = ScriptedModel(
        [
            decide,
            say("narrator", '{"facts": ["The text on the screen is different."]}'),
            say("judge", json.dumps(_JUDGED)),
            say("reflection", "Go on."),
            say("grounding", '{"found": true, "x": 960, "y": 540}'),
        ],
        name="scripted:best-of-n-speed",
        abilities=SEES,
    )
    return Models(seeing, seeing, seeing)


def _number_of(request: Request) -> int:
    """A rollout's number, from its own first thought."""
    said = next(message.text for message in request.messages if message.role == "assistant")
    return int(said.split("number ", 1)[1].split(".", 1)[0])
