"""Adapter + ONNX base -> merged ONNX model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fourier_converters.mapping import Map
from fourier_converters.naming import Renaming, module_names
from fourier_converters.onnx.applying import (
    Outcome,
    Plan,
    Progress,
    QuantizedMode,
    apply,
    make_plan,
)
from fourier_converters.onnx.candidates import Candidates
from fourier_converters.onnx.checking import found_in_words, found_weights
from fourier_converters.onnx.matching import Match, match_targets
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.replacing import Replaced, match_replacements
from fourier_converters.onnx.sharing import refuse_unclear_readers
from fourier_converters.onnx.stores import Store
from fourier_converters.onnx.writing import carry_out
from fourier_converters.outputs import refuse_input, refuse_unwritable_name
from fourier_converters.report import Report, replacement_row, target_row
from fourier_converters.verification import Verified, check_digests, check_fingerprints
from fourier_format.adapter import Adapter
from fourier_format.atomic import refuse_existing
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.live.interface import KEY

_WHICH_WEIGHT: Final = (
    "on a quantised base the fingerprint proves which weight it is, not which checkpoint"
)
ExternalData = Literal["copy", "reference"]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Everything that is known before anything is computed or written.

    Attributes:
        adapter: The adapter.
        candidates: The base's uses.
        matches: Where each target lies.
        replaced: Where each replacement goes.
        plan: What is going to be done.
        skipped: What the map leaves out.
        notes: What the user should know of the base.
    """

    adapter: Adapter
    candidates: Candidates
    matches: tuple[Match, ...]
    replaced: tuple[Replaced, ...]
    plan: Plan
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    def apply(self, store: Store, progress: Progress | None = None) -> Outcome:
        """Change the opened base's protobuf, all new values given to `store`."""
        return apply(self.plan, self.adapter, self.candidates, store, progress or (lambda _: None))

    def report(self, output: str, outcome: Outcome) -> Report:
        """Returns what was found where, and what was measured on the way."""
        rows = [
            target_row(
                self.adapter,
                match.target,
                found_in_words(match.uses),
                match.evidence,
                outcome.sizes.get(match.target.name),
                outcome.survives.get(match.target.name),
            )
            for match in self.matches
        ]
        rows += [
            replacement_row(r.name, found_in_words(r.uses), r.evidence, r.values)
            for r in self.replaced
        ]
        done = _done_with_quantised(self.matches, self.plan)
        return Report(output, tuple(rows), self.skipped, (*done, *self.notes))


def find(
    adapter: Adapter,
    base: Path,
    *,
    mapping: Map | None = None,
    quantized: QuantizedMode = "live",
    verify_full: bool = False,
) -> Found:
    """Returns where `adapter` goes in the ONNX model at `base`, all of it checked.

    Raises:
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported.
        FileAccessError: The base cannot be read.
    """
    mapping = mapping or Map()
    model = Model(base)
    candidates = Candidates(model, module_names(adapter))
    matches = match_targets(adapter, candidates, mapping)
    replaced = match_replacements(adapter, candidates, mapping)
    check_fingerprints(found_weights(adapter, matches, candidates))
    notes = check_digests(found_weights(adapter, matches, candidates)) if verify_full else []
    refuse_unclear_readers(matches, replaced, candidates)
    plan = make_plan(matches, replaced, model, quantized)
    notes += [str(r) for r in candidates.renamings if r != Renaming()]
    notes += _notes(adapter, matches, model)
    return Found(
        adapter, candidates, tuple(matches), tuple(replaced), plan, mapping.skipped, tuple(notes)
    )


@contextmanager
def verified(adapter: Adapter, base: Path, mapping: Map, verify_full: bool) -> Iterator[Verified]:
    """Yields the weights of the ONNX model, or of the directory, that `adapter` is for.

    Raises as `find`.
    """
    from fourier_converters.onnx.generative import graph_of

    path = graph_of(base) if base.is_dir() else base
    found = find(adapter, path, mapping=mapping, verify_full=verify_full)
    yield Verified(found_weights(adapter, found.matches, found.candidates), found.notes)


def to_onnx(
    adapter: Adapter,
    base: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    mapping: Map | None = None,
    quantized: QuantizedMode = "live",
    external_data: ExternalData = "copy",
    verify_full: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write the ONNX model at `base` with `adapter` merged into it; the base is only read.

    Args:
        adapter: The adapter.
        base: The .onnx file; external data lies beside it.
        output: The .onnx file to write; its data, if the base has external data, beside it.
        mapping: What the user says of where weights lie.
        quantized: What becomes of targets whose weights are quantised: "live" adds an exact branch
            in full precision beside each, "requantize" rounds to the base's codes, "refuse" is an
            error.
        external_data: "copy" makes a model that stands alone; "reference" writes the new values and
            the graph only, which must lie in the base's directory or above it.
        verify_full: Compare the SHA-256 of every adapted weight, not only samples and norms.
        overwrite: Whether `output` may exist.
        dry_run: Do everything but write.
        progress: Called before each target's work.

    Returns:
        What was found where, and how large each change is.

    Raises:
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported.
        OutputExistsError: `output` exists and `overwrite` is false.
        UsageError: `output` is one of the base's files, or lies where it cannot refer to them.
        FileAccessError: Reading or writing failed.
    """
    base, output = Path(base), Path(output)
    refuse_input(output, base)
    if not dry_run:
        refuse_existing(output, overwrite)
        refuse_unwritable_name(output)
    found = find(adapter, base, mapping=mapping, quantized=quantized, verify_full=verify_full)
    refuse_live(found.candidates.model, "merge into the model that it was made of")
    outcomes: list[Outcome] = []
    carry_out(
        found.candidates.model,
        lambda store: outcomes.append(found.apply(store, progress)),
        output,
        reference=external_data == "reference",
        overwrite=overwrite,
        dry_run=dry_run,
    )
    return found.report(str(output), outcomes[0])


def _notes(adapter: Adapter, matches: Sequence[Match], model: Model) -> list[str]:
    notes = []
    if model.inlined:
        notes.append(f"functions that hold weights were inlined: {', '.join(model.inlined)}")
    if any(adapter.entry_set(m.target).fingerprints is not None for m in _quantised(matches)):
        notes.append(_WHICH_WEIGHT)
    return notes


def _done_with_quantised(matches: Sequence[Match], plan: Plan) -> list[str]:
    """Returns what became of targets on quantised weights, if there are any."""
    quantised = _quantised(matches)
    if not quantised:
        return []
    schemes = sorted({m.uses[0].use.quantized.scheme for m in quantised if m.uses[0].use.quantized})
    done = "got a branch in full precision" if plan.branches else "were requantised"
    return [f"{len(quantised)} targets on quantised weights {done} ({', '.join(schemes)})"]


def _quantised(matches: Sequence[Match]) -> list[Match]:
    return [match for match in matches if match.uses[0].use.quantized is not None]


def refuse_live(model: Model, advice: str) -> None:
    """A live graph says which base it holds; changed once more, it would say so of another.

    Raises:
        UnsupportedError: E-BASE-UNSUPPORTED.
    """
    if any(entry.key == KEY for entry in model.proto.metadata_props):
        problem = "it is live already: what it says of itself would no longer be true"
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", str(model.path), problem, advice=advice)
        )
