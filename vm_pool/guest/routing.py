"""From a request to its handler: the table of routes, the token, and refusals as answers."""

import sys
import traceback
from collections.abc import Callable

from Xlib.error import ConnectionClosedError

from .desktop import Desktop
from .errors import Refused
from .http_wire import Request, Response, json_response
from .token_file import TokenFile

Route = Callable[[Desktop, Request], Response]
Routes = dict[tuple[str, str], Route]


class Router:
    """Answers requests about one desktop. `open_osworld_routes` opens them to whoever can connect."""

    def __init__(self, desktop: Desktop, v1: Routes, osworld: Routes, *, token: TokenFile, open_osworld_routes: bool):
        self._desktop = desktop
        self._routes = {**osworld, **v1}
        self._open = frozenset(osworld) if open_osworld_routes else frozenset[tuple[str, str]]()
        self._token = token

    def refusal(self, head: Request) -> Response | None:
        """What a request gets whose body is not worth reading: no token, or no such route. None: it may go on."""
        key = (head.method, head.path)
        if key not in self._open and not self._token.admits(head.headers.get("authorization", "")):
            return _error("a valid token is needed", 401, "unauthorized")
        if key not in self._routes:
            return _error(f"no route {head.method} {head.path}", 404, "no_route")
        return None

    def answer(self, request: Request) -> Response:
        """Never raises; an error of ours is a 500 with one line, and its traceback goes to the log."""
        if (refusal := self.refusal(request)) is not None:
            return refusal
        self._desktop.keep_hold()
        route = self._routes[request.method, request.path]
        try:
            return route(self._desktop, request)
        except Refused as refused:
            return _error(str(refused), refused.status, refused.kind)
        except ConnectionClosedError:
            return _error("its display has ended", 500, "display_gone")  # and so will this server, in a moment
        except Exception as error:  # noqa: BLE001 - one request must not end the session
            traceback.print_exc(file=sys.stderr)
            return _error(f"{type(error).__name__}: {error}", 500, "broken")


def _error(message: str, status: int, kind: str) -> Response:
    return json_response({"status": "error", "message": message, "kind": kind}, status)
