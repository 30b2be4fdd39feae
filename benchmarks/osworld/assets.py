"""Files that a task brings along: beside the task files, or in a mirror folder of what upstream hosts. No network."""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from benchmarks.osworld.errors import AssetMissing

MAX_ASSET_BYTES = 512 * 1024 * 1024


def mirror_name(url: str) -> str:
    """The name under which upstream's client caches a download: a UUID of the whole address, then its last part."""
    return f"{uuid.uuid5(uuid.NAMESPACE_URL, url)}_{PurePosixPath(urlsplit(url).path).name}"


@dataclass(frozen=True)
class Assets:
    """Resolves asset addresses to local files."""

    root: Path
    """Folder of the task set; relative addresses start here."""
    mirror: Path | None = None
    """Folder with downloads of absolute addresses, named by `mirror_name`; None: there is none."""

    def path(self, url: str) -> Path:
        """Where the asset lies. Raises: `AssetMissing` with the place where it was looked for."""
        found = self._mirrored(url) if urlsplit(url).scheme else self._own(url)
        if not found.is_file():
            raise AssetMissing(f"asset {url!r} is not at {found}; put the file there")
        if found.stat().st_size > MAX_ASSET_BYTES:
            raise AssetMissing(f"asset {found} is larger than {MAX_ASSET_BYTES} bytes; is it the right file?")
        return found

    async def read(self, url: str) -> bytes:
        """Raises: `AssetMissing`."""
        path = self.path(url)
        try:
            return await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise AssetMissing(f"asset {path} cannot be read: {error.strerror or error}") from error

    def _own(self, url: str) -> Path:
        found = (self.root / url).resolve()
        if not found.is_relative_to(self.root.resolve()):
            raise AssetMissing(f"asset {url!r} lies outside the task set; write it relative to {self.root}")
        return found

    def _mirrored(self, url: str) -> Path:
        if self.mirror is None:
            raise AssetMissing(
                f"asset {url!r} is hosted elsewhere and nothing is downloaded here; "
                f"name a mirror folder that holds {mirror_name(url)!r}"
            )
        return self.mirror / mirror_name(url)
