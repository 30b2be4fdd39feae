#!/usr/bin/python3
"""Starts a desktop session and serves it: `main.py --socket PATH --token-file PATH --size 1920x1080 --frames DIR`.

Exits 0 on SIGTERM, 1 as soon as the session cannot go on (the X server died): the machine is lost then.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

# `python3 -I` leaves the script's directory out; the server is a package next to it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from guest.processes import Processes
from guest.session import Session, SessionConfig, become, make_runtime_directory, session_environment
from guest.token_file import TokenFile


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Desktop session with a control server.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", help="path of the unix socket to listen on")
    where.add_argument("--tcp", metavar="HOST:PORT", help="address to listen on, for virtual machines")
    parser.add_argument("--token-file", type=Path, required=True, help="file that holds the bearer token")
    parser.add_argument("--size", type=parse_size, default=(1920, 1080), help="screen size, e.g. 1920x1080")
    parser.add_argument("--frames", type=Path, required=True, help="directory on tmpfs for the framebuffer file")
    parser.add_argument("--journal", action="append", default=[], metavar="DIR[=PREFIX]", help="watch files below DIR")
    parser.add_argument("--journal-stock", type=Path, help="file that keeps what there was at the first start")
    parser.add_argument("--filter", type=Path, help="a system call filter for the whole session")
    parser.add_argument("--egress", metavar="PATH", help="socket by which the host carries what goes out")
    parser.add_argument("--user", default="user", help="the desktop's user (default: user)")
    parser.add_argument("--open-osworld-routes", action="store_true", help="no token for OSWorld's own routes")
    parser.add_argument("--log-to-stderr", action="store_true", help="no file for what the session's services write")
    return parser.parse_args(argv)


def parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main(argv: list[str]) -> int:
    arguments = parse_arguments(argv)
    token = TokenFile(arguments.token_file)
    become(arguments.user)
    if arguments.filter:
        from guest import call_filter  # ctypes takes some ms to import, and where bubblewrap filters nobody needs it

        call_filter.install(arguments.filter)
    home = os.environ.get("HOME") or f"/home/{arguments.user}"
    note = Path(arguments.socket).parent / "launched.json" if arguments.socket else None
    environment = session_environment(arguments.user, home, make_runtime_directory())
    if arguments.egress:
        from guest.egress import Egress, proxy_environment

        Egress(arguments.egress).start()
        environment |= proxy_environment()
    processes = Processes(environment, home, note)
    config = SessionConfig(*arguments.size, arguments.frames, arguments.user, arguments.log_to_stderr)
    lost: list[str] = []
    stop = threading.Event()
    session = Session(config, processes, on_lost=lambda reason: (lost.append(reason), stop.set()))
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        session.start_servers()
        from guest.service import Service  # imported while the X server starts: together they take 60 ms

        session.start_desktop()
        service = Service(arguments, token, config, processes)
        service.start()
        session.supervise(stop)
        service.close()
    except OSError as error:
        lost.append(str(error))
    finally:
        processes.kill_all()
    if lost:
        sys.stderr.write(f"session ended: {lost[0]}\n")
        sys.stderr.flush()
    # Not sys.exit: threads that wait on a dead display must not hold the exit up.
    os._exit(1 if lost else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
