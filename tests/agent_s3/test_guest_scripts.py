"""What scripts of ours in the machine compute, apart from the programs they ask."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "agent_s3" / "guest_scripts"


@pytest.fixture(scope="module")
def set_cells() -> ModuleType:
    spec = importlib.util.spec_from_file_location("set_cells", SCRIPTS / "set_cells.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("=SUM(A1:A9)", "=SUM(A1:A9)"),
        ("=IF(A1>1,2,3)", "=IF(A1>1;2;3)"),
        ("=IF(A1>1;2;3)", "=IF(A1>1;2;3)"),
        ('=CONCATENATE("a, b", C1)', '=CONCATENATE("a, b"; C1)'),
        ('=IF(A1="say ""x, y""",1,2)', '=IF(A1="say ""x, y""";1;2)'),
        ("=Costs!B2+'Costs 2026'!A1", "=$Costs.B2+$'Costs 2026'.A1"),
        ("=SUM({1,2;3,4})", "=SUM({1;2|3;4})"),
        ("=SUM({1;2|3;4})", "=SUM({1;2|3;4})"),
        ("=$Costs.B2", "=$Costs.B2"),
    ],
)
def test_formulas_as_people_write_them_are_sent_as_libreoffice_takes_them(set_cells, written, sent):
    assert set_cells.calc_formula(written) == sent


def test_dates_are_told_from_texts_that_only_look_like_them(set_cells):
    assert set_cells.moment("2026-03-14").day == 14
    assert set_cells.moment("2026-03-14T09:30").hour == 9
    assert [set_cells.moment(text) for text in ("2026-13-14", "14.3.2026", "2026-03-14 late", "'2026-03-14")] == [
        None
    ] * 4


class Document:
    def __init__(self, title: str):
        self._title = title

    def getTitle(self) -> str:  # noqa: N802 - UNO's name
        return self._title


def test_the_document_is_the_one_that_is_named_or_the_only_one(set_cells):
    sales, plan = Document("Sales.xlsx"), Document("Sales plan.ods")
    assert set_cells.pick([sales, plan], "sales.xlsx") is sales
    assert set_cells.pick([sales, plan], "plan") is plan
    assert set_cells.pick([sales, plan], "Sales.xlsx - LibreOffice Calc") is sales
    assert set_cells.pick([sales], "LibreOffice Calc") is sales
    for documents, wanted, told in (
        (
            [sales, plan],
            "Sales",
            "several spreadsheets fit 'Sales'; open spreadsheets are: 'Sales.xlsx', 'Sales plan.ods'",
        ),
        ([sales], "Budget.xlsx", "no spreadsheet 'Budget.xlsx' is open; open spreadsheets are: 'Sales.xlsx'"),
        ([], "Budget.xlsx", "no spreadsheet is open in LibreOffice"),
    ):
        with pytest.raises(LookupError) as caught:
            set_cells.pick(documents, wanted)
        assert str(caught.value) == told
