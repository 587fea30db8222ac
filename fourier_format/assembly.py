"""Targets with their entries and coefficients -> entry sets, and targets that refer to them.

Targets share an entry set where shape, entries, dtype of the coefficients and dtype of the base's
weight are equal (spec, clauses 5.3 and 9). Ids say no more than is needed to tell sets apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fourier_format.adapter import Array, EntrySet, Sampling, Target
from fourier_format.dtypes import dtype_name
from fourier_format.fingerprint import Fingerprint, stack


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """One target with all that belongs to it.

    Attributes:
        name: The module's path.
        kind: The kind of target.
        shape: (out, in).
        entries: (n, 2) int32.
        coefficients: (n,) float32, float16 or bfloat16.
        alpha: Its own scale; None takes the adapter's.
        sampling: How the entries were drawn, if known.
        fingerprint: Of the base's weight, if known.
    """

    name: str
    kind: str
    shape: tuple[int, int]
    entries: Array
    coefficients: Array
    alpha: float | None = None
    sampling: Sampling | None = None
    fingerprint: Fingerprint | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What is equal within one entry set."""
        dtype = None if self.fingerprint is None else self.fingerprint.dtype
        return self.shape, self.entries.tobytes(), dtype_name(self.coefficients.dtype), dtype


def assemble(pieces: Sequence[Piece]) -> tuple[tuple[EntrySet, ...], tuple[Target, ...]]:
    """Returns the entry sets, and the targets in the order of `pieces`."""
    groups: dict[tuple[Any, ...], list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(piece.key, []).append(piece)
    ids = dict(zip(groups, _ids(list(groups.values())), strict=True))
    places = {
        piece.name: (ids[key], row)
        for key, members in groups.items()
        for row, piece in enumerate(members)
    }
    return tuple(_entry_set(ids[key], members) for key, members in groups.items()), tuple(
        _target(piece, places) for piece in pieces
    )


def _ids(groups: Sequence[Sequence[Piece]]) -> list[str]:
    """Returns an id for each group: its shape, and what tells it from others of that shape."""
    ids = []
    for members in groups:
        first = members[0]
        same = [group[0] for group in groups if group[0].shape == first.shape]
        id_ = f"{first.shape[0]}x{first.shape[1]}"
        if len({piece.coefficients.size for piece in same}) > 1:
            id_ += f"-n{first.coefficients.size}"
        if len({piece.key[2] for piece in same}) > 1:
            id_ += f"-{first.key[2].lower()}"
        if len({piece.key[3] for piece in same}) > 1:
            id_ += f"-of-{(first.key[3] or 'none').lower()}"
        ids.append(id_)
    seen: Counter[str] = Counter()
    for k, id_ in enumerate(ids):
        seen[id_] += 1
        ids[k] = id_ if seen[id_] == 1 else f"{id_}-{seen[id_]}"
    return ids


def _entry_set(id_: str, members: Sequence[Piece]) -> EntrySet:
    prints = [piece.fingerprint for piece in members if piece.fingerprint is not None]
    return EntrySet(
        id=id_,
        shape=members[0].shape,
        entries=members[0].entries,
        coefficients=np.stack([piece.coefficients for piece in members]),  # (L, n)
        sampling=next((p.sampling for p in members if p.sampling is not None), None),
        fingerprints=stack(prints) if prints else None,
    )


def _target(piece: Piece, places: Mapping[str, tuple[str, int]]) -> Target:
    id_, row = places[piece.name]
    return Target(
        name=piece.name,
        kind=piece.kind,
        shape=piece.shape,
        entries=id_,
        row=row,
        alpha=piece.alpha,
    )
