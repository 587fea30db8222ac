"""The command fourier-convert: adapters in, one result, one table."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fourier_format import __version__
from fourier_format.command_line import GOOD, Parser, add_common_options, print_json, run
from fourier_format.errors import one_line

_EPILOG: Final = """\
examples:
  fourier-convert my_peft_checkpoint --to fft --base model.safetensors -o adapter.fft
  fourier-convert adapter.fft --to onnx --base model.onnx
  fourier-convert adapter.fft --to onnx --base model.onnx --dry-run --explain map.json
  fourier-convert adapter.fft --to onnx --live --base model.onnx -o live.onnx
  fourier-convert legal.fft formal.fft --scales 0.7,0.3 --to onnx --base model.onnx
  fourier-convert adapter.fft --to safetensors --base my_checkpoint -o merged_checkpoint
  fourier-convert adapter.fft --to keras --base model.keras
  fourier-convert adapter.fft --to lora --rank 64
  fourier-convert adapter.fft --to onnx-adapter --base live.onnx
  fourier-convert adapter.fft --to html -o report.html

exit codes: 0 good, 1 invalid or refused, 2 usage or I/O, 130 Ctrl-C
"""
TARGETS: Final = (
    "fft",
    "h5",
    "peft",
    "onnx",
    "safetensors",
    "keras",
    "lora",
    "onnx-adapter",
    "html",
)
QUANTIZED: Final = ("live", "requantize", "refuse")  # stated again: onnx is not loaded yet
EXTERNAL_DATA: Final = ("copy", "reference")


def main(argv: Sequence[str] | None = None) -> int:
    """Run fourier-convert with `argv`; returns the exit code."""
    return run(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fourier-convert",
        description="Convert a FourierFT adapter, or merge it into a model. "
        "The sources and the base are only read.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources",
        type=Path,
        nargs="*",
        metavar="source",
        help="a .fft, a .fft.h5 or a PEFT directory; several are summed, but for --live",
    )
    parser.add_argument(
        "--to",
        required=True,
        choices=TARGETS,
        help="what to make; html is a page that shows what the adapter changes",
    )
    parser.add_argument(
        "--base",
        type=Path,
        help="the base model: .onnx for --to onnx; a checkpoint directory for --to safetensors; "
        ".keras or .weights.h5 for --to keras; the live graph for --to onnx-adapter; "
        "any of these for --to html, to be checked and to say how large the changes are; "
        "for a PEFT source .safetensors, a checkpoint directory or .onnx",
    )
    parser.add_argument("-o", "--output", type=Path, help="the result; default: beside the source")
    parser.add_argument(
        "--scales", type=_scales, metavar="S,S,...", help="one weight for each source; default 1"
    )
    parser.add_argument("--adapter", metavar="NAME", help="which adapter of a PEFT directory")
    parser.add_argument("--map", type=Path, metavar="FILE", help="where weights lie (docs/map.md)")
    parser.add_argument(
        "--verify",
        choices=("full",),
        help="full: compare the SHA-256 of every adapted weight with the adapter's fingerprint",
    )
    _add_onnx_options(parser)
    _add_lora_options(parser)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_common_options(parser)
    parser.set_defaults(command=_convert)
    return parser


def _add_onnx_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for --to onnx")
    group.add_argument(
        "--quantized",
        choices=QUANTIZED,
        help="targets on quantised weights: live adds an exact branch in full precision beside "
        "each (default), requantize rounds to the base's codes and says what is lost, refuse is "
        "an error",
    )
    group.add_argument(
        "--external-data",
        choices=EXTERNAL_DATA,
        help="copy the base's data (default), or reference it: a small file beside the base",
    )
    group.add_argument(
        "--live",
        action="store_true",
        help="make a graph that takes coefficients as inputs, one adapter for each row of a batch, "
        "and is the base where nothing is fed; for the entries and targets of the adapters given",
    )
    group.add_argument(
        "--adapters",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --live: further adapters; those that share entries share the graph's constants",
    )
    group.add_argument(
        "--static",
        action="store_true",
        help="with --live: without If, for CUDA graphs; nothing fed, zeros are added",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="do everything but write, and show it; --to keras too",
    )
    group.add_argument(
        "--explain",
        type=Path,
        metavar="FILE",
        help="write what was considered, chosen and why, as a map file to begin with",
    )


def _add_lora_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for --to lora")
    group.add_argument("--rank", type=int, metavar="R", help="the rank; a LoRA is an approximation")
    group.add_argument(
        "--min-energy",
        type=float,
        metavar="E",
        help="refuse if less of a delta's energy is kept (0 to 1; default 0.9)",
    )


def _scales(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(math.isfinite(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected finite numbers: 0.7,0.3")
    return numbers


def _convert(arguments: argparse.Namespace) -> int:
    from fourier_converters.conversions import convert
    from fourier_converters.request import Request
    from fourier_converters.usage import check_usage

    request = Request.of(arguments)
    check_usage(request)
    report = convert(request)
    if request.json:
        print_json(report.as_json())
    elif not request.quiet:
        text = str(report)
        done = f"wrote {one_line(report.output)}"
        if request.dry_run:
            explained = f" but {one_line(str(request.explain))}" if request.explain else ""
            done = f"dry run: nothing was written{explained}"
        print(f"{text}\n\n{done}" if text else done)
    return GOOD


if __name__ == "__main__":
    sys.exit(main())
