"""Asking the user before an action: in the terminal, and over the run folder for whoever is not at it."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from agent_s3.approval import Answer, Asker, Askers, Question
from agent_s3.ask_files import FileAsker, NoSuchQuestion, open_questions
from agent_s3.ask_files import answer as answer_question
from agent_s3.paths import RunPaths
from viewer.faults import UserMistake
from viewer.live import LiveDisplay
from viewer.plain import plain, plain_lines

_YES, _NO = frozenset({"y", "yes"}), frozenset({"n", "no"})
_MOST_TYPED = 4096
_CODE_LINES = 30


def ways_to_user(live: LiveDisplay, paths: RunPaths, *, terminal: bool = True) -> Asker:
    """Over files always; where standard input is a terminal that nobody else reads from, there as well."""
    files = FileAsker(paths.questions, lambda question: live.say(_how_to_answer(paths.root, question)))
    if not terminal or not sys.stdin or not sys.stdin.isatty():
        return files
    return Askers([TerminalAsker(live.say, sys.stdin.fileno()), files])


def _how_to_answer(run_dir: Path, question: Question) -> str:
    return f"rollout {question.rollout} waits for: agent-s3 approve {run_dir} {question.id} --yes (or --no)"


class TerminalAsker:
    """Shows one question at a time and reads a line for each. `say` shows a line; `descriptor` is read from."""

    def __init__(self, say: Callable[[str], None], descriptor: int) -> None:
        self._say = say
        self._descriptor = descriptor
        self._turn = asyncio.Lock()

    async def ask(self, question: Question) -> Answer:
        async with self._turn:
            for line in question_lines(question):
                self._say(line)
            while True:
                said = read_answer(await self._line())
                if said is not None:
                    return said
                self._say("write y or n, and after it a reason if you like: n keep that file")

    async def _line(self) -> str:
        """The next line that is typed; an end of input is a no."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._descriptor, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(self._descriptor)
        return os.read(self._descriptor, _MOST_TYPED).decode(errors="replace") or "n"


def question_lines(question: Question) -> list[str]:
    """A question as plain lines. Texts of models and guests cannot steer the terminal."""
    lines = [f"rollout {question.rollout} step {question.step} wants to {plain(question.what, 300)}"]
    if question.code is not None:
        code = plain_lines(question.code).splitlines()
        lines += [f"    {line}" for line in code[:_CODE_LINES]]
        lines += [f"    ({len(code) - _CODE_LINES} more lines)"] if len(code) > _CODE_LINES else []
    lines += [f"  {risk.kind}: this {plain(risk.why)}: {plain(risk.evidence)}" for risk in question.risks]
    return [*lines, f"allow it? y or n; no answer in {question.timeout_s:g} s means no"]


def read_answer(line: str) -> Answer | None:
    """`y`, `n`, `yes`, `no`, and a reason after it; None: it is neither. Pure."""
    word, _, reason = line.strip().partition(" ")
    if word.lower() not in _YES | _NO:
        return None
    return Answer(allowed=word.lower() in _YES, reason=reason.strip()[:2000])


def answer_or_list(paths: RunPaths, question: str | None, *, allowed: bool | None, because: str) -> None:
    """Answer an open question, or print those there are. Raises: `UserMistake`."""
    if question is None:
        waiting = open_questions(paths.questions)
        for one in waiting:
            typer.echo(f"{one.id}")
            for line in question_lines(one):
                typer.echo(f"  {line}")
        if not waiting:
            typer.echo("nothing waits for an answer")
        return
    if allowed is None:
        raise UserMistake(f"say whether it may be done: agent-s3 approve {paths.root} {question} --yes or --no")
    try:
        answer_question(paths.questions, question, Answer(allowed=allowed, reason=because[:2000]))
    except NoSuchQuestion as error:
        raise UserMistake(f"{error}; list what waits: agent-s3 approve {paths.root}") from error
    typer.echo(f"{question}: {'yes' if allowed else 'no'}")
