"""The command line: parse, build, call, print. No decision lives here.

Exit codes: 0 a winner was delivered (or the command did its work), 3 the judge chose none, 2 the user's mistake,
1 a breakdown, 130 Ctrl-C after a clean stop.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from viewer import flags, pool_cli
from viewer.exits import BREAKDOWN, WINNER
from viewer.services import Services, group

if TYPE_CHECKING:  # imported where they are used: `agent-s3 --help` loads none of them
    from benchmarks.results import BenchResult, TaskResult
    from benchmarks.runner import BenchEvent
    from viewer.boards import LiveBoards

app = group("Fork N desktops, run Agent S3 in each, narrate what changed, judge, deliver the winner.")
models = group("Language models on this machine.")
bench = group("Benchmarks.")
app.add_typer(models, name="model")
app.add_typer(pool_cli.pool, name="pool")
app.add_typer(bench, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"agent-s3 {version('agent-s3')}")
        except PackageNotFoundError:
            typer.echo("agent-s3, run from its source folder without being installed")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def run(
    ctx: typer.Context,
    instruction: flags.Instruction = None,
    n: flags.N = 4,
    max_n: flags.MaxN = None,
    confidence: flags.Confidence = 0.7,
    stop_hopeless: flags.StopHopeless = False,
    file: flags.Files = None,
    out: flags.Out = None,
    deliver: flags.Deliver = "export",
    promote_minutes: flags.PromoteMinutes = 60.0,
    model: flags.Model = "local",
    judge: flags.Judge = None,
    narrator: flags.Narrator = None,
    ground: flags.Ground = None,
    ground_form: flags.GroundForm = None,
    refine: flags.Refine = "small",
    read_text: flags.ReadText = True,
    votes: flags.Votes = 1,
    budget_usd: flags.BudgetUsd = None,
    budget_tokens: flags.BudgetTokens = None,
    budget_steps: flags.BudgetSteps = None,
    max_minutes: flags.MaxMinutes = None,
    rollout_budget_usd: flags.RolloutBudgetUsd = None,
    rollout_budget_tokens: flags.RolloutBudgetTokens = None,
    rollout_max_minutes: flags.RolloutMaxMinutes = None,
    provider: flags.ProviderName = "sandbox",
    image: flags.ImageName = "desktop",
    network: flags.Network = "none",
    max_steps: flags.MaxSteps = 15,
    actions: flags.Actions = "own",
    observe: flags.Observe = None,
    reflection: flags.Reflection = "on-evidence",
    reflection_beside: flags.ReflectionBeside = None,
    ask: flags.Ask = False,
    ask_timeout: flags.AskTimeout = 300.0,
    temperature: flags.Temperature = None,
    concurrency: flags.Concurrency = None,
    size: flags.Size = "1920x1080",
    approve: flags.Approve = "auto",
    approve_timeout: flags.ApproveTimeout = 300.0,
    risk_rules: flags.RiskRulesFile = None,
    seed: flags.Seed = 0,
    run_dir: flags.RunDir = None,
    as_json: flags.AsJson = False,
    resume: flags.Resume = None,
) -> None:
    """Do a task N times on forked desktops and deliver the best result."""
    from viewer import orders
    from viewer.watch import watch

    services: Services = ctx.obj
    if resume is not None:
        order = orders.reopen(resume, orders.allowed_changes(_given(ctx)))
    else:
        width, height = orders.parse_size(size)
        fields = {
            "instruction": orders.require_instruction(instruction),
            "n": n if "n" in _given(ctx) else orders.rollouts_of(model, n),
            "max_n": max_n,
            "confidence": confidence,
            "stop_hopeless": stop_hopeless,
            "provider": provider,
            "image": image,
            "network": network,
            "width": width,
            "height": height,
            "model": model,
            "judge": judge,
            "narrator": narrator,
            "ground": ground,
            "ground_form": ground_form,
            "refine": refine,
            "read_text": read_text,
            "votes": votes,
            "temperature": temperature,
            "actions": actions,
            "observe": observe,
            "max_steps": max_steps,
            "reflection": reflection,
            "reflection_beside": reflection_beside,
            "ask": ask,
            "ask_timeout_s": ask_timeout,
            "concurrency": concurrency,
            "budget_usd": budget_usd,
            "budget_tokens": budget_tokens,
            "budget_steps": budget_steps,
            "max_minutes": max_minutes,
            "rollout_budget_usd": rollout_budget_usd,
            "rollout_budget_tokens": rollout_budget_tokens,
            "rollout_max_minutes": rollout_max_minutes,
            "approve": approve,
            "approve_timeout_s": approve_timeout,
            "risk_rules": orders.risk_rules(risk_rules),
            "seed": seed,
            "files": tuple(path.name for path in file or []),
            "out": None if out is None else str(out.absolute()),
            "deliver": deliver,
            "promote_minutes": promote_minutes,
        }
        orders.check_files(file or [])
        orders.check_out(out)
        folder = run_dir or Path("runs") / orders.new_run_name(services.now())
        order = orders.create(orders.build_config(fields), file or [], folder)
    raise typer.Exit(watch(services.best_of_n, order, resume=resume is not None, as_json=as_json))


def _given(ctx: typer.Context) -> dict[str, Any]:
    """The parameters that were written on the command line."""
    given = [name for name in ctx.params if "COMMANDLINE" in str(ctx.get_parameter_source(name))]
    return {_FIELDS.get(name, name): ctx.params[name] for name in given}


_FIELDS = {"approve_timeout": "approve_timeout_s"}
"""Options whose field of `RunConfig` has another name."""


@app.command()
def approve(
    run_dir: flags.RunFolder,
    question: flags.QuestionId = None,
    allowed: flags.Allowed = None,
    because: flags.Because = "",
) -> None:
    """Answer a question of a run that asks before it acts, or list what waits for an answer."""
    from viewer import asking, orders

    asking.answer_or_list(orders.existing(run_dir), question, allowed=allowed, because=because)


@app.command()
def tell(ctx: typer.Context, run_dir: flags.RunFolder, text: flags.Message, rollout: flags.ToRollout = None) -> None:
    """Say something to rollouts that are under way: more to do, or the answer to their question."""
    from viewer import telling

    services: Services = ctx.obj
    message = telling.tell(run_dir, text, rollout=rollout, now=services.now())
    typer.echo(f"told {'all rollouts' if rollout is None else f'rollout {rollout}'}: message {message.id}")


@app.command()
def doctor(as_json: flags.AsJson = False) -> None:
    """Say what works on this machine, what does not, and the command that mends it."""
    from viewer import health
    from viewer.console import for_results

    checks = health.checks()
    if as_json:
        typer.echo(json.dumps([check.model_dump() for check in checks], indent=2))
    else:
        health.print_checks(for_results(), checks)
    raise typer.Exit(0 if health.can_run(checks) else 1)


@app.command("certify-actions")
def certify_actions(
    ctx: typer.Context,
    provider: flags.ProviderName = "sandbox",
    image: flags.ImageName = "desktop",
    short: flags.ShortForm = False,
    only: flags.OnlyChecks = "",
    markdown: flags.MarkdownFile = None,
    as_json: flags.AsJson = False,
) -> None:
    """Do every action in real applications and ask two witnesses: the X server's event log and the application."""
    import shlex

    from viewer.action_table import certified, check_page, print_actions, write_page

    services: Services = ctx.obj
    check_page(markdown)
    certificate = certified(services.make_provider(provider), image, services.now(), short=short, only=only)
    if markdown is not None:
        write_page(markdown, certificate, shlex.join(["agent-s3", "certify-actions", *pool_cli.given_words(ctx)]))
    if as_json:
        typer.echo(certificate.model_dump_json(indent=2))
    else:
        print_actions(certificate)
    raise typer.Exit(WINNER if certificate.holds else BREAKDOWN)


@app.command()
def report(run_dir: flags.RunFolder) -> None:
    """Write report.html of a run folder again; works on unfinished runs."""
    from viewer import orders
    from viewer.report import write

    typer.echo(write(orders.existing(run_dir)))


@app.command()
def replay(
    ctx: typer.Context,
    run_dir: flags.RunFolder,
    rollout: flags.RolloutIndex = None,
    on: flags.ReplayOn = None,
    as_json: flags.AsJson = False,
) -> None:
    """Do the steps of a recorded rollout again on a fresh desktop, each checked against what it did then."""
    from viewer import orders, replays

    services: Services = ctx.obj
    paths = orders.existing(run_dir)
    provider = services.make_provider(on or orders.recorded(paths).provider)
    raise typer.Exit(replays.show(paths, provider, rollout, as_json=as_json))


@app.command("judge")
def judge_recorded(
    ctx: typer.Context,
    folders: flags.Recorded,
    judge: flags.Judges = None,
    evidence: flags.Evidence = None,
    model: flags.JudgeModels = None,
    narrator: flags.EvidenceModel = None,
    votes: flags.MajorityVotes = 3,
    sizes: flags.Sizes = "2-10",
    subsets: flags.Subsets = 1,
    examples: flags.Examples = None,
    concurrency: flags.CasesAtOnce = 4,
    budget_usd: flags.BudgetUsd = None,
    budget_tokens: flags.BudgetTokens = None,
    seed: flags.Seed = 0,
    out: flags.LabOut = None,
    results: flags.ResultsOut = None,
    as_json: flags.AsJson = False,
) -> None:
    """Judge recorded rollouts again, by any judge on any evidence, and say how often each is right."""
    from viewer import judge_orders, judge_page
    from viewer.console import for_progress, for_results
    from viewer.judge_table import print_lab
    from viewer.signals import run_until_signal

    services: Services = ctx.obj
    target = judge_orders.out_folder(out, folders)
    options = {
        "folders": judge_orders.existing(folders),
        "out": target,
        "judges": tuple(judge or ["mcq"]),
        "evidence": tuple(evidence or ["narratives"]),
        "models": tuple(model or ["local"]),
        "narrator": narrator,
        "votes": votes,
        "sizes": judge_orders.parse_sizes(sizes),
        "subsets": subsets,
        "seed": seed,
        "concurrency": concurrency,
        "budget_usd": budget_usd,
        "budget_tokens": budget_tokens,
        "examples": examples,
    }
    progress = for_progress()
    report = run_until_signal(_judged(services, options, results=results, note=progress.print))
    judge_page.write(target / "lab.html", report)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        print_lab(for_results(), report, target)
    raise typer.Exit(WINNER if judge_orders.answered(report) else BREAKDOWN)


async def _judged(services: Services, options: Mapping[str, Any], **more: Any) -> Mapping[str, Any]:
    """The laboratory's report as JSON."""
    return (await services.judge(options, **more)).model_dump(mode="json")


@models.command("pull")
def model_pull(name: flags.EmbeddedModel = "local") -> None:
    """Fetch the embedded language model, checked by sha256; goes on where an earlier pull stopped."""
    from llm.pull import pull
    from viewer.progress import pulling

    with pulling() as on_progress:
        path = pull(name, on_progress)
    typer.echo(path)


@models.command("ls")
def model_ls() -> None:
    """List the known forms of a model spec."""
    from llm.pull import model_path
    from llm.registry import known_forms

    path = model_path()
    typer.echo(known_forms())
    typer.echo(f"embedded: {path} ({'pulled' if path.is_file() else 'not pulled: agent-s3 model pull local'})")


@bench.command("mini")
def bench_mini(
    ctx: typer.Context,
    n: flags.N = 4,
    model: flags.Model = "local",
    judge: flags.Judge = None,
    task: flags.Tasks = None,
    provider: flags.ProviderName = "sandbox",
    image: flags.BenchImage = None,
    max_steps: flags.BenchMaxSteps = None,
    reflection: flags.Reflection = "on-evidence",
    temperature: flags.Temperature = None,
    parallel_tasks: flags.ParallelTasks = 1,
    concurrency: flags.Concurrency = None,
    budget_usd: flags.TaskBudgetUsd = None,
    budget_tokens: flags.TaskBudgetTokens = None,
    seed: flags.Seed = 0,
    out: flags.BenchOut = None,
    as_json: flags.AsJson = False,
    resume: flags.BenchResume = False,
) -> None:
    """Run our small desktop benchmark: success of one rollout, best of N, random pick and oracle."""
    import shlex

    from viewer import orders
    from viewer.watch import watch_boards

    services: Services = ctx.obj
    folder = orders.bench_folder(out, resume=resume, now=services.now())
    asked = {"n": n, "model": model, "judge": judge, "budget_usd": budget_usd, "budget_tokens": budget_tokens}
    orders.build_config({"instruction": "a benchmark", "provider": provider, **asked}, "bench mini")
    options = {
        **asked,
        "provider": provider,
        "tasks": task,
        "image": image,
        "max_steps": max_steps,
        "reflection": reflection,
        "temperature": temperature,
        "parallel_tasks": parallel_tasks,
        "concurrency": concurrency,
        "seed": seed,
        "resume": resume,
        "out": folder,
    }
    onward = f"to go on: the same command with --resume --out {shlex.quote(str(folder))}"
    result = watch_boards(partial(_bench, services, options), folder, n=n, onward=onward)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        _print_bench(result)
    raise typer.Exit(WINNER if result.table.single.tasks else BREAKDOWN)


@bench.command("pack")
def bench_pack(
    folders: flags.BenchFolders,
    out: flags.PackOut,
    width: flags.PackWidth = 1920,
    colours: flags.PackColours = 128,
    limit_mb: flags.PackLimit = 60.0,
    as_json: flags.AsJson = False,
) -> None:
    """Trim benchmark folders into a set of recorded rollouts to ship: what agent-s3 judge needs, and no more."""
    from benchmarks.errors import BenchmarkError
    from benchmarks.judge_lab.pack import Trim, pack
    from viewer.faults import UserMistake

    try:
        packed = pack(folders, out, Trim(width=width, colours=colours), limit_mb=limit_mb)
    except BenchmarkError as error:
        raise UserMistake(str(error)) from error
    if as_json:
        typer.echo(packed.model_dump_json(indent=2))
        return
    for fault in packed.faults:
        typer.echo(fault, err=True)
    typer.echo(f"{packed.tasks} tasks, {packed.rollouts} rollouts, {packed.frames} frames, {packed.mb} MB in {out}")


@bench.command("steps")
def bench_steps(
    ctx: typer.Context,
    provider: flags.ProviderName = "sandbox",
    image: flags.ImageName = "slim",
    as_json: flags.AsJson = False,
) -> None:
    """Measure what a step costs besides the model and the settling of the screen."""
    services: Services = ctx.obj
    measured = pool_cli.measured(services.measure_steps, services.make_provider(provider), image)
    pool_cli.print_measured(measured, as_json=as_json)


@bench.command("reflection")
def bench_reflection(
    model: flags.ReflectingModel = None, situation: flags.Situations = None, as_json: flags.AsJson = False
) -> None:
    """Compare the three policies of reflection on simulated desktops with traps: model calls per step, and success."""
    from benchmarks import reflection
    from benchmarks.errors import BenchmarkError
    from viewer.console import for_progress, for_results
    from viewer.faults import UserMistake
    from viewer.policies import print_policies
    from viewer.signals import run_until_signal

    progress = for_progress()
    try:
        chosen = reflection.chosen(situation or ())
    except BenchmarkError as error:
        raise UserMistake(str(error)) from error
    work = reflection.compare(model, chosen, on_note=progress.print)
    report = run_until_signal(work, lambda _first: progress.print("stopping"))
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        print_policies(for_results(), report.model_dump())


@bench.command("disks")
def bench_disks(mib: flags.DiskMib = 256, as_json: flags.AsJson = False) -> None:
    """Measure what copying a desktop's disk takes, with the blocks shared where AGENT_S3_STATE lies, and without."""
    from benchmarks.disk_copies import measure
    from viewer.console import for_progress, for_results
    from viewer.speeds import print_speeds
    from vm_pool.local_state import default_places

    report = measure(default_places(), mib=mib, on_note=for_progress().print)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        print_speeds(for_results(), report)


async def _bench(services: Services, options: Mapping[str, Any], live: "LiveBoards") -> "BenchResult":
    from benchmarks.errors import BenchmarkError
    from viewer.faults import UserMistake

    try:
        return await services.bench_mini(**options, listener=partial(_show_bench, live))
    except BenchmarkError as error:
        raise UserMistake(str(error)) from error


def _show_bench(live: "LiveBoards", event: "BenchEvent") -> None:
    match event.type:
        case "task_began":
            live.begin(event.task.id, f"task {event.number} of {event.of}: {event.task.id}")
        case "task_event":
            live.advance(event.task_id, event.event)
        case "task_over":
            live.end(event.result.task_id, _task_line(event.result) + (" (known from before)" if event.skipped else ""))


def _task_line(result: "TaskResult") -> str:
    """`rename-file: 1 0 1 –, the judge picked 2, 41.2 s`."""
    scores = " ".join("–" if score is None else f"{score:g}" for score in result.scores) or "not run"
    picks = {"picked": f"the judge picked {result.winner}", "none": "the judge chose none", "unjudged": "no verdict"}
    error = f"; {result.error}" if result.error else ""
    return f"{result.task_id}: {scores}, {picks[result.pick]}, {result.seconds.get('total', 0.0):.1f} s{error}"


def _print_bench(result: "BenchResult") -> None:
    from viewer.console import for_results
    from viewer.listings import Figure, print_figures
    from viewer.plain import amount, duration, money

    table, n = result.table, result.table.n
    rows = {
        "one rollout": table.single,
        f"best of {n}, by the judge": table.best_of_n,
        "random pick": table.random_pick,
        f"oracle (pass@{n})": table.oracle,
        "judge over random pick": table.judge_gain,
    }
    outcomes = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(table.outcomes.items()))
    tokens = amount(table.input_tokens + table.output_tokens)
    notes = [
        f"rollouts: {outcomes or 'none'}; the judge chose none in {table.none_chosen} tasks",
        f"{table.calls} model calls, {tokens} tokens, {money(table.usd)}, {duration(table.seconds)}",
        *(f"fault: {fault}" for fault in result.faults),
        f"results in {result.out_dir}",
    ]
    figures = [Figure(name, e.value, e.low, e.high, e.tasks) for name, e in rows.items()]
    title = f"{result.config.suite}, {result.config.model}, {table.tasks} tasks, n = {n}"
    print_figures(for_results(), title, figures, notes)


async def _bench_mini(**options: Any) -> "BenchResult":
    from benchmarks.desktop_mini import mini

    return await mini.run(**options)


async def _measure(*args: Any, asked: Mapping[str, Any], **options: Any) -> Mapping[str, Any]:
    from benchmarks.pool_speed import build_plan, measure

    return await measure(*args, plan=build_plan(**asked), **options)


async def _stress(*args: Any, asked: Mapping[str, Any], **options: Any) -> Mapping[str, Any]:
    from benchmarks.pool_speed import build_plan, stress

    return await stress(*args, plan=build_plan(**asked), **options)


async def _measure_steps(*args: Any, **options: Any) -> Mapping[str, Any]:
    from benchmarks.step_speed import measure

    return await measure(*args, **options)


async def _judge(options: Mapping[str, Any], *, results: Path | None, note: Any) -> Any:
    from benchmarks import judge_lab
    from benchmarks.errors import BenchmarkError
    from viewer.faults import UserMistake

    try:
        return await judge_lab.run(judge_lab.asked(**options), results=results, note=note)
    except BenchmarkError as error:
        raise UserMistake(str(error)) from error


SERVICES = Services(
    bench_mini=_bench_mini, measure=_measure, stress=_stress, measure_steps=_measure_steps, judge=_judge
)
"""What the commands call when nothing else is passed."""


def main(argv: Sequence[str] | None = None, services: Services = SERVICES) -> int:
    """Run one command. Returns its exit code."""
    from viewer import faults

    faults.tolerate_narrow_encodings()
    try:
        with faults.reporting():
            code = app(argv, prog_name="agent-s3", standalone_mode=False, obj=services)
    except typer.Exit as over:
        return over.exit_code
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
