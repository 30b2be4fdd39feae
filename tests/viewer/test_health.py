"""What the doctor says about models."""

from pathlib import Path

from llm.pull import model_path
from viewer.health import can_run, model_checks, text_reading
from vm_pool.host import Check


def checks(cache: Path, **keys: str) -> dict[str, Check]:
    return {check.name: check for check in model_checks({"AGENT_S3_CACHE": str(cache), **keys})}


def test_without_any_model_the_embedded_one_is_required(tmp_path: Path) -> None:
    found = checks(tmp_path)

    assert (found["local model"].required, found["local model"].fix) == (True, "agent-s3 model pull local")
    assert not can_run(list(found.values()))


def test_with_a_key_the_embedded_model_is_not_required(tmp_path: Path) -> None:
    assert not checks(tmp_path, OPENAI_API_KEY="sk-1")["local model"].required


def test_a_torn_model_file_is_told_from_a_good_one(tmp_path: Path) -> None:
    path = model_path(env={"AGENT_S3_CACHE": str(tmp_path)})
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")

    assert "damaged" in checks(tmp_path)["local model"].detail


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    assert "sk-secret" not in repr(checks(tmp_path, ANTHROPIC_API_KEY="sk-secret"))


def test_reading_text_from_pictures_is_checked_and_not_required() -> None:
    check = text_reading()

    assert not check.required
    assert (check.fix is None) == check.ok


def test_an_image_is_needed_to_run() -> None:
    fine = Check(name="kernel", ok=True, detail="")

    assert not can_run([fine, Check(name="image slim", ok=False, detail="", required=False)])
    assert can_run([fine, Check(name="image slim", ok=True, detail="", required=False)])
