"""Merging: what each changed initializer becomes, computed one at a time.

An initializer whose every reader is meant is changed where it lies. One that others read too is
left alone, and the meant nodes get a tensor of their own, in the layout and dtype that they read.
Sums for float32 weights are in float32, others in float64 and rounded once, to nearest even.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fourier_converters.onnx.candidates import Candidates
from fourier_converters.onnx.matching import Match
from fourier_converters.onnx.model import Read
from fourier_converters.onnx.replacing import Replaced, stored_values
from fourier_converters.onnx.uses import Use, readers
from fourier_format.adapter import Adapter, Array, Target
from fourier_format.dtypes import round_once
from fourier_format.errors import TargetNotFoundError, UnsupportedError, Violation
from fourier_format.fingerprint import frobenius_norm
from fourier_format.transforms import delta_weight

Member = tuple[Use, Target | None, Replaced | None]
"""A use, with what is added to its weight and what replaces it first."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One tensor's new values.

    Attributes:
        use: One of the uses, all alike in how they read.
        reads: The inputs that read it.
        target: Whose delta weight is added, if any.
        replaced: Whose values replace the base's first, if any.
        in_place: Whether the initializer itself changes; else the reads get a new one.
    """

    use: Use
    reads: tuple[Read, ...]
    target: Target | None
    replaced: Replaced | None
    in_place: bool

    @property
    def dtype(self) -> str:
        """The dtype of the new values."""
        return self.use.dtype if self.in_place else self.use.operand_dtype

    @property
    def layout(self) -> str | None:
        """The layout of the new values."""
        return self.use.layout if self.in_place else self.use.operand_layout

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the new values."""
        flipped = self.layout != self.use.layout
        return self.use.shape[::-1] if flipped else self.use.shape


def plan_changes(
    matches: Sequence[Match], replaced: Sequence[Replaced], candidates: Candidates
) -> list[Change]:
    """Returns the changes that `matches` and `replaced` ask for, none of them computed yet.

    Raises:
        TargetNotFoundError: E-USE-CLAIMED: two replacements claim one use.
    """
    owners: dict[Read, Member] = {}
    for replacement in (r for r in replaced if not r.added):
        for candidate in replacement.uses:
            use = candidate.use
            if use.read in owners:
                problem = f"{candidate} is claimed by {_name(owners[use.read][2])} too"
                raise TargetNotFoundError(Violation("E-USE-CLAIMED", replacement.name, problem))
            owners[use.read] = (use, None, replacement)
    for match in matches:
        for candidate in match.uses:
            use = candidate.use
            owners[use.read] = (use, match.target, owners.get(use.read, (use, None, None))[2])
    groups: dict[tuple[str, str, str], list[Member]] = defaultdict(list)
    for use, target, replaced_first in owners.values():
        groups[use.initializer, _name(target), _name(replaced_first)].append(
            (use, target, replaced_first)
        )
    return [change for members in groups.values() for change in _changes(members, candidates)]


def _name(owner: Target | Replaced | None) -> str:
    return "" if owner is None else owner.name


def _changes(members: Sequence[Member], candidates: Candidates) -> list[Change]:
    """Returns one change in place where all readers are meant and alike, else one for each form."""
    use, target, replaced = members[0]
    reads = tuple(member[0].read for member in members)
    layouts = {member[0].layout for member in members}
    everyone = readers(candidates.model, use.initializer)
    if everyone.reads == set(reads) and not everyone.shown and len(layouts) == 1:
        return [Change(use, reads, target, replaced, in_place=True)]
    forms: dict[tuple[str | None, str], list[Use]] = defaultdict(list)
    for member, _, _ in members:
        forms[member.operand_layout, member.operand_dtype].append(member)
    return [
        Change(uses[0], tuple(u.read for u in uses), target, replaced, in_place=False)
        for uses in forms.values()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """A computed change.

    Attributes:
        values: In the change's dtype, layout and shape.
        relative_change: Frobenius norm of the delta weight over the weight's; None without a
            delta weight and for a weight of zeros.
    """

    values: Array
    relative_change: float | None


def compute(change: Change, adapter: Adapter, candidates: Candidates) -> Merged:
    """Returns the new values of `change`.

    Raises:
        UnsupportedError: The sum is not finite in the weight's dtype.
    """
    stored = _before(change, candidates)
    wide = np.float32 if change.dtype == "F32" else np.float64
    values = stored.astype(wide)
    relative = None
    if change.target is not None:
        delta = delta_weight(adapter, change.target, wide)  # (out, in)
        placed = delta.T if change.use.layout == "in_out" else delta
        norm = frobenius_norm(values)
        relative = frobenius_norm(delta) / norm if norm else None
        values = np.add(values, placed, out=values)
    if change.layout != change.use.layout:
        values = values.T
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(round_once(values, change.dtype))
    if not np.isfinite(rounded).all():
        _refuse_overflow(change)
    return Merged(rounded, relative)


def _before(change: Change, candidates: Candidates) -> Array:
    """Returns the values that the delta weight is added to, as the initializer stores them."""
    if change.replaced is not None:
        values = stored_values(change.replaced, change.use)
        if values is not None:
            return values
    tensor = candidates.model.initializers[change.use.initializer]
    return candidates.reader.read(tensor)


def _refuse_overflow(change: Change) -> None:
    where = change.target.name if change.target else change.use.initializer
    problem = f"the merged weight is not finite in {change.dtype}"
    advice = "export the base in float32, or check alpha"
    raise UnsupportedError(Violation("E-NUMBER-NONFINITE", where, problem, advice=advice))
