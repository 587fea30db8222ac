"""Merging: what each changed tensor becomes, computed one at a time.

A tensor whose every reader is meant is changed where it lies. One that others read too is left
alone, and the meant nodes get a tensor of their own, as they read it. Quantised weights are not
changed here (see `branches` and `requantizing`). Sums for float32 weights are in float32, others in
float64 and rounded once, to nearest even.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np

from fourier_converters.onnx.candidates import Candidate, Candidates
from fourier_converters.onnx.matching import Match
from fourier_converters.onnx.model import Model, Read
from fourier_converters.onnx.replacing import Replaced, placed
from fourier_converters.onnx.uses import Use, readers
from fourier_converters.onnx.views import View
from fourier_format.adapter import Adapter, Array, EntrySet, Target
from fourier_format.dtypes import DTYPES, all_finite, dtype_name, round_once
from fourier_format.errors import TargetNotFoundError, UnsupportedError, Violation
from fourier_format.fingerprint import sum_of_squares
from fourier_format.threads import by_blocks
from fourier_format.transforms import Rows, rows_of

_BLOCK_CELLS: Final = 2**17
"""Cells merged at a time: in float64, and with their spectrum, few enough for the cache."""

_PARALLEL_CELLS: Final = 2**19
"""Cells from which threads repay their start."""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What is done to one use's weight, or to some rows of it.

    Attributes:
        candidate: The use and the rows.
        target: Whose delta weight is added, if any.
        replaced: Whose values replace the base's first, if any.
    """

    candidate: Candidate
    target: Target | None
    replaced: Replaced | None

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two uses' edits the same."""
        target = None if self.target is None else self.target.name
        replaced = None if self.replaced is None else self.replaced.name
        return self.candidate.rows, target, replaced


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One tensor's new values.

    Attributes:
        use: One of the uses, all alike in how they read.
        reads: The inputs that read it.
        edits: What is done to it; rows of different edits are disjoint.
        in_place: Whether the stored tensor itself changes; else the reads get a new one.
    """

    use: Use
    reads: tuple[Read, ...]
    edits: tuple[Edit, ...]
    in_place: bool

    @property
    def dtype(self) -> str:
        """The dtype of the new values."""
        origin = self.use.origin
        return origin.dtype if self.in_place else origin.operand_dtype

    @property
    def view(self) -> View:
        """From the new values to the canonical matrix."""
        if self.in_place:
            return self.use.view
        return self.use.operand or View(self.use.origin.view.result)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the new values."""
        return self.view.shape


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """How the values of a stored tensor are made for an adapter.

    Attributes:
        tensor: The TensorProto.
        make: Returns its values for an adapter of the layout that was planned for.
        entries: The entry set on which alone the values depend; None where on coefficients, too.
    """

    tensor: Any
    make: Callable[[Adapter], Array]
    entries: EntrySet | None = None


def rebound(edit: Edit, adapter: Adapter) -> Edit:
    """Returns the edit with the target and the replacement of an adapter of the same layout."""
    target = None if edit.target is None else adapter.target(edit.target.name)
    replaced = edit.replaced
    if replaced is not None:
        replaced = replace(replaced, values=adapter.replacements[replaced.name])
    return replace(edit, target=target, replaced=replaced)


def plan_edits(matches: Sequence[Match], replaced: Sequence[Replaced]) -> list[Edit]:
    """Returns what is done to which use, none of it computed yet.

    Raises:
        TargetNotFoundError: E-USE-CLAIMED: two replacements claim one use.
    """
    edits: dict[tuple[Read, tuple[int, int] | None], Edit] = {}
    for replacement in (r for r in replaced if not r.added):
        for candidate in replacement.uses:
            place = (candidate.use.read, candidate.rows)
            if place in edits:
                owner = edits[place].replaced
                problem = f"{candidate} is claimed by {owner.name if owner else ''} too"
                raise TargetNotFoundError(Violation("E-USE-CLAIMED", replacement.name, problem))
            edits[place] = Edit(candidate, None, replacement)
    for match in matches:
        for candidate in match.uses:
            place = (candidate.use.read, candidate.rows)
            first = edits[place].replaced if place in edits else None
            edits[place] = Edit(candidate, match.target, first)
    return list(edits.values())


def plan_changes(edits: Sequence[Edit], model: Model) -> list[Change]:
    """Returns the changes of tensors that `edits` ask for."""
    by_read: dict[Read, list[Edit]] = defaultdict(list)
    for edit in edits:
        by_read[edit.candidate.use.read].append(edit)
    groups: dict[tuple[Any, ...], list[list[Edit]]] = defaultdict(list)
    for members in by_read.values():
        use = members[0].candidate.use
        key = (use.value, *sorted((edit.key for edit in members), key=str))
        groups[key].append(members)
    return [change for group in groups.values() for change in _changes(group, model)]


def _changes(group: Sequence[list[Edit]], model: Model) -> list[Change]:
    """Returns one change in place where all readers are meant and alike, else one for each form."""
    uses = [members[0].candidate.use for members in group]
    edits, reads = tuple(group[0]), tuple(use.read for use in uses)
    everyone = readers(model, uses[0].value)
    meant = everyone.reads == set(reads) and everyone.only_reads
    if meant and len({use.view for use in uses}) == 1 and uses[0].quantized is None:
        return [Change(uses[0], reads, edits, in_place=True)]
    forms: dict[tuple[View | None, str], list[Use]] = defaultdict(list)
    for use in uses:
        forms[use.operand, use.origin.operand_dtype].append(use)
    return [
        Change(alike[0], tuple(u.read for u in alike), edits, in_place=False)
        for alike in forms.values()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """A computed change.

    Attributes:
        values: In the change's dtype and shape.
        sizes: Target -> Frobenius norm of the delta weight over the weight's; a weight of zeros
            has none.
    """

    values: Array
    sizes: dict[str, float]


def compute(change: Change, adapter: Adapter, candidates: Candidates) -> Merged:
    """Returns the new values of `change`.

    Raises:
        UnsupportedError: The sum is not finite in the weight's dtype.
    """
    before = candidates.values(Candidate(change.use, None, None))
    values = np.empty_like(before, DTYPES[change.dtype], order="K")  # the order of the file
    sizes: dict[str, float] = {}
    if any(edit.candidate.rows is not None for edit in change.edits):
        _finish(change, _merge(before, None, values))
    for edit in change.edits:
        rows = edit.candidate.rows
        part = slice(None) if rows is None else slice(*rows)
        size = _edit(change, edit, before[part], values[part], adapter)
        if size is not None and edit.target is not None:
            sizes[edit.target.name] = size
    return Merged(np.ascontiguousarray(change.view.invert(values)), sizes)


def values_for(change: Change, candidates: Candidates, adapter: Adapter) -> Array:
    """Returns the new values of `change` for an adapter of the same layout; raises as `compute`."""
    own = replace(change, edits=tuple(rebound(edit, adapter) for edit in change.edits))
    return compute(own, adapter, candidates).values


def _edit(
    change: Change, edit: Edit, before: Array, values: Array, adapter: Adapter
) -> float | None:
    """Write `before` as `edit` makes it to `values`; returns the delta weight's relative size.

    Both are rows of canonical matrices. A weight that is stored the other way round is worked on
    in the order of its memory, with the delta weight turned instead.
    """
    if edit.replaced is not None:
        new = placed(edit.replaced, edit.candidate)
        if new is not None:
            before = np.broadcast_to(new, before.shape)
    if edit.target is None:
        _finish(change, _merge(before, None, values))
        return None
    turned = values.ndim == 2 and abs(values.strides[0]) < abs(values.strides[1])
    if turned:
        before, values = before.T, values.T
    wide = np.float32 if change.dtype == "F32" else np.float64
    delta = rows_of(adapter, edit.target, wide, turned=turned)
    norm = None if edit.replaced is not None else _known_norm(change, edit.target, adapter)
    measured = _finish(change, _merge(before, delta, values, measure=norm is None))
    norm = measured if norm is None else norm
    return delta.norm / norm if norm else None


def _known_norm(change: Change, target: Target, adapter: Adapter) -> float | None:
    """Returns the weight's norm where the fingerprint states it, to which it has been held."""
    prints = adapter.entry_set(target).fingerprints
    if prints is None or change.use.quantized or prints.dtype != change.use.origin.dtype:
        return None
    return float(prints.norm[target.row])


class _Block(NamedTuple):
    """What is known of some merged rows: of the results, and of what was added to."""

    finite: bool
    squares: float


def _merge(
    before: Array, delta: Rows | None, values: Array, *, measure: bool = False
) -> list[_Block]:
    """Write `before` + `delta` to `values`, rounded once; a few rows at a time, by all cores."""
    dtype = dtype_name(values.dtype)
    wide = np.float32 if dtype == "F32" else np.float64

    def block(start: int, stop: int) -> _Block:
        rows = before[start:stop].astype(wide)
        squares = sum_of_squares(rows) if measure else 0.0
        if delta is not None:
            np.add(rows, delta(start, stop), out=rows)
        with np.errstate(over="ignore"):
            rounded = round_once(rows, str(dtype))
        values[start:stop] = rounded
        return _Block(all_finite(rounded), squares)

    length = values.shape[0] if values.ndim else 1
    if not values.ndim:
        before, values = before.reshape(1), values.reshape(1)
    step = max(1, _BLOCK_CELLS * length // max(1, values.size))
    return by_blocks(block, length, step, parallel=values.size >= _PARALLEL_CELLS)


def refuse_nonfinite(values: Array, where: str) -> None:
    """Check values that are about to be stored; `where` names them.

    Raises:
        UnsupportedError: E-NUMBER-NONFINITE.
    """
    if np.issubdtype(values.dtype, np.inexact) and not np.isfinite(values).all():
        problem = "what would be stored for the adapter is not finite"
        advice = "check alpha and the coefficients"
        raise UnsupportedError(Violation("E-NUMBER-NONFINITE", where, problem, advice=advice))


def _finish(change: Change, blocks: Sequence[_Block]) -> float:
    """Returns the Frobenius norm of what was added to, where that was measured.

    Raises:
        UnsupportedError: E-NUMBER-NONFINITE.
    """
    if not all(block.finite for block in blocks):
        named = next((e.target.name for e in change.edits if e.target), change.use.initializer)
        problem = f"the merged weight is not finite in {change.dtype}"
        advice = "export the base in float32, or check alpha"
        raise UnsupportedError(Violation("E-NUMBER-NONFINITE", named, problem, advice=advice))
    return math.sqrt(math.fsum(block.squares for block in blocks))
