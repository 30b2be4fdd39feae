"""The control server of a started session."""

import argparse
import contextlib
import threading

from Xlib.error import ConnectionClosedError, DisplayError

from . import osworld, v1
from .desktop import Desktop
from .http_wire import Server, listen_tcp, listen_unix
from .journal import Journal, Root
from .processes import Processes
from .routing import Router
from .session import SessionConfig
from .token_file import TokenFile


class Service:
    """Opens the desktop and answers requests until closed. Raises on making: `OSError`."""

    def __init__(self, arguments: argparse.Namespace, token: TokenFile, config: SessionConfig, processes: Processes):
        journal = Journal([Root.parse(root) for root in arguments.journal], arguments.journal_stock)
        self._desktop = Desktop(config, processes, journal)
        router = Router(
            self._desktop, v1.ROUTES, osworld.ROUTES, token=token, open_osworld_routes=arguments.open_osworld_routes
        )
        listener = listen_unix(arguments.socket) if arguments.socket else listen_tcp(arguments.tcp)
        self._server = Server(listener, router.answer, on_idle=self._desktop.let_go_soon, gate=router.refusal)

    def start(self) -> None:
        threading.Thread(target=self._server.serve, daemon=True).start()
        threading.Thread(target=self._desktop.prepare, daemon=True).start()

    def close(self) -> None:
        self._server.close()
        # The X server may be what ended the session.
        with contextlib.suppress(DisplayError, ConnectionClosedError, OSError):
            self._desktop.inputs.close()
