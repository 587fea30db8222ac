"""The files that a base is made of, none of which is ever written over."""

from __future__ import annotations

from pathlib import Path

from fourier_converters.base.keras_index import INDEX_SUFFIX, shards_of
from fourier_converters.base_kinds import is_onnx_base
from fourier_converters.outputs import refuse_input


def refuse_base(output: Path, base: Path) -> None:
    """Check that `output` is no file of the base: neither itself nor one that holds its weights.

    Raises:
        UsageError: E-USAGE: it is.
        UnsupportedError: Something is there, and which files the base consists of is not clear.
        FileAccessError: Likewise, and the base cannot be read.
    """
    refuse_input(output, base)
    if output.exists():  # only then there is something to lose, and a reason to open the base
        refuse_input(output, *_files_of(base))


def _files_of(base: Path) -> list[Path]:
    """Returns the files that hold the weights of a base that is a file, beside itself."""
    if base.is_dir():
        return []
    if is_onnx_base(base):
        from fourier_converters.onnx.model import Model
        from fourier_converters.onnx.protos import all_tensors

        model = Model(base)
        files = model.reader.files
        return list(map(files.path, files.locations(all_tensors(model.proto))))
    if base.name.endswith(INDEX_SUFFIX):
        return [base.with_name(name) for name in shards_of(base)]
    return []
