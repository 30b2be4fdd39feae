"""What code did, from a rollout on a desktop to the question that the judge is asked."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_s3.paths import RunPaths
from bbon import best_of_n
from bbon.models import Models
from bbon.types import RunConfig
from llm.chat import Abilities, Completion, Request, Usage
from llm.scripted import Reply, ScriptedModel
from vm_pool.pool import Pool
from vm_pool.providers.fake import FakeProvider
from vm_pool.providers.fake_desktop import FakeDesktop, FakeFile, Script
from vm_pool.providers.fake_shell import Reply as ShellReply

SUM = "/home/user/Documents/sum.txt"
READS = Abilities(schema=True, context_tokens=200_000)


def counts(desktop: FakeDesktop, argv: Sequence[str], _stdin: bytes) -> ShellReply | None:
    """A shell that knows two commands: one fails, the other writes a file."""
    if argv[0] != "bash":
        return None
    if argv[2] == "cat none.csv":
        return ShellReply(stderr="cat: none.csv: No such file or directory\n", returncode=1)
    desktop.files[SUM] = FakeFile(b"42\n")
    return ShellReply("the sum is 42\n")


def says(role: str, text: str) -> Reply:
    return Reply(role=role, text=text)


def act(action: str) -> Reply:
    return says("worker", json.dumps({"thought": "so", "action": action}))


async def test_commands_exit_codes_output_and_files_reach_the_judge(tmp_path: Path) -> None:
    """Its own claims do not: that it says it is done is no evidence."""
    asked: list[str] = []

    def judges(request: Request, _role: str) -> Completion:
        asked.append("\n".join(message.text for message in request.messages))
        answer: dict[str, Any] = {"reasons": "42", "citations": [], "choice": "A", "confidence": 0.9}
        return Completion(text=json.dumps(answer), model="scripted", usage=Usage(calls=1))

    worker = ScriptedModel(
        [
            act("call_code_agent"),
            says("code", "```bash\ncat none.csv\n```"),
            says("code", "```bash\nsum > Documents/sum.txt\n```"),
            says("code", "DONE"),
            says("code", "Everything went splendidly.\nCheck: that sum.txt shows 42"),
            act("done"),
        ],
        abilities=READS,
    )
    provider = FakeProvider(script=Script(on_command=counts))
    async with Pool(provider, concurrency=1) as pool:
        result = await best_of_n.run(
            RunConfig(instruction="Sum up", provider="fake", n=1),
            RunPaths(tmp_path / "run"),
            models=Models(worker, worker, ScriptedModel([judges], abilities=READS)),
            pool=pool,
        )
    assert result.error is None
    assert result.winner == 0
    [question] = asked
    for evidence in (
        'bash code "cat none.csv" returned 1 and printed "cat: none.csv: No such file or directory"',
        'Bash code "sum › Documents/sum.txt" returned 0 and printed "the sum is 42"',
        "Documents/sum.txt",
    ):
        assert evidence in question
    assert "splendidly" not in question
    told = [request.messages[-1].text for role, request in worker.asked if role == "worker"][-1]
    assert "To check on the screen: that sum.txt shows 42" in told
