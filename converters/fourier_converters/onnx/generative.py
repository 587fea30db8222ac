"""Directories of onnxruntime-genai: the graph merged, everything else copied beside it.

Such a directory is loaded as a whole: genai_config.json names the graph, and the tokenizer lies
beside it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fourier_converters.copying import copy_file
from fourier_converters.directories import files_in, staged_directory
from fourier_converters.onnx.convert import to_onnx
from fourier_converters.onnx.external import is_external
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.protos import all_tensors
from fourier_converters.outputs import refuse_input, refuse_within
from fourier_converters.report import Report
from fourier_format.adapter import Adapter
from fourier_format.atomic import os_errors, refuse_existing
from fourier_format.errors import UnsupportedError, Violation

CONFIG: Final = "genai_config.json"


def to_onnx_directory(
    adapter: Adapter,
    base: Path,
    output: Path,
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
        UnsupportedError: genai_config.json names no graph.
        FourierFormatError: As `to_onnx`.
    """
    graph = graph_of(base)
    refuse_input(output, base)
    refuse_within(output, base)
    if dry_run:
        return to_onnx(adapter, graph, output / graph.name, dry_run=True, **options)
    refuse_existing(output, overwrite)
    name = graph.relative_to(base).as_posix()
    data = {entry for entry in _data_of(graph, base) if entry != name}
    others = [file for file in files_in(base) if file != name and file not in data]
    allowed = {name, *others, *_own_data(output, name)}
    with staged_directory(output, allowed, overwrite) as folder:
        for file in others:
            _copy(base / file, folder / file)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        report = to_onnx(adapter, graph, folder / name, **options)
    return replace(report, output=str(output))


def graph_of(directory: Path) -> Path:
    """Returns the graph that genai_config.json in `directory` names.

    Raises:
        UnsupportedError: It names none, or one outside the directory.
        FileAccessError: It cannot be read.
    """
    import json

    config = directory / CONFIG
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


def _data_of(graph: Path, base: Path) -> set[str]:
    """Returns the external data files of a graph, relative to `base`."""
    model = Model(graph)
    files = model.reader.files
    locations = {files.place(t).location for t in all_tensors(model.proto) if is_external(t)}
    return {(graph.parent / location).relative_to(base).as_posix() for location in locations}


def _own_data(output: Path, name: str) -> list[str]:
    """Returns the data files of an earlier result in `output`."""
    pattern = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{12}}\.[0-9]+\.data")
    return [file for file in files_in(output) if pattern.fullmatch(file)] if output.is_dir() else []


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        copy_file(source, file)
