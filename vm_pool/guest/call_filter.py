"""A system call filter for this process and all that it starts; what a container's own filter refuses stays refused.

Source: prctl(2) and linux/seccomp.h; a filter is made of `struct sock_filter`, 8 bytes each.
"""

import ctypes
import os
from pathlib import Path

_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_INSTRUCTION_BYTES = 8


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(path: Path) -> None:
    """For the calling thread and what it starts from now on, for good. Raises: `OSError`."""
    instructions = path.read_bytes()
    program = _Program(len(instructions) // _INSTRUCTION_BYTES, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _SET_NO_NEW_PRIVILEGES, 1, 0)
    _prctl(libc, _SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program))


def _prctl(libc: ctypes.CDLL, option: int, second: int, third: int) -> None:
    words = [ctypes.c_ulong(word) for word in (second, third, 0, 0)]
    if libc.prctl(option, *words) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")
