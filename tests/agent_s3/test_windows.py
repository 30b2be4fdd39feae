"""Opening and switching, and the programs of ours that run inside the machine."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rollout_stage import editor_window

from agent_s3.guest_script import run_script
from agent_s3.windows import Opener, open_it, pick_window, switch_to
from vm_pool.errors import GuestError
from vm_pool.providers.fake import FakeMachine
from vm_pool.providers.fake_desktop import FakeDesktop, Script
from vm_pool.providers.fake_shell import Reply
from vm_pool.types import Window

SCRIPTS = Path(__file__).parents[2] / "agent_s3" / "guest_scripts"


def machine(answer: Reply, *, opens: bool = True, windows: tuple[Window, ...] = ()) -> FakeMachine:
    def run(_desktop: FakeDesktop, _argv: Any, _stdin: bytes) -> Reply:
        return answer

    class Opening(FakeMachine):
        async def launch(self, argv: Any, *, cwd: str | None = None) -> int:
            if opens:
                self.desktop.windows = (*self.desktop.windows, editor_window(id="0x9"))
            return await super().launch(argv, cwd=cwd)

    where = Opening(script=Script(on_command=run))
    where.desktop.windows = windows
    return where


FOUND = Reply('{"argv": ["mousepad"], "what": "application Mousepad"}')


async def test_opening_waits_for_the_window():
    where = machine(FOUND)
    assert await open_it(where, "editor", timeout_s=1, request_id="r") == "application Mousepad"
    assert where.desktop.launched == [["mousepad"]]


@pytest.mark.parametrize("what", ["file /home/user/notes.txt", "application Editor", "program editor"])
async def test_what_is_in_front_already_may_stay_as_it_is(what: str):
    where = machine(Reply(json.dumps({"argv": ["mousepad"], "what": what})), opens=False)
    where.desktop.windows = (editor_window(),)
    assert await open_it(where, "editor", timeout_s=0.1, request_id="r") == what
    where.desktop.windows = (editor_window(active=False),)
    with pytest.raises(GuestError, match="no window came"):
        await open_it(where, "editor", timeout_s=0.1, request_id="r")


async def test_a_program_without_a_window_is_told():
    with pytest.raises(GuestError, match=r"no window came within 0\.1 s"):
        await open_it(machine(FOUND, opens=False), "editor", timeout_s=0.1, request_id="r")


async def test_what_is_not_there_is_not_launched():
    where = machine(Reply('{"error": "there is no application x"}'))
    with pytest.raises(GuestError, match="no application x"):
        await open_it(where, "x", timeout_s=1, request_id="r")
    assert where.desktop.launched == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Reply("garbage"), "garbage"),
        (Reply(stderr="a\nKeyError: 1\n", returncode=1), "KeyError"),
        (Reply(seconds=99), "longer"),
        (Reply("{}"), "something else than Opener"),
        (Reply('{"argv": [], "what": "x"}'), "something else"),
    ],
)
async def test_a_script_that_breaks_is_an_error_with_its_last_words(answer: Reply, reason: str):
    with pytest.raises(GuestError, match=reason):
        await run_script(machine(answer), "find_app", {"name": "x"}, Opener)


def test_a_window_is_picked_by_title_by_application_or_by_a_part_of_either():
    windows = (editor_window(), editor_window(id="0x2", title="Sums", app="gnome-calculator", active=False))
    assert picked(windows, "sums") == "0x2"
    assert picked(windows, "calculator") == "0x2"
    assert picked(windows, "Gnome Calculator") == "0x2"
    assert picked(windows, "the Editor window") == "0x1"
    assert picked(windows, "editor notes") == "0x1"
    assert picked(windows, "gnome-calculater") == "0x2"
    assert picked(windows, "browser") is None
    assert picked(windows, "...") is None


def picked(windows: tuple[Window, ...], wanted: str) -> str | None:
    window = pick_window(windows, wanted)
    return window.id if window else None


def test_of_two_windows_that_fit_the_one_in_the_background_is_meant():
    windows = (editor_window(id="0x2", active=False), editor_window())
    assert picked(windows, "editor") == "0x2"


def test_of_windows_that_nobody_can_tell_apart_the_topmost_is_meant():
    windows = (editor_window(id="0x2", active=False), editor_window(id="0x3", active=False))
    assert picked(windows, "editor") == "0x3"


def test_several_windows_that_fit_equally_are_all_named():
    windows = (editor_window(active=False), editor_window(id="0x2", title="plan.txt - Editor", active=False))
    with pytest.raises(GuestError, match=r"several windows fit 'editor': 'notes\.txt - Editor' .*'plan\.txt - Editor'"):
        pick_window(windows, "editor")
    assert picked(windows, "plan") == "0x2"


async def test_a_window_is_found_by_what_would_be_opened_by_that_name():
    where = machine(Reply(json.dumps({"argv": ["ed"], "what": "application Ed", "window": "Editor"})))
    where.desktop.windows = (editor_window(active=False), editor_window(id="0x2", title="Sums", app="calculator"))
    with pytest.raises(GuestError, match="no window fits 'photoshop'; open windows: 'notes"):
        await switch_to(
            machine(Reply('{"error": "no such thing"}'), windows=where.desktop.windows), "photoshop", request_id="r"
        )
    await switch_to(where, "text thing", request_id="r")
    assert where.desktop.commands[-1] == ("wmctrl", "-i", "-a", "0x1")


async def test_switching_names_the_window_by_its_id():
    where = machine(Reply())
    where.desktop.windows = (editor_window(),)
    await switch_to(where, "editor", request_id="r")
    assert where.desktop.commands == [("wmctrl", "-i", "-a", "0x1")]


async def test_switching_waits_until_the_window_is_in_front():
    def slowly(desktop: FakeDesktop, argv: Any, stdin: bytes) -> Reply:
        front = (editor_window(id="0x2", active=False), editor_window())
        asyncio.get_running_loop().call_later(0.1, setattr, desktop, "windows", front)
        return Reply()

    where = FakeMachine(script=Script(on_command=slowly))
    where.desktop.windows = (editor_window(active=False), editor_window(id="0x2"))
    await switch_to(where, "editor", request_id="r")
    assert [window.id for window in await where.windows() if window.active] == ["0x1"]


async def find_app(home: Path, name: str) -> dict[str, Any]:
    """Run the real script as the guest would, with its home and applications in a folder."""
    bin_ = home / "bin"
    env = {"HOME": str(home), "XDG_DATA_DIRS": str(home / "share"), "PATH": f"{bin_}{os.pathsep}/usr/bin:/bin"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPTS / "find_app.py"), stdin=-1, stdout=-1, env=env
    )
    stdout, _ = await process.communicate(json.dumps({"name": name}).encode())
    return json.loads(stdout)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    programs = {"mousepad": "TextEditor;", "gnome-calculator": "Calculator;", "xdg-open": ""}
    (tmp_path / "bin").mkdir()
    (tmp_path / "share" / "applications").mkdir(parents=True)
    for program, categories in programs.items():
        (tmp_path / "bin" / program).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / program).chmod(0o755)
        entry = (
            f"[Desktop Entry]\nType=Application\nName={program.title()}\nExec={program} %U\nCategories={categories}\n"
        )
        if categories:
            (tmp_path / "share" / "applications" / f"org.x.{program}.desktop").write_text(entry)
    (tmp_path / "Documents").mkdir()
    (tmp_path / "Documents" / "Plan.txt").write_text("x")
    return tmp_path


@pytest.mark.parametrize("name", ["Mousepad", "text editor", "mousepad", "org.x.mousepad", "Mousepad Text Editor"])
async def test_an_application_is_found_by_name_kind_and_program(home: Path, name: str):
    assert (await find_app(home, name))["argv"] == ["mousepad"]


@pytest.mark.parametrize("name", ["Documents/Plan.txt", "Plan.txt", "~/Documents/Plan.txt", "plan.txt"])
async def test_a_file_is_found_where_users_keep_files_and_is_opened_by_its_kind(home: Path, name: str):
    assert (await find_app(home, name))["argv"] == ["xdg-open", str(home / "Documents" / "Plan.txt")]


@pytest.mark.parametrize("name", ["mouse pad", "Mousepadd", "gnome calculator", "gnome calculater"])
async def test_an_application_is_found_by_a_name_that_is_not_quite_right(home: Path, name: str):
    assert (await find_app(home, name))["argv"] == ["mousepad" if "ous" in name else "gnome-calculator"]


def add(home: Path, name: str, content: str) -> None:
    """One more application of that id."""
    (home / "share" / "applications" / f"{name}.desktop").write_text(f"[Desktop Entry]\nType=Application\n{content}\n")


async def test_a_name_that_fits_several_applications_is_answered_with_all_of_them(home: Path):
    add(home, "a", "Name=Mousepad Settings\nExec=mousepad --preferences")
    add(home, "b", "Name=Calculator Settings\nExec=gnome-calculator --preferences")
    told = (await find_app(home, "settings"))["error"]
    assert told == "several applications fit 'settings': Calculator Settings, Mousepad Settings; name one of them"


async def test_of_several_of_a_kind_the_default_one_is_opened(home: Path):
    add(home, "a-first", "Name=Another\nExec=gnome-calculator %U\nCategories=TextEditor;")
    assert (await find_app(home, "text editor"))["argv"] == ["gnome-calculator"]
    (home / ".config").mkdir()
    (home / ".config" / "mimeapps.list").write_text("[Default Applications]\ntext/plain=org.x.mousepad.desktop;\n")
    assert (await find_app(home, "text editor"))["argv"] == ["mousepad"]


async def test_a_program_is_started_by_the_wrapper_that_comes_first_on_the_path(home: Path):
    add(home, "wrapped", "Name=Wrapped\nExec=/usr/bin/mousepad --x %U")
    assert (await find_app(home, "wrapped"))["argv"] == ["mousepad", "--x"]


async def test_a_file_name_that_several_files_have_is_answered_with_their_paths(home: Path):
    for folder in ("one", "two"):
        (home / "Documents" / folder).mkdir()
        (home / "Documents" / folder / "same.txt").write_text("x")
    told = (await find_app(home, "Same.txt"))["error"]
    assert "several files are called 'Same.txt'" in told
    assert f"{home}/Documents/one/same.txt, {home}/Documents/two/same.txt" in told


async def test_a_name_that_is_nothing_is_answered_with_what_there_is(home: Path):
    assert "Gnome-Calculator, Mousepad" in (await find_app(home, "photoshop; rm -rf ~"))["error"]
