"""The commands `agent-s3 pool ...`: parse, build, call, print."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from viewer import flags
from viewer.exits import BREAKDOWN
from viewer.services import Benchmark, Services, group

if TYPE_CHECKING:  # imported where it is used: `agent-s3 --help` loads none of it
    from vm_pool.provider import Provider
    from vm_pool.strays import Survey

pool = group("Desktops: images, running machines, speed.")
images = group("Images that desktops start from.")
pool.add_typer(images, name="image")


@images.command("build")
def image_build(name: flags.ImageToBuild = "desktop", image_format: flags.ImageFormat = "sandbox") -> None:
    """Build an image, or say that it is there; takes minutes the first time."""
    from viewer.progress import building
    from vm_pool.images import build

    with building() as on_progress:
        image = build(f"{name}-vm" if image_format == "vm" else name, on_progress=on_progress)
    typer.echo(image.id)


@images.command("ls")
def image_ls(as_json: flags.AsJson = False) -> None:
    """List images and the remains of builds that were cut short."""
    from viewer.console import for_results
    from viewer.listings import print_images
    from vm_pool.images import ls

    found = ls()
    if as_json:
        typer.echo(json.dumps([image.model_dump(mode="json", exclude={"recipe"}) for image in found], indent=2))
    else:
        print_images(for_results(), found)


@images.command("rm")
def image_rm(ctx: typer.Context, image_id: flags.ImageId) -> None:
    """Delete an image that nothing on this host was started from."""
    from viewer.signals import run_until_signal
    from vm_pool.strays import remove_image

    services: Services = ctx.obj
    run_until_signal(remove_image(image_id, services.all_providers()))
    typer.echo(f"removed {image_id}")


@pool.command("criu")
def pool_criu() -> None:
    """Fetch CRIU, with which --provider sandbox-criu saves running programs, or say that it is there."""
    from viewer.progress import building
    from vm_pool.criu import fetch_criu

    with building() as on_progress:
        criu = fetch_criu(on_progress)
    criu.check()
    typer.echo(f"CRIU {criu.version} works here")


@pool.command("ls")
def pool_ls(ctx: typer.Context, provider: flags.AnyProvider = None, as_json: flags.AsJson = False) -> None:
    """List machines and snapshots on this host, and who uses them."""
    from viewer.console import for_results
    from viewer.listings import print_left_out, print_strays
    from viewer.signals import run_until_signal

    services: Services = ctx.obj
    survey = run_until_signal(_survey(services, provider))
    print_left_out(survey.unfit)
    if as_json:
        found = [{"provider": maker.name, **stray.model_dump(mode="json")} for maker, stray in survey.left]
        typer.echo(json.dumps(found, indent=2))
    else:
        print_strays(for_results(), survey.left, services.now())


@pool.command("gc")
def pool_gc(
    ctx: typer.Context,
    provider: flags.AnyProvider = None,
    everything: flags.Everything = False,
    dry_run: flags.DryRun = False,
) -> None:
    """Remove what killed runs left behind; machines that a live run uses stay."""
    from viewer.listings import print_collected, print_left_out
    from viewer.signals import run_until_signal
    from vm_pool import strays

    services: Services = ctx.obj
    now = services.now()

    async def work() -> "tuple[strays.Survey, strays.Collected | None]":
        survey = await _survey(services, provider)
        return survey, None if dry_run else await strays.collect(survey.left, idle_too=everything, now=now)

    survey, collected = run_until_signal(work())
    print_left_out(survey.unfit)
    if collected is None:
        found = [stray for _, stray in survey.left if strays.removable(stray, now, idle_too=everything)]
        print_collected(found, done=False)
        return
    print_collected(collected.removed, failed=collected.failed)
    raise typer.Exit(BREAKDOWN if collected.failed else 0)


@pool.command("release")
def pool_release(machine: flags.PromotedMachine) -> None:
    """Give back a desktop that a run with --deliver promote keeps up for you."""
    from vm_pool.releasing import release

    release(machine)
    typer.echo(f"released {machine}; it is stopped within seconds")


async def _survey(services: Services, provider: str | None) -> "Survey":
    """Of one provider, which must work then, or of all that do. Raises: `VMPoolError`."""
    from vm_pool import strays

    if provider is not None:
        return strays.Survey(await strays.ls([services.make_provider(provider)]), [])
    return await strays.survey(services.all_providers())


@pool.command("logs")
def pool_logs(
    ctx: typer.Context, machine: flags.MachineId = None, follow: flags.Follow = False, as_json: flags.AsJson = False
) -> None:
    """What happened to which machine when, also to those that are gone; of one machine what it said last, too."""
    from viewer import pool_logs as logs
    from viewer.signals import run_until_signal
    from vm_pool.pool_journal import PoolJournal

    services: Services = ctx.obj
    if follow:
        run_until_signal(logs.follow(PoolJournal(), machine, as_json=as_json))
    providers = services.all_providers() if machine else []
    run_until_signal(logs.show(PoolJournal(), providers, machine, as_json=as_json))


@pool.command("bench")
def pool_bench(
    ctx: typer.Context,
    provider: flags.ProviderName = "sandbox",
    image: flags.ImageName = "slim",
    n: flags.Crowd = 16,
    quick: flags.Quick = False,
    grow: flags.Grow = False,
    size: flags.Size = "1920x1080",
    memory: flags.MemoryMib = 2048,
    html: flags.HtmlFile = None,
    as_json: flags.AsJson = False,
    stress: flags.StressMinutes = None,
    seed: flags.StressSeed = 0,
) -> None:
    """Measure a provider: starting, forking and saving desktops, memory, frames, input, settling."""
    from viewer import orders

    services: Services = ctx.obj
    orders.check_bench(stress=stress, quick=quick, grow=grow, html=html)
    asked = {"n": n, "quickly": quick, "grow": grow, "size": orders.parse_size(size), "memory_mib": memory}
    maker = services.make_provider(provider)
    if stress is not None:
        report = measured(services.stress, maker, image, asked=asked, minutes=stress, seed=seed)
        raise typer.Exit(_print_stress(report, as_json=as_json))
    report = measured(services.measure, maker, image, asked=asked)
    if html is not None:
        _write_page(html, report, ctx)
    print_measured(report, as_json=as_json)


def _print_stress(report: Mapping[str, Any], *, as_json: bool) -> int:
    """Returns the exit code."""
    from viewer.console import for_results
    from viewer.speeds import print_stress

    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        print_stress(for_results(), report)
    return 0 if report["sound"] else BREAKDOWN


def _write_page(path: Path, report: Mapping[str, Any], ctx: typer.Context) -> None:
    from viewer.speed_page import write

    write(path, report, shlex.join(["agent-s3", "pool", "bench", *given_words(ctx)]))


def given_words(ctx: typer.Context) -> list[str]:
    """The options of a command as they were written, in the order in which its help lists them."""
    words: list[str] = []
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        if "COMMANDLINE" not in str(ctx.get_parameter_source(parameter.name or "")):
            continue
        words += [max(parameter.opts, key=len)] if value is True else [max(parameter.opts, key=len), str(value)]
    return words


@pool.command("certify")
def pool_certify(
    ctx: typer.Context,
    provider: flags.ProviderToCertify,
    image: flags.ImageName = "slim",
    n: flags.Clones = 3,
    as_json: flags.AsJson = False,
) -> None:
    """Check that a provider's machines keep the contract, and that its clones are equal and independent."""
    from viewer.certificates import certified, print_certificate

    services: Services = ctx.obj
    certificate = certified(services.make_provider(provider), image, n, services.now())
    if as_json:
        typer.echo(json.dumps(certificate.model_dump(mode="json"), indent=2))
    else:
        print_certificate(certificate)
    raise typer.Exit(0 if certificate.holds else BREAKDOWN)


def measured(measure: Benchmark, provider: "Provider", image: str, **options: Any) -> Mapping[str, Any]:
    """Measure something about a provider's machines; progress goes to standard error."""
    from viewer.console import for_progress
    from viewer.signals import run_until_signal

    async def work() -> Mapping[str, Any]:
        return await measure(provider, image, on_note=for_progress().print, **options)

    return run_until_signal(work())


def print_measured(report: Mapping[str, Any], *, as_json: bool) -> None:
    """The report as a table, or as JSON."""
    from viewer.console import for_results
    from viewer.speeds import print_speeds

    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        print_speeds(for_results(), report)
