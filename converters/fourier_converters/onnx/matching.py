"""Matching: which uses of which weights each target means (design: a use, never a name pattern).

Evidence narrows the candidates: the map file; the fingerprint; then the names, most trusted
source first. An empty set, evidence that disagrees, or a use claimed twice is an error that lists
what was considered, so that an adapter is never merged in part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fourier_converters.mapping import Map, MapEntry
from fourier_converters.onnx import evidence
from fourier_converters.onnx.candidates import Candidate, Candidates, by_map
from fourier_converters.onnx.model import Read
from fourier_converters.onnx.tensors import FOUR_BITS
from fourier_converters.onnx.uses import unopened
from fourier_format.adapter import Adapter, Target
from fourier_format.errors import (
    BaseMismatchError,
    FourierFormatError,
    TargetNotFoundError,
    Violation,
    raise_all,
)
from fourier_format.fingerprint import agrees

QUANTIZED_TOLERANCE: Final = 0.4
"""Of the samples' relative error on a quantised base. Measured on int4 MiniLM: at most 0.13 for the
right weight, at least 0.86 for a wrong one."""

BYTE_TOLERANCE: Final = 0.2
"""The same for codes of a byte or more: one scale for a tensor whose largest value is eighty times
the usual one."""


@dataclass(frozen=True, slots=True)
class Match:
    """The uses that one target means, and the evidence that says so."""

    target: Target
    uses: tuple[Candidate, ...]
    evidence: tuple[str, ...]


def match_targets(adapter: Adapter, candidates: Candidates, mapping: Map) -> list[Match]:
    """Returns the match of every target that the map does not skip.

    Raises:
        TargetNotFoundError: E-TARGET-NOT-FOUND or -AMBIGUOUS, E-EVIDENCE-DISAGREES,
            E-USE-CLAIMED; all targets are tried first.
        BaseMismatchError: A weight is not the one that the adapter was trained on.
    """
    matches: list[Match] = []
    failures: list[FourierFormatError] = []
    for target in adapter.targets:
        entry = mapping.target(target.name)
        if entry.skip:
            continue
        try:
            matches.append(match_target(adapter, target, candidates, entry))
        except FourierFormatError as error:
            failures.append(error)
    raise_all(failures)
    _refuse_claimed(matches)
    return matches


def match_target(
    adapter: Adapter, target: Target, candidates: Candidates, entry: MapEntry
) -> Match:
    """Returns the match of one target; raises as `match_targets`."""
    if entry.initializers or entry.nodes:
        whole = by_map(entry, candidates.of_kind(target.kind), candidates.model)
        chosen = [c for c in whole if c.shape == target.shape and c.holds_its_rows]
        return _mapped(target, chosen, _by_fingerprint(adapter, target, candidates, chosen))
    pool = candidates.of_kind(target.kind, target.shape)
    marked = _by_fingerprint(adapter, target, candidates, pool)
    named = candidates.named(target.name, pool)
    if marked is None:
        if not named:
            raise _not_found(target, candidates)
        return _only(target, named, (), candidates)
    if not named:
        return _by_fingerprint_alone(target, marked, candidates)
    if not marked:
        raise _mismatch(target, named)
    marked_places = {(c.use, c.rows) for c in marked}
    both = [c for c in named if (c.use, c.rows) in marked_places]
    if not both:
        raise _disagrees(target, named, marked)
    unclear = _nameless_twins(both, marked)
    if unclear:
        raise _twins(target, both, unclear)
    return _only(target, both, ("fingerprint",), candidates)


def _nameless_twins(both: Sequence[Candidate], marked: Sequence[Candidate]) -> list[Candidate]:
    """Returns uses of another tensor with the weight's values that no name puts elsewhere.

    Optimisers copy a tensor that a module reads twice; changing one copy would be half a merge.
    """
    places = {(c.use, c.rows) for c in both}
    tensors = {c.use.value for c in both}
    return [
        c
        for c in marked
        if c.module is None and (c.use, c.rows) not in places and c.use.value not in tensors
    ]


def _twins(
    target: Target, both: Sequence[Candidate], unclear: Sequence[Candidate]
) -> TargetNotFoundError:
    return TargetNotFoundError(
        Violation(
            "E-TARGET-AMBIGUOUS",
            target.name,
            "another tensor has its weight, too, and nothing says whose that is",
            got=f"{_listed(both)}; and {_listed(unclear)}",
            advice="say which are meant with --map",
        )
    )


def tolerance(candidate: Candidate, candidates: Candidates) -> float:
    """Returns the relative error of samples that quantising explains; 0 for plain weights."""
    quantized = candidate.use.quantized
    if quantized is None:
        return 0.0
    packed = candidates.model.tensor(quantized.codes).data_type in FOUR_BITS
    narrow = packed or quantized.bits in {2, 4}
    return QUANTIZED_TOLERANCE if narrow else BYTE_TOLERANCE


def _only(
    target: Target, found: list[Candidate], proven: tuple[str, ...], candidates: Candidates
) -> Match:
    """Several uses are one target's only if one module has them all, with one weight."""
    if not candidates.are_one_weight(found):
        raise TargetNotFoundError(
            Violation(
                "E-TARGET-AMBIGUOUS",
                target.name,
                "several weights could be meant by this name",
                got=_listed(found),
                advice="say which with --map",
            )
        )
    return Match(target, tuple(found), (*proven, str(found[0].source)))


def _by_fingerprint(
    adapter: Adapter, target: Target, candidates: Candidates, pool: Sequence[Candidate]
) -> list[Candidate] | None:
    """Returns the candidates with the target's fingerprint; None where the adapter has none."""
    if adapter.entry_set(target).fingerprints is None:
        return None
    return [c for c in pool if has_fingerprint(adapter, target, c, candidates)]


def has_fingerprint(
    adapter: Adapter, target: Target, candidate: Candidate, candidates: Candidates
) -> bool | None:
    """Whether a candidate has the samples of the target's fingerprint; None where it has none."""
    prints = adapter.entry_set(target).fingerprints
    if prints is None:
        return None
    expected, found = prints.samples[target.row], candidates.samples(candidate)  # (32,), (32,)
    if candidate.use.quantized is None:
        return agrees(expected, found, candidate.use.origin.dtype)
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(expected - found)) <= tolerance(candidate, candidates) * size


def _mapped(target: Target, chosen: list[Candidate], marked: list[Candidate] | None) -> Match:
    if not chosen:
        problem = "the map names nothing in the graph that reads a weight of this shape"
        shape = f"{target.shape[0]}x{target.shape[1]}"
        raise TargetNotFoundError(
            Violation("E-TARGET-NOT-FOUND", target.name, problem, expected=f"(out, in) {shape}")
        )
    if marked is not None and len(marked) != len(chosen):
        raise _mismatch(target, chosen)
    found = ("map",) if marked is None else ("map", "fingerprint")
    return Match(target, tuple(chosen), found)


def _by_fingerprint_alone(target: Target, marked: list[Candidate], candidates: Candidates) -> Match:
    """One use, or several of one tensor that nothing else distinguishes, is no riddle."""
    if not marked:
        raise _not_found(target, candidates)
    places = {(c.use, c.rows): c for c in marked}
    own = [c for c in places.values() if c.use.initializer in keras_weights(target.name)]
    if len(places) > 1 and own and len({c.use.initializer for c in own}) == 1:
        return Match(target, tuple(own), ("fingerprint", evidence.INITIALIZER_NAME))
    if len(places) > 1:
        raise TargetNotFoundError(
            Violation(
                "E-TARGET-AMBIGUOUS",
                target.name,
                "several uses have its weight, and no name says which are meant",
                got=_listed(marked),
                advice="say which with --map",
            )
        )
    return Match(target, tuple(places.values()), ("fingerprint",))


def keras_weights(target: str) -> tuple[str, ...]:
    """Returns what `export_base` calls the weight of a layer of Keras.

    Only where weights are equal is it asked for: Keras numbers layers without a name anew in every
    process, so that such a name may be another layer's.
    """
    return f"{target}/kernel", f"{target}/embeddings"


def _refuse_claimed(matches: Sequence[Match]) -> None:
    owners: dict[Read, list[tuple[Candidate, str]]] = defaultdict(list)
    found = []
    for match in matches:
        for candidate in match.uses:
            for other, owner in owners[candidate.use.read]:
                if owner != match.target.name and _share_rows(candidate, other):
                    problem = f"the use {candidate} is claimed by {owner} too"
                    advice = "say which target means which node with --map"
                    found.append(
                        Violation("E-USE-CLAIMED", match.target.name, problem, advice=advice)
                    )
            owners[candidate.use.read].append((candidate, match.target.name))
    if found:
        raise TargetNotFoundError(found)


def _share_rows(one: Candidate, other: Candidate) -> bool:
    if one.rows is None or other.rows is None:
        return True
    return one.rows[0] < other.rows[1] and other.rows[0] < one.rows[1]


def _not_found(target: Target, candidates: Candidates) -> TargetNotFoundError:
    shape = f"{target.shape[0]}x{target.shape[1]}"
    same_shape = candidates.of_kind(target.kind, target.shape)
    anywhere = candidates.named(target.name, candidates.of_kind(target.kind))
    if anywhere:
        use = anywhere[0].shape or (0, 0)
        problem = "the graph's weight of this name has another shape"
        got, expected = f"(out, in) {use[0]}x{use[1]}", shape
        advice = "is this the base that the adapter was trained on?"
    else:
        problem = "no weight of the graph is this target's, by fingerprint or by name"
        got = f"{len(same_shape)} weights of shape (out, in) {shape}"
        expected = None
        if same_shape:
            got += f": {_listed(same_shape)}"
        hidden = unopened(candidates.model)
        if hidden:
            got += f"; not looked into: {', '.join(hidden)}"
        advice = "is this the right base, exported with every output? Else say where with --map"
    return TargetNotFoundError(
        Violation("E-TARGET-NOT-FOUND", target.name, problem, got, expected, advice)
    )


def _mismatch(target: Target, named: Sequence[Candidate]) -> BaseMismatchError:
    return BaseMismatchError(
        Violation(
            "E-BASE-MISMATCH",
            target.name,
            "the weight found does not have the fingerprint of the one that was trained on",
            got=_listed(named),
            advice="use the base that the adapter was trained on, not a fine-tune of it",
        )
    )


def _disagrees(
    target: Target, named: Sequence[Candidate], marked: Sequence[Candidate]
) -> TargetNotFoundError:
    source = named[0].source
    return TargetNotFoundError(
        Violation(
            "E-EVIDENCE-DISAGREES",
            target.name,
            f"the {source} and the fingerprint point to different weights",
            got=f"{source}: {_listed(named)}; fingerprint: {_listed(marked)}",
            advice="is this the right base? Else say which with --map",
        )
    )


def _listed(candidates: Sequence[Candidate]) -> str:
    shown = ", ".join(str(c) for c in candidates[:4])
    return shown if len(candidates) <= 4 else f"{shown} and {len(candidates) - 4} more"
