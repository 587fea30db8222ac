"""Adapters + ONNX base -> a live graph, as a file or in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourier_converters.mapping import Map
from fourier_converters.naming import Renaming, module_names
from fourier_converters.onnx.candidates import Candidates
from fourier_converters.onnx.checking import found_in_words as _found
from fourier_converters.onnx.checking import found_weights
from fourier_converters.onnx.convert import refuse_live
from fourier_converters.onnx.generative import converted_directory
from fourier_converters.onnx.live.grafting import graft
from fourier_converters.onnx.live.planning import LivePlan, make_live_plan
from fourier_converters.onnx.matching import Match, match_targets
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.preparing import FOLDER, point_to_real_files
from fourier_converters.onnx.protos import all_tensors, serialized
from fourier_converters.onnx.replacing import Replaced, match_replacements
from fourier_converters.onnx.stores import Inside
from fourier_converters.onnx.writing import carry_out
from fourier_converters.ort import require_onnxruntime
from fourier_converters.outputs import refuse_input, refuse_unwritable_name
from fourier_converters.report import Report, Row, replacement_row
from fourier_converters.verification import check_digests, check_fingerprints
from fourier_format.adapter import Adapter
from fourier_format.atomic import refuse_existing
from fourier_format.errors import (
    UsageError,
    Violation,
)
from fourier_format.live.interface import KEY, Interface, from_text, only_text

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """A live graph that nothing was written of: what makes a session of it.

    Attributes:
        model: The graph, serialized; the base's external data stays in the base's files.
        options: Session options with which ONNX Runtime finds those.
        interface: What the graph says of itself.
        report: What was found where, and what each bank costs.
    """

    model: bytes
    options: Any
    interface: Interface
    report: Report


@dataclass(frozen=True, slots=True, eq=False)
class FoundLive:
    """Everything that is known before a graph is changed.

    Attributes:
        candidates: The base's uses.
        plan: What is going to be done.
        rows: Where each target lies.
        skipped: What the map leaves out.
        notes: What the user should know.
    """

    candidates: Candidates
    plan: LivePlan
    rows: tuple[Row, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    def report(self, output: str) -> Report:
        """Returns what was found where, and what each bank costs."""
        return Report(output, self.rows, self.skipped, self.notes)


def find_live(
    adapters: Sequence[Adapter],
    base: Path,
    *,
    mapping: Map | None = None,
    static: bool = False,
    verify_full: bool = False,
) -> FoundLive:
    """Returns where the adapters go in the ONNX model at `base`, all of it checked.

    Raises:
        UsageError: There are no adapters.
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that an adapter was trained on.
        UnsupportedError: The base, or an adapter, is of a sort that no live graph serves.
        FileAccessError: The base cannot be read.
    """
    if not adapters:
        problem = "a live graph is made for the entries of an adapter, and none is given"
        raise UsageError(Violation("E-USAGE", "", problem))
    mapping = mapping or Map()
    model = Model(base)
    refuse_live(model, "make the live graph from the base, for all adapters at once")
    candidates = Candidates(model, {name for a in adapters for name in module_names(a)})
    matches: list[list[Match]] = []
    replaced: list[list[Replaced]] = []
    notes: list[str] = []
    for adapter in adapters:
        matches.append(match_targets(adapter, candidates, mapping))
        replaced.append(match_replacements(adapter, candidates, mapping))
        weights = found_weights(adapter, matches[-1], candidates)
        check_fingerprints(weights)
        if verify_full:
            notes += check_digests(found_weights(adapter, matches[-1], candidates))
    plan = make_live_plan(adapters, matches, replaced, candidates, static=static)
    notes += [str(r) for r in candidates.renamings if r != Renaming()]
    notes += _costs(plan)
    rows = tuple(_rows(matches, replaced, plan))
    return FoundLive(candidates, plan, rows, mapping.skipped, tuple(notes))


def to_live(
    adapters: Sequence[Adapter],
    base: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    mapping: Map | None = None,
    static: bool = False,
    reference: bool = False,
    verify_full: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write the live graph of the ONNX model at `base` (spec/live-graph-1.0.md).

    Args:
        adapters: The adapters whose entries and targets it is made for; it takes all that have
            these.
        base: The .onnx file; external data lies beside it.
        output: The .onnx file to write; its data, if the base has any outside, beside it.
        mapping: What the user says of where weights lie.
        static: Whether to write a graph without If, for CUDA graphs.
        reference: Whether to refer to the base's external data rather than to copy it.
        verify_full: Compare the SHA-256 of every adapted weight, not only samples and norms.
        overwrite: Whether `output` may exist.
        dry_run: Do everything but write.
        progress: Called before each group of targets.

    Returns:
        What was found where, and what each bank costs.

    Raises:
        UsageError: There are no adapters, or `output` is one of the base's files.
        OutputExistsError: `output` exists and `overwrite` is false.
        FourierFormatError: As `find_live`.
    """
    base, output = Path(base), Path(output)
    refuse_input(output, base)
    if not dry_run:
        refuse_existing(output, overwrite)
        refuse_unwritable_name(output)
    found = find_live(adapters, base, mapping=mapping, static=static, verify_full=verify_full)
    model = found.candidates.model
    carry_out(
        model,
        lambda store: graft(found.plan, model, store, progress or (lambda _: None)),
        output,
        reference=reference,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    return found.report(str(output))


def to_live_directory(
    adapters: Sequence[Adapter],
    base: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    **options: Any,
) -> Report:
    """Write the onnxruntime-genai directory at `base` with its graph made live.

    Args:
        adapters: As in `to_live`.
        base: A directory with genai_config.json; only read.
        output: The directory to write.
        overwrite: Whether `output` may exist, with no other files than such a result's.
        dry_run: Do everything but write.
        **options: As for `to_live`; the external data is always copied.

    Raises:
        FourierFormatError: As `to_live` and `to_onnx_directory`.
    """
    base, output = Path(base), Path(output)
    return converted_directory(
        base,
        output,
        lambda graph, result: to_live(adapters, graph, result, dry_run=dry_run, **options),
        overwrite=overwrite,
        dry_run=dry_run,
    )


def live_at_load(
    adapters: Sequence[Adapter],
    base: str | os.PathLike[str],
    options: Any = None,
    *,
    mapping: Map | None = None,
    static: bool = False,
    verify_full: bool = False,
) -> Live:
    """Returns the live graph of `base` in memory; nothing is written.

    Args:
        adapters: As in `to_live`.
        base: The .onnx file.
        options: ONNX Runtime session options to add to; new ones by default.
        mapping: As in `to_live`.
        static: As in `to_live`.
        verify_full: As in `to_live`.

    Raises:
        DependencyMissingError: onnxruntime is not installed.
        FourierFormatError: As `to_live`.
    """
    base = Path(base)
    onnxruntime = require_onnxruntime("a live session")
    found = find_live(adapters, base, mapping=mapping, static=static, verify_full=verify_full)
    model = found.candidates.model
    model.reader.files.refuse_overlaps(all_tensors(model.proto))
    graft(found.plan, model, Inside(), lambda _: None)
    options = onnxruntime.SessionOptions() if options is None else options
    folder = point_to_real_files(model, ())
    if folder is not None:
        options.add_session_config_entry(FOLDER, str(folder))
    proto = serialized(model.proto, str(base))
    return Live(proto, options, found.plan.interface, found.report(str(base)))


def read_interface(path: str | os.PathLike[str]) -> Interface | None:
    """Returns what the ONNX model at `path` says of itself; None of a graph that is not live.

    Raises:
        InvalidAdapterError: E-LIVE-INTERFACE: it is broken.
        UnsupportedError: It is no ONNX model, or of another version.
        FileAccessError: The file cannot be read.
    """
    path = Path(path)
    texts = [p.value for p in Model(path).proto.metadata_props if p.key == KEY]
    text = only_text(texts, str(path))
    return None if text is None else from_text(text, str(path))


def _rows(
    matches: Iterable[Iterable[Match]], replaced: Iterable[Iterable[Replaced]], plan: LivePlan
) -> Iterator[Row]:
    targets = {match.target.name: match for found in matches for match in found}
    for bank in plan.interface.banks:
        for seat in bank.seats:
            match = targets[seat.name]
            shape = f"{bank.shape[0]}x{bank.shape[1]}"
            evidence = " + ".join(match.evidence)
            yield Row(seat.name, _found(match.uses), evidence, shape, bank.count, None)
    for one in {r.name: r for found in replaced for r in found}.values():
        yield replacement_row(one.name, _found(one.uses), f"input, {one.evidence}", one.values)


def _costs(plan: LivePlan) -> list[str]:
    """Returns in words what each bank costs where it is fed, and nothing where it is not."""
    notes = []
    for bank in plan.interface.banks:
        made = plan.bases[bank.input]
        share = made.products / (bank.shape[0] * bank.shape[1])
        notes.append(
            f"input {bank.input} [0, 1 or batch, {len(bank.seats)}, {bank.count}]: its basis takes "
            f"{made.nbytes / 1024:.0f} kB; fed, a target costs {share:.0%} of its layer's products"
        )
    notes += [f"input {p.input} [0, 1 or batch, *{p.layout}]" for p in plan.interface.parameters]
    return notes
