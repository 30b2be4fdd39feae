"""The token that clients must know, kept in a file that may be replaced or written over."""

import contextlib
import hmac
from pathlib import Path


class TokenFile:
    """Changing the file renews the token, as is done in copies of a machine; without the file the last one stays.

    Raises on making: `OSError`.
    """

    def __init__(self, path: Path):
        self._path = path
        self._version = self._version_now()
        self._expected = self._read()

    def admits(self, authorization: str) -> bool:
        """Whether a request with this header may be answered."""
        with contextlib.suppress(OSError):
            if (version := self._version_now()) != self._version:
                self._expected, self._version = self._read(), version
        return hmac.compare_digest(authorization.encode("latin-1"), self._expected)

    def _version_now(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_ino, status.st_mtime_ns

    def _read(self) -> bytes:
        return b"Bearer " + self._path.read_bytes().strip()
