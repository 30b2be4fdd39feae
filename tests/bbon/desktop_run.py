"""A best-of-3 on real desktops with a written policy; also a program, so that a test can kill it.

usage: desktop_run.py RUN_DIR [SECONDS_PER_THOUGHT]
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from agent_s3.paths import RunPaths
from bbon import best_of_n
from bbon.models import Models
from bbon.types import Listener, RunConfig, RunResult, nobody
from llm.chat import Abilities
from llm.scripted import Reply, ScriptedModel
from vm_pool.machine import Machine

READS = Abilities(schema=True, context_tokens=200_000)
SNIPPETS = (
    "cp Documents/report.txt Documents/final.txt",
    "rm Documents/report.txt && touch Documents/final.txt",
    "mv Documents/report.txt Documents/final.txt",
)


def policy(thinks_s: float) -> ScriptedModel:
    """Three rollouts: one copies, one loses the content, one renames. The judge knows a rename when it reads one."""
    judge = [
        Reply(
            role="judge",
            times=0,
            when=f"Attempt {letter}, 3 steps, the agent declared the task done:\n<attempt>\n"
            'Difference between start and end:\n- "/home/user/Documents/report.txt" was renamed',
            text=f'{{"reasons": "it renamed", "citations": [], "choice": "{letter}", "confidence": 1}}',
        )
        for letter in "ABC"
    ]
    acts = ('{"thought": "", "action": "call_code_agent"}', '{"thought": "", "action": "wait", "time": 0.2}')
    worker = [Reply(role="worker", turn=i, times=0, text=text, delay_s=thinks_s) for i, text in enumerate(acts)]
    return ScriptedModel(
        [
            *judge,
            *worker,
            Reply(role="worker", times=0, text='{"thought": "", "action": "done"}', delay_s=thinks_s),
            Reply(role="code", turn=0, times=0, when="Be neutral", text="Done."),
            *(Reply(role="code", turn=0, text=f"```bash\n{snippet}\n```") for snippet in SNIPPETS),
            Reply(role="code", times=0, text="DONE"),
            Reply(role="reflection", times=0, text="Go on."),
        ],
        abilities=READS,
    )


async def prepare(machine: Machine) -> None:
    await machine.write(f"{machine.info.home}/Documents/report.txt", b"quarterly\n")


async def play(
    folder: Path, *, thinks_s: float = 0.0, resume: bool = False, listener: Listener = nobody, **more: Any
) -> RunResult:
    model = policy(thinks_s)
    config = RunConfig(instruction="Rename report.txt in Documents to final.txt", n=3, image="slim", **more)
    models = Models(model, model, model)
    return await best_of_n.run(
        config, RunPaths(folder), prepare=prepare, models=models, resume=resume, listener=listener
    )


if __name__ == "__main__":
    asyncio.run(play(Path(sys.argv[1]), thinks_s=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
