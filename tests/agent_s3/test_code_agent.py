"""The coding agent: its replies, its loop and its report."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_stage import BLIND, says

from agent_s3.code_agent import CodeAgent, CodeOutcome, Snippet, read_reply, read_summary
from agent_s3.code_log import CodeLog, CodeNote, left_behind
from agent_s3.record import read_lines
from agent_s3.settings import AgentSettings
from agent_s3.tally import Tally
from agent_s3.types import CodeTurn
from llm.errors import Unavailable
from llm.scripted import ScriptedModel
from vm_pool.errors import GuestError, MachineLost
from vm_pool.providers.fake import FakeMachine
from vm_pool.providers.fake_desktop import Script
from vm_pool.providers.fake_shell import Reply


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("```bash\nls -l\n```", Snippet("bash", "ls -l")),
        ("First look.\n```sh\nls\n```\nThen more.", Snippet("bash", "ls")),
        ("```python\nprint(1)\n\nprint(2)\n```", Snippet("python", "print(1)\n\nprint(2)")),
        ("```py\nx = '```'\n```", Snippet("python", "x = '```'")),
        ("```bash\ncut off", Snippet("bash", "cut off")),
        ("```bash\nls\n```\nDONE", Snippet("bash", "ls")),
        ("mv a.txt b.txt", Snippet("bash", "mv a.txt b.txt")),
        ("chmod u+rw a\nls\n```", Snippet("bash", "chmod u+rw a\nls")),
        ("DONE", "done"),
        ("**DONE**", "done"),
        ("FAIL: there is no such file", "fail"),
    ],
)
def test_a_reply_is_one_snippet_or_a_verdict(text: str, reply: object):
    assert read_reply(text) == reply


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```bash\na\n```\n```bash\nb\n```", "exactly one"),
        ("```bash\n\n```", "empty"),
        ("I have done it.", "neither"),
        ("find the file first.", "neither"),
        ("", "neither"),
        ("DONE\nFAIL", "neither"),
    ],
)
def test_other_replies_are_answered_with_what_is_wrong(text: str, reason: str):
    reply = read_reply(text)
    assert isinstance(reply, str)
    assert reason in reply


@given(st.text(alphabet=st.sampled_from("`bash\nDONEpython x")))
def test_no_text_makes_the_reader_raise(text: str):
    assert read_reply(text) is not None


@pytest.mark.parametrize("text", ["\n" * 400_000, "ls " + " " * 400_000 + "x.", "!\n" * 200_000])
def test_a_reply_of_endless_white_space_is_read_in_no_time(text: str):
    """Where reading takes the square of the length, this runs into the time limit of the tests."""
    assert "neither" in str(read_reply(text))


class Shell:
    """Runs snippets of a fake machine: each answers with its own code."""

    def __init__(self, **replies: Reply) -> None:
        self.ran: list[str] = []
        self._replies = replies
        self.machine = FakeMachine(script=Script(on_command=self._run))

    def _run(self, _desktop: object, argv: Any, _stdin: bytes) -> Reply | None:
        if argv[0] == "find":
            return Reply("f 12 Documents/a.txt\nd 0 Documents\n")
        if argv[0] not in ("bash", "python3"):
            return None
        self.ran.append(argv[2])
        return self._replies.get(argv[2], Reply(f"ran {argv[2]}\n"))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


NOTES = Path("code.jsonl")


async def work(shell: Shell, *replies: Any, **settings: Any) -> tuple[CodeOutcome, ScriptedModel]:
    model = ScriptedModel([says("code", r) if isinstance(r, str) else r for r in replies], abilities=BLIND)
    agent = CodeAgent(model, shell.machine, AgentSettings(**settings), Tally(), notes=NOTES, seed=1)
    return await agent.run("count the lines", request_id="r"), model


async def test_it_runs_snippets_until_it_says_done_and_each_output_is_fed_back():
    shell = Shell()
    outcome, model = await work(shell, "```bash\none\n```", "```python\ntwo\n```", "DONE")
    assert outcome.report.ended == "done"
    assert [(t.language, t.output) for t in outcome.report.turns] == [("bash", "ran one"), ("python", "ran two")]
    assert "ran two" in model.asked[-1][1].messages[-1].text
    assert "`two`" in outcome.report.summary


async def test_done_is_not_believed_before_anything_was_run():
    shell = Shell()
    outcome, model = await work(shell, "DONE", "```bash\none\n```", "DONE")
    assert (outcome.report.ended, shell.ran) == ("done", ["one"])
    assert "no block has been run" in model.asked[1][1].messages[-1].text


async def test_it_is_told_the_task_and_what_lies_in_the_home_directory():
    _, model = await work(Shell(), "FAIL")
    opening = model.asked[0][1].messages[-1].text
    assert "count the lines" in opening
    assert "Documents/a.txt (12 bytes)" in opening


async def test_a_failing_snippet_is_told_and_is_no_end():
    shell = Shell(bad=Reply(stderr="no such file\n", returncode=1))
    outcome, model = await work(shell, "```bash\nbad\n```", "FAIL")
    assert outcome.report.ended == "fail"
    assert outcome.report.turns[0].returncode == 1
    assert "no such file" in model.asked[-1][1].messages[-1].text


async def test_a_snippet_that_takes_too_long_is_killed_and_told():
    outcome, model = await work(Shell(slow=Reply(seconds=99)), "```bash\nslow\n```", "DONE", code_timeout_s=1)
    assert outcome.report.turns[0].returncode is None
    assert "too long" in model.asked[-1][1].messages[-1].text


async def test_the_budget_of_snippets_is_kept():
    shell = Shell()
    outcome, _ = await work(shell, says("code", "```bash\nagain\n```", times=0), code_budget=4)
    assert (outcome.report.ended, len(shell.ran)) == ("budget", 4)


async def test_unusable_replies_are_asked_again_and_then_given_up():
    outcome, model = await work(Shell(), says("code", "let me think", times=0))
    assert outcome.report.ended == "bad_replies"
    assert len(model.asked) == 3


@pytest.mark.parametrize("cut", ["```bash\nrm -r /home/us", "rm -r /home/us"])
async def test_a_snippet_that_was_cut_off_at_the_length_limit_is_not_run(cut: str):
    shell = Shell()
    whole = says("code", "```bash\nwhole\n```\nNow I shall", stop_reason="length")
    outcome, model = await work(shell, says("code", cut, stop_reason="length"), whole, "DONE")
    assert (outcome.report.ended, shell.ran) == ("done", ["whole"])
    assert "cut off" in model.asked[1][1].messages[-1].text


async def test_a_snippet_that_the_guest_refuses_counts_as_failed():
    shell = Shell()
    shell.machine.script.fail_next("run", GuestError("no listing today"))
    outcome, _ = await work(shell, "```bash\none\n```", "DONE")
    assert outcome.report.ended == "done"


@pytest.mark.parametrize("fault", [MachineLost("gone"), Unavailable("503")])
async def test_a_fault_keeps_what_was_done_before_it(fault: Exception):
    shell = Shell()

    def fail(_request: object, _role: str) -> Any:
        if not shell.ran:
            return None
        if isinstance(fault, MachineLost):
            shell.machine.lose()
            return says("code", "```bash\ntwo\n```")
        raise fault

    outcome, _ = await work(shell, fail, "```bash\none\n```")
    assert outcome.fatal is not None
    assert (outcome.report.ended, [t.code for t in outcome.report.turns]) == ("error", ["one"])


async def test_a_chat_that_outgrows_the_context_ends_the_call_and_not_the_rollout():
    outcome, _ = await work(Shell(), "```bash\none\n```", says("code", "8193 tokens", error="context_too_long"))
    assert outcome.fatal is None
    assert (outcome.report.ended, [t.code for t in outcome.report.turns]) == ("error", ["one"])
    assert "8193" in outcome.report.summary


async def test_a_capable_model_is_asked_for_a_neutral_summary():
    model = ScriptedModel(["```bash\none\n```", "DONE", "It ran one."])
    agent = CodeAgent(model, Shell().machine, AgentSettings(), Tally(), notes=NOTES)
    assert (await agent.run("t", request_id="r")).report.summary == "It ran one."


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("It ran one.\n\nCheck: that a.txt opens", ("It ran one.", "that a.txt opens")),
        ("It ran one.\n**Check:** the sum in B9", ("It ran one.", "the sum in B9")),
        ("It ran one.\nCheck: nothing.", ("It ran one.", "")),
        ("Check: the window", ("", "the window")),
        ("It ran one. To check: nothing", ("It ran one. To check: nothing", "")),
        ("", ("", "")),
    ],
)
def test_the_last_line_of_a_summary_says_what_to_check_on_the_screen(said: str, read: tuple[str, str]):
    assert read_summary(said) == read


async def test_what_to_check_on_the_screen_is_part_of_the_report():
    model = ScriptedModel(["```bash\none\n```", "DONE", "It ran one.\nCheck: the title of the window"])
    agent = CodeAgent(model, Shell().machine, AgentSettings(), Tally(), notes=NOTES)
    report = (await agent.run("t", request_id="r")).report
    assert (report.summary, report.verify) == ("It ran one.", "the title of the window")


async def test_every_snippet_is_on_disk_before_it_is_run_and_after_it():
    shell = Shell()
    seen: list[list[bool]] = []
    ran = shell.machine.script.on_command

    def look(desktop: Any, argv: Any, stdin: bytes) -> Reply | None:
        if argv[0] == "bash":
            seen.append([note.turn is not None for note in read_lines(NOTES, CodeNote)])
        return ran(desktop, argv, stdin) if ran else None

    shell.machine.script.on_command = look
    await work(shell, "```bash\none\n```", "```bash\ntwo\n```", "DONE")
    assert seen == [[False], [False, True, False]]
    assert len(read_lines(NOTES, CodeNote)) == 4


def test_a_step_that_never_ended_leaves_its_snippets_behind_and_not_those_of_others():
    notes = CodeLog(NOTES, "run-0-1-3", "sum it up")
    turn = CodeTurn(language="bash", code="one", returncode=0, output="1", seconds=0.1)
    CodeLog(NOTES, "run-0-1-2", "another").begins(0, "bash", "zero")
    notes.begins(0, "bash", "one")
    notes.ended(0, turn)
    notes.begins(1, "python", "two")
    report = left_behind(NOTES, "run-0-1-3")
    assert report is not None
    assert (report.task, report.ended, report.turns[0]) == ("sum it up", "interrupted", turn)
    assert (report.turns[1].code, report.turns[1].returncode) == ("two", None)
    assert "may or may not" in report.turns[1].output
    assert left_behind(NOTES, "run-0-1-9") is None
    assert left_behind(Path("none.jsonl"), "run-0-1-3") is None
