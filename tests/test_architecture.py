"""The house keeps its shape: imports go downwards only, and files are named for what they hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW: dict[str, set[str]] = {
    "llm": set(),
    "vm_pool": set(),
    "tools": {"llm", "vm_pool"},
    "agent_s3": {"tools", "llm", "vm_pool"},
    "bbon": {"agent_s3", "tools", "llm", "vm_pool"},
    "benchmarks": {"bbon", "agent_s3", "tools", "llm", "vm_pool"},
    "viewer": {"bbon", "agent_s3", "llm", "vm_pool"},
    "cli": {"viewer", "benchmarks", "bbon", "agent_s3", "tools", "llm", "vm_pool"},
}
"""Room -> the rooms it may import."""
LEAVES = {"agent_s3/types.py": {"agent_s3.actions"}, "agent_s3/actions.py": set[str]()}
"""Pure data: of its own room such a module imports nothing but these."""
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for room in BELOW
    for path in ([ROOT / "cli.py"] if room == "cli" else (ROOT / room).rglob("*.py"))
)


def imports(module: str) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it; relative ones are made absolute."""
    package = Path(module).parent.parts
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*above, *((node.module or "").split(".") if node.module else ())])


def room_of(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards_only(module: str) -> None:
    room = Path(module).parts[0].removesuffix(".py")
    upward = {name for name in imports(module) if room_of(name) in BELOW.keys() - BELOW[room] - {room}}
    assert not upward, f"{module} imports {sorted(upward)}; {room} may import only {sorted(BELOW[room])}"


@pytest.mark.parametrize("module", sorted(LEAVES))
def test_pure_data_imports_nothing_of_its_own_room(module: str) -> None:
    own = {name for name in imports(module) if room_of(name) == Path(module).parts[0]}
    assert own <= LEAVES[module]


def test_the_guest_server_needs_nothing_of_the_host() -> None:
    """It is copied into desktops, which have neither pydantic nor the rest of this project."""
    guest = [module for module in MODULES if module.startswith("vm_pool/guest/")]
    outside = {
        (module, name)
        for module in guest
        for name in imports(module)
        if room_of(name) in {*BELOW, "pydantic"} and not name.startswith("vm_pool.guest")
    }
    assert guest
    assert not outside


def test_every_room_of_the_house_is_shipped() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms - {"tests"} == BELOW.keys() - {"cli"}


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_named_for_what_they_hold(module: str) -> None:
    assert not VAGUE & {part.strip("_") for part in Path(module).with_suffix("").parts}
