"""The part of a running machine that lies on tmpfs: its socket, its token and its frames."""

import hashlib
import os
import re

from vm_pool.errors import ConfigError
from vm_pool.host_files import start_of
from vm_pool.local_state import (
    LONGEST_SOCKET_PATH,
    MachineFolder,
    machine_uid,
    make_folder_for_machine,
    make_passage,
)

_LONGEST_TOKEN = 100


def make_runtime(folder: MachineFolder, token: str) -> None:
    """A directory for socket and token that only the machine's uid (and root) can enter, and one for frames.

    Raises: `ConfigError` when its path is too long for a socket.
    """
    if len(str(folder.socket)) > LONGEST_SOCKET_PATH:
        raise ConfigError(f"{folder.socket} is too long for a socket path; set XDG_RUNTIME_DIR to a shorter directory")
    make_passage(folder.runtime)
    folder.disk_link.symlink_to(folder.disk)
    make_folder_for_machine(folder.ctl, 0o700)
    make_folder_for_machine(folder.frames, 0o700)
    folder.token.write_text(token, encoding="ascii")
    folder.token.chmod(0o400)
    os.chown(folder.token, machine_uid(), -1)
    # Of the machine's name, so that one that is revived is the same machine for the programs in it.
    machine_id = hashlib.sha256(folder.disk.name.encode()).hexdigest()[:32]
    folder.machine_id.write_text(f"{machine_id}\n", encoding="ascii")
    folder.machine_id.chmod(0o444)


def read_token(folder: MachineFolder) -> str | None:
    """The token of a machine that still runs; None when there is none.

    The guest owns the folder that it lies in: it may have put a link there, for us to send it what the link leads to.
    """
    token = start_of(folder.token, _LONGEST_TOKEN)
    return token.decode("ascii") if re.fullmatch(rb"[A-Za-z0-9_-]{16,}", token) else None
