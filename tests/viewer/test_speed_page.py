"""The page of a speed report: all figures, all reasons, nothing that runs or loads."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
from browser import console_lines, open_page, width_beyond
from speed_stage import REPORT

from agent_s3.record import RecordError
from viewer.speed_page import render, write
from viewer.speeds import METRICS, group_of

COMMAND = "agent-s3 pool bench --provider libvirt --grow --html page.html"


def test_all_figures_ratios_and_reasons_are_on_the_page() -> None:
    page = render(REPORT, COMMAND)
    for words in [
        *REPORT["metrics"],
        *REPORT["ratios"],
        *REPORT["absent"],
        COMMAND,
        "34 512",
        "135",
        "1280×720",
        "tcg",
    ]:
        assert words in page
    assert page.count("<svg") == 7 + 3
    assert "machines forked at once" in page
    assert "ms until all are ready" in page


def test_the_report_itself_is_on_the_page_for_programs() -> None:
    found = re.search(r"<pre>(.*?)</pre>", render(REPORT, COMMAND), re.DOTALL)
    assert found is not None
    assert json.loads(unescape(found[1])) == REPORT


def test_a_report_without_growth_has_no_such_chapter() -> None:
    bare = {name: value for name, value in REPORT.items() if name not in ("growth", "ratios", "absent")}
    page = render(bare | {"ratios": {}, "absent": {}}, COMMAND)
    assert "Growth" not in page
    assert "In this same run" not in page
    assert "and why" not in page


def test_every_metric_has_a_group_and_a_unit() -> None:
    units = {name: group_of(name).unit for name in REPORT["metrics"]}
    assert units["fork_ms_n1"] == units["click_ms"] == "ms"
    assert units["pss_mib_n16"] == "MiB"
    assert units["disk_kib_birth"] == "KiB"
    assert group_of("something_new") is METRICS[-1]


def test_a_page_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot write"):
        write(tmp_path / "file" / "page.html", REPORT, COMMAND)


@pytest.mark.browser
def test_the_page_opens_without_complaint_and_hostile_text_does_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write(page, REPORT, COMMAND)

    done = open_page(page, tmp_path / "profile", "--dump-dom")

    assert console_lines(done) == []
    assert "<title>libvirt, image slim" in done.stdout
    assert "<script" not in done.stdout
    assert "{{ 7*7 }}" in done.stdout


@pytest.mark.browser
@pytest.mark.parametrize("width", [500, 1280])
def test_nothing_is_wider_than_the_window(tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    write(page, REPORT, COMMAND)

    assert width_beyond(page, tmp_path / "profile", width) <= 0
