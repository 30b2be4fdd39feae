"""LibreOffice, whose own answers over UNO are the second witness: what its documents hold, select and show."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from agent_s3.contract.stage import PROGRAMS, Stage
from vm_pool.contract.check import ContractBroken
from vm_pool.contract.pace import stretched
from vm_pool.events import Chord
from vm_pool.types import Node

_START_S = 120.0
_NEAR = 8
"""Pixels between a pointer and the menu that it opened."""


@dataclass
class Office:
    """A running LibreOffice with one document."""

    stage: Stage
    landmark: str
    """Name of an element by which its window is known to be ready."""
    path: str = ""
    """Of the document."""

    async def fill(self, kind: str, **content: object) -> None:
        """Give the document that content and a file; `kind` is the ending of its name.

        It is never closed: LibreOffice may break down when its accessible elements are being read meanwhile.
        """
        await self.stage.machine.perform([Chord(keys=("esc",))])  # a menu that is still open takes all keys
        self.path = f"{self.stage.machine.info.home}/Documents/contract.{kind}"
        title = (await self.ask("show", path=self.path, **content))["title"]
        await self.stage.until(self.stage.titles, lambda titles: any(one.startswith(title) for one in titles))
        await self.stage.node(lambda node: node.name == self.landmark and node.box is not None, self.landmark)
        await self.stage.quiet()

    async def menu_opens(self, x: int, y: int) -> None:
        """The second witness of a right click: a menu shows that begins or ends at the height of the pointer."""

        def fits(node: Node) -> bool:
            box = node.box
            if node.role != "menu" or node.name or box is None:
                return False
            beside = box.x - _NEAR <= x <= box.x + box.width + _NEAR
            return beside and min(abs(box.y - y), abs(box.y + box.height - y)) <= _NEAR

        node = await self.stage.node(fits, f"a menu at {x},{y}")
        self.stage.proof.state = f"AT-SPI shows a menu of {len(node.children)} items at the pointer"
        await self.stage.machine.perform([Chord(keys=("esc",))])

    async def ask(self, what: str, **more: object) -> Any:
        """What LibreOffice answers. Raises: `ContractBroken` when it does not."""
        program = (PROGRAMS / "office.py").read_text(encoding="utf-8")
        asked = json.dumps({"do": what, **more}).encode()
        done = await self.stage.machine.run(
            ["python3", "-c", program], stdin=asked, timeout_s=stretched(_START_S), output_limit=1 << 20
        )
        if not done.stdout:  # UNO may break down at its end, when all is said
            last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
            raise ContractBroken(f"LibreOffice did not answer {what!r}: {last}")
        return json.loads(done.stdout)

    async def saved(self) -> bool:
        """Whether there is nothing to save."""
        return (await self.ask("saved"))["saved"]


@asynccontextmanager
async def running(stage: Stage, program: str) -> AsyncGenerator[None]:
    """LibreOffice with its ears open for our questions; `program` is `calc` or `writer`."""
    await stage.machine.launch(["soffice", f"--{program}", "--accept=pipe,name=contract;urp;"])
    yield
    await stage.end("soffice.bin")
