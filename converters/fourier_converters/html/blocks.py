"""Layers as a grid: numbered blocks down, the modules in each across."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

MOST_BLOCKS: Final = 160
MOST_MODULES: Final = 16
"""What a grid may have to be read at a glance."""

_NUMBERED: Final = re.compile(
    r"(?P<stack>|.*?[./_])(?P<block>\d{1,6})[./](?P<module>.+)", re.DOTALL
)


class Grid(NamedTuple):
    """Targets by block and module.

    Attributes:
        blocks: Their numbers with what stands before them, its separator included, in order.
        modules: What stands behind the numbers, in the order of the adapter.
        places: The place of each target's name in (blocks, modules).
    """

    blocks: tuple[tuple[str, int], ...]
    modules: tuple[str, ...]
    places: dict[str, tuple[int, int]]


def grid(names: Sequence[str]) -> Grid | None:
    """Returns the grid of targets' names.

    None where they are not numbered, are too many, or two would share a place.
    """
    found = {name: match for name in names if (match := _NUMBERED.fullmatch(name))}
    if len(found) < 2:
        return None
    keys = {name: (m["stack"], int(m["block"])) for name, m in found.items()}
    stacks = list(dict.fromkeys(stack for stack, _ in keys.values()))
    blocks = sorted(set(keys.values()), key=lambda key: (stacks.index(key[0]), key[1]))
    modules = list(dict.fromkeys(m["module"] for m in found.values()))
    if not (2 <= len(blocks) <= MOST_BLOCKS and len(modules) <= MOST_MODULES):
        return None
    row, column = {b: i for i, b in enumerate(blocks)}, {m: i for i, m in enumerate(modules)}
    places = {name: (row[keys[name]], column[m["module"]]) for name, m in found.items()}
    if len(set(places.values())) < len(places):
        return None
    return Grid(tuple(blocks), tuple(modules), places)
