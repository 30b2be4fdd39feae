"""What verifiably changed between two observations. Pure; a 1080p frame pair takes a few milliseconds."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agent_s3.tree_diff import tree_changes
from agent_s3.types import ClipboardChange, Delta, Region, WindowChange
from vm_pool.types import Box, Frame, Look, Window

TILE = 16
"""Side of the tiles in which frames are compared, in pixels."""
MAX_REGIONS = 16
_CARET = (3, 48)
"""A change at most so wide and high (px) is a blinking text caret, not an effect."""
_POINTER_BEFORE, _POINTER_BEYOND = 6, 28
"""The pointer's picture reaches from so many pixels left of and above its hot spot to so many right and below."""
_CLIPBOARD_LIMIT = 500
_MANY_RUNS = 300

Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]


def compute(before: Look, after: Look, *, output: str | None = None, settled: bool = True) -> Delta:
    """Compare two looks at one machine.

    `output` is what code printed in between (None: no code ran). `after.files` must have been asked with the
    cursor of `before.files`, so that it holds what changed in between.
    """
    regions, changed = _regions(before, after)
    tree, tree_dropped = tree_changes(before.tree, after.tree) if before.tree and after.tree else ((), 0)
    return Delta(
        regions=regions,
        changed_fraction=changed,
        tree=tree,
        tree_dropped=tree_dropped,
        windows=window_changes(before.windows, after.windows),
        files=after.files.changes if after.files else (),
        files_dropped=after.files.dropped if after.files else 0,
        clipboard=_clipboard(before.clipboard, after.clipboard),
        output=output,
        settled=settled,
    )


def window_changes(before: tuple[Window, ...] | None, after: tuple[Window, ...] | None) -> tuple[WindowChange, ...]:
    """Windows opened, closed, retitled and activated, matched by id; empty when either side is not known."""
    if before is None or after is None:
        return ()
    old = {w.id: w for w in before}
    new = {w.id: w for w in after}
    opened = [WindowChange(kind="opened", title=w.title, app=w.app) for i, w in new.items() if i not in old]
    closed = [WindowChange(kind="closed", title=w.title, app=w.app) for i, w in old.items() if i not in new]
    stayed = [(old[i], w) for i, w in new.items() if i in old]
    retitled = [
        WindowChange(kind="retitled", title=w.title, app=w.app, title_before=o.title)
        for o, w in stayed
        if w.title != o.title
    ]
    activated = [
        WindowChange(kind="activated", title=w.title, app=w.app) for o, w in stayed if w.active and not o.active
    ]
    return (*opened, *closed, *retitled, *activated)


def _clipboard(before: str | None, after: str | None) -> ClipboardChange | None:
    if before == after:
        return None
    return ClipboardChange(before=_cut(before), after=_cut(after))


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _CLIPBOARD_LIMIT else text[:_CLIPBOARD_LIMIT] + "…"


def _regions(before: Look, after: Look) -> tuple[tuple[Region, ...], float]:
    """Changed rectangles, largest first, and the changed share of the screen; carets and the pointer left out."""
    if before.frame is None or after.frame is None:
        return (), 0.0
    moved = before.pointer != after.pointer
    pointers = [p for p in (before.pointer, after.pointer) if p] if moved else []
    regions = changed_regions(before.frame, after.frame)
    found = [r for r in regions if not _is_caret(r.box) and not _is_pointer(r.box, pointers)]
    found.sort(key=lambda r: -r.changed_pixels)
    total = before.frame.width * before.frame.height
    share = min(1.0, sum(r.changed_pixels for r in found) / total)
    return tuple(found[:MAX_REGIONS]), share


def _is_caret(box: Box) -> bool:
    return box.width <= _CARET[0] and box.height <= _CARET[1]


def _is_pointer(box: Box, pointers: list[tuple[int, int]]) -> bool:
    return any(
        x - _POINTER_BEFORE <= box.x
        and y - _POINTER_BEFORE <= box.y
        and box.x + box.width <= x + _POINTER_BEYOND
        and box.y + box.height <= y + _POINTER_BEYOND
        for x, y in pointers
    )


def changed_regions(before: Frame, after: Frame) -> list[Region]:
    """Rectangles, tight to the pixel, around connected groups of changed tiles.

    Frames of different sizes are wholly different: one region over all of `after`.
    """
    if before.pixels.shape != after.pixels.shape:
        box = Box(x=0, y=0, width=after.width, height=after.height)
        return [Region(box=box, changed_pixels=after.width * after.height)]
    if before.sha256 == after.sha256:
        return []
    tiles = _tiles(before.pixels, after.pixels)
    return [_tight(before.pixels, after.pixels, block) for block in _blocks(tiles)]


def _tiles(before: Pixels, after: Pixels) -> Mask:
    """One flag per tile of the screen, compared eight bytes at a time."""
    differs = _words(before) != _words(after)
    rows, columns = differs.shape[0] // TILE, differs.shape[1] * 8 // (TILE * 3)
    bands = np.bitwise_or.reduce(differs.reshape(rows, TILE, -1), axis=1)
    return bands.reshape(rows, columns, TILE * 3 // 8).any(axis=2)


def _words(pixels: Pixels) -> NDArray[np.uint64]:
    """Rows of eight-byte words, padded to whole tiles."""
    height, width, _ = pixels.shape
    if height % TILE or width % TILE:
        pixels = np.pad(pixels, ((0, -height % TILE), (0, -width % TILE), (0, 0)))
    return np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view(np.uint64)


def _blocks(tiles: Mask) -> list[list[int]]:
    """Boxes [top, left, bottom, right) in tiles around groups that touch, corners included; boxes do not overlap."""
    runs = list(_runs(tiles))
    if len(runs) > _MANY_RUNS:  # specks all over: closer than 64 px counts as touching, so that joining stays cheap
        runs = list(_runs(_thickened(tiles)))
    blocks: list[list[int]] = []
    for row, left, right in runs:
        _join(blocks, [row, left, row + 1, right])
    return blocks


def _thickened(tiles: Mask) -> Mask:
    """Every square of 4 x 4 tiles is wholly set when one of them is."""
    rows, columns = tiles.shape
    padded = np.pad(tiles, ((0, -rows % 4), (0, -columns % 4)))
    coarse = padded.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 4, 4).any(axis=(1, 3))
    return np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1)[:rows, :columns]


def _runs(tiles: Mask) -> Iterator[tuple[int, int, int]]:
    """Row, first and past-the-last column of every run of changed tiles."""
    edges = np.diff(np.pad(tiles, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, lefts = np.nonzero(edges == 1)
    _, rights = np.nonzero(edges == -1)
    yield from zip(rows.tolist(), lefts.tolist(), rights.tolist(), strict=True)


def _join(blocks: list[list[int]], new: list[int]) -> None:
    """Add a box, merging it with all that it touches, until nothing touches any more."""
    merged = True
    while merged:
        merged = False
        for block in blocks:
            if block[0] <= new[2] and new[0] <= block[2] and block[1] <= new[3] and new[1] <= block[3]:
                blocks.remove(block)
                new = [*map(min, block[:2], new[:2]), *map(max, block[2:], new[2:])]
                merged = True
                break
    blocks.append(new)


def _tight(before: Pixels, after: Pixels, block: list[int]) -> Region:
    top, left, bottom, right = (edge * TILE for edge in block)
    differs = before[top:bottom, left:right] != after[top:bottom, left:right]
    pixels = differs[:, :, 0] | differs[:, :, 1] | differs[:, :, 2]
    ys, xs = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    box = Box(x=left + int(xs[0]), y=top + int(ys[0]), width=int(xs[-1] - xs[0]) + 1, height=int(ys[-1] - ys[0]) + 1)
    return Region(box=box, changed_pixels=int(np.count_nonzero(pixels)))
