"""Whether a replayed step did what the recorded one did, by its recorded evidence. Pure.

Compared are windows that opened and closed, files, texts and values of elements, the clipboard, exit codes of code and
the picture. What programs do by themselves is left out, and what differs from run to run by nature is compared by
less: a document with a time inside by its size, a picture by its share of changed pixels.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from agent_s3.actions import AskUser
from agent_s3.delta import changed_regions
from agent_s3.elements import squeeze
from agent_s3.types import CodeReport, Delta, Frozen, Step, TreeChange
from vm_pool.types import FileChange, Frame, Look

FRAME_TOLERANCE = 0.01
"""Most share of the screen's pixels that may differ: clocks, carets and the like."""
_SIZE_TOLERANCE = 0.05
_SIZE_SLACK = 256
"""Bytes; a compressed document with another time in it varies by less."""
_SHOWN = 160

Aspect = Literal["windows", "files", "elements", "clipboard", "code", "screen", "action"]


class Difference(Frozen):
    """Something that a replayed step did not do as recorded."""

    aspect: Aspect
    recorded: str
    """In words, shortened; empty: there was nothing."""
    now: str
    """As above."""

    @property
    def words(self) -> str:
        return f"{self.aspect}: recorded {self.recorded or 'nothing'}, now {self.now or 'nothing'}"


def replayable(step: Step) -> str | None:
    """Why a step cannot be done again in the same way, in a clause; None: it can."""
    if step.error is not None and step.error.kind == "interrupted":
        return "it is not known whether it happened"
    acted = step.events or step.code is not None or (step.error is None and step.action is not None)
    if acted and step.delta is None:
        return "what it did was not seen"
    if step.error is not None and step.error.kind == "refused_by_guest" and step.delta and _did_something(step.delta):
        return "it failed, and something changed all the same"
    return None


def did_nothing(step: Step) -> bool:
    """Whether nothing was sent to the machine, so that there is nothing to do again."""
    if step.action is None or step.action.ends_rollout or isinstance(step.action, AskUser):
        return True
    return step.error is not None and not step.events and step.code is None


def as_seen(recorded: Step, look: Look) -> Step:
    """A recorded step without the evidence that this machine cannot give, so that it is not compared."""
    if recorded.delta is None:
        return recorded
    blind: dict[str, object] = {}
    if look.windows is None:
        blind["windows"] = ()
    if look.files is None:
        blind["files"] = ()
    if look.tree is None:
        blind["tree"] = ()
    return recorded.model_copy(update={"delta": recorded.delta.model_copy(update=blind)}) if blind else recorded


def _did_something(delta: Delta) -> bool:
    return bool(delta.files or any(change.kind != "activated" for change in delta.windows))


def differences(
    recorded: Step, now: Delta, code: CodeReport | None, *, ignore: Callable[[str], bool]
) -> tuple[Difference, ...]:
    """What differs between a recorded step and the delta of its replay. `ignore` says which files are noise."""
    if recorded.delta is None:
        return ()
    was = recorded.delta
    return (
        *_windows(was, now),
        *_files(was.files, now.files, ignore),
        *_elements(was, now),
        *_clipboard(was, now),
        *_code(recorded.code, code),
    )


def screen_difference(recorded: Frame, now: Frame, *, tolerance: float = FRAME_TOLERANCE) -> Difference | None:
    """None: the pictures are alike. Pictures of different sizes are not compared."""
    if recorded.pixels.shape != now.pixels.shape:
        return None
    changed = sum(region.changed_pixels for region in changed_regions(recorded, now))
    share = changed / (now.width * now.height)
    if share <= tolerance:
        return None
    return Difference(aspect="screen", recorded="the recorded picture", now=f"{share:.1%} of its pixels differ")


def _windows(was: Delta, now: Delta) -> Iterator[Difference]:
    """Which windows opened and closed; titles that change later hold times and progress and are not compared."""
    before, after = _window_counts(was), _window_counts(now)
    if before != after:
        yield Difference(aspect="windows", recorded=_listed(before - after), now=_listed(after - before))


def _window_counts(delta: Delta) -> Counter[str]:
    told = (change for change in delta.windows if change.kind in ("opened", "closed"))
    return Counter(f"{change.kind} {squeeze(change.app or change.title, 60)!r}" for change in told)


def _files(was: Iterable[FileChange], now: Iterable[FileChange], ignore: Callable[[str], bool]) -> Iterator[Difference]:
    before = {change.path: change for change in was if not ignore(change.path)}
    after = {change.path: change for change in now if not ignore(change.path)}
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None or not _alike(old, new):
            yield Difference(aspect="files", recorded=_file(old), now=_file(new))


def _alike(old: FileChange, new: FileChange) -> bool:
    if old.kind != new.kind:
        return False
    if old.sha256 == new.sha256 and old.size == new.size:
        return True
    if old.text is not None or new.text is not None or old.size is None or new.size is None:
        return False
    return abs(old.size - new.size) <= max(_SIZE_SLACK, _SIZE_TOLERANCE * old.size)


def _file(change: FileChange | None) -> str:
    if change is None:
        return ""
    facts = f"{change.size} bytes" if change.size is not None else ""
    text = f", {squeeze(change.text, 60)!r}" if change.text is not None else ""
    return f"{squeeze(change.path, _SHOWN)!r} {change.kind} {facts}{text}".strip()


def _elements(was: Delta, now: Delta) -> Iterator[Difference]:
    """Texts and values that changed must change to the same; what else is seen of a tree depends on the moment."""
    if was.tree_dropped or now.tree_dropped:
        return
    there = {_ends_as(change) for change in now.tree}
    for change in was.tree:
        if change.kind == "changed" and change.field in ("text", "value") and _ends_as(change) not in there:
            wanted = f"{change.field} of {change.role} {squeeze(change.name, 60)!r} {squeeze(change.after or '', 60)!r}"
            found = [c for c in now.tree if (c.role, c.name, c.field) == (change.role, change.name, change.field)]
            yield Difference(
                aspect="elements", recorded=wanted, now=squeeze(found[0].after or "", 60) if found else "no change"
            )


def _ends_as(change: TreeChange) -> tuple[str, str | None, str | None]:
    return change.role, change.field, change.after


def _clipboard(was: Delta, now: Delta) -> Iterator[Difference]:
    before = was.clipboard.after if was.clipboard else None
    after = now.clipboard.after if now.clipboard else None
    if before != after:
        yield Difference(aspect="clipboard", recorded=squeeze(before or "", _SHOWN), now=squeeze(after or "", _SHOWN))


def _code(was: CodeReport | None, now: CodeReport | None) -> Iterator[Difference]:
    """Exit codes; output holds times, addresses and the like."""
    before = [turn.returncode for turn in was.turns] if was else []
    after = [turn.returncode for turn in now.turns] if now else []
    if before != after:
        yield Difference(aspect="code", recorded=f"exit codes {before}", now=f"exit codes {after}")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(sorted(counts.elements()))[:_SHOWN]
