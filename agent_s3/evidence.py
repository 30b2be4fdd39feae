"""Signs in the record that a rollout is not getting on: each a sentence that is true and costs no model call. Pure.

They rest on what was measured (frames, deltas, errors), never on what the agent says of itself.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from agent_s3.actions import AskUser, SaveToKnowledge, Wait
from agent_s3.elements import squeeze
from agent_s3.types import Delta, Step, TreeChange
from agent_s3.words import action_words
from vm_pool.types import FileChange

_LOOK_BACK = 4
_STATES_BACK = 12
_VISITS = 3
"""A screen that is seen for the third time; the second time may be a menu that was opened and closed."""
_TOGGLES = frozenset({"checked", "pressed"})
"""States of elements that are somebody's choice; focus and selection come and go by themselves."""
_LONG = 8
"""Steps of a rollout whose end does not come as a surprise when it is shorter."""
_NAME_SHOWN = 80

SignKind = Literal["repeated", "failed", "idle", "been_here", "undone", "end_near"]


class Sign(NamedTuple):
    kind: SignKind
    words: str
    """A sentence for the model."""


def signs(steps: Sequence[Step], *, max_steps: int | None = None) -> tuple[Sign, ...]:
    """What the record holds against the last step, most telling first; `max_steps` None: there is no limit."""
    last = steps[-1] if steps else None
    if last is None:
        return ()
    found = [_end_near(len(steps), max_steps)]
    dry = last.error is not None and last.error.kind == "dry_run"  # nothing was done, and nothing was meant to be
    if last.action is not None and not dry:  # a bad reply carries its own reason
        found = [_stuck(steps), _undone(steps), _been_here(steps), *found]
    return tuple(sign for sign in found if sign is not None)


def words(found: Sequence[Sign]) -> str | None:
    """The signs as one text; None: there are none."""
    return " ".join(sign.words for sign in found) or None


def warned_at(max_steps: int) -> int | None:
    """How many steps are left when the agent is told of the limit: two or three; None: too few to make a point of."""
    return min(3, max_steps // 4) if max_steps >= _LONG else None


def _end_near(taken: int, max_steps: int | None) -> Sign | None:
    if max_steps is None or max_steps - taken != warned_at(max_steps):
        return None
    left = f"Only {max_steps - taken} steps are left."
    return Sign("end_near", f"{left} Make sure of what matters most; use done if the result is there.")


def _stuck(steps: Sequence[Step]) -> Sign | None:
    last, previous = steps[-1], steps[-2] if len(steps) > 1 else None
    again = [s for s in steps[-_LOOK_BACK:] if s.action == last.action]
    if last.action is not None and len(again) >= 2 and not _passive(last):
        did = f"You did this {len(again)} times: {action_words(last.action)}."
        return Sign("repeated", f"{did} Do something else, or done if the result is there.")
    if previous is None:
        return None
    if last.error is not None and previous.error is not None:
        return Sign("failed", "Your last two actions failed. Do it another way.")
    if _changed_nothing(last) and _changed_nothing(previous):
        return Sign("idle", "Your last two actions changed nothing. Do something else.")
    return None


def _passive(step: Step) -> bool:
    return isinstance(step.action, Wait | SaveToKnowledge | AskUser)


def _changed_nothing(step: Step) -> bool:
    return step.delta is not None and step.delta.empty and step.action is not None and not _passive(step)


def _been_here(steps: Sequence[Step]) -> Sign | None:
    """The same screen or the same list of elements as twice before, other states in between, and no file to show."""
    recent = steps[-_STATES_BACK:]
    last = recent[-1]
    if last.delta is None or last.delta.empty or any(s.delta and s.delta.files for s in recent):
        return None
    frames = [recent[0].before, *(step.after for step in recent)]
    by_frame = _visits([ref.sha256 if ref else "" for ref in frames])
    # A list of elements that the last step did not change says nothing of where one is.
    by_list = _visits([step.listed for step in recent]) if last.delta.tree else 0
    times = max(by_frame, by_list)
    if times < _VISITS:
        return None
    came = f"The desktop has been just like this {times} times now, with other states and no changed file in between."
    return Sign("been_here", f"{came} What you did leads nowhere; find another way.")


def _visits(states: Sequence[str]) -> int:
    """How often the last state was come to; the same one several times in a row is one visit."""
    last = states[-1]
    if not last:
        return 0
    return sum(1 for index, state in enumerate(states) if state == last and (not index or states[index - 1] != last))


def _undone(steps: Sequence[Step]) -> Sign | None:
    last = steps[-1]
    if last.delta is None:
        return None
    for earlier in reversed(steps[:-1]):
        what = next(_reversed(earlier.delta, last.delta), None) if earlier.delta else None
        if what is not None:
            did = f"Your last action undid what step {earlier.index + 1} had changed: {what}."
            return Sign("undone", f"{did} Decide which of the two is what the task wants.")
    return None


def _reversed(earlier: Delta, later: Delta) -> Iterator[str]:
    """What a later delta took back of an earlier one."""
    for new in later.files:
        if any(_file_taken_back(old, new) for old in earlier.files):
            yield f"file {squeeze(new.path, _NAME_SHOWN)}"
    for change in later.tree:
        if any(_tree_taken_back(old, change) for old in earlier.tree):
            yield f"{change.role} {squeeze(change.name, _NAME_SHOWN)!r}"


def _file_taken_back(old: FileChange, new: FileChange) -> bool:
    if old.path != new.path:
        return False
    if (old.kind, new.kind) in (("created", "deleted"), ("deleted", "created")):
        return True
    back = old.sha256_before is not None and old.sha256_before == new.sha256
    return old.kind == new.kind == "modified" and back and old.sha256 != new.sha256


def _tree_taken_back(old: TreeChange, new: TreeChange) -> bool:
    same = old.kind == new.kind == "changed" and (old.app, old.role, old.name) == (new.app, new.role, new.name)
    if not same or old.field != new.field:
        return False
    if old.field == "states":
        return bool(_toggled(old.after) & _toggled(new.before) or _toggled(old.before) & _toggled(new.after))
    return old.field in ("text", "value") and (old.before, old.after) == (new.after, new.before)


def _toggled(states: str | None) -> set[str]:
    return set((states or "").replace(",", " ").split()) & _TOGGLES
