"""The shapes of what adapters feed, with keys that stay when a graph is made anew."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fourier_format.live import Bank, Interface, Parameter, to_text


@dataclass(frozen=True, slots=True)
class Layout:
    """What one input takes of one adapter.

    Attributes:
        key: Tells this input from all others, of other bases too; without its name.
        shape: The shape of what one adapter feeds.
    """

    key: str
    shape: tuple[int, ...]


def layouts_of(interface: Interface) -> dict[str, Layout]:
    """Returns the layout of each input, by the input's name."""
    found = {}
    for bank in interface.banks:
        plain = Interface(banks=(replace(bank, input=""),))
        found[bank.input] = Layout(_digest(plain), bank.layout)
    for parameter in interface.parameters:
        plain = Interface(banks=(), parameters=(replace(parameter, input=""),))
        found[parameter.input] = Layout(_digest(plain), parameter.layout)
    return found


def _digest(interface: Interface) -> str:
    return hashlib.sha256(to_text(interface).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Move:
    """Where the rows of an input go when the graph is made anew.

    Attributes:
        input: The input of the new graph.
        rows: Of each row of the old shape, its row in the new one; None where both are the same.
    """

    input: str
    rows: tuple[int, ...] | None


def moves(old: Interface, new: Interface) -> Mapping[str, Move]:
    """Returns where the inputs of `old` are in `new`, by name; those that it lacks are left out."""
    found = {}
    for bank in old.banks:
        other = next((b for b in new.banks if _same_entries(bank, b)), None)
        if other is None:
            continue
        places = {seat.name: row for row, seat in enumerate(other.seats)}
        names = [seat.name for seat in bank.seats]
        if all(name in places for name in names):
            rows = tuple(places[name] for name in names)
            same = rows == tuple(range(len(other.seats)))
            found[bank.input] = Move(other.input, None if same else rows)
    for parameter in old.parameters:
        twin = next((p for p in new.parameters if _same_tensor(parameter, p)), None)
        if twin is not None:
            found[parameter.input] = Move(twin.input, None)
    return found


def _same_entries(one: Bank, other: Bank) -> bool:
    return (one.transform, one.shape, one.entries_sha256) == (
        other.transform,
        other.shape,
        other.entries_sha256,
    )


def _same_tensor(one: Parameter, other: Parameter) -> bool:
    return one.name == other.name and np.array_equal(one.base, other.base)
