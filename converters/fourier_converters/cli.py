"""The command fourier-convert: one source, one result, one table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fourier_format import __version__
from fourier_format.command_line import GOOD, Parser, add_common_options, print_json, run
from fourier_format.errors import UsageError, Violation, one_line

if TYPE_CHECKING:
    from fourier_converters.mapping import Map
    from fourier_converters.report import Report
    from fourier_format.adapter import Adapter

_EPILOG: Final = """\
examples:
  fourier-convert my_peft_checkpoint --to fft --base model.safetensors -o adapter.fft
  fourier-convert adapter.fft --to onnx --base model.onnx
  fourier-convert my_peft_checkpoint --to onnx --base model.onnx -o merged.onnx

exit codes: 0 good, 1 invalid or refused, 2 usage or I/O, 130 Ctrl-C
"""
_UNVERIFIED: Final = (
    "the base was not verified: a PEFT checkpoint does not know its base; a .fft that is made "
    "from the checkpoint and its own base does"
)
_SUFFIXES: Final = {"fft": ".fft", "h5": ".fft.h5", "peft": ".peft"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run fourier-convert with `argv`; returns the exit code."""
    return run(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fourier-convert",
        description="Convert a FourierFT adapter, or merge it into an ONNX model. "
        "The source and the base are only read.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="a .fft, a .fft.h5 or a PEFT directory")
    parser.add_argument(
        "--to", required=True, choices=("fft", "h5", "peft", "onnx"), help="what to make"
    )
    parser.add_argument(
        "--base",
        type=Path,
        help="the base model: .onnx for --to onnx; for a PEFT source .safetensors, "
        "a checkpoint directory or .onnx",
    )
    parser.add_argument("-o", "--output", type=Path, help="the result; default: beside the source")
    parser.add_argument("--adapter", metavar="NAME", help="which adapter of a PEFT directory")
    parser.add_argument("--map", type=Path, metavar="FILE", help="where weights lie (docs/map.md)")
    parser.add_argument(
        "--verify",
        choices=("full",),
        help="full: compare the SHA-256 of every adapted weight with the adapter's fingerprint",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_common_options(parser)
    parser.set_defaults(command=_convert)
    return parser


def _convert(arguments: argparse.Namespace) -> int:
    from fourier_converters.outputs import refuse_input
    from fourier_format.atomic import refuse_existing

    _check_usage(arguments)
    output = arguments.output or _default_output(arguments)
    refuse_input(output, arguments.source, *([arguments.base] if arguments.base else []))
    refuse_existing(output, arguments.force)
    mapping = _mapping(arguments)
    if arguments.base is not None:
        mapping.check_fields(arguments.base.suffix == ".onnx", str(arguments.map))
    adapter, places = _read_source(arguments, mapping)
    report = replace(_write(arguments, adapter, output, mapping, places), skipped=mapping.skipped)
    if arguments.json:
        print_json(report.as_json())
    elif not arguments.quiet:
        text = str(report)
        done = f"wrote {one_line(str(output))}"
        print(f"{text}\n\n{done}" if text else done)
    return GOOD


def _check_usage(arguments: argparse.Namespace) -> None:
    """Refuse combinations that mean nothing.

    Raises:
        UsageError: E-USAGE.
    """
    source, base = arguments.source, arguments.base
    if not source.exists():
        raise _usage(str(source), "no such file or directory", "give a .fft or a PEFT directory")
    if source.suffix in {".safetensors", ".onnx", ".bin", ".json"} and not source.is_dir():
        problem = "this is neither a .fft nor a PEFT directory"
        raise _usage(str(source), problem, "for a PEFT checkpoint give its directory")
    if arguments.to == "onnx" and (base is None or base.suffix != ".onnx"):
        problem = "--to onnx needs the ONNX base" + (f", got {base}" if base else "")
        raise _usage("--base", problem, "add --base model.onnx")
    if base is not None and not base.exists():
        raise _usage("--base", f"no such file or directory: {base}", "check the path")
    (_check_checkpoint_usage if source.is_dir() else _check_file_usage)(arguments)


def _check_checkpoint_usage(arguments: argparse.Namespace) -> None:
    if arguments.base is None:
        advice = "add --base model.safetensors, its directory or model.onnx"
        problem = "a PEFT checkpoint holds neither shapes nor entries, which come from the base"
        raise _usage("--base", problem, advice)
    if arguments.verify is not None:
        problem = "a PEFT checkpoint says nothing of its base that could be verified"
        raise _usage("--verify", problem, "make a .fft from it and its own base first")


def _check_file_usage(arguments: argparse.Namespace) -> None:
    if arguments.adapter is not None:
        raise _usage("--adapter", "only a PEFT directory has named adapters", "leave it out")
    if arguments.to != "onnx":
        for option in ("base", "map", "verify"):
            if getattr(arguments, option) is not None:
                problem = f"--to {arguments.to} of a .fft has no use for it"
                raise _usage(f"--{option}", problem, "leave it out")


def _usage(where: str, problem: str, advice: str) -> UsageError:
    return UsageError(Violation("E-USAGE", where, problem, advice=advice))


def _default_output(arguments: argparse.Namespace) -> Path:
    """Returns a name beside the source that says what the result is."""
    source: Path = (
        arguments.source.resolve() if arguments.source.name in {"", ".", ".."} else arguments.source
    )
    name: str = source.name
    for suffix in (".h5", ".hdf5", ".fft"):
        name = name.removesuffix(suffix)
    if arguments.adapter is not None:
        name = f"{name}-{arguments.adapter.replace('/', '-')}"
    if arguments.to == "onnx":
        return source.with_name(f"{name}.{arguments.base.stem}.onnx")
    return source.with_name(name + _SUFFIXES[arguments.to])


def _mapping(arguments: argparse.Namespace) -> Map:
    from fourier_converters.mapping import Map, read_map

    return Map() if arguments.map is None else read_map(arguments.map)


def _read_source(arguments: argparse.Namespace, mapping: Map) -> tuple[Adapter, dict[str, str]]:
    """Returns the adapter and, for a PEFT source, where its targets' weights are in the base."""
    import fourier_format

    if not arguments.source.is_dir():
        adapter = fourier_format.load(arguments.source)
        names = [t.name for t in adapter.targets]
        mapping.check_names(names, adapter.replacements, str(arguments.map))
        return adapter, {}
    from fourier_converters.base import open_base
    from fourier_converters.peft import from_peft
    from fourier_converters.peft.checkpoint import read_checkpoint, without
    from fourier_format.fingerprint import without_fingerprints

    checkpoint = read_checkpoint(arguments.source, arguments.adapter)
    mapping.check_names(checkpoint.spectra, checkpoint.replacements, str(arguments.map))
    base = open_base(arguments.base, mapping, checkpoint.spectra)
    places: dict[str, str] = {}
    step = _progress(arguments, "reading the base", len(checkpoint.spectra))

    def found(module: str, source: str) -> None:
        places[module] = source
        step(module)

    adapter = from_peft(without(checkpoint, set(mapping.skipped)), base, found)
    return (without_fingerprints(adapter) if arguments.to == "onnx" else adapter), places


def _write(
    arguments: argparse.Namespace,
    adapter: Adapter,
    output: Path,
    mapping: Map,
    places: dict[str, str],
) -> Report:
    if arguments.to == "onnx":
        from fourier_converters.onnx import to_onnx

        report = to_onnx(
            adapter,
            arguments.base,
            output,
            mapping=mapping,
            verify_full=arguments.verify == "full",
            overwrite=arguments.force,
            progress=_progress(arguments, "merging", len(adapter.targets)),
        )
        return report.noting(_UNVERIFIED) if arguments.source.is_dir() else report
    from fourier_converters.report import of_adapter

    if arguments.to == "peft":
        from fourier_converters.peft import to_peft

        to_peft(adapter, output, overwrite=arguments.force)
    elif arguments.source.is_dir():
        from fourier_format.files import write

        write(adapter, output, arguments.to, overwrite=arguments.force)
    else:
        from fourier_format.files import transcode

        transcode(arguments.source, output, arguments.to, overwrite=arguments.force)
    return of_adapter(adapter, str(output), places)


def _progress(arguments: argparse.Namespace, what: str, total: int) -> Callable[[str], None]:
    """Returns a function that moves a progress bar, where someone sees it."""
    if arguments.quiet or arguments.json or not sys.stderr.isatty():
        return lambda _: None
    from tqdm import tqdm

    bar = tqdm(total=total, desc=what, unit="weight", leave=False, delay=0.5)

    def step(name: str) -> None:
        bar.set_postfix_str(name[-40:], refresh=False)
        bar.update()
        if bar.n >= total:
            bar.close()

    return step


if __name__ == "__main__":
    sys.exit(main())
