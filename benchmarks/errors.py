"""Errors of benchmarks.

BenchmarkError          the user's to mend: unknown task, folder of another run; one line with the next step
"""

from benchmarks.osworld.errors import SetupFailed, Unsupported
from benchmarks.results import OutcomeKind
from llm.errors import LLMError
from vm_pool.errors import MachineError, VMPoolError


class BenchmarkError(ValueError):
    """The caller asked for something that cannot be; the message ends with the next step."""


OUTCOME_OF_ERROR: tuple[tuple[type[Exception], OutcomeKind], ...] = (
    (Unsupported, "unsupported"),
    (SetupFailed, "setup_failed"),
    (MachineError, "guest_lost"),
    (VMPoolError, "setup_failed"),
    (LLMError, "agent_error"),
)
"""What an error that ends a task counts as; the first that fits."""
