"""The interpreter on a pool machine."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tools.code import Interpreter, shorten
from vm_pool.providers.fake import FakeMachine
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_shell import Reply


def machine(reply: Reply) -> FakeMachine:
    def answer(_desktop: FakeDesktop, _argv: Sequence[str], _stdin: bytes) -> Reply:
        return reply

    return FakeMachine(script=Script(on_command=answer))


async def test_a_snippet_is_one_argument_and_never_part_of_a_command_line():
    where = machine(Reply("hi\n"))
    ran = await Interpreter(where).run("bash", "echo 'hi'; rm -rf \"$X\"")
    assert where.desktop.commands == [("bash", "-c", "echo 'hi'; rm -rf \"$X\"")]
    assert (ran.returncode, ran.output) == (0, "hi")


async def test_output_and_errors_are_both_given():
    ran = await Interpreter(machine(Reply("out\n", "err\n", 3))).run("python", "x")
    assert (ran.returncode, ran.output) == (3, "out\nerr")


async def test_a_snippet_that_does_not_end_in_time_has_no_return_code():
    ran = await Interpreter(machine(Reply(seconds=9)), timeout_s=2).run("bash", "x")
    assert ran.returncode is None
    assert "killed after 2 s" in ran.output


async def test_the_same_request_is_run_once():
    where = machine(Reply("hi\n"))
    interpreter = Interpreter(where)
    await interpreter.run("bash", "x", request_id="a")
    await interpreter.run("bash", "x", request_id="a")
    assert len(where.desktop.commands) == 1


async def test_a_snippet_too_long_for_an_argument_is_not_run():
    where = machine(Reply())
    assert "write files in parts" in (await Interpreter(where).run("bash", "x" * 200_000)).output
    assert where.desktop.commands == []


def test_long_output_keeps_its_beginning_and_its_end():
    assert shorten("a" * 50 + "b" * 50, 20) == "a" * 10 + "\n[… 80 characters left out …]\n" + "b" * 10


@given(st.text(), st.integers(2, 50))
def test_short_output_is_left_alone(text: str, limit: int):
    assert (shorten(text, limit) == text) == (len(text) <= limit)
