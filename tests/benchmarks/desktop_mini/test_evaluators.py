"""What the evaluators accept and refuse beside oracle and no-op: other right ways, and results that only look right."""

from pathlib import Path
from typing import NamedTuple

import pytest

from agent_s3.types import RolloutResult
from benchmarks.desktop_mini import suite
from benchmarks.results import AttemptPaths
from vm_pool.errors import ImageError
from vm_pool.images.store import find
from vm_pool.pool import Pool
from vm_pool.provider import Spec
from vm_pool.providers import make_provider

pytestmark = [pytest.mark.desktop, pytest.mark.timeout(300)]
DONE = RolloutResult(index=0, status="done", reason="says so", steps=1, seconds=1.0)


class Work(NamedTuple):
    """What is done on the desktop, from the home folder, and the score that it deserves."""

    shell: str
    score: float


def sheet(name: str, change: str) -> str:
    code = f"import openpyxl; w = openpyxl.load_workbook('{name}'); s = w.active; {change}; w.save('{name}')"
    return f'python3 -c "{code}"'


PRICES = "s['B2'], s['B3'], s['B4'] = 1.2, 6.8, "
WORKS = {
    "files-private-script": [
        Work("chmod u=rwx,go= Documents/backup.sh", 1),
        Work(": > Documents/backup.sh", 0),
    ],
    "files-move-photos": [
        Work("find Downloads -iname '*.jpg' -exec mv {} Pictures ';' && rmdir 'Downloads/trip/day 2'", 1),
        Work(": > Pictures/beach.jpg", 0),
    ],
    "files-sort-in-place": [
        Work("sort -u -o Documents/attendees.txt Documents/attendees.txt", 1),
        Work("cd Documents && x=$(paste -sd' ' attendees.txt) && echo \"$x\" > attendees.txt", 0),
        Work(": > Documents/attendees.txt", 0),
    ],
    "editor-append-line": [
        Work("printf 'Call Ana' >> Documents/todo.txt", 1),
        Work("echo >> Documents/todo.txt", 1),
        Work("cd Documents && head -n 3 todo.txt > x && printf '%s Call Ana\\n' \"$(cat x)\" > todo.txt", 0),
    ],
    "files-remove-backups": [
        Work("rm -r Documents/project/sub; rm Documents/project/plan.txt.bak", 0),
        Work("mkdir -p Documents/project/sub; cd Documents/project/sub; touch bak.txt data.csv", 1),
    ],
    "data-json-to-csv": [
        Work('printf \'name,city\\r\\n"Ana","Lyon"\\r\\nJun,Busan\\r\\nMina,Seoul\\r\\n\' > Documents/people.csv', 1),
        Work("printf 'name,city\\nMina,Seoul\\nAna,Lyon\\nJun,Busan\\n' > Documents/people.csv", 0),
    ],
    "editor-save-as": [
        Work("mv Documents/draft.txt Documents/notice.txt", 0),
        Work("cp Documents/notice.txt Documents/draft.txt", 1),
    ],
    "calculator-bill": [
        Work("echo 'Total: 12.5' >> Documents/bill.txt", 0),
        Work("sed -i 's/Total: 12.5/Total:  12.50/' Documents/bill.txt", 1),
    ],
    "calc-total-row": [
        Work(sheet("Documents/budget.xlsx", "s['A7'], s['B7'] = 'Total', 1380"), 0),
        Work(sheet("Documents/budget.xlsx", "s['B7'] = '=SUM(' + chr(36) + 'B2:B' + chr(36) + '6)'"), 1),
    ],
    "browser-prices-to-sheet": [
        Work(sheet("Documents/offer.xlsx", f"{PRICES} 2.5"), 0),
        Work(sheet("Documents/offer.xlsx", f"{PRICES} 2.4; s['B2'].number_format = '0.00'"), 1),
    ],
}


@pytest.mark.parametrize("task_id", list(WORKS))
async def test_an_evaluator_accepts_what_is_right_and_refuses_what_is_not(task_id: str, tmp_path: Path):
    [task] = suite.bench_tasks([task_id])
    try:
        find(task.image)
    except ImageError as error:
        pytest.skip(str(error))
    folder = AttemptPaths(tmp_path)
    async with Pool(make_provider("sandbox"), concurrency=1) as pool, pool.lease(Spec(image=task.image)) as machine:
        await task.prepare(machine, folder)
        for number, work in enumerate(WORKS[task_id]):
            done = await machine.run(["sh", "-c", work.shell], timeout_s=30)
            assert done.returncode == 0, done.stderr
            outcome = await task.score(number, machine, DONE, folder)
            assert (outcome.kind, outcome.score) == ("scored", work.score), f"{work.shell}: {outcome.detail}"
