"""Opening and switching: which windows there are and which is active, as another X client sees it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent_s3.actions import Open, SwitchApplications
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.stage import Stage

_EDITOR = "mousepad"
_ALL = ("mousepad", "lxterminal", "thunar", "gnome-calculator", "soffice.bin", "chromium")


@dataclass(frozen=True)
class Windows:
    """A desktop on which windows are opened, in front of none."""

    stage: Stage

    async def clear(self) -> None:
        await self.stage.end(*_ALL)
        home = self.stage.machine.info.home
        await self.stage.machine.run(["rm", "-rf", f"{home}/.local/share/Mousepad", f"{home}/Documents"])

    async def write(self, *names: str) -> None:
        for name in names:
            await self.stage.machine.write(f"{self.stage.machine.info.home}/Documents/{name}", b"words\n")

    async def edit(self, *names: str) -> None:
        """Open one window of the text editor for each file."""
        await self.write(*names)
        for name in names:
            await self.stage.machine.launch(
                [_EDITOR, "--opening-mode=window", f"{self.stage.machine.info.home}/Documents/{name}"]
            )
            await self.stage.until(self.stage.titles, lambda titles, name=name: any(name in title for title in titles))
            await self.stage.quiet()

    async def calculate(self) -> None:
        """Open the calculator, in front."""
        await self.stage.machine.launch(["gnome-calculator"])
        await self.stage.until(self.active, lambda title: title == "Calculator")
        await self.stage.quiet()

    async def active(self) -> str:
        """Title of the active window, as xdotool asks the X server for it."""
        done = await self.stage.machine.run(["xdotool", "getactivewindow", "getwindowname"], timeout_s=10)
        return done.stdout.strip()

    async def opens(self, names: Sequence[str], programs: Sequence[str]) -> None:
        """Open these one after the other, and find each program's window."""
        await self.clear()
        await self.stage.do(*(Open(app_or_filename=name) for name in names))
        await self.stage.saw()

        async def there() -> list[str]:
            return sorted(window.app.casefold() for window in await self.stage.machine.windows())

        await self.stage.found("programs with windows", there, sorted(programs))

    async def in_front(self, wanted: str, title: str) -> None:
        """Switch, and find the active window's title."""
        await self.stage.do(SwitchApplications(app_code=wanted))
        await self.stage.saw()
        await self.stage.holds("the active window", self.active, lambda active: title in active)


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Windows]:
    app = Windows(stage)
    yield app
    await app.clear()


@proves("open", quick=True)
async def applications_are_opened_by_name_kind_and_with_a_slip_of_the_pen(app: Windows) -> None:
    await app.opens(["Mouse Pad", "terminal", "calculater"], ["mousepad", "lxterminal", "gnome-calculator"])


@proves("open")
async def the_file_manager_is_opened_by_its_kind(app: Windows) -> None:
    await app.opens(["file manager"], ["thunar"])


@proves("open")
async def a_file_is_opened_by_its_name_alone(app: Windows) -> None:
    await app.clear()
    await app.write("Plan für morgen.txt")
    await app.stage.do(Open(app_or_filename="plan für morgen.txt"))
    await app.stage.saw()
    await app.stage.holds("the active window", app.active, lambda title: "Plan für morgen.txt" in title)


@proves("open")
async def a_folder_is_opened_by_its_path(app: Windows) -> None:
    await app.clear()
    await app.write("deep/inside.txt")
    await app.stage.do(Open(app_or_filename="~/Documents/deep"))
    await app.stage.saw()
    await app.stage.found("the active window", app.active, "deep - Thunar")


@proves("open", quick=True)
async def what_is_not_there_is_refused_with_what_is(app: Windows) -> None:
    await app.clear()
    because = ["no application or file 'photoshop'", "Calculator", "LXTerminal", "Mousepad", "Thunar"]
    await app.stage.refused_untouched(Open(app_or_filename="photoshop"), because=because)


@proves("open", quick=True)
async def a_name_that_fits_several_is_refused_with_all_of_them(app: Windows) -> None:
    await app.clear()
    because = ["several applications fit 'settings'", "File Manager Settings", "Text Editor Settings"]
    await app.stage.refused_untouched(Open(app_or_filename="settings"), because=because)


@proves("open")
async def a_file_name_that_several_have_is_refused_with_their_paths(app: Windows) -> None:
    await app.clear()
    await app.write("one/notes.txt", "two/notes.txt")
    because = ["several files are called 'notes.txt'", "Documents/one/notes.txt", "Documents/two/notes.txt"]
    await app.stage.refused_untouched(Open(app_or_filename="notes.txt"), because=because)


@proves("switch_applications")
async def a_window_comes_to_the_front_by_the_name_of_its_application(app: Windows) -> None:
    await app.clear()
    await app.edit("alpha.txt")
    await app.calculate()
    await app.in_front("mousepad", "alpha.txt")


@proves("switch_applications")
async def a_window_comes_to_the_front_by_a_part_of_its_title(app: Windows) -> None:
    await app.clear()
    await app.edit("alpha.txt", "beta.txt")
    await app.calculate()
    await app.in_front("Beta", "beta.txt")


@proves("switch_applications", quick=True)
async def a_window_comes_to_the_front_by_its_kind_and_with_a_slip_of_the_pen(app: Windows) -> None:
    await app.clear()
    await app.edit("alpha.txt")
    await app.calculate()
    await app.in_front("text editor", "alpha.txt")
    await app.in_front("calculater", "Calculator")


@proves("switch_applications")
async def a_minimized_window_comes_back(app: Windows) -> None:
    await app.clear()
    await app.edit("alpha.txt")
    await app.stage.machine.run(["xdotool", "getactivewindow", "windowminimize"], timeout_s=10)
    await app.calculate()
    await app.in_front("alpha", "alpha.txt")


@proves("switch_applications")
async def a_window_that_is_not_there_is_refused_with_those_that_are(app: Windows) -> None:
    await app.clear()
    await app.edit("alpha.txt")
    because = ["no window fits 'photoshop'", "alpha.txt - Mousepad"]
    await app.stage.refused_untouched(SwitchApplications(app_code="photoshop"), because=because)


@proves("switch_applications", quick=True)
async def a_name_that_several_windows_have_is_refused_with_all_of_them(app: Windows) -> None:
    await app.clear()
    await app.edit("alpha.txt", "beta.txt")
    await app.calculate()
    because = ["several windows fit 'mousepad'", "alpha.txt - Mousepad", "beta.txt - Mousepad"]
    await app.stage.refused_untouched(SwitchApplications(app_code="mousepad"), because=because)


@proves("open")
async def the_office_and_the_browser_are_opened_by_their_kinds(app: Windows) -> None:
    await app.opens(["spreadsheet", "web browser"], ["libreoffice-calc", "chromium"])


@proves("switch_applications")
async def the_office_is_switched_to_by_its_name(app: Windows) -> None:
    await app.clear()
    await app.stage.do(Open(app_or_filename="word processor"))
    await app.calculate()
    await app.in_front("LibreOffice Writer", "LibreOffice Writer")


_OFFICE = {"the_office_and_the_browser_are_opened_by_their_kinds", "the_office_is_switched_to_by_its_name"}
_CHECKS = checks_among(globals())
SUITE = Suite("windows", "xdotool", _opened, [one for one in _CHECKS if one.check.name not in _OFFICE])
OFFICE_SUITE = Suite("windows of the office", "soffice", _opened, [one for one in _CHECKS if one.check.name in _OFFICE])
