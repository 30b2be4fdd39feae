"""Whether a rollout that still works has got nowhere for so long that it may be stopped. Pure.

It takes evidence, not opinion: steps in which nothing changed, or a few screens that come again and again while no file
changes. Stopping is for rollouts that others have overtaken; see `bbon.rollouts`.
"""

from collections.abc import Sequence

from agent_s3.types import Step

IDLE_STEPS = 4
"""So many steps in a row that changed nothing."""
LOOP_STEPS, LOOP_SCREENS = 8, 2
"""So many steps in a row that showed no more than so many different screens."""


def hopeless(steps: Sequence[Step]) -> str | None:
    """Why there is no hope, as the reason of the rollout's end; None: there is some."""
    if len(steps) >= IDLE_STEPS and not any(map(_changed, steps[-IDLE_STEPS:])):
        return f"nothing changed in {IDLE_STEPS} steps in a row"
    last = steps[-LOOP_STEPS:]
    screens = {step.after.sha256 for step in last if step.after is not None}
    if len(last) == LOOP_STEPS and len(screens) <= LOOP_SCREENS and screens and not any(map(_kept, last)):
        return f"the same {len(screens)} screens for {LOOP_STEPS} steps, and no file changed"
    return None


def _changed(step: Step) -> bool:
    """A step that could not be looked at counts as one that changed something."""
    return step.delta is None or not step.delta.empty or not step.delta.settled


def _kept(step: Step) -> bool:
    """Whether a step left something behind that a screen need not show."""
    return step.code is not None or (step.delta is not None and bool(step.delta.files or step.delta.files_dropped))
