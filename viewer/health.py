"""What works on this machine and what does not, with the command that mends it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agent_s3 import ocr
from llm.pull import embedded, model_path
from viewer.plain import plain, size
from vm_pool.host import Check
from vm_pool.host import checks as host_checks

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


def checks(env: Mapping[str, str] | None = None) -> list[Check]:
    """Everything, in the order in which it should be mended. `env` None: the process's."""
    return [*host_checks(), text_reading(), *model_checks(os.environ if env is None else env)]


def text_reading() -> Check:
    """Whether text is read from pictures; without it, what only a picture shows is not found by its words."""
    lack = ocr.missing()
    detail, fix = ("Tesseract is installed", None) if lack is None else lack
    return Check(name="text in pictures", ok=lack is None, detail=detail, fix=fix, required=False)


def model_checks(env: Mapping[str, str]) -> Iterator[Check]:
    """The embedded model, and whether there are keys for the others; keys are never shown or tried.

    A model is needed, and any of them will do: only when there is none at all the embedded one counts as required.
    """
    keyed = [provider for provider, key in KEYS.items() if env.get(key)]
    yield _embedded_file(model_path(env=env), required=not keyed)
    yield _embedded_runtime(required=not keyed)
    for provider, key in KEYS.items():
        known = provider in keyed
        detail = f"{key} is set (not tried)" if known else f"{key} is not set"
        fix = None if known else f"export {key}=..."
        yield Check(name=f"{provider} key", ok=known, detail=detail, fix=fix, required=False)


def _embedded_file(path: Path, *, required: bool) -> Check:
    model = embedded()
    found = path.stat().st_size if path.is_file() else 0
    ok = found == model.size
    if ok:
        detail = f"{path} ({size(found)})"
    else:
        detail = f"{path} is damaged" if found else f"not fetched yet ({size(model.size)})"
    return Check(
        name="local model", ok=ok, detail=detail, fix=None if ok else "agent-s3 model pull local", required=required
    )


def _embedded_runtime(*, required: bool) -> Check:
    ok = find_spec("xllamacpp") is not None
    detail = "xllamacpp is installed" if ok else "xllamacpp is not installed"
    return Check(
        name="local runtime",
        ok=ok,
        detail=detail,
        fix=None if ok else "pip install 'agent-s3[local]'",
        required=required,
    )


def can_run(found: Sequence[Check]) -> bool:
    """Whether `agent-s3 run` works: all that is required, and one image."""
    an_image = any(check.ok for check in found if check.name.startswith("image "))
    return an_image and all(check.ok for check in found if check.required)


def print_checks(console: Console, found: Sequence[Check]) -> None:
    """One line per check, the mending command below it."""
    width = max(len(check.name) for check in found)
    for check in found:
        mark = ("✓", "green") if check.ok else ("✗", "bold red") if check.required else ("–", "yellow")
        console.print(Text.assemble(mark, f" {check.name:{width}}  ", plain(check.detail)), soft_wrap=True)
        if check.fix and not check.ok:
            mend = Text.assemble(" " * (width + 4), ("mend: ", "dim"), (plain(check.fix), "bold"))
            console.print(mend, soft_wrap=True)
    console.print(Text(_conclusion(found), style="bold"))


def _conclusion(found: Sequence[Check]) -> str:
    broken = [check.name for check in found if check.required and not check.ok]
    if broken:
        return f"agent-s3 run does not work here yet; mend first: {broken[0]}"
    there = [check.name.removeprefix("image ") for check in found if check.ok and check.name.startswith("image ")]
    if not there:
        return "agent-s3 run needs an image; run: agent-s3 pool image build slim"
    return "agent-s3 run works here" + ("" if "desktop" in there else f", with --image {there[0]}")
