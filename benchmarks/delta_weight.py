"""One delta weight: the rows of dft2 against PEFT's get_delta_weight, same entries and numbers.

    python benchmarks/delta_weight.py [--runs 3] [--case 4096x4096:1000]

Each implementation runs in child processes of its own, in turn, so that neither's threads or
memory are in the other's figures. Errors are against NumPy's complex128 ifft2.
"""
# ruff: noqa: TID251 -- the peer

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
from collections.abc import Callable
from typing import Any, Final

from measure import (
    Json,
    Run,
    child,
    finish,
    interleaved,
    peak_mib,
    progress,
    ratios,
    resident_mib,
    rounded,
    script,
    spread,
    timed,
)

CASES: Final = ("768x768:1000", "2048x2048:1000", "4096x4096:1000", "4096x4096:2000")
AIMS: Final = {"4096x4096:1000": 4.0, "4096x4096:2000": 4.0}
ALPHA: Final = 150.0
PACKAGES: Final = ("numpy", "scipy", "torch", "peft")
Array = Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="child processes of each")
    parser.add_argument("--calls", type=int, default=7, help="timed calls in each child")
    parser.add_argument("--case", action="append", help="OUTxIN:N; default: four of them")
    parser.add_argument("--child", choices=("ours", "peer"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = arguments.case or list(CASES)
    if arguments.child:
        print(json.dumps(_child(arguments.child, cases[0], arguments.calls)))
        return
    results: Json = {"calls_in_each_run": arguments.calls, "cases": {}}
    for case in cases:
        progress(case)
        results["cases"][case] = _case(case, arguments.runs, arguments.calls)
    finish("delta_weight", results, PACKAGES)


def _case(case: str, runs: int, calls: int) -> Json:
    def job(who: str) -> Run:
        options = ("--case", case, "--calls", str(calls), "--child", who)
        return child(script("delta_weight.py", *options))

    jobs = {who: functools.partial(job, who) for who in ("ours", "peer")}
    done = {who: [r.json() for r in results] for who, results in interleaved(jobs, runs).items()}
    report: Json = {who: _figures(reports) for who, reports in done.items()}
    for threads, aim in (("", AIMS.get(case)), ("_one_thread", None)):
        key = f"seconds{threads}"
        seconds = {who: [statistics.median(r[key]) for r in done[who]] for who in done}
        report[f"times_faster{threads}"] = ratios(seconds["peer"], seconds["ours"], aim)
    for key, what in (("peak_mib", "process"), ("above_imports_mib", "above_imports")):
        memory = {who: [r[key] for r in done[who]] for who in done}
        report[f"times_less_memory_{what}"] = ratios(memory["peer"], memory["ours"])
    return report


def _figures(reports: list[Json]) -> Json:
    """Sum up the children of one implementation."""
    figures: Json = {"threads": reports[0]["threads"]}
    for key in ("seconds", "cpu_seconds", "seconds_one_thread"):
        figures[key] = spread(second for report in reports for second in report[key])
    for key in ("peak_mib", "above_imports_mib"):
        figures[key] = spread(report[key] for report in reports)
    for key in ("relative_error", "relative_error_one_thread"):
        figures[key] = rounded(reports[0][key])
    return figures


def _child(who: str, case: str, calls: int) -> Json:
    """Time one implementation; the error is computed last, for it takes memory of its own."""
    import numpy as np

    size, _, count = case.partition(":")
    out, in_ = (int(part) for part in size.split("x"))
    rng = np.random.default_rng(0)
    flat = rng.choice(out * in_, int(count), replace=False)
    entries = np.stack(np.divmod(flat, in_), axis=1).astype(np.int32)
    coefficients = rng.standard_normal(int(count)).astype(np.float32)
    build, threads, one_thread = (_ours if who == "ours" else _peer)(
        entries, coefficients, out, in_
    )
    imports_mib = resident_mib()
    build()  # plans and allocates
    peak = peak_mib()
    kept = build()  # as a caller would; the allocator then gives less memory back between calls
    timings = [timed(build) for _ in range(calls)]
    one_thread()
    alone = [timed(build) for _ in range(calls)]
    exact = _exact(entries, coefficients, out, in_)
    return {
        "seconds": [call.seconds for call in timings],
        "cpu_seconds": [call.cpu_seconds for call in timings],
        "seconds_one_thread": [call.seconds for call in alone],
        "peak_mib": peak,
        "above_imports_mib": peak - imports_mib,
        "threads": threads,
        "relative_error": _error(kept, exact),
        "relative_error_one_thread": _error(build(), exact),
    }


Implementation = tuple[Callable[[], Array], int, Callable[[], object]]
"""The call, how many threads it may use, and what restricts it to one."""


def _ours(entries: Array, coefficients: Array, out: int, in_: int) -> Implementation:
    import numpy as np
    from scipy import fft  # noqa: F401 -- loaded before the first call, as torch is

    from fourier_format.transforms import dft2, rows

    def build() -> Array:
        return rows.whole(dft2.rows(entries, coefficients, (out, in_), ALPHA), np.float32)

    threads = 1 if out * in_ < rows.PARALLEL_SIZE else os.cpu_count() or 1
    return build, threads, functools.partial(setattr, rows, "PARALLEL_SIZE", out * in_ + 1)


def _peer(entries: Array, coefficients: Array, out: int, in_: int) -> Implementation:
    import torch
    from peft import FourierFTConfig
    from peft.tuners.fourierft.layer import FourierFTLinear

    base = torch.nn.Linear(in_, out, bias=False, device="meta")
    config = FourierFTConfig(n_frequency=1, scaling=ALPHA)
    layer = FourierFTLinear(base, "default", config, n_frequency=1)
    layer.indices["default"] = torch.from_numpy(entries.T.astype("int64").copy())
    layer.fourierft_spectrum["default"] = torch.nn.Parameter(torch.from_numpy(coefficients))

    def build() -> Array:
        with torch.no_grad():
            return layer.get_delta_weight("default").numpy()

    return build, torch.get_num_threads(), functools.partial(torch.set_num_threads, 1)


def _exact(entries: Array, coefficients: Array, out: int, in_: int) -> Array:
    import numpy as np

    spectrum = np.zeros((out, in_), np.complex128)
    spectrum[entries[:, 0], entries[:, 1]] = coefficients
    return np.fft.ifft2(spectrum).real * ALPHA


def _error(delta: Array, exact: Array) -> float:
    import numpy as np

    return float(np.linalg.norm(delta - exact) / np.linalg.norm(exact))


if __name__ == "__main__":
    main()
