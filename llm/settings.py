"""What all models of one run share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from llm.limits import Limits
from llm.pricing import PriceTable, load_prices
from llm.retry import RetryPolicy


@dataclass(frozen=True)
class Settings:
    """Time limits, retries, concurrency, prices and the environment. Make one per run."""

    timeout_s: float = 300.0
    """Longest wait for one answer; the retry policy's deadline holds over all tries."""
    local_timeout_s: float = 1200.0
    """The same for a model on this machine, from its turn on: all rollouts share its few cores, and a slow answer costs
    nothing. No deadline holds over the wait for its turn."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Limits = field(default_factory=Limits)
    prices: PriceTable = field(default_factory=load_prices)
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    """Where keys are read from; they are read from nowhere else."""
