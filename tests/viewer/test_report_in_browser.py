"""The page of a run, opened in a real browser."""

import re
from pathlib import Path

import pytest
from browser import console_lines, open_page, width_beyond

from agent_s3.paths import RunPaths
from viewer.report import write

pytestmark = pytest.mark.browser


def test_the_page_opens_without_complaint_and_hostile_text_does_nothing(golden_run: RunPaths, tmp_path: Path) -> None:
    done = open_page(write(golden_run), tmp_path / "profile", "--dump-dom")

    assert console_lines(done) == []
    assert re.search(r"<title>Rename report\.txt in Documents to final\.txt.*</title>", done.stdout)
    assert "<script" not in done.stdout
    for words in ("Rollout 1 wins", "left its content alone", "where it acted", "{{ 7*7 }}", "mv report.txt final.txt"):
        assert words in done.stdout


def test_the_browser_would_say_if_the_page_asked_for_more_than_it_may(golden_run: RunPaths, tmp_path: Path) -> None:
    page = write(golden_run)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<main>", '<main><img src="http://127.0.0.1:9/x.png"><script>1</script>'))

    done = open_page(page, tmp_path / "profile", "--dump-dom")

    assert len(console_lines(done)) >= 2


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(golden_run: RunPaths, tmp_path: Path, width: int) -> None:
    page = write(golden_run)

    assert width_beyond(page, tmp_path / "profile", width) <= 0
