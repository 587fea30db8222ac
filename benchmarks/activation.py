"""Activating an adapter: a merged session from a base that was optimised once.

    python benchmarks/activation.py [--runs 15] [--threads 1]

MiniLM and BERT-base's shape, query and value, a process for each. README.md says how to read the
figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from measure import (
    Call,
    Json,
    at_most,
    child,
    finish,
    interleaved,
    peak_mib,
    progress,
    rounded,
    script,
    settled_mib,
    spread,
    timed,
)

OPENING_AIM: Final = 1.5
CACHED_AIM_SECONDS: Final = 0.001
KEPT: Final = 8
"""Sessions that are held to see what one of them takes."""
PACKAGES: Final = ("numpy", "scipy", "onnx", "onnxruntime", "torch", "peft", "transformers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--threads", type=int, default=0, help="of each session; 0: as it likes")
    parser.add_argument("--models", nargs="+", default=["minilm", "bert"])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_measured(arguments.measure, arguments.runs, arguments.threads)))
        return
    models: Json = {}
    for model in arguments.models:
        with tempfile.TemporaryDirectory(prefix="activation-") as name:
            progress(f"{model}: setting up, not timed")
            n = ("--n", str(arguments.n))
            child(script("activation_setup.py", name, "--model", model, *n))
            options = ("--runs", str(arguments.runs), "--threads", str(arguments.threads))
            models[model] = child(script("activation.py", "--measure", name, *options)).json()
    results = {"n": arguments.n, "threads": arguments.threads, "models": models}
    finish("activation", results, PACKAGES)


def _measured(folder: Path, runs: int, threads: int) -> Json:
    """Time activation in this process."""
    import onnxruntime

    import fourier_format
    from fourier_converters.onnx import merge_at_load
    from fourier_runtimes.activating import MergedSessions

    def options(*, optimise: bool = True) -> Any:
        made = onnxruntime.SessionOptions()
        made.intra_op_num_threads = threads
        made.log_severity_level = 3
        if not optimise:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            made.graph_optimization_level = level
        return made

    base = folder / "base.onnx"
    adapter = fourier_format.load(folder / "adapter.fft")
    sessions = MergedSessions(base, cache=folder / "cache", options=options, budget=2**40)
    first = timed(lambda: _activated(sessions, "first", adapter))
    (kept,) = (folder / "cache").glob("*/base.onnx")

    def load() -> object:
        merged = merge_at_load(adapter, base, options())
        return onnxruntime.InferenceSession(merged.model, merged.options)

    def activate() -> Call:
        own = dataclasses.replace(adapter)
        call = timed(lambda: _activated(sessions, "another", own))
        sessions.deactivate("another")
        return call

    jobs: dict[str, Callable[[], Call]] = {
        "open_base": lambda: timed(lambda: onnxruntime.InferenceSession(base, options())),
        "open_optimised": lambda: timed(
            lambda: onnxruntime.InferenceSession(kept, options(optimise=False))
        ),
        "activate": activate,
        "cached": lambda: timed(lambda: _activated(sessions, "first", adapter)),
        "merge_at_load": lambda: timed(load),
    }
    calls = interleaved(jobs, runs)
    report: Json = {"first_seconds": rounded(first.seconds)}
    for name, done in calls.items():
        report[name] = {
            "seconds": spread(call.seconds for call in done),
            "cpu_seconds": spread(call.cpu_seconds for call in done),
        }
    ratios = _over(calls["activate"], calls["open_optimised"])
    report["activate_over_open_optimised"] = ratios
    report["aims"] = {
        "activate_over_open_optimised": at_most(ratios["seconds"]["median"], OPENING_AIM),
        "cached_seconds": at_most(report["cached"]["seconds"]["median"], CACHED_AIM_SECONDS),
    }
    report["memory"] = _memory(sessions, adapter)
    report["difference"] = _difference(sessions, adapter, folder)
    report["notes"] = sessions.notes
    sessions.close()
    return report


def _activated(sessions: Any, name: str, adapter: Any) -> Any:
    """Activate and wait; a session that is there is not waited for."""
    sessions.activate(name, adapter)
    return sessions.session_for(name) or sessions.wait(name)


def _over(ours: list[Call], theirs: list[Call]) -> Json:
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "seconds": spread(own.seconds / other.seconds for own, other in pairs),
        "cpu_seconds": spread(own.cpu_seconds / other.cpu_seconds for own, other in pairs),
    }


def _memory(sessions: Any, adapter: Any) -> Json:
    """What one merged session takes beside others, and the peak of making it."""
    peak = peak_mib()  # of all that was timed
    before, anonymous = settled_mib(), _anonymous_mib()
    _activated(sessions, "kept 0", dataclasses.replace(adapter))
    peak_of_one = peak_mib() - before
    for number in range(1, KEPT):
        _activated(sessions, f"kept {number}", dataclasses.replace(adapter))
    settled_mib()
    return {
        "peak_mib": rounded(peak),
        "peak_of_one_mib": rounded(peak_of_one),
        "a_session_mib": rounded((_anonymous_mib() - anonymous) / KEPT),
        "a_session_counted_mib": rounded(sessions.size / (KEPT + 1) / 2**20),
    }


def _anonymous_mib() -> float:
    """The memory of this process that is its own, and no page of a file."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) / 1024


def _difference(sessions: Any, adapter: Any, folder: Path) -> float:
    """The greatest difference from the merged file's output, over its greatest magnitude."""
    import numpy as np
    import onnxruntime

    from fourier_converters.onnx import to_onnx

    to_onnx(adapter, folder / "base.onnx", folder / "merged.onnx")
    ids = np.random.default_rng(0).integers(1, 90, (4, 16))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    merged = onnxruntime.InferenceSession(folder / "merged.onnx").run(None, feeds)[0]
    ours = sessions.session_for("first").run(None, feeds)[0]
    return rounded(float(np.abs(ours - merged).max() / np.abs(merged).max()))


if __name__ == "__main__":
    main()
