"""Checks that the base's weights are those the adapter was trained on, beyond the samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from fourier_converters.onnx.candidates import Candidate, Candidates
from fourier_converters.onnx.matching import Match
from fourier_format.adapter import Adapter, Fingerprints
from fourier_format.errors import BaseMismatchError, Violation
from fourier_format.fingerprint import NORM_TOLERANCE, frobenius_norm, sha256_of

_ROUNDED: Final = {"F64": 1e-6, "F32": 1e-6, "F16": 2.0**-11, "BF16": 2.0**-8}
"""What rounding to a dtype can change in a norm: half a unit in the last place of every value."""


def check_norms(adapter: Adapter, matches: Sequence[Match], candidates: Candidates) -> None:
    """Compare Frobenius norms, as exactly as the graph's dtype lets them be.

    Raises:
        BaseMismatchError: E-BASE-MISMATCH.
    """
    found = []
    for match, prints, candidate in _weights(adapter, matches):
        if candidate.use.quantized is not None:
            continue
        dtype = candidate.use.origin.dtype
        norm = float(prints.norm[match.target.row])
        got = frobenius_norm(candidates.values(candidate))
        candidates.model.reader.files.release()
        tolerance = NORM_TOLERANCE if prints.dtype == dtype else _ROUNDED[dtype]
        if not math.isclose(got, norm, rel_tol=tolerance):
            found.append(_mismatch(match, candidate, "norm", f"{got:.9g}", f"{norm:.9g}"))
    if found:
        raise BaseMismatchError(found)


def check_full(adapter: Adapter, matches: Sequence[Match], candidates: Candidates) -> list[str]:
    """Compare SHA-256; returns notes on weights where that is not possible.

    Raises:
        BaseMismatchError: E-BASE-MISMATCH.
    """
    found, notes = [], []
    seen = set()
    for match, prints, candidate in _weights(adapter, matches):
        seen.add(match.target.name)
        quantized, dtype = candidate.use.quantized, candidate.use.origin.dtype
        if prints.dtype != dtype or quantized is not None:
            held = dtype if quantized is None else quantized.scheme
            text = f"the graph holds {held} and the fingerprint is of {prints.dtype}"
            notes.append(f"{match.target.name}: SHA-256 not comparable, {text}")
            continue
        expected = prints.sha256[match.target.row].tobytes().hex()
        got = sha256_of(candidates.values(candidate)).tobytes().hex()
        candidates.model.reader.files.release()
        if got != expected:
            found.append(_mismatch(match, candidate, "SHA-256", got, expected))
    if found:
        raise BaseMismatchError(found)
    without = [m.target.name for m in matches if m.target.name not in seen]
    return notes + [f"{name}: the adapter has no fingerprint to verify" for name in without]


def _weights(
    adapter: Adapter, matches: Sequence[Match]
) -> Iterator[tuple[Match, Fingerprints, Candidate]]:
    """Yields each distinct stored weight that a fingerprinted target means."""
    for match in matches:
        prints = adapter.entry_set(match.target).fingerprints
        if prints is not None:
            distinct = {(c.use.value, c.rows): c for c in match.uses}
            for candidate in distinct.values():
                yield match, prints, candidate


def _mismatch(match: Match, candidate: Candidate, what: str, got: str, expected: str) -> Violation:
    return Violation(
        "E-BASE-MISMATCH",
        match.target.name,
        f"{candidate.place} has another {what} than the weight that was trained on",
        got,
        expected,
        "use the base that the adapter was trained on, not a fine-tune of it",
    )
