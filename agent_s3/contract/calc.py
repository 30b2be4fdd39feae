"""The spreadsheet (LibreOffice Calc): its cells, its selection and what it shows, as it says over UNO."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from agent_s3.actions import CellValue, Click, DragAndDrop, HoldAndPress, Hotkey, Scroll, SetCellValues, Type
from agent_s3.contract.check import Suite, checks_among, proves
from agent_s3.contract.office import Office, running
from agent_s3.contract.samples import MIXED, TWO_THOUSAND
from agent_s3.contract.stage import Stage
from agent_s3.contract.story import click, drag, key, text, wheel
from vm_pool.events import Chord

_SHEETS: Mapping[str, Mapping[str, str]] = {"Sheet1": {"A1": "name", "B1": "price"}, "Costs 2026": {}}


class Calc(Office):
    """LibreOffice Calc."""

    async def show(self, kind: str = "ods") -> None:
        """A workbook of two sheets."""
        await self.fill(kind, sheets=_SHEETS)

    async def cells(self, *names: str, sheet: str = "Sheet1") -> dict[str, Any]:
        return await self.ask("cells", sheet=sheet, names=names)

    async def selected(self) -> str:
        return (await self.ask("view"))["selected"]

    def strings(self, *names: str) -> Any:
        """A question: what cells of the first sheet show."""

        async def ask() -> list[str]:
            found = await self.cells(*names)
            return [found[name]["string"] for name in names]

        return ask

    async def set(self, values: dict[str, CellValue], *, sheet: str = "Sheet1") -> None:
        """The action and its first witness: there is no input."""
        title = self.path.rpartition("/")[2]
        await self.stage.do(SetCellValues(cell_values=values, app_name=title, sheet_name=sheet))
        await self.stage.saw()


@asynccontextmanager
async def _opened(stage: Stage) -> AsyncGenerator[Calc]:
    async with running(stage, "calc"):
        yield Calc(stage, landmark="C5")


@proves("click")
async def a_click_selects_a_cell(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="cell C5"))
    await app.stage.saw(click(*done.at()))
    await app.stage.found("the selection", app.selected, "$Sheet1.$C$5")


@proves("click")
async def a_click_with_shift_selects_a_range(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(
        Click(element_description="cell B3"), Click(element_description="cell D6", hold_keys=("shift",))
    )
    await app.stage.saw(click(*done.at()), click(*done.at(step=1), held=["shift"]))
    await app.stage.found("the selection", app.selected, "$Sheet1.$B$3:$D$6")


@proves("click")
async def a_click_with_ctrl_selects_another_cell_too(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(
        Click(element_description="cell B3"), Click(element_description="cell D6", hold_keys=("ctrl",))
    )
    await app.stage.saw(click(*done.at()), click(*done.at(step=1), held=["ctrl"]))
    await app.stage.found("the selection", app.selected, "$Sheet1.$B$3,$Sheet1.$D$6")


@proves("click")
async def a_double_click_edits_a_cell(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="cell A1", num_clicks=2), Type(text=" of item", enter=True))
    await app.stage.saw(click(*done.at(), count=2), text(" of item\n"))
    await app.stage.holds("A1", app.strings("A1"), lambda held: " of item" in held[0] and "name" in held[0])


@proves("click")
async def a_right_click_opens_the_menu_of_a_cell(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="cell C5", button_type="right"))
    await app.stage.saw(click(*done.at(), button="right"))
    await app.menu_opens(*done.at())


@proves("click")
async def a_menu_opens_and_its_item_does_its_work(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Click(element_description="the Edit menu"), Click(element_description="Select All"))
    await app.stage.saw(click(*done.at()), click(*done.at(step=1)))
    await app.stage.holds("the selection", app.selected, lambda taken: taken.startswith("$Sheet1.$A$1:$"))


@proves("type", quick=True)
async def a_cell_takes_what_is_typed_over_it(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Type(element_description="cell B1", text="cost in €", overwrite=True, enter=True))
    await app.stage.saw(click(*done.at()), text("cost in €\n"))
    await app.stage.found("B1", app.strings("B1"), ["cost in €"])


@proves("type")
async def cells_are_filled_row_by_row(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Type(element_description="cell A3", text="tea\t4.5\n=B3*2\n"))
    await app.stage.saw(click(*done.at()), text("tea\t4.5\n=B3*2\n"))
    await app.stage.found("A3, B3, A4", app.strings("A3", "B3", "A4"), ["tea", "4.5", "9"])


@proves("type")
async def mixed_scripts_arrive(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Type(element_description="cell B4", text=MIXED, enter=True))
    await app.stage.saw(click(*done.at()), text(MIXED + "\n"))
    await app.stage.found("B4", app.strings("B4"), [MIXED])


@proves("type")
async def two_thousand_characters_arrive_in_order(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Type(element_description="cell B4", text=TWO_THOUSAND, enter=True))
    await app.stage.saw(click(*done.at()), text(TWO_THOUSAND + "\n"))
    await app.stage.found("B4", app.strings("B4"), [TWO_THOUSAND])


@proves("scroll")
async def the_wheel_scrolls_down_and_up(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(
        Scroll(element_description="cell C5", clicks=-4), Scroll(element_description="cell C20", clicks=1)
    )
    await app.stage.saw(wheel("down", *done.at(), count=4), wheel("up", *done.at(step=1), count=1))

    async def row() -> int:
        return (await app.ask("view"))["row"]

    await app.stage.holds("rows scrolled down", row, lambda rows: rows > 0)


@proves("scroll")
async def the_wheel_scrolls_sideways(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Scroll(element_description="cell C5", clicks=-3, shift=True))
    await app.stage.saw(wheel("right", *done.at(), count=3))

    async def column() -> int:
        return (await app.ask("view"))["column"]

    await app.stage.holds("columns scrolled right", column, lambda columns: columns > 0)


@proves("drag_and_drop")
async def a_drag_over_cells_selects_them(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(DragAndDrop(starting_description="cell B2", ending_description="cell D4"))
    await app.stage.saw(drag(*done.at(0), *done.at(1)))
    await app.stage.found("the selection", app.selected, "$Sheet1.$B$2:$D$4")


@proves("drag_and_drop")
async def a_drag_with_ctrl_selects_another_range_too(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(
        DragAndDrop(starting_description="cell B2", ending_description="cell C3"),
        DragAndDrop(starting_description="cell E5", ending_description="cell F6", hold_keys=("ctrl",)),
    )
    first, second = ((*done.at(0, step=step), *done.at(1, step=step)) for step in (0, 1))
    await app.stage.saw(drag(*first), drag(*second, held=["ctrl"]))
    await app.stage.found("the selection", app.selected, "$Sheet1.$B$2:$C$3,$Sheet1.$E$5:$F$6")


@proves("hotkey")
async def a_hotkey_saves_the_workbook(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(Type(element_description="cell A2", text="tea", enter=True), Hotkey(keys=("ctrl", "s")))
    await app.stage.saw(click(*done.at()), text("tea\n"), key("s", held=["ctrl"]))
    await app.stage.found("nothing left to save", app.saved, wanted=True)


@proves("hold_and_press")
async def a_range_is_selected_by_keys(app: Calc) -> None:
    await app.show()
    done = await app.stage.do(
        Click(element_description="cell B2"), HoldAndPress(hold_keys=("shift",), press_keys=("down", "down", "right"))
    )
    keys = key("Down", held=["shift"], count=2), key("Right", held=["shift"])
    await app.stage.saw(click(*done.at()), *keys)
    await app.stage.found("the selection", app.selected, "$Sheet1.$B$2:$C$4")


@proves("set_cell_values")
async def texts_numbers_truths_and_empty_cells_are_set(app: Calc) -> None:
    await app.show()
    await app.set({"A2": "tea", "B2": 4.5, "C2": True, "A1": None, "D2": "007"})
    await app.stage.found(
        "A2, B2, C2, A1, D2", app.strings("A2", "B2", "C2", "A1", "D2"), ["tea", "4.5", "TRUE", "", "007"]
    )


@proves("set_cell_values", quick=True)
async def formulas_are_set_as_people_write_them(app: Calc) -> None:
    await app.show()
    await app.set(
        {
            "A2": 3,
            "A3": 4,
            "B2": "=SUM(A2:A3)",
            "B3": "=IF(A2>1,ROUND(A3/3,2),0)",
            "B4": '=IF(A2>1;"yes";"no")',
            "B5": "='Costs 2026'!A1+1",
        }
    )
    await app.stage.found("B2 to B5", app.strings("B2", "B3", "B4", "B5"), ["7", "1.33", "yes", "1"])


@proves("set_cell_values", quick=True)
async def dates_are_dates(app: Calc) -> None:
    await app.show()
    await app.set(
        {"A2": "2026-03-14", "A3": "2026-03-14 09:30", "A4": "=YEAR(A2)+MONTH(A2)+DAY(A3)", "A5": "'2026-03-14"}
    )

    async def ask() -> list[Any]:
        found = await app.cells("A2", "A3", "A4", "A5")
        return [
            found["A2"]["value"],
            found["A2"]["string"],
            found["A3"]["string"],
            found["A4"]["value"],
            found["A5"]["string"],
            found["A5"]["kind"],
        ]

    await app.stage.found("A2 to A5", ask, [46095.0, "2026-03-14", "2026-03-14 09:30", 2043.0, "2026-03-14", "text"])


@proves("set_cell_values")
async def a_named_sheet_is_written_that_is_not_in_front(app: Calc) -> None:
    await app.show()
    await app.set({"B7": 12}, sheet="Costs 2026")

    async def ask() -> float:
        return (await app.cells("B7", sheet="Costs 2026"))["B7"]["value"]

    await app.stage.found("B7 of Costs 2026", ask, 12.0)


@proves("set_cell_values")
async def a_sheet_that_is_not_there_is_refused_with_those_that_are(app: Calc) -> None:
    await app.show()
    title = app.path.rpartition("/")[2]
    action = SetCellValues(cell_values={"A1": 1}, app_name=title, sheet_name="Nope")
    await app.stage.refused_untouched(action, because=["'Nope'", "sheets are: Sheet1, Costs 2026"])


@proves("set_cell_values")
async def a_cell_outside_the_sheet_is_refused_and_nothing_is_written(app: Calc) -> None:
    await app.show()
    title = app.path.rpartition("/")[2]
    action = SetCellValues(cell_values={"A1": "new", "ZZZ1": 1}, app_name=title, sheet_name="Sheet1")
    await app.stage.refused(action, because=["ZZZ1"])
    await app.stage.saw()
    await app.stage.found("A1", app.strings("A1"), ["name"])


@proves("set_cell_values")
async def a_document_that_is_not_open_is_refused_with_those_that_are(app: Calc) -> None:
    await app.show()
    action = SetCellValues(cell_values={"A1": 1}, app_name="Budget.xlsx", sheet_name="Sheet1")
    title = app.path.rpartition("/")[2]
    await app.stage.refused_untouched(action, because=["Budget.xlsx", title])


@proves("set_cell_values")
async def a_workbook_of_excel_is_written_and_saved(app: Calc) -> None:
    await app.show("xlsx")
    await app.set({"A2": "tea", "B2": 4.5, "C2": "=B2*2", "D2": "2026-03-14"})
    await app.stage.machine.perform([Chord(keys=("ctrl", "s"))])
    await app.stage.until(app.saved, bool)
    await app.stage.found("the saved workbook", lambda: _workbook(app), ["tea", 4.5, "=B2*2", "2026-03-14 00:00:00"])


async def _workbook(app: Calc) -> list[Any]:
    """Cells of the saved file as another program reads them."""
    program = (
        "import json, sys, openpyxl; sheet = openpyxl.load_workbook(sys.argv[1])['Sheet1'];"
        "values = [sheet[name].value for name in ('A2', 'B2', 'C2', 'D2')];"
        "print(json.dumps([v if isinstance(v, (str, float, int)) or v is None else str(v) for v in values]))"
    )
    done = await app.stage.machine.run(["python3", "-c", program, app.path], timeout_s=20)
    return json.loads(done.stdout or "[]")


SUITE = Suite("spreadsheet", "soffice", _opened, checks_among(globals()))
