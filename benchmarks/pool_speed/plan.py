"""How much is measured, and on what kind of machine."""

from typing import NamedTuple

GROWTH_N = (1, 2, 4, 8, 16, 32)
GROWTH_MEMORY_MIB = (512, 1024, 2048, 4096)


class Plan(NamedTuple):
    """Counts are of samples; what a machine of this provider cannot give is left out, whatever is planned."""

    single: int = 9
    """Starts one after the other, after one that does not count."""
    slow_single: int = 2
    """The same where a start takes longer than `slow_s`; the first one counts then."""
    slow_s: float = 5.0
    """Crowds are not booted where one boot takes longer than this: a run forks them, and so does the benchmark."""
    crowd: int = 16
    crowds: int = 3
    """How often that many are started at once."""
    forks: int = 9
    """One after the other, after one that does not count; from spares, half as many."""
    branches: int = 3
    resets: int = 3
    slow_resets: int = 1
    """The same where a start takes longer than `slow_s`."""
    frames: int = 50
    inputs: int = 30
    settles: int = 5
    keys: int = 9
    """Keys whose effect on the screen is waited for."""
    steps: int = 20
    """Steps after which memory and disk are measured again."""
    idle_s: float = 5.0
    """For how long the CPU time of idle machines is watched."""
    window_s: float = 60.0
    """How long the editor may take to show a window."""
    reaction_s: float = 10.0
    """How long a key may take to change the screen."""
    starts: int | None = None
    """How many of a crowd start at once; None: as many as the pool of a run lets."""
    width: int = 1920
    height: int = 1080
    memory_mib: int = 2048
    """Of each machine; for those that share this host's kernel only a limit."""
    growth_n: tuple[int, ...] = ()
    """Sizes of crowds of forks that are compared; empty: none."""
    growth_memory_mib: tuple[int, ...] = ()
    """Sizes of memory that are compared, where machines have memory of their own; empty: none."""


def build_plan(*, n: int, quickly: bool, grow: bool, size: tuple[int, int], memory_mib: int) -> Plan:
    """The plan that a command line asks for. `size` is width and height in pixels."""
    width, height = size
    plan = Plan(crowd=n, width=width, height=height, memory_mib=memory_mib)
    if grow:
        plan = plan._replace(growth_n=GROWTH_N, growth_memory_mib=GROWTH_MEMORY_MIB)
    return quick(plan) if quickly else plan


def quick(plan: Plan) -> Plan:
    """The same with the fewest samples that give every metric."""
    few = {"single": 2, "slow_single": 1, "crowds": 1, "forks": 3, "branches": 1, "resets": 1, "frames": 10}
    return plan._replace(**few, inputs=5, settles=2, keys=3, steps=10, idle_s=2.0, window_s=20.0)
