"""Make what the arms of `serve.py` open, of a base and its adapters; untimed, anew in each go.

python serve_graphs.py FOLDER MODEL [--smoke]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import onnxruntime
from serve_cases import Files, Model, model_of, sizes_of
from serve_lora import add_lora

import fourier_format
from fourier_converters.cli import main as convert
from fourier_converters.onnx import to_onnx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("--smoke", action="store_true", help="a tiny model of its kind")
    parser.add_argument("--no-live", action="store_true", help="without live graphs")
    arguments = parser.parse_args()
    smoke: bool = arguments.smoke
    files, model = Files(arguments.folder), model_of(arguments.model, smoke=smoke)
    sizes = sizes_of(smoke=smoke)
    make(files, model, max(sizes))
    for n in () if arguments.no_live else sizes:
        make_live(files, n)


def make(files: Files, model: Model, most: int) -> None:
    """Write the graphs that are not live; those that change little refer to the base's data."""
    adapter = fourier_format.load(files.adapter(most))
    to_onnx(adapter, files.base, files.merged(most), external_data="reference", overwrite=True)
    if model.precision == "int4":
        output = files.requantized(most)
        to_onnx(
            adapter,
            files.base,
            output,
            quantized="requantize",
            external_data="reference",
            overwrite=True,
        )
    add_lora(files.base, adapter, files.lora)
    for path in (files.base, files.merged(most)):
        optimise(path, files.optimised(path))


def make_live(files: Files, n: int) -> None:
    """Write the live graph for the entries of an adapter, as its user does."""
    paths = {"--base": files.base, "-o": files.live(n)}
    options = [str(part) for pair in paths.items() for part in pair]
    command = [str(files.adapter(n)), "--to", "onnx", "--live", *options]
    if convert([*command, "--external-data", "reference", "--force", "--quiet"]) != 0:
        raise SystemExit(1)


def optimise(source: Path, target: Path) -> None:
    """Save what ONNX Runtime makes of a graph, so that opening need not make it again."""
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the result is for this machine alone
    options.optimized_model_filepath = str(target)
    entry = "session.optimized_model_external_initializers_file_name"
    options.add_session_config_entry(entry, f"{target.name}.data")
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
