"""Writes a merged Keras file: the base's bytes, in which only changed ranges are new."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from fourier_converters.base.keras_index import INDEX_SUFFIX
from fourier_converters.base.shards import read_json
from fourier_converters.keras.base import Base
from fourier_converters.keras.mapped import Mapped
from fourier_converters.keras.together import staged_together
from fourier_converters.merging import Change
from fourier_converters.outputs import refuse_input
from fourier_format.adapter import Array
from fourier_format.atomic import os_errors, refuse_existing, staged
from fourier_format.dtypes import little_endian_bytes
from fourier_format.errors import UsageError, Violation

Compute = Callable[[Change], Array]
"""Gives a change's new values, in its dtype and shape."""

_SUFFIXES: Final = (".keras", ".weights.h5", INDEX_SUFFIX, ".h5", ".hdf5")
"""Keras tells by the name how to read a file; the first that fits."""

_SHARD: Final = "_{:05}.weights.h5"
"""Keras opens number 0 before it reads the index: new shards cannot have names of their own."""


def refuse_other_suffix(base: Base, output: Path) -> None:
    """Check that Keras reads the result as it reads the base, which it tells by the name.

    Raises:
        UsageError: E-USAGE: the name does not end as the base's.
    """
    wanted = INDEX_SUFFIX if base.shards else _suffix(base.path)
    if wanted and _suffix(output) != wanted:
        problem = f"the result is read as its base is, by a name that ends with {wanted}"
        advice = f"choose one with -o, such as merged{wanted}"
        raise UsageError(Violation("E-USAGE", str(output), problem, got=output.name, advice=advice))


def _suffix(path: Path) -> str:
    return next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), "")


def refuse_outputs(base: Base, output: Path, overwrite: bool) -> None:
    """Check that none of the files that will be written is the base's, or there already.

    Raises:
        OutputExistsError: One exists, and `overwrite` is false.
        UsageError: One is the base's.
    """
    shards = [base.path.with_name(name) for name in base.shards]
    for path in (output, *_shard_paths(base, output).values()):
        refuse_input(path, base.path, *shards)
        refuse_existing(path, overwrite)


def write_merged(
    base: Base, output: Path, changes: Sequence[Change], compute: Compute, overwrite: bool
) -> None:
    """Write the base with `changes` to `output`, whole or not at all.

    Raises:
        OutputExistsError: `output` exists and `overwrite` is false.
        FileAccessError: Reading or writing failed.
    """
    if base.shards:
        _write_shards(base, output, changes, compute, overwrite)
        return
    with staged(output, overwrite) as target:
        if base.archive is None:
            _write_over(base, base.files[0], target, changes, compute)
        else:
            base.archive.write(
                target, lambda part: _write_over(base, base.files[0], part, changes, compute)
            )


def discard(changes: Sequence[Change], compute: Compute) -> None:
    """Compute all that would be written, for a dry run."""
    for change in changes:
        compute(change)


def _write_over(
    base: Base, file: Mapped, target: IO[bytes], changes: Sequence[Change], compute: Compute
) -> None:
    """Write a file's bytes in order; each change is computed when its place has come."""
    position = 0
    for start, change in _in_order(base, file, changes):
        file.copy(position, start, target)
        data = little_endian_bytes(compute(change))
        target.write(data)
        position = start + len(data)
        del data
        file.release()
    file.copy(position, len(file.view), target)


def _in_order(base: Base, file: Mapped, changes: Sequence[Change]) -> Iterator[tuple[int, Change]]:
    places = [(base.variables[change.tensor].dataset, change) for change in changes]
    own = [(d.offset, change) for d, change in places if d.file is file and d.offset is not None]
    yield from sorted(own, key=lambda pair: pair[0])


def _shard_paths(base: Base, output: Path) -> dict[str, Path]:
    """Returns where each shard of the base goes; the first keeps its number, which Keras opens."""
    stem = output.name.removesuffix(INDEX_SUFFIX)
    return {
        name: output.with_name(stem + _SHARD.format(number))
        for number, name in enumerate(base.shards)
    }


def _write_shards(
    base: Base, output: Path, changes: Sequence[Change], compute: Compute, overwrite: bool
) -> None:
    """Write the index and all shards, which appear together."""
    paths = _shard_paths(base, output)
    with staged_together([output, *paths.values()], overwrite) as (index, *shards):
        index.write(json.dumps(_index(base.path, paths), indent=4).encode())
        for (name, path), target in zip(paths.items(), shards, strict=True):
            with os_errors(path, "write"):
                _write_over(base, base.shards[name], target, changes, compute)


def _index(path: Path, paths: dict[str, Path]) -> Any:
    """Returns the index's content with the shards' new names."""
    content = read_json(path)

    def renamed(value: Any) -> Any:
        return [renamed(v) for v in value] if isinstance(value, list) else paths[value].name

    stated = content["weight_map"]
    return content | {"weight_map": {key: renamed(value) for key, value in stated.items()}}
