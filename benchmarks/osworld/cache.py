"""The task cache: outputs that setup steps save on the host and the getter `cache_file` reads later."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.osworld.errors import EvaluationFailed


@dataclass(frozen=True)
class Cache:
    """One folder per machine; the base machine's outputs are copied to each fork's."""

    folder: Path

    def write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def read(self, name: str) -> bytes | None:
        """None: no step has saved an output of this name."""
        path = self._path(name)
        return path.read_bytes() if path.is_file() else None

    def fork(self, folder: Path) -> "Cache":
        """A copy in another folder, replacing what an earlier attempt left there."""
        shutil.rmtree(folder, ignore_errors=True)
        if self.folder.is_dir():
            shutil.copytree(self.folder, folder)
        return Cache(folder)

    def _path(self, name: str) -> Path:
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()) or path == self.folder.resolve():
            raise EvaluationFailed(f"cache file {name!r} lies outside the task's cache; use a plain file name")
        return path
