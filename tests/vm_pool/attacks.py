"""Runs in a machine, and for comparison on the host: tries what no machine may do and prints what came of each.

`attacks.py NAME...` prints a JSON object: name -> "succeeded", or the reason why it did not. What it does on the host
is harmless there: descriptors are made and closed, programs of its own are looked into.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import sys
from collections.abc import Callable, Generator

LIBC = ctypes.CDLL(None, use_errno=True)
ARM = os.uname().machine == "aarch64"
# Source: asm/unistd_64.h and asm-generic/unistd.h.
NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
NEW_USER, NEW_NET = 0x10000000, 0x40000000
ATTACH = 16


def call(name: str, *arguments: int | bytes) -> int:
    """Raises: `OSError`."""
    words = [word if isinstance(word, bytes) else ctypes.c_long(word) for word in arguments]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name][ARM]), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def in_a_child(work: Callable[[], object]) -> None:
    """What changes the process is done in one of its own. Raises: `OSError`."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
    _, status = os.waitpid(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise OSError(code, os.strerror(code) if code > 0 else f"signal {-code}")


@contextlib.contextmanager
def victim() -> Generator[int]:
    """A process of the same user, which does nothing."""
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def io_uring() -> None:
    os.close(call("io_uring_setup", 8, bytes(120)))


def bpf() -> None:
    array = struct.pack("=IIII", 2, 4, 4, 1)  # a map of kind ARRAY with one element
    os.close(call("bpf", 0, array + bytes(112), 128))


def perf_event() -> None:
    # A software clock of this process, without the kernel's part and the hypervisor's.
    attributes = struct.pack("=IIQQQQQ", 1, 112, 0, 1, 0, 0, 0x60) + bytes(64)
    os.close(call("perf_event_open", attributes, 0, -1, -1, 0))


def userfaultfd() -> None:
    os.close(call("userfaultfd", os.O_CLOEXEC))


def keyring() -> None:
    call("keyctl", 0, -3, 1)  # the session's keyring, to be made if need be


def add_key() -> None:
    call("add_key", b"user\0", b"agent-s3-test\0", b"x", 1, -2)  # in the process's own keyring


def user_namespace() -> None:
    in_a_child(lambda: call("unshare", NEW_USER))


def user_namespace_by_clone3() -> None:
    arguments = struct.pack("=11Q", NEW_USER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)

    def clone() -> None:
        if call("clone3", arguments, len(arguments)):
            os.wait()

    in_a_child(clone)


def ptrace() -> None:
    with victim() as pid:
        call("ptrace", ATTACH, pid, 0, 0)
        os.waitpid(pid, 0)


def ptrace_of_the_server() -> None:
    """Of the process that answers the host."""
    if os.geteuid() == 0:
        raise OSError(0, "on the host this would meet the servers of other people's machines")
    servers = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if is_server(pid)]
    if not servers:
        raise OSError(0, "no control server runs here")
    call("ptrace", ATTACH, min(servers), 0, 0)
    os.waitpid(min(servers), 0x40000000)


def is_server(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        program, *words = file.read().split(b"\0")
        return program == b"python3" and any(word.endswith(b"guest/main.py") for word in words)
    return False


def reading_other_memory() -> None:
    ours = ctypes.create_string_buffer(b"ours")
    copy = ctypes.create_string_buffer(4)
    local = struct.pack("=QQ", ctypes.addressof(copy), 4)
    remote = struct.pack("=QQ", ctypes.addressof(ours), 4)
    with victim() as pid:
        call("process_vm_readv", pid, local, 1, remote, 1, 0)


def taking_descriptors() -> None:
    with victim() as pid:
        handle = os.pidfd_open(pid)
        os.close(call("pidfd_getfd", handle, 0, 0))


def terminal_injection() -> None:
    def inject() -> None:
        os.setsid()
        _, slave = pty.openpty()
        fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
        fcntl.ioctl(slave, 0x5412, b"x")  # TIOCSTI

    in_a_child(inject)


def socket_of(*kind: int) -> Callable[[], None]:
    return lambda: socket.socket(*kind).close()


def opened(path: str, flags: int) -> Callable[[], None]:
    return lambda: os.close(os.open(path, flags))


def sysrq() -> None:
    with open("/proc/sysrq-trigger", "w") as file:
        file.write("h")  # has the kernel print a help text


def own_network_device() -> None:
    in_a_child(lambda: call("unshare", NEW_NET))


def become_root() -> None:
    in_a_child(lambda: os.setresuid(0, 0, 0))


def priority() -> None:
    in_a_child(lambda: os.setpriority(os.PRIO_PROCESS, 0, -10))


def unkillable() -> None:
    def protect() -> None:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-900")

    in_a_child(protect)


def host_name() -> None:
    socket.sethostname(socket.gethostname())


ATTACKS: dict[str, Callable[[], None]] = {
    "io_uring": io_uring,
    "bpf": bpf,
    "perf_event": perf_event,
    "userfaultfd": userfaultfd,
    "keyring": keyring,
    "add_key": add_key,
    "user namespace": user_namespace,
    "user namespace by clone3": user_namespace_by_clone3,
    "network namespace": own_network_device,
    "ptrace": ptrace,
    "ptrace of the control server": ptrace_of_the_server,
    "reading the memory of another process": reading_other_memory,
    "taking descriptors of another process": taking_descriptors,
    "terminal injection": terminal_injection,
    "raw socket": socket_of(socket.AF_INET, socket.SOCK_RAW, 1),
    "raw socket of IPv6": socket_of(socket.AF_INET6, socket.SOCK_RAW, 58),
    "packet socket": socket_of(17, socket.SOCK_RAW, 0),
    "sysrq": sysrq,
    "kernel settings": opened("/proc/sys/kernel/core_pattern", os.O_WRONLY),
    "kernel memory": opened("/proc/kcore", os.O_RDONLY),
    "kernel log": opened("/dev/kmsg", os.O_RDONLY),
    "becoming root": become_root,
    "priority over others": priority,
    "escape from the memory limit": unkillable,
    "host name": host_name,
}


def outcome(name: str) -> str:
    try:
        ATTACKS[name]()
    except OSError as error:
        return error.strerror or str(error)
    return "succeeded"


if __name__ == "__main__":
    print(json.dumps({name: outcome(name) for name in sys.argv[1:]}))
