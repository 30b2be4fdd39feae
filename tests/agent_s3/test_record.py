"""Records are whole or not there, and what cannot be written or read is one clear error."""

from pathlib import Path

import numpy as np
import pytest

from agent_s3.record import FrameStore, RecordError, append_line, read_lines, read_model, write_model
from agent_s3.types import FrameRef
from vm_pool.types import Frame

REF = FrameRef(sha256="0" * 64, width=2, height=1)


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_model(tmp_path / "deep" / "ref.json", REF)
    assert read_model(tmp_path / "deep" / "ref.json", FrameRef) == REF
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["ref.json"]


def test_a_folder_that_is_a_file_is_a_record_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot write .*ref\.json"):
        write_model(tmp_path / "file" / "ref.json", REF)
    with pytest.raises(RecordError, match=r"cannot append to .*lines\.jsonl"):
        append_line(tmp_path / "file" / "lines.jsonl", REF)


def test_a_disk_that_is_full_leaves_what_was_there() -> None:
    with pytest.raises(RecordError, match="No space left on device"):
        append_line(Path("/dev/full"), REF)


@pytest.mark.parametrize("content", ["", "{", '{"sha256": "0"}', "[1]"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ref.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=r"ref.json is no FrameRef: "):
        read_model(path, FrameRef)


def test_a_line_that_a_crash_tore_is_skipped_and_the_next_one_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, REF)
    with path.open("a") as file:
        file.write('{"sha256": "')
    append_line(path, REF)
    assert read_lines(path, FrameRef) == [REF, REF]
    assert read_lines(tmp_path / "missing.jsonl", FrameRef) == []


def pictures_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.png"))


async def test_equal_frames_share_one_file(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    refs = [store.put(Frame(np.full((1, 2, 3), value, np.uint8), 0.0)) for value in (7, 7, 8)]
    await store.flush()
    assert refs[0] == refs[1] != refs[2]
    assert len(pictures_in(tmp_path)) == 2
    assert Frame.from_image_file(await store.png(refs[0]), taken_at=0).sha256 == refs[0].sha256
    with pytest.raises(RecordError, match="cannot read"):
        await store.png(REF)
