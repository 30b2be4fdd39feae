"""The few commands that a fake machine knows. Pure: arguments in, reply out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vm_pool.output import keep_ends
from vm_pool.types import Completed

_KILLED = -9


@dataclass(frozen=True)
class Reply:
    """What a command answers. `seconds` is how long it would take; longer than its time limit means killed."""

    stdout: str = ""
    stderr: str = ""
    returncode: int = 0
    seconds: float = 0.0

    def completed(self, timeout_s: float, output_limit: int) -> Completed:
        if self.seconds > timeout_s:
            return Completed(returncode=_KILLED, stdout="", stderr="", seconds=timeout_s, timed_out=True)
        stdout, stderr = keep_ends(self.stdout, output_limit), keep_ends(self.stderr, output_limit)
        return Completed(
            returncode=self.returncode,
            stdout=stdout,
            stderr=stderr,
            seconds=self.seconds,
            truncated=(stdout, stderr) != (self.stdout, self.stderr),
        )


class _Call(NamedTuple):
    arguments: Sequence[str]
    stdin: bytes
    files: Mapping[str, bytes]
    cwd: str
    env: Mapping[str, str]


def answer_command(
    argv: Sequence[str], stdin: bytes, *, files: Mapping[str, bytes], cwd: str, env: Mapping[str, str]
) -> Reply | None:
    """None when the command is none of `cat`, `echo`, `true`, `false`, `pwd`, `printenv`, `seq` and `sleep`."""
    command = _COMMANDS.get(argv[0])
    return None if command is None else command(_Call(argv[1:], stdin, files, cwd, env))


def _cat(call: _Call) -> Reply:
    if not call.arguments:
        return Reply(call.stdin.decode(errors="replace"))
    for path in call.arguments:
        if path not in call.files:
            return Reply(stderr=f"cat: {path}: No such file or directory\n", returncode=1)
    return Reply("".join(call.files[path].decode(errors="replace") for path in call.arguments))


def _printenv(call: _Call) -> Reply:
    values = [call.env[name] for name in call.arguments if name in call.env]
    return Reply("".join(f"{value}\n" for value in values), returncode=int(len(values) < len(call.arguments)))


def _seq(call: _Call) -> Reply:
    first, last = int(call.arguments[0]), int(call.arguments[-1])
    return Reply("".join(f"{number}\n" for number in range(first, last + 1)))


_COMMANDS: Mapping[str, Callable[[_Call], Reply]] = {
    "cat": _cat,
    "echo": lambda call: Reply(" ".join(call.arguments) + "\n"),
    "true": lambda _: Reply(),
    "false": lambda _: Reply(returncode=1),
    "pwd": lambda call: Reply(call.cwd + "\n"),
    "printenv": _printenv,
    "seq": _seq,
    "sleep": lambda call: Reply(seconds=float(call.arguments[0])),
}
