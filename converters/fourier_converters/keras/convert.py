"""Adapter + Keras model or weights -> the same file, merged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fourier_converters.keras.base import Base, open_base
from fourier_converters.keras.matching import Match, match_targets
from fourier_converters.keras.places import Places
from fourier_converters.keras.replacing import match_replacements
from fourier_converters.keras.writing import (
    Compute,
    discard,
    refuse_other_suffix,
    refuse_outputs,
    write_merged,
)
from fourier_converters.mapping import Map
from fourier_converters.matching import found_weights
from fourier_converters.merging import Change, compute, plan_changes, rows_of
from fourier_converters.naming import Renaming
from fourier_converters.outputs import refuse_input
from fourier_converters.replacing import Replaced
from fourier_converters.report import Report
from fourier_converters.verification import FoundWeight, Verified, check_digests, check_fingerprints
from fourier_format.adapter import Adapter, Array
from fourier_format.atomic import refuse_existing

Progress = Callable[[str], None]
"""Told what is being worked on."""


def to_keras(
    adapter: Adapter,
    base: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    mapping: Map | None = None,
    verify_full: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write the Keras model or weights at `base` with `adapter` merged in; the base is only read.

    The result is the base's own form: a .keras archive with the same members, of which only the
    weights have changed; an HDF5 file with the same bytes but for the changed variables; or shards.
    An optimizer's state is as it was.

    Args:
        adapter: The adapter, trained in Keras or, where it has fingerprints, elsewhere.
        base: A .keras file, a .weights.h5, an older .h5, or the .weights.json of shards.
        output: The file to write, with the base's suffix; of shards the index.
        mapping: What the user says of where weights lie.
        verify_full: Compare the SHA-256 of every adapted weight, not only samples and norms.
        overwrite: Whether `output` may exist.
        dry_run: Do everything but write.
        progress: Called before each tensor's work.

    Returns:
        What was found where, and how large each change is.

    Raises:
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported.
        OutputExistsError: `output` exists and `overwrite` is false.
        UsageError: `output` is one of the base's files, or its name does not end as the base's.
        FileAccessError: Reading or writing failed.
        DependencyMissingError: h5py is not installed.
    """
    base, output = Path(base), Path(output)
    refuse_input(output, base)
    if not dry_run:
        refuse_existing(output, overwrite)
    with open_base(base) as opened:
        refuse_other_suffix(opened, output)
        if not dry_run:
            refuse_outputs(opened, output, overwrite)
        plan = _plan(adapter, opened, mapping or Map(), verify_full)
        write = None if dry_run else partial(write_merged, opened, output, overwrite=overwrite)
        return plan.carried_out(str(output), write or discard, progress)


@contextmanager
def verified(adapter: Adapter, base: Path, mapping: Map, verify_full: bool) -> Iterator[Verified]:
    """Yields the weights of the Keras file that `adapter` is for; raises as `to_keras`."""
    with open_base(base) as opened:
        plan = _plan(adapter, opened, mapping, verify_full)
        yield Verified(_weights(adapter, plan.matches, opened), plan.notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What is going to change.

    Attributes:
        adapter: The adapter.
        matches: Where the targets lie.
        replaced: Where the replacements go.
        skipped: What the map leaves out.
        notes: What the user should know.
    """

    adapter: Adapter
    matches: Sequence[Match]
    replaced: Sequence[Replaced]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    def carried_out(
        self,
        output: str,
        write: Callable[[Sequence[Change], Compute], None],
        progress: Progress | None,
    ) -> Report:
        """Returns the report, once `write` has had every change and what computes it."""
        sizes: dict[str, float] = {}

        def values(change: Change) -> Array:
            if progress is not None:
                progress(change.tensor)
            merged = compute(change, self.adapter)
            if change.target is not None and merged.relative_change is not None:
                sizes[change.target.name] = merged.relative_change
            return merged.values

        write(plan_changes(self.matches, self.replaced), values)
        rows = rows_of(self.adapter, self.matches, self.replaced, sizes)
        return Report(output, rows, self.skipped, self.notes)


def _plan(adapter: Adapter, base: Base, mapping: Map, verify_full: bool) -> _Plan:
    """Returns what is going to change, after every check of the base."""
    places = Places(base, adapter)
    matches = match_targets(adapter, places, mapping)
    replaced = match_replacements(adapter, matches, places, mapping)
    check_fingerprints(_weights(adapter, matches, base))
    notes = check_digests(_weights(adapter, matches, base)) if verify_full else []
    notes += _notes(matches, places)
    return _Plan(adapter, matches, replaced, mapping.skipped, tuple(notes))


def _weights(adapter: Adapter, matches: Sequence[Match], base: Base) -> Iterator[FoundWeight]:
    """Yields what was found, and gives back the memory of each once it was looked at."""
    for weight in found_weights(adapter, matches):
        yield weight
        base.release()


def _notes(matches: Sequence[Match], places: Places) -> Iterator[str]:
    if not places.is_foreign:
        yield from (str(r) for r in places.renamings if r != Renaming())
    for match in matches:
        if match.place.variable.described.tied:
            yield f"{match.place.tensor} is tied to a head: what reads either has changed"
