"""The coding agent: a fresh chat that writes Python and shell for the same machine until it says DONE or FAIL."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent_s3.approval import Ruling
from agent_s3.code_log import CodeLog
from agent_s3.elements import squeeze
from agent_s3.prompt import render
from agent_s3.prompt import turns as example_turns
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally, whole
from agent_s3.types import CodeReport, CodeTurn
from llm.chat import ChatModel, Message, Request, TextPart
from llm.errors import BadReply, ContextTooLong, LLMError
from tools.code import Interpreter, Language, shorten
from vm_pool.errors import GuestError, GuestTimeout, MachineError
from vm_pool.machine import Machine

_BLOCK = re.compile(r"```[ \t]*(python3?|py|bash|sh|shell)[ \t]*\r?\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)
_BARE_COMMANDS = """
awk bash cat cd chmod cp cut date du echo find grep head ls mkdir mv printf python3 rm sed seq sort tail tar tee touch
tr uniq unzip wc xargs zip
"""
_BARE = frozenset(_BARE_COMMANDS.split())
"""Commands whose opening fence a small model forgets."""
_VERDICT = re.compile(r"^[^\w\n]*(DONE|FAIL)\b", re.MULTILINE)
_LISTING = ("find", ".", "-maxdepth", "3", "-not", "-path", "*/.*", "-not", "-name", ".", "-printf", "%y %s %P\\n")
_LISTED_LINES = 40
_NOTHING_RUN = "no block has been run yet, so nothing is done and nothing is proven"
_CUT_OFF = "the code block was cut off at the length limit and not run; write less at once"
_SHOWN_OUTPUT = 3000
_CHECK_SHOWN = 400


MayRun = Callable[[str], Awaitable[Ruling]]
"""Asked before each snippet."""
NOT_RUN = 126
"""Exit code of a snippet that was not allowed, as of a command that a shell may not run."""


async def _anything(_code: str) -> Ruling:
    return Ruling()


@dataclass(frozen=True)
class CodeOutcome:
    report: CodeReport
    fatal: Exception | None = None
    """A fault that ends the rollout; the report holds what was done before it."""


@dataclass(frozen=True)
class Snippet:
    language: Language
    code: str


CodeReply = Snippet | Literal["done", "fail"]


def read_reply(text: str) -> CodeReply | str:
    """One fenced snippet, or the verdict; else a sentence that says what is wrong with the reply. Pure.

    A snippet goes before a verdict in the same reply: its output is not known yet.
    """
    blocks = _BLOCK.findall(text)
    if len(blocks) > 1:
        return f"exactly one code block per reply, but there were {len(blocks)}"
    if blocks:
        tag, code = blocks[0]
        if not code.strip():
            return "the code block is empty"
        return Snippet("python" if tag.lower().startswith("py") else "bash", code)
    verdict = _VERDICT.findall(text)
    if len(set(verdict)) == 1:
        return "done" if verdict[0] == "DONE" else "fail"
    if _is_bare(text):
        return Snippet("bash", text.split("```")[0].strip())
    return "the reply holds neither a ```bash or ```python block nor DONE or FAIL"


def _is_bare(text: str) -> bool:
    """Whether a text without a fence begins with a command; a sentence ends in a full stop."""
    line = text.lstrip().partition("\n")[0].partition("```")[0].rstrip()
    return " " in line and line.split()[0] in _BARE and line[-1] not in ".!?:"


class CodeAgent:
    """One call of the coding agent: at most `settings.code_budget` snippets."""

    def __init__(
        self,
        model: ChatModel,
        machine: Machine,
        settings: AgentSettings,
        tally: Tally,
        *,
        notes: Path,
        may_run: MayRun = _anything,
        seed: int | None = None,
    ) -> None:
        """`notes`: file that receives what is run, as it happens. `may_run` is asked before each snippet."""
        self._model = model
        self._machine = machine
        self._settings = settings
        self._tally = tally
        self._may_run = may_run
        self._seed = seed
        self._notes = notes
        self._short = settings.prompt_style(model.abilities) == "short"
        self._interpreter = Interpreter(
            machine, timeout_s=settings.code_timeout_s, output_limit=600 if self._short else _SHOWN_OUTPUT
        )

    async def run(self, task: str, *, request_id: str) -> CodeOutcome:
        """Work on `task`. Faults of model and machine are part of the outcome; cancellation is raised."""
        turns: list[CodeTurn] = []
        try:
            ended = await self._loop(task, turns, request_id)
            summary, verify = await self._summary(task, turns, ended)
        except (LLMError, MachineError) as error:
            report = CodeReport(task=task, turns=tuple(turns), ended="error", summary=str(error))
            # The worker has room of its own, and goes on.
            return CodeOutcome(report, None if isinstance(error, ContextTooLong) else error)
        return CodeOutcome(CodeReport(task=task, turns=tuple(turns), ended=ended, summary=summary, verify=verify))

    async def _loop(
        self, task: str, turns: list[CodeTurn], request_id: str
    ) -> Literal["done", "fail", "budget", "bad_replies"]:
        messages = [*self._system(), Message.of("user", await self._opening(task))]
        notes, bad = CodeLog(self._notes, request_id, task), 0
        while len(turns) < self._settings.code_budget:
            text, reply = await self._ask(messages, nth=len(turns) + bad)
            messages.append(Message.of("assistant", text.strip() or "(empty reply)"))
            if reply == "done" and not turns:
                reply = _NOTHING_RUN
            match reply:
                case "done" | "fail":
                    return reply
                case Snippet():
                    turn = await self._run(reply, len(turns), request_id, notes)
                    turns.append(turn)
                    messages.append(Message.of("user", TextPart(self._result(turn, turns), cache=True)))
                case str():
                    bad += 1
                    if bad >= self._settings.max_replies:
                        return "bad_replies"
                    messages.append(Message.of("user", render("code_reask", reason=reply)))
        return "budget"

    def _system(self) -> tuple[Message, ...]:
        """The fixed beginning; a small model learns more from example turns than from rules."""
        rules = Message.of("system", TextPart(self._render("code"), cache=True))
        return (rules, *example_turns("code_short_examples")) if self._short else (rules,)

    async def _opening(self, task: str) -> str:
        home, listing = self._machine.info.home, await self._files()
        return render("code_task", task=task, home=home, listing=listing, short=self._short)

    async def _files(self) -> str:
        """What lies in the home directory: it spares a snippet that only looks. Empty when that cannot be listed."""
        try:
            done = await self._machine.run(list(_LISTING), timeout_s=10, output_limit=64 * 1024)
        except (GuestError, GuestTimeout):
            return ""
        lines = sorted(line for line in done.stdout.splitlines() if line.count(" ") >= 2)
        names = [self._listed(*line.split(" ", 2)) for line in lines]
        more = [f"({len(names) - _LISTED_LINES} more)"] if len(names) > _LISTED_LINES else []
        return "\n".join([*sorted(names)[:_LISTED_LINES], *more])

    @staticmethod
    def _listed(kind: str, size: str, path: str) -> str:
        path = squeeze(path, 200)
        return f"{path}/" if kind == "d" else f"{path} ({size} bytes)"

    async def _ask(self, messages: Sequence[Message], *, nth: int) -> tuple[str, CodeReply | str]:
        request = Request(
            messages=tuple(messages),
            temperature=self._settings.temperature,
            max_tokens=self._settings.reply_tokens(self._model.abilities),
            seed=None if self._seed is None else self._seed + nth,
        )
        try:
            completion = await self._tally.ask(self._model, request, role="code")
        except BadReply as error:
            return whole(error.reply), str(error)
        reply = read_reply(completion.text)
        if isinstance(reply, Snippet) and completion.stop_reason == "length" and completion.text.count("```") < 2:
            return completion.text, _CUT_OFF  # half a script may do the opposite of the whole
        return completion.text, reply

    async def _run(self, snippet: Snippet, number: int, request_id: str, notes: CodeLog) -> CodeTurn:
        """A snippet that the user or the guest refuses is a failed snippet; a lost machine is raised."""
        ruling = await self._may_run(snippet.code)
        if ruling.error is None:
            notes.begins(number, snippet.language, snippet.code)  # not while somebody is asked: it may never run
            turn = await self._ran(snippet, f"{request_id}.{number}")
        else:
            turn = _not_run(snippet, ruling.error.message)
        turn = turn.model_copy(update={"risks": ruling.risks, "approval": ruling.approval})
        notes.ended(number, turn)
        return turn

    async def _ran(self, snippet: Snippet, request_id: str) -> CodeTurn:
        try:
            ran = await self._interpreter.run(snippet.language, snippet.code, request_id=request_id)
        except (GuestError, GuestTimeout) as error:
            return CodeTurn(language=snippet.language, code=snippet.code, returncode=1, output=str(error), seconds=0)
        return CodeTurn(
            language=ran.language, code=ran.code, returncode=ran.returncode, output=ran.output, seconds=ran.seconds
        )

    def _result(self, turn: CodeTurn, turns: Sequence[CodeTurn]) -> str:
        repeated = len(turns) > 1 and turns[-2].code.strip() == turn.code.strip()
        left = self._settings.code_budget - len(turns)
        return self._render("code_result", turn=turn, repeated=repeated, left=left)

    async def _summary(self, task: str, turns: Sequence[CodeTurn], ended: str) -> tuple[str, str]:
        """What was done, and what should be checked on the screen."""
        if self._short or not turns:
            return summary_of(turns), ""
        work = "\n\n".join(f"```{t.language}\n{shorten(t.code, 2000)}\n```\n{shorten(t.output, 1000)}" for t in turns)
        prompt = render("code_summary", task=task, work=work, ended=ended)
        request = Request(
            messages=(Message.of("user", prompt),), max_tokens=self._settings.reply_tokens(self._model.abilities)
        )
        try:
            completion = await self._tally.ask(self._model, request, role="code")
        except BadReply:
            return summary_of(turns), ""
        done, check = read_summary(completion.text)
        return done or summary_of(turns), check

    def _render(self, name: str, **values: object) -> str:
        return render(f"{name}_short" if self._short else name, **values)


def _not_run(snippet: Snippet, reason: str) -> CodeTurn:
    said = f"not run: {reason}. Do it another way, or FAIL"
    return CodeTurn(language=snippet.language, code=snippet.code, returncode=NOT_RUN, output=said, seconds=0)


def read_summary(text: str) -> tuple[str, str]:
    """A summary without its last line `Check: ...`, and what that says, shortened; empty: there is none. Pure."""
    lines = text.strip().splitlines()
    last = lines[-1].lstrip("*_# ") if lines else ""
    if not last.lower().startswith("check:"):
        return text.strip(), ""
    check = squeeze(last[len("check:") :].strip("*_ "), _CHECK_SHOWN)
    return "\n".join(lines[:-1]).strip(), "" if check.lower().strip(".") == "nothing" else check


def summary_of(turns: Sequence[CodeTurn]) -> str:
    """What was run, without asking a model: the last snippets and whether they failed. Pure."""
    if not turns:
        return "It ran nothing."
    return "It ran: " + "; ".join(_one_line(turn) for turn in turns[-3:])


def _one_line(turn: CodeTurn) -> str:
    code = " ⏎ ".join(line.strip() for line in turn.code.strip().splitlines() if line.strip())
    failed = "" if turn.returncode == 0 else " (timed out)" if turn.returncode is None else f" (exit {turn.returncode})"
    return f"`{shorten(code, 200)}`{failed}"
