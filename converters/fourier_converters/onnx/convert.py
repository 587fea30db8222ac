"""Adapter + ONNX base -> merged ONNX model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fourier_converters.mapping import Map
from fourier_converters.naming import Renaming
from fourier_converters.onnx.candidates import Candidates, module_names
from fourier_converters.onnx.checking import check_full, check_norms
from fourier_converters.onnx.matching import Match, match_targets
from fourier_converters.onnx.merging import Change, Merged, compute, plan_changes
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.replacing import Replaced, match_replacements
from fourier_converters.onnx.sharing import refuse_unclear_readers
from fourier_converters.onnx.tensors import TensorReader
from fourier_converters.onnx.writing import write_merged
from fourier_converters.outputs import refuse_input
from fourier_converters.report import Report, Row
from fourier_format.adapter import Adapter
from fourier_format.atomic import refuse_existing
from fourier_format.errors import UsageError, Violation

Progress = Callable[[str], None]
"""Told what is being worked on."""


def to_onnx(
    adapter: Adapter,
    base: Path,
    output: Path,
    *,
    mapping: Map | None = None,
    verify_full: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write the ONNX model at `base` with `adapter` merged into it; the base is only read.

    Args:
        adapter: The adapter.
        base: The .onnx file; external data lies beside it.
        output: The .onnx file to write; its data, if the base has external data, beside it.
        mapping: What the user says of where weights lie.
        verify_full: Compare the SHA-256 of every adapted weight, not only samples and norms.
        overwrite: Whether `output` may exist.
        progress: Called before each target's work.

    Returns:
        What was found where, and how large each change is.

    Raises:
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported.
        OutputExistsError: `output` exists and `overwrite` is false.
        UsageError: `output` is one of the base's files.
        FileAccessError: Reading or writing failed.
    """
    mapping = mapping or Map()
    refuse_input(output, base)
    refuse_existing(output, overwrite)
    _refuse_unwritable_name(output)
    model, reader = Model(base), TensorReader(base)
    candidates = Candidates(model, reader, module_names(adapter))
    matches = match_targets(adapter, candidates, mapping)
    replaced = match_replacements(adapter, candidates, mapping)
    check_norms(adapter, matches, candidates)
    notes = check_full(adapter, matches, candidates) if verify_full else []
    refuse_unclear_readers(matches, replaced, candidates)
    changes = plan_changes(matches, replaced, candidates)
    sizes: dict[str, float] = {}
    merged = _merged(changes, adapter, candidates, sizes, progress)
    added = [r for r in replaced if r.added]
    write_merged(model, reader, merged, added, output, overwrite=overwrite)
    rows = [_row(match, adapter, sizes) for match in matches]
    rows += [_replaced_row(replacement) for replacement in replaced]
    notes += [str(r) for r in candidates.renamings if r != Renaming()]
    return Report(str(output), tuple(rows), mapping.skipped, tuple(notes))


def _merged(
    changes: Sequence[Change],
    adapter: Adapter,
    candidates: Candidates,
    sizes: dict[str, float],
    progress: Progress | None,
) -> Iterator[tuple[Change, Merged]]:
    """Yields the changes one by one, computed; notes in `sizes` how large each target's is."""
    for change in changes:
        if progress is not None:
            progress(change.use.initializer)
        merged = compute(change, adapter, candidates)
        if change.target is not None and merged.relative_change is not None:
            sizes[change.target.name] = merged.relative_change
        yield change, merged


def _refuse_unwritable_name(output: Path) -> None:
    """A model names its data file, and protobuf's text is UTF-8.

    Raises:
        UsageError: E-USAGE.
    """
    try:
        output.name.encode()
    except UnicodeEncodeError:
        problem = "the output's name is not UTF-8"
        advice = "choose another name with -o"
        raise UsageError(Violation("E-USAGE", str(output), problem, advice=advice)) from None


def _row(match: Match, adapter: Adapter, sizes: dict[str, float]) -> Row:
    out, in_ = match.target.shape
    return Row(
        target=match.target.name,
        found=_found([c.use.initializer for c in match.uses]),
        evidence=" + ".join(match.evidence),
        shape=f"{out}x{in_}",
        n=adapter.entry_set(match.target).count,
        relative_change=sizes.get(match.target.name),
    )


def _replaced_row(replaced: Replaced) -> Row:
    return Row(
        target=replaced.name,
        found=_found([c.use.initializer for c in replaced.uses]),
        evidence=replaced.evidence,
        shape="x".join(str(size) for size in replaced.values.shape),
        n=None,
        relative_change=None,
    )


def _found(initializers: list[str]) -> str:
    names = list(dict.fromkeys(initializers))
    uses = f" ({len(initializers)} uses)" if len(initializers) > 1 else ""
    return ", ".join(names) + uses
