"""The system call filter of sandbox machines: classic BPF bytes for `bwrap --seccomp`, made without libseccomp.

A deny list: what could reach past the namespaces, load code into the kernel, or has no use on a desktop and a history
of kernel bugs. Everything else is allowed. ptrace is denied: programs in a machine share one uid with its guest server.
Source: the shape follows Docker's default profile; struct seccomp_data and the return values are in linux/seccomp.h,
call numbers in asm/unistd_64.h and asm-generic/unistd.h.
"""

import errno
import platform
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vm_pool.errors import HostUnfit


class Numbers(NamedTuple):
    """A system call's number on each architecture; None where it has none."""

    x86_64: int | None
    aarch64: int | None


DENIED: Mapping[str, Numbers] = {
    "_sysctl": Numbers(156, None),
    "acct": Numbers(163, 89),
    "add_key": Numbers(248, 217),
    "bpf": Numbers(321, 280),
    "chroot": Numbers(161, 51),
    "clock_settime": Numbers(227, 112),
    "delete_module": Numbers(176, 106),
    "fanotify_init": Numbers(300, 262),
    "finit_module": Numbers(313, 273),
    "fsconfig": Numbers(431, 431),
    "fsmount": Numbers(432, 432),
    "fsopen": Numbers(430, 430),
    "fspick": Numbers(433, 433),
    "init_module": Numbers(175, 105),
    "ioperm": Numbers(173, None),
    "iopl": Numbers(172, None),
    "kcmp": Numbers(312, 272),
    "kexec_file_load": Numbers(320, 294),
    "kexec_load": Numbers(246, 104),
    "keyctl": Numbers(250, 219),
    "lookup_dcookie": Numbers(212, 18),
    "mbind": Numbers(237, 235),
    "migrate_pages": Numbers(256, 238),
    "mount": Numbers(165, 40),
    "mount_setattr": Numbers(442, 442),
    "move_mount": Numbers(429, 429),
    "move_pages": Numbers(279, 239),
    "nfsservctl": Numbers(180, 42),
    "open_by_handle_at": Numbers(304, 265),
    "open_tree": Numbers(428, 428),
    "perf_event_open": Numbers(298, 241),
    "pidfd_getfd": Numbers(438, 438),
    "pivot_root": Numbers(155, 41),
    "process_vm_readv": Numbers(310, 270),
    "process_vm_writev": Numbers(311, 271),
    "ptrace": Numbers(101, 117),
    "quotactl": Numbers(179, 60),
    "quotactl_fd": Numbers(443, 443),
    "reboot": Numbers(169, 142),
    "request_key": Numbers(249, 218),
    "set_mempolicy": Numbers(238, 237),
    "set_mempolicy_home_node": Numbers(450, 450),
    "setdomainname": Numbers(171, 162),
    "sethostname": Numbers(170, 161),
    "setns": Numbers(308, 268),
    "settimeofday": Numbers(164, 170),
    "swapoff": Numbers(168, 225),
    "swapon": Numbers(167, 224),
    "sysfs": Numbers(139, None),
    "syslog": Numbers(103, 116),
    "umount2": Numbers(166, 39),
    "unshare": Numbers(272, 97),
    "uselib": Numbers(134, None),
    "userfaultfd": Numbers(323, 282),
    "ustat": Numbers(136, None),
    "vhangup": Numbers(153, 58),
}
"""Answered with EPERM."""

ABSENT: Mapping[str, Numbers] = {
    "clone3": Numbers(435, 435),
    "io_uring_enter": Numbers(426, 426),
    "io_uring_register": Numbers(427, 427),
    "io_uring_setup": Numbers(425, 425),
}
"""Answered with ENOSYS, so that programs use older calls; clone3's flags lie in memory, where no filter can look."""

CLONE = Numbers(56, 220)
IOCTL = Numbers(16, 29)
PERSONALITY = Numbers(135, 92)
SOCKET = Numbers(41, 198)

NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX put keystrokes into another process's terminal."""
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
SOCKET_FAMILIES = (1, 2, 10, 16)
"""Unix, IPv4, IPv6, netlink. VSOCK would reach a hypervisor past the network namespace; the rest is attack surface."""

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16


class Instruction(NamedTuple):
    """One `struct sock_filter`: operation, how many to skip when true and when false, operand."""

    code: int
    if_true: int
    if_false: int
    operand: int


def filter_bytes(machine: str | None = None) -> bytes:
    """The filter for an architecture as `platform.machine()` names it (None: this host's), ready for bwrap.

    Raises: `HostUnfit` for architectures without a table.
    """
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program(machine or platform.machine()))


def program(machine: str) -> list[Instruction]:
    """The filter as instructions. Raises: `HostUnfit` for architectures without a table."""
    if machine not in AUDIT_ARCH:
        raise HostUnfit(f"no system call table for {machine!r}; the sandbox runs on {', '.join(AUDIT_ARCH)}")
    return list(_program(machine))


def _program(machine: str) -> Iterator[Instruction]:
    yield Instruction(_LOAD_WORD, 0, 0, _ARCH_AT)
    yield Instruction(_JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine])
    yield _answer(_KILL_PROCESS)
    yield Instruction(_LOAD_WORD, 0, 0, _NUMBER_AT)
    if machine == "x86_64":
        yield Instruction(_JUMP_AT_LEAST, 0, 1, X32_BIT)
        yield _answer(_ERRNO | errno.ENOSYS)
    for table, error in ((DENIED, errno.EPERM), (ABSENT, errno.ENOSYS)):
        for numbers in table.values():
            yield from _unconditionally(getattr(numbers, machine), error)
    yield from _clone(getattr(CLONE, machine))
    yield from _by_argument(getattr(IOCTL, machine), 1, refused=TERMINAL_INJECTION, error=errno.EPERM)
    yield from _by_argument(getattr(PERSONALITY, machine), 0, allowed=PERSONALITIES, error=errno.EPERM)
    yield from _by_argument(getattr(SOCKET, machine), 0, allowed=SOCKET_FAMILIES, error=errno.EAFNOSUPPORT)
    yield _answer(_ALLOW)


def _answer(value: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, value)


def _unconditionally(number: int | None, error: int) -> Iterator[Instruction]:
    if number is None:
        return
    yield Instruction(_JUMP_EQUAL, 0, 1, number)
    yield _answer(_ERRNO | error)


def _clone(number: int) -> Iterator[Instruction]:
    yield Instruction(_JUMP_EQUAL, 0, 4, number)
    yield Instruction(_LOAD_WORD, 0, 0, _ARGUMENTS_AT)
    yield Instruction(_JUMP_ANY_BIT, 0, 1, NEW_NAMESPACES)
    yield _answer(_ERRNO | errno.EPERM)
    yield _answer(_ALLOW)


def _by_argument(
    number: int, index: int, *, error: int, allowed: tuple[int, ...] = (), refused: tuple[int, ...] = ()
) -> Iterator[Instruction]:
    """Decide by the low half of an argument: only `allowed` values pass, or all but the `refused` ones."""
    values, listed, unlisted = (allowed, _ALLOW, _ERRNO | error) if allowed else (refused, _ERRNO | error, _ALLOW)
    yield Instruction(_JUMP_EQUAL, 0, len(values) + 3, number)
    yield Instruction(_LOAD_WORD, 0, 0, _ARGUMENTS_AT + 8 * index)
    for position, value in enumerate(values):
        yield Instruction(_JUMP_EQUAL, len(values) - position, 0, value)
    yield _answer(unlisted)
    yield _answer(listed)
