"""Documentation is true where a machine can tell: commands, options, make targets, links, files and variables exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(
    r"(?:agent_s3|bbon|benchmarks|llm|scripts|tests|tools|viewer|vm_pool)/[\w./-]*\w|requirements[\w-]*\.lock"
)
SHELL = {"sh", "console"}


class Place(NamedTuple):
    """A command as a page has it."""

    page: str
    words: tuple[str, ...]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def shell_lines(text: str) -> Iterator[str]:
    """Lines of shell blocks, and code within sentences."""
    for language, block in BLOCK.findall(text):
        if language in SHELL:
            yield from block.replace("\\\n", " ").splitlines()
    yield from CODE.findall(BLOCK.sub("", text))


def words_of(line: str) -> list[str]:
    try:
        return shlex.split(line.removeprefix("$ "), comments=True)
    except ValueError:  # an apostrophe in a quoted piece of output
        return []


def commands(program: str) -> list[Place]:
    """All uses of a program in the documentation, without what leads to it, such as `sudo` or a variable."""
    found: list[Place] = []
    for page in PAGES:
        for line in shell_lines(page.read_text(encoding="utf-8")):
            for piece in re.split(r"&&|\|\||[|;>]", line):
                words = words_of(piece)
                starts = [place for place, word in enumerate(words) if word.rpartition("/")[2] == program]
                if starts and all("=" in word or word == "sudo" for word in words[: starts[0]]):
                    found.append(Place(name(page), tuple(words[starts[0] + 1 :])))
    return found


def resolve(words: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """The deepest sub-command that the words name, and the rest."""
    command: Any = typer.main.get_command(cli.app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("place", commands("agent-s3"), ids=str)
def test_every_command_and_option_in_the_documentation_exists(place: Place) -> None:
    command, rest = resolve(place.words)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = {word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z].*", word)}
    assert options <= known | {"-h", "--help"}
    is_group = hasattr(command, "commands")
    assert not (is_group and [word for word in rest if word != "..." and not word.startswith("-")])


def test_make_targets_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for place in commands("make") for word in place.words if re.fullmatch(r"[a-z-]+", word)}
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as they are made into links."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for piece in CODE.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        for file in FILE.findall(piece):
            assert (ROOT / file).exists(), file


def test_environment_variables_in_the_documentation_are_read_somewhere() -> None:
    variable = re.compile(r"\b(?:AGENT_S3|OPENAI|ANTHROPIC)_[A-Z_]+\b")
    named = {found for page in PAGES for found in variable.findall(page.read_text(encoding="utf-8"))}
    sources = [
        path for room in ("llm", "vm_pool", "viewer", "agent_s3", "bbon") for path in (ROOT / room).rglob("*.py")
    ]
    sources += (ROOT / "scripts").glob("*.sh")
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    spelled = set(variable.findall(code)) | {f"{p}_API_KEY" for p in ("OPENAI", "ANTHROPIC") if "_API_KEY" in code}
    assert named <= spelled


def test_every_page_of_the_documentation_can_be_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name(page) for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme] == []


def test_every_claim_of_the_threat_model_names_a_test_that_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = {word for word in CODE.findall(page) if word.startswith("test_") and not word.endswith(".py")}
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 30
    assert named <= set(re.findall(r"def (test_\w+)\(", code))


def test_every_package_of_the_host_list_can_be_looked_for() -> None:
    lines = (ROOT / "scripts" / "host-packages.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.split(maxsplit=3) for line in lines if not line.startswith("#")]
    assert entries
    for level, probe, package, why in entries:
        assert level in {"make", "run", "test"}
        assert probe.partition(":")[0] in {"command", "lib", "file"}
        assert re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package)
        assert why


def test_the_locks_hold_versions_and_hashes_and_no_places() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        pinned = re.findall(r"^[a-z0-9][\w.-]*==", text, re.MULTILINE)
        assert len(pinned) > 20
        assert "://" not in text
        assert not re.search(r"^-", text, re.MULTILINE)
