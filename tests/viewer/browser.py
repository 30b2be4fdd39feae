"""Opening our pages in a real browser."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSERS = ("chromium", "google-chrome", "chromium-browser")


def open_page(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Load the page in headless Chromium; standard error holds what the page's console says."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium here; run: apt-get install -y chromium")
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ]
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *quiet, *options]
    return subprocess.run([*argv, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)


def console_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def width_beyond(page: Path, profile: Path, width: int) -> int:
    """How many px the page is wider than a window of that width. It is changed for that: it measures itself."""
    measure = "<script>document.title='wide:'+(document.documentElement.scrollWidth-innerWidth)</script></body>"
    text = page.read_text(encoding="utf-8").replace("</body>", measure)
    page.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text))
    done = open_page(page, profile, f"--window-size={width},900", "--dump-dom")
    title = re.search(r"<title>wide:(-?\d+)</title>", done.stdout)
    assert title is not None
    return int(title[1])
