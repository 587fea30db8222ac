"""Merging into every kind of ONNX graph, and what finding weights by fingerprint adds to it.

    python benchmarks/graph_kinds.py [--runs 7]

Exported, fused, optimised and quantised MiniLM, and a small Llama by onnxruntime-genai's builder;
README.md says how to read the figures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from measure import (
    Call,
    Json,
    at_most,
    child,
    finish,
    interleaved,
    of_runs,
    progress,
    rounded,
    script,
    spread,
    timed,
)

BERT: Final = ("dynamo", "torchscript", "fused", "saved", "int4", "dynamic-int8", "qdq-int8")
LLAMA: Final = ("genai-fp32", "genai-int4")
FINGERPRINT_AIM: Final = 1.10
PACKAGES: Final = ("numpy", "scipy", "onnx", "onnxruntime", "onnxruntime-genai", "torch", "peft")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the script")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="graph-kinds-") as name:
        folder = Path(name)
        progress("setting up, not timed")
        tiny = ["--tiny"] if arguments.tiny else []
        child(script("kinds_setup.py", folder, "--n", str(arguments.n), *tiny))
        kinds = dict.fromkeys(BERT, "bert") | dict.fromkeys(LLAMA, "llama")
        processes = _processes(folder, kinds, arguments.runs)
        functions = _functions(folder, kinds, arguments.runs)
        differences = _differences(folder)
        results = {
            "models": "tiny" if arguments.tiny else "all-MiniLM-L6-v2; Llama, 8 layers of 512",
            "n": arguments.n,
            "process": processes,
            "function": functions,
            "difference": differences,
        }
        ratios = [f["with_over_without"]["median"] for f in functions.values() if f["without"]]
        results["fingerprints"] = at_most(statistics.median(ratios), FINGERPRINT_AIM)
    finish("graph_kinds", results, PACKAGES)


def _processes(folder: Path, kinds: dict[str, str], runs: int) -> Json:
    """Time whole processes, with fingerprints."""

    def command(kind: str) -> list[str | Path]:
        output = folder / kind / "merged.onnx"
        return [
            *(sys.executable, "-m", "fourier_converters.cli", folder / f"{kinds[kind]}.fft"),
            *("--to", "onnx", "--base", folder / kind / "base.onnx"),
            *("-o", output, "--force", "--quiet"),
        ]

    jobs = {kind: (lambda kind=kind: child(command(kind))) for kind in kinds}
    return {kind: of_runs(done) for kind, done in interleaved(jobs, runs).items()}


def _functions(folder: Path, kinds: dict[str, str], runs: int) -> Json:
    """Time `to_onnx` with fingerprints and without; None where names alone find nothing."""
    import fourier_format
    from fourier_converters.onnx import to_onnx
    from fourier_format.errors import FourierFormatError

    report: Json = {}
    for kind, model in kinds.items():
        adapters = {
            "with": fourier_format.load(folder / f"{model}.fft"),
            "without": fourier_format.load(folder / f"{model}-plain.fft"),
        }
        base, output = folder / kind / "base.onnx", folder / kind / "merged.onnx"

        def call(
            way: str, adapters: Any = adapters, base: Path = base, output: Path = output
        ) -> Call:
            return timed(lambda: to_onnx(adapters[way], base, output, overwrite=True))

        progress(f"{kind}, function")
        try:
            call("without")
        except FourierFormatError as error:
            progress(f"{kind} without fingerprints: {error}")
            del adapters["without"]
        jobs = {way: (lambda way=way, call=call: call(way)) for way in adapters}
        report[kind] = {"without": None} | _compared(interleaved(jobs, runs))
    return report


def _compared(calls: dict[str, list[Call]]) -> Json:
    report: Json = {
        way: {
            "seconds": spread(call.seconds for call in done),
            "cpu_seconds": spread(call.cpu_seconds for call in done),
        }
        for way, done in calls.items()
    }
    if "without" in calls:
        for field in ("seconds", "cpu_seconds"):
            pairs = zip(calls["with"], calls["without"], strict=True)
            ratio = spread(getattr(one, field) / getattr(two, field) for one, two in pairs)
            name = "with_over_without" if field == "seconds" else "cpu_with_over_without"
            report[name] = ratio
    return report


def _differences(folder: Path) -> Json:
    """Outputs of merged models in ONNX Runtime against the float32 one's, and of bases likewise.

    The second is what quantisation itself does. The builder's graphs are compared in the tests.
    """
    report: Json = {}
    for name in ("base", "merged"):
        expected = _output(folder / "torchscript" / f"{name}.onnx")
        for kind in BERT:
            found = _output(folder / kind / f"{name}.onnx")
            far = float(abs(found - expected).max() / abs(expected).max())
            report.setdefault(kind, {})[name] = rounded(far)
    return report


def _output(path: Path) -> Any:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(1, 90, (2, 16))
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]


if __name__ == "__main__":
    main()
