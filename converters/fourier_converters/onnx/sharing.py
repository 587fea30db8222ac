"""Shared weights: whether what else reads a weight may go on reading the old one.

It may where it is plainly another module's: the embedding tied to a head, a layer of equal values.
A reader that could be a part of the target, or that is not understood, is an error: an adapter is
never merged in part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fourier_converters.onnx.candidates import Candidate, Candidates
from fourier_converters.onnx.evidence import module_of_node
from fourier_converters.onnx.matching import Match
from fourier_converters.onnx.operators import role
from fourier_converters.onnx.replacing import Replaced
from fourier_converters.onnx.uses import readers
from fourier_format.errors import UnsupportedError, Violation

_NEVER: Final = frozenset({"Shape"})
"""Operators that read no values: torch's exporter measures a convolution's kernel by one."""

_NEVER_LINEAR: Final = _NEVER | {"Gather"}
"""Operators by which no linear layer reads its weight."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A name of the adapter with the uses that it means."""

    name: str
    uses: tuple[Candidate, ...]
    stated: bool
    """Whether the user's map says so, and thereby that other readers are not meant."""


def refuse_unclear_readers(
    matches: Sequence[Match], replaced: Sequence[Replaced], candidates: Candidates
) -> None:
    """Check everything that reads a weight which is about to change.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: a reader may be a part of the target.
    """
    claims = [_Claim(m.target.name, m.uses, "map" in m.evidence) for m in matches]
    claims += [_Claim(r.name, r.uses, "map" in r.evidence) for r in replaced if not r.added]
    claimed = {c.use.read for claim in claims for c in claim.uses}
    found = [v for claim in claims for v in _unclear(claim, claimed, candidates)]
    if found:
        raise UnsupportedError(found)


def _unclear(claim: _Claim, claimed: set[Any], candidates: Candidates) -> Iterator[Violation]:
    if claim.stated:
        return
    modules = {c.module for c in claim.uses if c.module}
    never = _NEVER_LINEAR if all(c.use.kind == "linear" for c in claim.uses) else _NEVER
    for value in dict.fromkeys(c.use.value for c in claim.uses):
        everyone = readers(candidates.model, value)
        if everyone.handed_on:
            yield _violation(claim, value.name, "is also the result of an If, Loop or Scan")
        for read in sorted(everyone.reads - claimed):
            node = candidates.model.node(read)
            if node.op_type not in never and not _is_elsewhere(node, read.slot, modules):
                reader = f"{node.op_type} {node.name!r}"
                yield _violation(claim, value.name, f"is also read by {reader}")


def _is_elsewhere(node: Any, slot: int, modules: set[str]) -> bool:
    """Whether a reader is plainly another module's.

    Not in one that holds the target or is held by it, whose forward may read the weight itself;
    and an operator that is understood.
    """
    stated = module_of_node(node)
    if stated is None or role(node, slot) is None:
        return False
    path = f"{stated[1]}."
    return not any(path.startswith(f"{m}.") or f"{m}.".startswith(path) for m in modules)


def _violation(claim: _Claim, initializer: str, problem: str) -> Violation:
    return Violation(
        "E-CONVERSION-UNSUPPORTED",
        claim.name,
        f"its weight {initializer} {problem}, which may be a part of it",
        advice="say which nodes are meant with --map, or export the model without sharing",
    )
