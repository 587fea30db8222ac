"""From a PEFT FourierFT adapter on MiniLM to merged ONNX: fourier-convert against PEFT and torch.

    python benchmarks/conversion.py [--runs 5]

Whole processes first, then function against function; then the results' outputs are compared,
so that the speed is that of a right result. README.md says how to read the figures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from measure import (
    Json,
    Run,
    at_most,
    child,
    finish,
    interleaved,
    of_runs,
    progress,
    ratios,
    rounded,
    script,
    spread,
)

EXPORTERS: Final = ("dynamo", "torchscript")
SOURCES: Final = {"fft": "adapter.fft", "peft": "peft"}
PROCESS_AIMS: Final = {"dynamo": 12.0, "torchscript": 5.0}
FUNCTION_AIMS: Final = {"dynamo": 40.0, "torchscript": None}
DIFFERENCE_AIM: Final = 1e-5
PACKAGES: Final = (
    "numpy",
    "scipy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "torch",
    "peft",
    "transformers",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--tiny", action="store_true", help="a tiny BERT, to try the script")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="conversion-") as name:
        folder = Path(name)
        progress("setting up, not timed")
        tiny = ["--tiny"] if arguments.tiny else []
        child(script("minilm_setup.py", folder, "--n", str(arguments.n), *tiny))
        processes = _processes(folder, arguments.runs)
        progress("function against function")
        command = script("minilm_functions.py", folder, "--runs", str(arguments.runs))
        functions = child(command).json()
        results = {
            "model": "tiny BERT" if arguments.tiny else "all-MiniLM-L6-v2",
            "n": arguments.n,
            "process": processes,
            "function": _functions(functions["calls"]),
            "difference": _differences(folder),
            "torch_threads": functions["torch_threads"],
        }
    finish("conversion", results, PACKAGES)


def _processes(folder: Path, runs: int) -> Json:
    """Time whole processes, ours and the peer's for the same exporter next to each other."""
    jobs: dict[str, Callable[[], Run]] = {}
    for exporter in EXPORTERS:
        for source in SOURCES:
            jobs[f"ours_{source}_{exporter}"] = partial(child, _ours(folder, source, exporter))
        jobs[f"peer_{exporter}"] = partial(child, _peer(folder, exporter))
    done = interleaved(jobs, runs)
    report: Json = {name: of_runs(finished) for name, finished in done.items()}
    for exporter, aim in PROCESS_AIMS.items():
        peer = done[f"peer_{exporter}"]
        for source in SOURCES:
            ours, way = done[f"ours_{source}_{exporter}"], f"{source}_{exporter}"
            report[f"times_faster_{way}"] = ratios(
                [run.seconds for run in peer], [run.seconds for run in ours], aim
            )
            report[f"times_less_memory_{way}"] = ratios(
                [run.peak_mib for run in peer], [run.peak_mib for run in ours]
            )
    return report


def _ours(folder: Path, source: str, exporter: str) -> list[str | Path]:
    output = _merged(folder, source, exporter)
    output.parent.mkdir(exist_ok=True)
    return [
        *(sys.executable, "-m", "fourier_converters.cli", folder / SOURCES[source]),
        *("--to", "onnx", "--base", folder / exporter / "base.onnx"),
        *("-o", output, "--force"),
    ]


def _merged(folder: Path, source: str, exporter: str) -> Path:
    """A folder each: overwriting a model looks at the models beside it."""
    return folder / f"ours_{source}_{exporter}" / "merged.onnx"


def _peer(folder: Path, exporter: str) -> list[str | Path]:
    output = folder / f"peer_{exporter}.onnx"
    return script(
        "minilm_peer.py", folder / "model", folder / "peft", output, "--exporter", exporter
    )


def _functions(calls: dict[str, list[tuple[float, float]]]) -> Json:
    seconds = {name: [wall for wall, _ in timings] for name, timings in calls.items()}
    report: Json = {
        name: {
            "seconds": spread(seconds[name]),
            "cpu_seconds": spread(cpu for _, cpu in timings),
        }
        for name, timings in calls.items()
    }
    for exporter, aim in FUNCTION_AIMS.items():
        peer, ours = seconds[f"peer_{exporter}"], seconds[f"ours_{exporter}"]
        report[f"times_faster_{exporter}"] = ratios(peer, ours, aim)
    return report


def _differences(folder: Path) -> Json:
    """Compare outputs in ONNX Runtime: ours with the peer's, and the base with the peer's.

    The second says how much the adapter does, and so that the first is not small for nothing.
    """
    report: Json = {}
    for exporter in EXPORTERS:
        expected = _output(folder / f"peer_{exporter}.onnx")
        scale = float(abs(expected).max())

        def apart(path: Path, expected: Any = expected, scale: float = scale) -> float:
            return float(abs(_output(path) - expected).max()) / scale

        for source in SOURCES:
            reached = apart(_merged(folder, source, exporter))
            report[f"ours_{source}_{exporter}"] = at_most(reached, DIFFERENCE_AIM)
        report[f"base_{exporter}"] = rounded(apart(folder / exporter / "base.onnx"))
    return report


def _output(path: Path) -> Any:
    import numpy as np  # here: this process stays small while it times children
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(1, 90, (4, 24))
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]


if __name__ == "__main__":
    main()
