"""From what the user asked of `agent-s3 judge` to folders and numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from viewer.faults import UserMistake
from viewer.orders import check_out, permitted


@permitted()
def existing(folders: Sequence[Path]) -> tuple[Path, ...]:
    """Raises: `UserMistake` when one is not there."""
    for folder in folders:
        if not folder.is_dir():
            raise UserMistake(
                f"there is no folder {str(folder)!r}; name folders of runs, benchmarks or OSWorld results"
            )
    return tuple(folders)


def out_folder(out: Path | None, folders: Sequence[Path]) -> Path:
    """Where results go: the same for the same folders, so that a second run finds the answers of the first.

    Raises: `UserMistake`.
    """
    check_out(out)
    return out or Path("runs") / f"judge-{folders[0].resolve().name}"


def parse_sizes(text: str) -> tuple[int, ...]:
    """`2-10`, `2,4,8` or `none` as numbers of candidates. Raises: `UserMistake`."""
    if text.strip() == "none":
        return ()
    try:
        found = {size for part in text.split(",") for size in _range(part)}
    except ValueError:
        raise UserMistake(f"cannot read the sizes {text!r}: write 2-10, 2,4,8 or none") from None
    if not all(2 <= size <= 32 for size in found):
        raise UserMistake(f"--sizes {text}: a choice is between 2 and 32 candidates; write e.g. 2-10")
    return tuple(sorted(found))


def _range(part: str) -> range:
    low, _, high = part.partition("-")
    return range(int(low), int(high or low) + 1)


def answered(report: Mapping[str, Any]) -> bool:
    """Whether any judge that was tried gave an answer; those that ask nobody count where nobody else was named."""
    asking = [cell for cell in report["cells"] if cell["model"]]
    return any(cell["answered"] for cell in asking or report["cells"])
