"""Errors of best-of-N runs.

BestOfNError
├── RunFolderError    the run folder cannot be resumed or does not hold what it should; names the next step
└── JudgeError        the judge gave no usable answer; the rollouts are kept and judging can be repeated
"""


class BestOfNError(Exception):
    """Base of all errors of this package; the message is for the user."""


class RunFolderError(BestOfNError):
    """The run folder cannot be used as asked."""


class JudgeError(BestOfNError):
    """The judge gave no usable answer after all replies that it was allowed."""
