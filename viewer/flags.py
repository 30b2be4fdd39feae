"""The flags of the commands, as types: name, range and help of each in one place."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

Instruction = Annotated[str | None, Argument(help="The task, in words.", metavar="INSTRUCTION")]
N = Annotated[int, Option("-n", min=1, max=32, metavar="N", help="How many rollouts.")]
MaxN = Annotated[
    int | None,
    Option(min=1, max=32, metavar="M", help="Add rollouts up to M while the judge is unsure and the budget allows."),
]
Confidence = Annotated[float, Option(min=0, max=1, help="With --max-n: the judge is unsure below this, or at none.")]
StopHopeless = Annotated[
    bool, Option("--stop-hopeless", help="Stop rollouts that get nowhere once another one is done.")
]
Files = Annotated[list[Path] | None, Option("--file", metavar="PATH", help="Put into Documents; repeatable.")]
Out = Annotated[Path | None, Option(help="Folder that receives the winner's changed files.")]
Deliver = Annotated[
    Literal["export", "promote"], Option(help="promote: the winner's desktop stays up as well, for you.")
]
PromoteMinutes = Annotated[float, Option(help="How long a promoted desktop stays up.")]
PromotedMachine = Annotated[str, Argument(help="Id, as `pool ls` says it.", metavar="MACHINE")]
Model = Annotated[
    str, Option(help="Worker: local, openai:NAME, anthropic:NAME, scripted:FILE; or a mixture: 2xSPEC,2xSPEC.")
]
Judge = Annotated[str | None, Option(help="Model of the judge. Default: the worker's.")]
Narrator = Annotated[str | None, Option(help="Model of the narrator. Default: the worker's.")]
Votes = Annotated[
    int,
    Option(min=1, max=25, metavar="K", help="Written answers of the judge, each over another order; most votes win."),
]
Ground = Annotated[str | None, Option(help="Model that finds elements on pictures. Default: the worker's.")]
GroundForm = Annotated[
    Literal["json-pixels", "json-1000", "point-pixels", "point-1000"] | None,
    Option(help="What that model answers, in pixels or thousandths of the picture. Default: told from its name."),
]
Refine = Annotated[
    Literal["never", "small", "always"],
    Option(help="Which targets that model is asked for again on an enlarged crop."),
]
ReadText = Annotated[
    bool, Option("--read-text/--no-read-text", help="Look for elements by their text on the picture as well.")
]
BudgetUsd = Annotated[float | None, Option(help="Hard limit of the whole run, in USD.")]
BudgetTokens = Annotated[int | None, Option(help="Hard limit of the whole run, in tokens.")]
BudgetSteps = Annotated[int | None, Option(help="Most steps of all rollouts together.")]
MaxMinutes = Annotated[float | None, Option(help="Most minutes of all rollouts together; judging comes after.")]
RolloutBudgetUsd = Annotated[float | None, Option(help="Hard limit of each rollout, in USD.")]
RolloutBudgetTokens = Annotated[int | None, Option(help="Hard limit of each rollout, in tokens.")]
RolloutMaxMinutes = Annotated[float | None, Option(help="Most minutes of each rollout.")]
Approve = Annotated[
    Literal["auto", "ask-on-risk", "ask", "dry-run"],
    Option(help="Before which actions you are asked; dry-run: nothing is done, only said."),
]
ApproveTimeout = Annotated[float, Option(metavar="SECONDS", help="No answer for so long means no.")]
RiskRulesFile = Annotated[
    Path | None, Option("--risk-rules", metavar="FILE.toml", help="Rules of yours for --approve ask-on-risk.")
]
RolloutIndex = Annotated[int | None, Option(min=0, metavar="I", help="Which rollout. Default: the winner.")]
ReplayOn = Annotated[str | None, Option("--on", metavar="PROVIDER", help="As --provider of run. Default: the run's.")]
QuestionId = Annotated[str | None, Argument(help="Id, as listed without one.", metavar="QUESTION")]
Allowed = Annotated[bool | None, Option("--yes/--no", help="Whether it may be done.")]
Because = Annotated[str, Option("--because", metavar="TEXT", help="What the agent is told besides.")]
ImageName = Annotated[str, Option(help="Desktop image: slim or desktop.")]
Network = Annotated[str, Option(help="What desktops may reach: none, allow:NAME[,NAME...] or open.")]
MaxSteps = Annotated[int, Option(min=1, max=1000, help="Most steps of a rollout.")]
Actions = Annotated[
    Literal["own", "native"],
    Option(help="The worker acts by our actions, or by the computer tool of its model's provider."),
]
Observe = Annotated[
    Literal["screenshot", "a11y", "screenshot+a11y"] | None,
    Option(help="What the worker sees. Default: all that its model can take."),
]
Temperature = Annotated[float | None, Option(min=0, max=2, help="Of the workers. Default: 0.7 for local models.")]
Reflection = Annotated[
    Literal["always", "never", "on-evidence"],
    Option(help="When a second model call looks at the way so far: at every step, never, or when steps lead nowhere."),
]
ReflectionBeside = Annotated[
    bool | None,
    Option(
        "--reflection-beside/--reflection-first",
        help="At the same time as the next decision, told to the one after; or before it. Default: beside if always.",
    ),
]
Ask = Annotated[bool, Option("--ask", help="Let the agents ask you; answer in the terminal or with `tell`.")]
AskTimeout = Annotated[
    float, Option(min=1, metavar="SECONDS", help="How long an answer is awaited; then the agent decides by itself.")
]
Message = Annotated[str, Argument(help="What to say, in words.", metavar="TEXT")]
ToRollout = Annotated[int | None, Option("--rollout", min=0, metavar="I", help="Only to this one. Default: to all.")]
Concurrency = Annotated[int | None, Option(min=1, help="Rollouts at one time. Default: all.")]
Size = Annotated[str, Option(metavar="WIDTHxHEIGHT", help="Screen in pixels.")]
Seed = Annotated[int, Option(help="Of the judge's shuffles and of models that take one.")]
RunDir = Annotated[Path | None, Option(help="Default: ./runs/DATE-TIME-XXXX.")]
Resume = Annotated[Path | None, Option(metavar="RUN_DIR", help="Go on with this run from its last recorded step.")]
AsJson = Annotated[bool, Option("--json", help="Print one machine-readable result on standard output.")]
_WHERE = (
    "Where machines come from: sandbox, sandbox-criu, docker, libvirt or libvirt:CONNECTION (embed, session, system),"
    " fake, remote:URL[,URL...] or remote:FILE.toml."
)
ProviderName = Annotated[str, Option(help=_WHERE)]
ProviderToCertify = Annotated[str, Argument(help=_WHERE, metavar="PROVIDER")]
Crowd = Annotated[int, Option("-n", "--n", min=1, max=128, metavar="N", help="How many machines at once.")]
Quick = Annotated[bool, Option("--quick", help="Fewest samples that give every metric.")]
Grow = Annotated[
    bool, Option("--grow", help="Also how it grows: with 1 to 32 forks, and with memory of 512 MiB to 4 GiB.")
]
HtmlFile = Annotated[Path | None, Option("--html", metavar="FILE", help="Write a page with charts.")]
MemoryMib = Annotated[int, Option("--memory", min=256, max=65536, metavar="MIB", help="Memory of each machine.")]
StressMinutes = Annotated[
    float | None,
    Option(
        "--stress", min=0.01, metavar="MINUTES", help="Instead: hold load for so long, and count what is lost or left."
    ),
]
StressSeed = Annotated[int, Option("--seed", help="Of what --stress does next.")]
Clones = Annotated[int, Option("-n", min=2, max=64, help="How many clones to compare.")]
ShortForm = Annotated[bool, Option("--short", help="Fewer checks: each action and each application, not all of both.")]
OnlyChecks = Annotated[
    str, Option("--only", metavar="WORDS", help="Checks whose action, application or sentence has it.")
]
MarkdownFile = Annotated[Path | None, Option("--markdown", metavar="FILE", help="Also write the table as a page.")]
DiskMib = Annotated[int, Option("--mib", min=1, max=65536, help="Size of the disk that is copied, in MiB.")]
AnyProvider = Annotated[str | None, Option("--provider", help="Only of this one. Default: all that work here.")]
RunFolder = Annotated[Path, Argument(help="Run folder.", metavar="RUN_DIR")]
EmbeddedModel = Annotated[str, Argument(help="`local`: the embedded model.")]
ImageToBuild = Annotated[str, Argument(help="slim or desktop.")]
ImageFormat = Annotated[
    Literal["sandbox", "vm"],
    Option("--format", help="For sandboxes, or for virtual machines: the same as a disk with a kernel."),
]
ImageId = Annotated[str, Argument(help="Id, as `pool image ls` says it.")]
MachineId = Annotated[str | None, Argument(help="Id, as `pool ls` says it. Default: all.", metavar="MACHINE")]
Follow = Annotated[bool, Option("--follow", "-f", help="Go on printing what happens, until Ctrl-C.")]
Everything = Annotated[bool, Option("--all", help="Also what is kept for --resume.")]
DryRun = Annotated[bool, Option(help="Only say what would be removed.")]
Tasks = Annotated[list[str] | None, Option("--task", metavar="ID", help="Only this task; repeatable. Default: all.")]
BenchImage = Annotated[Literal["slim", "desktop"] | None, Option(help="Default: the smallest that each task needs.")]
BenchOut = Annotated[Path | None, Option(help="Folder of results. Default: ./runs/bench-mini-DATE-TIME-XXXX.")]
BenchResume = Annotated[bool, Option("--resume", help="Go on with what is in --out; ask for the same as before.")]
BenchMaxSteps = Annotated[int | None, Option(min=1, max=1000, help="Most steps of a rollout. Default: each task's.")]
ReflectingModel = Annotated[
    str | None, Option("--model", help="Worker, see model ls. Default: simulated agents that fall for the traps.")
]
Situations = Annotated[
    list[str] | None, Option("--situation", metavar="TEXT", help="Only those whose name holds this; repeatable.")
]
TaskBudgetUsd = Annotated[float | None, Option(help="Hard limit of each task, in USD.")]
TaskBudgetTokens = Annotated[int | None, Option(help="Hard limit of each task, in tokens.")]
ParallelTasks = Annotated[int, Option(min=1, max=32, help="Tasks at one time.")]
Recorded = Annotated[
    list[Path],
    Argument(
        help="Folders of runs, of benchmarks, or of OSWorld results (one for each rollout).", metavar="RUN_DIR..."
    ),
]
Judges = Annotated[
    list[str] | None,
    Option(
        "--judge",
        metavar="NAME",
        help="mcq, majority, pairwise, tournament, rubric, longest, shortest; repeatable. Default: mcq.",
    ),
]
Evidence = Annotated[
    list[str] | None,
    Option(
        "--evidence",
        metavar="FORM",
        help="narratives, visual-narratives, captions, summary, screens; repeatable. Default: narratives.",
    ),
]
JudgeModels = Annotated[
    list[str] | None, Option("--model", metavar="SPEC", help="Who judges; repeatable, see model ls. Default: local.")
]
EvidenceModel = Annotated[str | None, Option("--narrator", help="Writes captions and summaries. Default: the judge.")]
MajorityVotes = Annotated[int, Option(min=1, max=25, metavar="K", help="How many written answers `majority` counts.")]
Sizes = Annotated[
    str, Option(metavar="LIST", help="Smaller numbers of candidates to judge as well: 2-10, 2,4,8 or none.")
]
Subsets = Annotated[int, Option(min=1, max=32, help="Sets of candidates for each smaller number, per task.")]
Examples = Annotated[
    Path | None, Option(help="OSWorld's evaluation_examples/examples, for results that do not hold the instruction.")
]
LabOut = Annotated[
    Path | None, Option(help="Folder of results and of the models' answers. Default: ./runs/judge-NAME.")
]
ResultsOut = Annotated[
    Path | None,
    Option("--results", help="Also write rollouts and choices as Agent S3's own scripts do, into this folder."),
]
CasesAtOnce = Annotated[int, Option("--concurrency", min=1, max=64, help="Tasks at one time.")]
BenchFolders = Annotated[list[Path], Argument(help="Folders of bench mini.", metavar="BENCH_DIR...")]
PackOut = Annotated[Path, Option("--out", help="New folder for the set.")]
PackWidth = Annotated[int, Option("--width", min=160, max=3840, help="Widest picture, in pixels.")]
PackColours = Annotated[int, Option("--colours", min=2, max=256, help="Colours of a picture.")]
PackLimit = Annotated[float, Option("--limit-mb", min=0.001, help="Refuse a larger set.")]
