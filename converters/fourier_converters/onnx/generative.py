"""Directories of onnxruntime-genai: the graph merged, everything else copied beside it.

Such a directory is loaded as a whole: genai_config.json names the graph, and the tokenizer lies
beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fourier_converters.directories import (
    copy_files,
    files_in,
    files_to_copy,
    staged_directory,
)
from fourier_converters.onnx.convert import to_onnx
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.protos import all_tensors
from fourier_converters.onnx.writing import names_data
from fourier_converters.outputs import refuse_input, refuse_within
from fourier_converters.report import Report
from fourier_format.adapter import Adapter
from fourier_format.atomic import os_errors, refuse_existing
from fourier_format.errors import UnsupportedError, Violation

CONFIG: Final = "genai_config.json"


def to_onnx_directory(
    adapter: Adapter,
    base: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    **options: Any,
) -> Report:
    """Write the onnxruntime-genai directory at `base` with `adapter` merged into its graph.

    Args:
        adapter: The adapter.
        base: A directory with genai_config.json; only read.
        output: The directory to write.
        overwrite: Whether `output` may exist, with no other files than such a result's.
        dry_run: Do everything but write.
        **options: As for `to_onnx`; the external data is always copied.

    Raises:
        UnsupportedError: genai_config.json names no graph, or `base` holds links that lead out of
            it, or what is no regular file.
        FourierFormatError: As `to_onnx`.
    """
    base, output = Path(base), Path(output)
    return converted_directory(
        base,
        output,
        lambda graph, result: to_onnx(adapter, graph, result, dry_run=dry_run, **options),
        overwrite=overwrite,
        dry_run=dry_run,
    )


def converted_directory(
    base: Path,
    output: Path,
    convert: Callable[[Path, Path], Report],
    *,
    overwrite: bool,
    dry_run: bool,
) -> Report:
    """Write the directory at `base` with its graph converted, everything else copied.

    Args:
        base: A directory with genai_config.json; only read.
        output: The directory to write.
        convert: From the graph's file to the new one's; in a dry run it writes nothing.
        overwrite: Whether `output` may exist, with no other files than such a result's.
        dry_run: Do everything but write.

    Raises:
        FourierFormatError: As `to_onnx_directory`.
    """
    graph = graph_of(base)
    refuse_input(output, base)
    refuse_within(output, base)
    name = graph.name
    others = files_to_copy(base, _others(graph, base), [graph])
    if dry_run:
        return convert(graph, output / name)
    refuse_existing(output, overwrite)
    allowed = {name, *others, *_own_data(output, name)}
    with staged_directory(output, allowed, overwrite) as folder:
        copy_files(others, folder)
        report = convert(graph, folder / name)
    return replace(report, output=str(output))


def graph_of(directory: Path) -> Path:
    """Returns the graph that genai_config.json in `directory` names.

    Raises:
        UnsupportedError: It names none, or one outside the directory.
        FileAccessError: It cannot be read.
    """
    import json

    config = directory / CONFIG
    if config.exists() and not config.is_file():
        problem, advice = "it is no regular file, and cannot be read", "put the file in its place"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(config), problem, advice=advice))
    with os_errors(config, "read"):
        text = config.read_text("utf-8", "replace")
    try:
        name = json.loads(text)["model"]["decoder"]["filename"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = None
    inside = isinstance(name, str) and name.endswith(".onnx") and Path(name).name == name
    if not inside or not (directory / str(name)).is_file():
        problem = "it names no graph in its directory (model.decoder.filename)"
        advice = "give the .onnx file itself as --base"
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", str(config), problem, repr(name), advice=advice)
        )
    return directory / str(name)


def _others(graph: Path, base: Path) -> list[str]:
    """Returns the files in `base` but for the graph and the data that it alone refers to."""
    files = [file for file in files_in(base) if file != graph.name]
    graphs = [base / file for file in files if file.endswith(".onnx") and (base / file).is_file()]
    data = _data_of(graph, base)
    own = {d for d in data if not any(names_data(g, Path(d).name) for g in graphs)}
    return [file for file in files if file not in own]


def _data_of(graph: Path, base: Path) -> set[str]:
    """Returns the external data files of a graph, relative to `base`."""
    model = Model(graph)
    locations = model.reader.files.locations(all_tensors(model.proto))
    return {(graph.parent / location).relative_to(base).as_posix() for location in locations}


def _own_data(output: Path, name: str) -> list[str]:
    """Returns the data files of an earlier result in `output`."""
    pattern = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{12}}\.[0-9]+\.data")
    return [file for file in files_in(output) if pattern.fullmatch(file)] if output.is_dir() else []
