"""Outputs: what they are called, and that what is only read is never written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fourier_converters.request import Request
from fourier_format.atomic import os_errors
from fourier_format.errors import UsageError, Violation

_SUFFIXES: Final = {
    "fft": ".fft",
    "h5": ".fft.h5",
    "peft": ".peft",
    "lora": ".lora",
    "safetensors": ".merged",
    "onnx-adapter": ".onnx_adapter",
    "html": ".html",
}


def default_output(request: Request) -> Path:
    """Returns a name beside the first source that says what the result is."""
    first = request.files[0]
    first = first.resolve() if first.name in {"", ".", ".."} else first
    name = "+".join(_stem(source) for source in request.sources)
    name = "live" if request.live else name
    if request.adapter is not None:
        name = f"{name}-{request.adapter.replace('/', '-')}"
    if request.to == "onnx" and request.given_base.is_dir():
        return first.with_name(f"{name}.{request.given_base.resolve().name}")
    if request.to == "keras":
        return first.with_name(f"{name}.{request.given_base.name}")
    if request.to == "onnx":
        beside = request.given_base if request.external_data == "reference" else first
        return beside.with_name(f"{name}.{request.given_base.stem}.onnx")
    return first.with_name(name + _SUFFIXES[request.to])


def _stem(source: Path) -> str:
    name = (source.resolve() if source.name in {"", ".", ".."} else source).name
    for suffix in (".h5", ".hdf5", ".fft"):
        name = name.removesuffix(suffix)
    return name


def refuse_input(output: Path, *inputs: Path) -> None:
    """Check that `output` is none of the files and directories that are read, nor a file in one.

    Raises:
        UsageError: E-USAGE: it is one of `inputs`.
    """
    with os_errors(output, "write"):
        there = [path for path in inputs if path.exists()] if output.exists() else []
        same = any(output.samefile(path) for path in there)
        folders = [path.resolve() for path in there if path.is_dir()]
        # the name is what is replaced, so a link is not followed
        beside = output.absolute().parent.resolve()
        among = any(beside.is_relative_to(folder) for folder in folders)
    if same or (among and output.is_file()):
        problem = "the output is an input of this conversion, which is only read"
        advice = "choose another name for it"
        raise UsageError(Violation("E-USAGE", str(output), problem, advice=advice))


def refuse_one_file(explanation: Path, output: Path) -> None:
    """Check that what is written beside the result has a name of its own.

    Raises:
        UsageError: E-USAGE: both are one file.
    """
    with os_errors(explanation, "write"):
        same = explanation.resolve() == output.resolve()
    if same:
        problem = "the explanation and the result would be one file"
        advice = "choose another name for one of them"
        raise UsageError(Violation("E-USAGE", str(explanation), problem, advice=advice))


def refuse_within(output: Path, directory: Path) -> None:
    """Check that `output` does not lie in `directory`, which is only read.

    Raises:
        UsageError: E-USAGE: it does.
    """
    if output.absolute().resolve().is_relative_to(directory.resolve()):
        problem = f"the output lies in {directory}, which is only read"
        advice = "choose another place with -o"
        raise UsageError(Violation("E-USAGE", str(output), problem, advice=advice))


def refuse_unwritable_name(output: Path) -> None:
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
