"""The filter's decisions, by running its instructions on made-up system calls."""

import errno
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_pool.errors import HostUnfit
from vm_pool.providers import sandbox_seccomp as seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
KNOWN = {**seccomp.DENIED, **seccomp.ABSENT, "clone": seccomp.CLONE, "ioctl": seccomp.IOCTL}


def decide(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel would answer: a small interpreter of the instructions that the filter uses."""
    padded = (*arguments, *[0] * 6)[:6]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch or seccomp.AUDIT_ARCH[machine], 0, *padded)
    program = seccomp.program(machine)
    accumulator = position = 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == 0x06:
            return operand
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}[
                code
            ]
            position += if_true if holds else if_false


def refused(error: int) -> int:
    return 0x00050000 | error


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_every_call_of_the_lists_is_refused(machine):
    for table, error in ((seccomp.DENIED, errno.EPERM), (seccomp.ABSENT, errno.ENOSYS)):
        for name, numbers in table.items():
            if (number := getattr(numbers, machine)) is not None:
                assert decide(machine, number) == refused(error), name


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
@given(number=st.integers(0, 1000), argument=st.integers(0, 2**64 - 1))
def test_every_other_call_is_allowed_whatever_its_arguments(machine, number, argument):
    special = {getattr(one, machine) for one in (*KNOWN.values(), seccomp.PERSONALITY, seccomp.SOCKET)}
    if number not in special:
        assert decide(machine, number, argument, argument) == ALLOW


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_calls_are_judged_by_their_arguments(machine):
    clone, ioctl = getattr(seccomp.CLONE, machine), getattr(seccomp.IOCTL, machine)
    personality, socket = getattr(seccomp.PERSONALITY, machine), getattr(seccomp.SOCKET, machine)
    assert decide(machine, clone, 0x3D0F00) == ALLOW
    assert decide(machine, clone, 0x10000000 | 17) == refused(errno.EPERM)
    assert decide(machine, ioctl, 0, 0x5401) == ALLOW
    assert decide(machine, ioctl, 0, 0x5412) == refused(errno.EPERM)
    assert decide(machine, ioctl, 0, 0xFFFFFFFF_00005412) == refused(errno.EPERM)
    assert decide(machine, personality, 0xFFFFFFFF) == ALLOW
    assert decide(machine, personality, 0x400000) == refused(errno.EPERM)
    for family, answer in ((1, ALLOW), (2, ALLOW), (16, ALLOW), (40, errno.EAFNOSUPPORT), (38, errno.EAFNOSUPPORT)):
        assert decide(machine, socket, family) in (answer, refused(answer))


def test_another_architecture_is_killed_and_x32_does_not_exist():
    assert decide("x86_64", 1, arch=0x40000003) == KILL
    assert decide("aarch64", 1, arch=seccomp.AUDIT_ARCH["x86_64"]) == KILL
    assert decide("x86_64", seccomp.X32_BIT | 1) == refused(errno.ENOSYS)


def test_the_bytes_are_eight_per_instruction_and_an_unknown_architecture_is_refused():
    assert len(seccomp.filter_bytes("x86_64")) == 8 * len(seccomp.program("x86_64"))
    assert len(seccomp.program("x86_64")) < 4096
    with pytest.raises(HostUnfit, match="riscv64"):
        seccomp.filter_bytes("riscv64")


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine):
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is missing; run: apt-get install linux-libc-dev")
    defined = {
        name.removeprefix("3264_"): int(number)
        for name, number in re.findall(r"^#define __NR\d*_(\w+)\s+(\d+)", header.read_text(), re.MULTILINE)
    }
    for name, numbers in KNOWN.items():
        assert defined.get(name) == getattr(numbers, machine), name
