"""Actions that act on the agent, not on an application: the second witness is what came of the rollout."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent_s3.actions import AskUser, CallCodeAgent, Done, Fail, SaveToKnowledge, Wait
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.stage import Stage
from llm.chat import Request, TextPart, ToolResult
from llm.scripted import Reply

_NOTE = "the door's code is 4711"
_ANSWER = "4711 and not 4712"


@dataclass(frozen=True)
class Itself:
    """The agent, on a desktop where nothing is open."""

    stage: Stage


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Itself]:
    yield Itself(stage)


def _words(request: Request) -> str:
    parts = (part for message in request.messages for part in message.parts)
    return "\n".join(part.text for part in parts if isinstance(part, TextPart | ToolResult))


@proves("save_to_knowledge", quick=True)
async def a_note_is_shown_at_the_next_step_and_not_before(app: Itself) -> None:
    done = await app.stage.do(SaveToKnowledge(text=(_NOTE,)), Wait(time=0.1))
    await app.stage.saw()
    asked = [_words(request) for role, request in done.model.asked if role == "worker"]

    async def shown() -> list[bool]:
        return [_NOTE in words for words in asked]

    await app.stage.found("whether the question of each step holds the note", shown, [False, True])


@proves("ask_user", quick=True)
async def a_question_waits_for_the_user_and_the_answer_is_shown_at_the_next_step(app: Itself) -> None:
    done = await app.stage.do(AskUser(question="Which code?"), Wait(time=0.1), user=_ANSWER)
    await app.stage.saw()
    asked = [_words(request) for role, request in done.model.asked if role == "worker"]

    async def told() -> tuple[object, ...]:
        answer = done.step.answer
        return answer.text if answer else None, [_ANSWER in words for words in asked]

    await app.stage.found("the answer, and whether each step's question holds it", told, (_ANSWER, [False, True]))


@proves("call_code_agent", quick=True)
async def its_code_runs_on_the_same_machine_and_is_recorded(app: Itself) -> None:
    path = f"{app.stage.machine.info.home}/Documents/by-code.txt"
    code = f"from pathlib import Path\nPath({path!r}).write_text('made by code')\nprint(6 * 7)"
    replies = [
        Reply(role="code", text=f"```python\n{code}\n```"),
        Reply(role="code", text="DONE"),
        Reply(role="code", text="It wrote a file."),
    ]
    done = await app.stage.do(CallCodeAgent(task="Write the file"), replies=replies)
    await app.stage.saw()
    report, delta = done.step.code, done.step.delta
    await app.stage.found("the file", lambda: app.stage.text_of(path), "made by code")

    async def recorded() -> tuple[object, ...]:
        turns = report.turns if report else ()
        changed = any(file.path == path for file in delta.files) if delta else False
        return *((turn.returncode, turn.output.strip()) for turn in turns), changed

    await app.stage.found("what is recorded: exit code, output, file in the delta", recorded, ((0, "42"), True))


@proves("wait", quick=True)
async def time_passes_and_what_comes_meanwhile_is_seen(app: Itself) -> None:
    path = f"{app.stage.machine.info.home}/Documents/late.txt"
    await app.stage.machine.launch(["sh", "-c", 'sleep 0.5; echo late > "$1"', "sh", path])
    done = await app.stage.do(Wait(time=1.5))
    await app.stage.saw()
    delta = done.step.delta

    async def seen() -> list[str]:
        return [file.path for file in delta.files if file.path == path] if delta else []

    await app.stage.found("files of the step's delta", seen, [path])


@proves("done", quick=True)
async def the_rollout_is_over_and_done(app: Itself) -> None:
    done = await app.stage.do(Done())
    await app.stage.saw()

    async def status() -> str:
        return done.result.status

    await app.stage.found("the rollout's status", status, "done")


@proves("fail", quick=True)
async def the_rollout_is_over_and_has_failed(app: Itself) -> None:
    done = await app.stage.do(Fail())
    await app.stage.saw()

    async def status() -> str:
        return done.result.status

    await app.stage.found("the rollout's status", status, "fail")


SUITE = Suite("the agent itself", "", _opened, checks_among(globals()))
