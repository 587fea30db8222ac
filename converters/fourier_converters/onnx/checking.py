"""The weights that were found in a graph, as `verification` compares them with fingerprints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from fourier_converters.onnx.candidates import Candidate, Candidates
from fourier_converters.onnx.matching import Match
from fourier_converters.verification import FoundWeight
from fourier_format.adapter import Adapter


def found_weights(
    adapter: Adapter, matches: Sequence[Match], candidates: Candidates
) -> Iterator[FoundWeight]:
    """Yields each distinct stored weight that a target means; read when it is asked for."""
    for match in matches:
        prints = adapter.entry_set(match.target).fingerprints
        distinct = {(c.use.value, c.rows): c for c in match.uses}
        for candidate in distinct.values():
            quantized = candidate.use.quantized
            yield FoundWeight(
                target=match.target,
                prints=prints,
                source=candidate.place,
                dtype=candidate.use.origin.dtype,
                read=partial(candidates.values, candidate),
                scheme=None if quantized is None else quantized.scheme,
            )
            candidates.model.reader.files.release()


def found_in_words(candidates: Sequence[Candidate]) -> str:
    """Returns where candidates lie, for reports."""
    names = list(dict.fromkeys(candidate.place for candidate in candidates))
    uses = f" ({len(candidates)} uses)" if len(candidates) > 1 else ""
    return ", ".join(names) + uses
