"""Errors of OSWorld tasks.

OSWorldError
├── TaskFileError      a task file or list cannot be used; one line with file, field and next step
├── Unsupported        the task names a setup type, getter or metric that this version lacks
├── AssetMissing       a file that the task brings along is not at hand
├── SetupFailed        a step that prepares the machine did not work; the machine is not in the task's first state
└── EvaluationFailed   the task's own side of the evaluation (rule, gold file, options) cannot be used
"""


class OSWorldError(Exception):
    """Base of all errors of this package."""


class TaskFileError(OSWorldError, ValueError):
    """A task file or task list cannot be used."""


class Unsupported(OSWorldError):
    """The task needs something by a name that this version does not know; the message lists what it needs."""


class AssetMissing(OSWorldError):
    """A file that the task brings along is neither in the task set nor in the mirror folder."""


class SetupFailed(OSWorldError):
    """A step that prepares the machine did not work."""


class EvaluationFailed(OSWorldError):
    """Rule, gold file or options of a task cannot be used: the task is at fault, not the agent."""
