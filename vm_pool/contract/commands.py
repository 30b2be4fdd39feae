"""Promises about running commands. Those used are in every Debian, and the fake machine knows most of them."""

import asyncio
import base64
import uuid

from vm_pool.contract.check import NotApplicable, check, expect, expect_error
from vm_pool.errors import GuestError
from vm_pool.machine import Machine

_BIG = 4 * 1024 * 1024
"""Bytes."""


@check("commands")
async def a_command_gives_its_output_and_code(machine: Machine) -> None:
    said = await machine.run(["echo", "two words", "한글"])
    expect((said.returncode, said.stdout, said.stderr) == (0, "two words 한글\n", ""), f"echo answered {said}")
    failed = await machine.run(["cat", "/no/such/file"])
    expect(failed.returncode == 1 and "/no/such/file" in failed.stderr, f"cat answered {failed}")
    expect((await machine.run(["false"])).returncode == 1, "a return code of 1 is an answer, not an error")


@check("commands")
async def a_command_gets_its_input(machine: Machine) -> None:
    echoed = await machine.run(["cat"], stdin="naïve 😀\n".encode())
    expect(echoed.stdout == "naïve 😀\n", f"cat repeated {echoed.stdout!r}")


@check("commands")
async def a_megabyte_of_input_arrives_whole(machine: Machine) -> None:
    if "v1" not in machine.info.capabilities:
        raise NotApplicable("v1", "OSWorld's route passes input as an argument, which the kernel limits to 128 KiB")
    text = "0123456789abcde\n" * 65536
    echoed = await machine.run(["cat"], stdin=text.encode(), output_limit=2 * len(text))
    expect(echoed.stdout == text, f"cat repeated {len(echoed.stdout)} of {len(text)} characters")


@check("commands")
async def a_command_runs_in_the_directory_it_is_given(machine: Machine) -> None:
    expect((await machine.run(["pwd"])).stdout == machine.info.home + "\n", "commands run in the home directory")
    expect((await machine.run(["pwd"], cwd="/tmp")).stdout == "/tmp\n", "commands run where they are told to")  # noqa: S108


@check("commands")
async def a_command_gets_the_environment_it_is_given(machine: Machine) -> None:
    shown = await machine.run(["printenv", "CONTRACT"], env={"CONTRACT": "kept = é"})
    expect(shown.stdout == "kept = é\n", "commands get the environment they are given")
    expect((await machine.run(["printenv", "CONTRACT"])).returncode == 1, "and others do not")


@check("commands")
async def arguments_are_not_read_by_a_shell(machine: Machine) -> None:
    words = ["$HOME", "`id`", "; false", "a  b", "*", "'\"", "\\n", ""]
    said = await machine.run(["echo", *words])
    expect(said.stdout == " ".join(words) + "\n", f"echo answered {said.stdout!r}")


@check("commands")
async def a_command_that_takes_too_long_is_killed(machine: Machine) -> None:
    ended = await machine.run(["sleep", "60"], timeout_s=0.2)
    expect(ended.timed_out and ended.returncode < 0, f"sleep 60 within 0.2 s answered {ended}")
    expect(ended.seconds < 30, f"and took {ended.seconds} s")


@check("commands")
async def a_command_that_is_killed_takes_its_children_with_it(machine: Machine) -> None:
    path = f"{machine.info.home}/contract-{uuid.uuid4().hex[:8]}"
    await _require_shell(machine)
    script = f'sleep 300 & echo $! > "{path}"; wait'
    ended = await machine.run(["sh", "-c", script], timeout_s=1.0)
    expect(ended.timed_out, "the command did not end by itself")
    pid = (await machine.read(path)).decode().strip()
    gone = 'i=0; while kill -0 "$1" 2>/dev/null; do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done'
    expect((await machine.run(["sh", "-c", gone, "sh", pid])).returncode == 0, "its child outlived it by 10 s")


@check("commands")
async def output_and_errors_are_kept_apart(machine: Machine) -> None:
    await _require_shell(machine)
    said = await machine.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    expect((said.stdout, said.stderr, said.returncode) == ("out\n", "err\n", 7), f"it answered {said}")


@check("commands")
async def long_output_keeps_its_ends(machine: Machine) -> None:
    counted = await machine.run(["seq", "1", "20000"], output_limit=1000)
    expect(counted.truncated, "output beyond the limit is said to be cut")
    expect(counted.stdout.startswith("1\n2\n") and counted.stdout.endswith("19999\n20000\n"), "both ends are kept")
    expect(len(counted.stdout) < 1200, f"{len(counted.stdout)} characters are more than the limit")


@check("commands")
async def megabytes_of_output_within_the_limit_come_whole(machine: Machine) -> None:
    last = 500_000
    counted = await machine.run(["seq", "1", str(last)], output_limit=_BIG)
    expected = sum(9 * 10**width * (width + 2) for width in range(5)) + 400_001 * 7
    expect(not counted.truncated and len(counted.stdout) == expected, f"{len(counted.stdout)} of {expected} came")


@check("commands")
async def output_that_is_no_text_does_not_break_the_answer(machine: Machine) -> None:
    await _require_shell(machine)
    data = base64.b64encode(bytes(range(256))).decode()
    said = await machine.run(["sh", "-c", 'printf %s "$1" | base64 -d', "sh", data])
    expect(said.returncode == 0 and "ABC" in said.stdout, f"it answered {said.stdout[:80]!r}")


@check("commands")
async def commands_run_at_the_same_time(machine: Machine) -> None:
    await _require_shell(machine)
    path = f"{machine.info.home}/contract-{uuid.uuid4().hex[:8]}"
    wait = 'until [ -e "$1" ]; do sleep 0.05; done'
    waiting = asyncio.create_task(machine.run(["sh", "-c", wait, "sh", path], timeout_s=30))
    await machine.run(["touch", path])
    expect(not (await waiting).timed_out, "a second command runs while the first one waits for it")


@check("commands")
async def launched_programs_get_a_pid_and_go_on(machine: Machine) -> None:
    pid = await machine.launch(["sleep", "30"])
    expect(pid > 0, "a launched program has a process id")
    await _require_shell(machine)
    expect((await machine.run(["kill", "-0", str(pid)])).returncode == 0, "and runs after the call has come back")
    await machine.run(["kill", str(pid)])


@check("requests")
async def a_command_with_the_same_request_id_runs_once(machine: Machine) -> None:
    await _require_shell(machine)
    path, request_id = f"{machine.info.home}/contract-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    argv = ["sh", "-c", 'echo run >> "$1"; echo done', "sh", path]
    first = await machine.run(argv, request_id=request_id)
    again = await machine.run(argv, request_id=request_id)
    expect(first.stdout == again.stdout == "done\n", "a repeat gets the first answer")
    expect((await machine.read(path)).decode() == "run\n", "and the command ran once")


@check("misuse")
async def a_command_that_does_not_exist_is_refused_and_named(machine: Machine) -> None:
    error = await expect_error(GuestError, machine.run(["no-such-command-here"]), "an unknown command is an error")
    expect("no-such-command-here" in str(error), "and the message names it")


@check("misuse")
async def a_directory_that_does_not_exist_is_refused(machine: Machine) -> None:
    missing = f"/no/such/directory-{uuid.uuid4().hex[:8]}"
    await expect_error(GuestError, machine.run(["pwd"], cwd=missing), "a command in no directory is an error")


async def _require_shell(machine: Machine) -> None:
    """Raises: `NotApplicable`."""
    try:
        await machine.run(["sh", "-c", "true"])
    except GuestError as error:
        raise NotApplicable("programs", f"the machine has no shell: {error}") from error
