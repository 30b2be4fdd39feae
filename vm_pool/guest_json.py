"""JSON from a guest, read within limits: a few megabytes of it can be made to cost gigabytes. Pure.

What is checked afterwards stops at the first fault of a list (`FailFast` in `vm_pool.types`), but names every fault
of an object: so objects have few keys here.
"""

import itertools
import json

MOST_OBJECTS = 100_000
MOST_KEYS = 256
"""Of one object."""


def read_json(body: bytes) -> object:
    """Raises: `ValueError` when it is no JSON, or too much of it."""
    count = itertools.count(1)

    def read_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if next(count) > MOST_OBJECTS or len(pairs) > MOST_KEYS:
            raise ValueError(f"more than {MOST_OBJECTS} objects, or one of more than {MOST_KEYS} keys")
        return dict(pairs)

    try:
        return json.loads(body.decode(), object_pairs_hook=read_object)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
