"""Adapter + Hugging Face checkpoint -> merged checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fourier_converters.base.shards import Checkpoint, directory_of, open_checkpoint
from fourier_converters.directories import copy_files, files_to_copy, staged_directory
from fourier_converters.mapping import Map
from fourier_converters.matching import BY_MAP, found_weights
from fourier_converters.merging import Change, compute, plan_changes, rows_of
from fourier_converters.naming import Renaming, module_names
from fourier_converters.outputs import refuse_input, refuse_within
from fourier_converters.replacing import Replaced
from fourier_converters.report import Report
from fourier_converters.safetensors import writing
from fourier_converters.safetensors.matching import Match, match_targets
from fourier_converters.safetensors.places import Places, values_of
from fourier_converters.safetensors.replacing import match_replacements
from fourier_converters.verification import Verified, check_digests, check_fingerprints
from fourier_format.adapter import Adapter, Array
from fourier_format.atomic import refuse_existing
from fourier_format.errors import UnsupportedError, Violation

Progress = Callable[[str], None]
"""Told what is being worked on."""

_CONFIG: Final = "config.json"
_TIED: Final = "tie_word_embeddings"


def to_checkpoint(
    adapter: Adapter,
    base: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    mapping: Map | None = None,
    verify_full: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write the checkpoint at `base` with `adapter` merged into it; the base is only read.

    The result is a directory like the base's: the same files with the same tensors in the same
    order, and the further files, such as config.json and the tokenizer's, copied; of what lies
    beside one file or an index, these alone. Heads that the base lacks are added to the last file.
    config.json is the base's, but that it no longer ties a head to the embedding when only the head
    has changed.

    Args:
        adapter: The adapter.
        base: A directory with *.safetensors, or its index or one file, which is then the base.
        output: The directory to write.
        mapping: What the user says of where weights lie.
        verify_full: Compare the SHA-256 of every adapted weight, not only samples and norms.
        overwrite: Whether `output` may exist, with no other files than the result's.
        progress: Called before each tensor's work.

    Returns:
        What was found where, and how large each change is.

    Raises:
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported.
        OutputExistsError: `output` exists, and `overwrite` is false or it holds other files.
        UsageError: `output` is the base's directory or lies in it.
        FileAccessError: Reading or writing failed.
    """
    base, output = Path(base), Path(output)
    refuse_input(output, base)
    refuse_existing(output, overwrite)
    _refuse_streams(base)
    checkpoint = open_checkpoint(base)
    refuse_within(output, checkpoint.directory)
    plan = _plan(adapter, checkpoint, mapping or Map(), verify_full)
    sizes: dict[str, float] = {}

    def values(change: Change) -> Array:
        if progress is not None:
            progress(change.tensor)
        merged = compute(change, adapter)
        if change.target is not None and merged.relative_change is not None:
            sizes[change.target.name] = merged.relative_change
        return merged.values

    left = _write(output, plan, values, overwrite)
    return plan.report(str(output), sizes, left)


@contextmanager
def verified(adapter: Adapter, base: Path, mapping: Map, verify_full: bool) -> Iterator[Verified]:
    """Yields the weights of the checkpoint that `adapter` is for; raises as `to_checkpoint`."""
    _refuse_streams(base)
    plan = _plan(adapter, open_checkpoint(base), mapping, verify_full)
    notes = (*plan.notes, *(str(r) for r in plan.places.renamings if r != Renaming()))
    yield Verified(found_weights(adapter, plan.matches), notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What is going to change.

    Attributes:
        adapter: The adapter.
        places: The checkpoint and its names.
        matches: Where the targets lie.
        replaced: Where the replacements go.
        untied: The heads that get weights of their own where config.json ties them.
        skipped: What the map leaves out.
        notes: What the checks could not compare.
    """

    adapter: Adapter
    places: Places
    matches: Sequence[Match]
    replaced: Sequence[Replaced]
    untied: Sequence[Match]
    skipped: tuple[str, ...]
    notes: Sequence[str]

    def report(self, output: str, sizes: Mapping[str, float], left: Sequence[str]) -> Report:
        """Returns the report; `left` are the base's files that are not in the result."""
        rows = rows_of(self.adapter, self.matches, self.replaced, sizes)
        return Report(output, rows, self.skipped, (*self.notes, *_notes(self, left)))


def _plan(adapter: Adapter, checkpoint: Checkpoint, mapping: Map, verify_full: bool) -> _Plan:
    """Returns what is going to change, after every check of the base."""
    places = Places(checkpoint, module_names(adapter))
    matches = match_targets(adapter, places, mapping)
    replaced = match_replacements(adapter, matches, places, mapping)
    check_fingerprints(found_weights(adapter, matches))
    notes = check_digests(found_weights(adapter, matches)) if verify_full else []
    untied = _untied(matches, places)
    return _Plan(adapter, places, matches, replaced, untied, mapping.skipped, notes)


def _refuse_streams(base: Path) -> None:
    """Check that what is read of the base is no pipe or device, which may have no end."""
    directory = directory_of(base)
    read = [base, directory / _CONFIG, *directory.glob("*.safetensors*")]
    for path in read:
        if path.exists() and not (path.is_file() or path.is_dir()):
            problem, advice = "it is no regular file, and cannot be read", "remove it"
            raise UnsupportedError(
                Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice)
            )


def _write(output: Path, plan: _Plan, values: writing.Compute, overwrite: bool) -> list[str]:
    """Write the result; returns which of the base's files are not in it."""
    checkpoint = plan.places.checkpoint
    own = [file.path.name for file in checkpoint.files]
    own += [] if checkpoint.index is None else [checkpoint.index.name]
    names, left = writing.other_files(checkpoint, writing.files_beside(checkpoint))
    weights = [file.path for file in checkpoint.files]
    others = files_to_copy(checkpoint.directory, names, weights)
    files_to_copy(checkpoint.directory, own, weights)  # the index may be a link, too
    changes = plan_changes(plan.matches, plan.replaced)
    with staged_directory(output, [*own, *others], overwrite) as folder:
        copy_files(others, folder)
        if plan.untied:
            writing.write_json(folder / _CONFIG, _without_ties(checkpoint.config))
        writing.write_weights(folder, checkpoint, changes, values)
    return left


def _untied(matches: Sequence[Match], places: Places) -> list[Match]:
    """Returns the heads that get weights of their own where config.json ties them."""
    config = places.checkpoint.config
    stated = list(values_of(_TIED, config))
    if not isinstance(config, dict) or (stated and all(tied is False for tied in stated)):
        return []
    heads = [m for m in matches if m.target.kind == "linear" and BY_MAP not in m.evidence]
    return [m for m in heads if m.target.shape[0] in places.vocabularies]


def _without_ties(config: dict[str, Any]) -> dict[str, Any]:
    """Returns config.json's content with no head tied, wherever in it that is stated.

    At the top in any case: transformers' default is to tie, and which part counts is the model's.
    """
    untied: dict[str, Any] = _stating_no_ties(config)
    return untied | {_TIED: False}


def _stating_no_ties(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {key: False if key == _TIED else _stating_no_ties(part[key]) for key in part}


def _notes(plan: _Plan, left: Sequence[str]) -> Iterator[str]:
    yield from (str(r) for r in plan.places.renamings if r != Renaming())
    for match in plan.untied:
        yield f"{_CONFIG} says {_TIED}: false now, for {match.place.tensor} has changed alone"
    config = plan.places.checkpoint.config
    ties = any(tied is True for tied in values_of(_TIED, config))
    for match in plan.matches:
        if ties and match not in plan.untied and set(match.target.shape) & plan.places.vocabularies:
            yield f"{match.place.tensor} is tied to a head: what reads either has changed"
    own = {match.place.tensor for match in plan.matches}
    if any((r.added or r.reshaped) and r.tensor not in own for r in plan.replaced):
        yield (
            f"{_CONFIG} does not describe the head that came with the adapter: load the result "
            "with the model class and the num_labels that it was trained with"
        )
    opened = plan.places.checkpoint.path
    if not opened.is_dir():
        kept = "only the files of a config and a tokenizer are copied"
        yield f"of what lies beside {opened.name} {kept}"
    if left:
        yield f"not copied, because they may hold the base's weights: {', '.join(left)}"
