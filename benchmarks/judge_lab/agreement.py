"""Agreement between judges beyond chance, in closed form. Pure."""

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two judges' labels of the same tasks; None where chance alone explains all agreement.

    Raises: `ValueError` when the lengths differ or nothing is labelled.
    Source: J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20
    (1960).
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError("agreement needs labels of the same tasks, one at least")
    count = len(ours)
    mine, other = Counter(ours), Counter(theirs)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True)) / count
    chance = sum(mine[label] * other[label] for label in mine) / count**2
    return None if chance == 1 else (same - chance) / (1 - chance)


def fleiss(labels: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa; one row per task, one label per judge in it. None as `cohen`, and for fewer than two judges.

    Raises: `ValueError` when the rows differ in length.
    Source: J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76 (1971).
    """
    raters = len(labels[0]) if labels else 0
    if any(len(row) != raters for row in labels):
        raise ValueError("every task needs a label of every judge")
    if raters < 2:
        return None
    counts = [Counter(row) for row in labels]
    pairs = [sum(n * (n - 1) for n in row.values()) / (raters * (raters - 1)) for row in counts]
    whole: Counter[Hashable] = Counter()
    for row in counts:
        whole.update(row)
    chance = sum((n / (raters * len(labels))) ** 2 for n in whole.values())
    return None if chance == 1 else (sum(pairs) / len(pairs) - chance) / (1 - chance)
