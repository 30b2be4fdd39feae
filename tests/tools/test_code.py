"""The interpreter on a pool machine."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.code import Interpreter, shorten
from vm_pool.provider import Spec
from vm_pool.providers.fake import FakeMachine
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_shell import Reply
from vm_pool.providers.sandbox import SandboxProvider


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


async def test_a_snippet_that_is_killed_takes_with_it_what_it_had_started():
    """Found by a mark in the environment, whatever process group they are in."""
    asked: list[Sequence[str]] = []

    def answer(_desktop: FakeDesktop, argv: Sequence[str], _stdin: bytes) -> Reply:
        asked.append(argv)
        return Reply(seconds=9) if argv[0] == "bash" else Reply("2 0\n")

    ran = await Interpreter(FakeMachine(script=Script(on_command=answer)), timeout_s=2).run("bash", "x")
    assert ran.output == "[killed after 2 s; so was what it had started]"
    assert [argv[0] for argv in asked] == ["bash", "python3"]
    assert asked[1][-1].startswith("AGENT_S3_SNIPPET=")


@pytest.mark.parametrize("said", [Reply("2 1\n"), Reply("rm -rf\n"), Reply("1 1\n", returncode=1)])
async def test_what_may_still_run_after_a_snippet_was_killed_is_said(said: Reply):
    def answer(_desktop: FakeDesktop, argv: Sequence[str], _stdin: bytes) -> Reply:
        return Reply(seconds=9) if argv[0] == "bash" else said

    ran = await Interpreter(FakeMachine(script=Script(on_command=answer)), timeout_s=2).run("bash", "x")
    assert "still run" in ran.output


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


HOLDS_OUT = """
import os, signal, subprocess, sys, time
subprocess.Popen(["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("daemon.pid", "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""


@pytest.mark.desktop
async def test_on_a_real_desktop_daemons_of_a_killed_snippet_are_gone_and_its_files_stay():
    provider = SandboxProvider()
    async with provider.session():
        machine = await provider.boot(Spec(image="slim"))
        ran = await Interpreter(machine, timeout_s=3).run("python", HOLDS_OUT)
        after = await Interpreter(machine).run("bash", "cat daemon.pid; pgrep -fa 'while :' | grep -v pgrep; ls /proc")
        window = await Interpreter(machine).run("bash", "setsid sleep 600 & echo $! > kept.pid")
        kept = await Interpreter(machine).run("bash", 'kill -0 "$(cat kept.pid)" && echo there')
        await provider.stop(machine)
    assert ran.returncode is None
    assert "so was what it had started" in ran.output
    pid, *rest = after.output.split()
    assert pid not in rest
    assert "while :" not in after.output
    assert (window.returncode, kept.output) == (0, "there"), "what a snippet that ends in time starts lives on"
