"""What is compared with what: names of cells and of choices. Pure data."""

from dataclasses import dataclass

NONE = "none"
"""The choice of none of the candidates, where choices are text."""


@dataclass(frozen=True)
class Named:
    """What a cell is."""

    name: str
    judge: str
    evidence: str
    model: str
    skipped: str = ""
