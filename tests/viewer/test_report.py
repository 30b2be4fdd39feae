"""The page of a run: complete, self-contained, harmless, and made from whatever is on disk."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_s3.paths import RunPaths
from agent_s3.record import RecordError, append_line
from bbon.types import Evidence, Fact
from viewer.report import write
from vm_pool.types import Box


def page(paths: RunPaths) -> str:
    return write(paths).read_text(encoding="utf-8")


def test_the_verdict_its_reasons_and_the_cited_steps_are_on_the_page(golden_run: RunPaths) -> None:
    text = page(golden_run)

    assert "Rollout 1 wins" in text
    assert "left its content alone" in text
    assert 'href="#r1-s1"' in text
    assert 'id="r1-s1"' in text


def test_dropped_facts_are_counted_marked_and_not_quoted_as_evidence(golden_run: RunPaths) -> None:
    narrative = golden_run.rollout(1).narrative
    false = Fact(step=1, text="The title reads 12.", source="note", dropped="it says 12, and what stands there is -12")
    seen = Evidence(kind="tree", box=Box(x=1, y=2, width=3, height=4), name="label Saved")
    for fact in (false, Fact(step=1, text="The label appeared.", source="delta", evidence=(seen,))):
        append_line(narrative, fact)

    text = page(golden_run)

    assert "facts, 1 dropped" in text
    assert "<b>dropped:</b> it says 12" in text
    assert ">tree</small>" in text
    cited = text[text.index("What the judge relied on") : text.index("How it was decided")]
    assert "The label appeared." in cited
    assert "The title reads 12." not in cited


def test_every_link_inside_the_page_leads_somewhere(golden_run: RunPaths) -> None:
    text = page(golden_run)

    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r' id="([^"]+)"', text))


def test_steps_show_actions_facts_code_errors_and_diffs(golden_run: RunPaths) -> None:
    text = page(golden_run)

    for words in (
        "click &#39;#3&#39;",
        "mv report.txt final.txt",
        "not found",
        "was renamed to",
        "permissions 644 → 755",
        "content unchanged",
        '<span class="add">- done!',
        "/tmp/out/final.txt",
    ):
        assert words in text


def test_hostile_text_stays_text(golden_run: RunPaths) -> None:
    text = page(golden_run)

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "{{ 7*7 }}" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", text)


def test_the_page_asks_nothing_of_the_network(golden_run: RunPaths) -> None:
    text = page(golden_run)

    assert "default-src 'none'" in text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)
    assert "@import" not in text


def test_each_picture_is_embedded_once_and_leads_to_its_file(golden_run: RunPaths) -> None:
    text = page(golden_run)

    embedded = re.findall(r"background-image:url\(data:image/webp;base64,([^)]+)\)", text)
    assert len(embedded) == len(set(embedded)) == 12 + 2  # four rollouts with three screens; two crops alike in all
    for href in re.findall(r'href="(frames/[^"]+|rollouts/[^"]+)"', text):
        assert (golden_run.root / href).is_file()


def test_an_interrupted_run_shows_what_there_is(new_run: Callable[..., Any]) -> None:
    writer = new_run(3)
    writer.rollout(0)
    writer.rollout(1, over=False)

    text = page(writer.paths)

    assert "No verdict" in text
    assert "agent-s3 run --resume" in text
    assert "One more step was being executed" in text
    assert "No step was recorded" in text


def test_a_torn_file_is_named_and_the_rest_is_shown(golden_run: RunPaths) -> None:
    golden_run.verdict.write_text('{"winner": 1, "conf')
    golden_run.rollout(2).trajectory.write_text('{"index": "x"}\n')

    text = page(golden_run)

    assert "Could not be read" in text
    assert "Rollout 1 wins" in text  # result.json holds the verdict too


def test_a_run_that_chose_none_says_so(new_run: Callable[..., Any]) -> None:
    writer = new_run(1)
    writer.finish([writer.rollout(0)], winner=None)

    assert "None of the rollouts did the task" in page(writer.paths)


def test_missing_and_damaged_pictures_are_no_disaster(golden_run: RunPaths) -> None:
    first, second, *_ = sorted(golden_run.frames.iterdir())
    first.unlink()
    second.write_bytes(b"no picture")

    assert "no picture" in page(golden_run)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"config\.json"):
        write(RunPaths(tmp_path))
