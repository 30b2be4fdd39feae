"""Names of all files of a run on disk; no other place joins these paths.

RUN_DIR/
├── config.json          RunConfig with versions and prompt hashes
├── state.json           what --resume needs: snapshot, machine of each rollout
├── result.json          RunResult: the machine-readable answer of the run
├── verdict.json         Verdict of the judge
├── winner.token         of the winner's machine while that stays up
├── report.html          self-contained page of the run
├── inbox.jsonl          UserMessage lines: what the user said while it ran
├── run.log              what happened, in time order; no secrets
├── questions/           what waits for the user's answer
├── inputs/              copies of the files given with --file
├── frames/SHA256.png    every picture once, named by the hash of its pixels
└── rollouts/K/
    ├── start.json           RolloutStart: where it began, for a resume
    ├── trajectory.jsonl     one Step per line, appended as it happens
    ├── trajectory-K.jsonl   that of an earlier attempt on a machine that was lost
    ├── pending.json         the step being executed; gone when its line is written
    ├── code.jsonl           CodeNote lines: what the coding agent runs, as it happens
    ├── narrative.jsonl      one Fact per line, appended while the rollout runs
    ├── crops/STEP-{before,after}.png
    ├── files/               content of the files that this rollout changed
    └── result.json          RolloutResult: how it ended, or that it was interrupted
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RolloutPaths:
    """Files of one rollout."""

    root: Path

    @property
    def trajectory(self) -> Path:
        return self.root / "trajectory.jsonl"

    def earlier(self, number: int) -> Path:
        """Trajectory of an attempt that was given up, from 1."""
        return self.root / f"trajectory-{number}.jsonl"

    @property
    def start(self) -> Path:
        return self.root / "start.json"

    @property
    def pending(self) -> Path:
        return self.root / "pending.json"

    @property
    def code(self) -> Path:
        return self.root / "code.jsonl"

    @property
    def narrative(self) -> Path:
        return self.root / "narrative.jsonl"

    @property
    def crops(self) -> Path:
        return self.root / "crops"

    def crop(self, step: int, side: str) -> Path:
        """`side` is `before` or `after`."""
        return self.crops / f"{step}-{side}.png"

    @property
    def files(self) -> Path:
        return self.root / "files"

    @property
    def result(self) -> Path:
        return self.root / "result.json"


@dataclass(frozen=True)
class RunPaths:
    """Files of one run."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    @property
    def verdict(self) -> Path:
        return self.root / "verdict.json"

    @property
    def winner_token(self) -> Path:
        return self.root / "winner.token"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def log(self) -> Path:
        return self.root / "run.log"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox.jsonl"

    @property
    def inputs(self) -> Path:
        return self.root / "inputs"

    @property
    def questions(self) -> Path:
        return self.root / "questions"

    @property
    def frames(self) -> Path:
        return self.root / "frames"

    def frame(self, sha256: str) -> Path:
        return self.frames / f"{sha256}.png"

    def rollout(self, index: int) -> RolloutPaths:
        return RolloutPaths(self.root / "rollouts" / str(index))
