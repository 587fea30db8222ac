"""Merging into a base with LLaMA-2-7B's shapes, against `cp` of the same files.

    python benchmarks/large_base.py [--runs 3] [--folder FOLDER] [--layers 32] [--width 4096]

The base is synthetic, 13 GB in float16; at most two copies of it lie on the disk at once.
README.md says how to read the figures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from measure import (
    Json,
    Run,
    at_most,
    child,
    finish,
    interleaved,
    of_runs,
    progress,
    rounded,
    script,
    spread,
)

COPY_AIM: Final = 1.3
REFERENCE_AIM: Final = 15.0
PEAK_AIM_MIB: Final = 1e9 / 2**20
PACKAGES: Final = ("numpy", "scipy", "onnx")
SIZES: Final = ("layers", "width", "vocabulary", "shards", "n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warmups", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--n", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-base-", dir=arguments.folder) as name:
        folder = Path(name)
        progress("writing the base, not timed")
        sizes = [text for size in SIZES for text in (f"--{size}", str(getattr(arguments, size)))]
        child(script("llama_base.py", "make", folder, *sizes))
        results = _measured(folder, arguments.runs, arguments.warmups)
        files = [path for path in (folder / "base").iterdir() if path.suffix == ".data"]
        layout: Json = {size: getattr(arguments, size) for size in SIZES}
        layout |= {"dtype": "float16", "data_bytes": sum(file.stat().st_size for file in files)}
    finish("large_base", {"layout": layout} | results, PACKAGES)


def _measured(folder: Path, runs: int, warmups: int) -> Json:
    syncs: list[float] = []

    def cp() -> Run:
        target = _fresh(folder / "cp")
        run = child(["cp", "-r", folder / "base", target])
        start = time.perf_counter()
        child(["sync", *(path for path in (target / "base").iterdir())])
        syncs.append(time.perf_counter() - start)
        shutil.rmtree(target)
        return run

    def ours(way: str) -> Run:
        target = _fresh(folder / way)
        output = target / "merged.onnx"
        if way == "reference":  # it must lie in the base's directory or above it
            output = folder / "referring.onnx"
        run = child(_command(folder, output, way))
        shutil.rmtree(target)
        for path in folder.glob("referring.onnx*"):
            path.unlink()
        return run

    def deltas(dtype: str) -> Run:
        run = child(script("llama_base.py", "deltas", folder / "adapter.fft", "--dtype", dtype))
        return run._replace(seconds=float(run.json()["seconds"]))

    jobs = {
        "cp": cp,
        "copy": lambda: ours("copy"),
        "reference": lambda: ours("reference"),
        "deltas_float32": lambda: deltas("float32"),
        "deltas_float64": lambda: deltas("float64"),
    }
    done = interleaved(jobs, runs, warmups)
    report: Json = {name: of_runs(finished) for name, finished in done.items()}
    with_sync = [run.seconds + sync for run, sync in zip(done["cp"], syncs[warmups:], strict=True)]
    report["cp_and_fsync"] = {"seconds": spread(with_sync)}
    plain = [run.seconds for run in done["cp"]]
    report["aims"] = {
        "copy_less_deltas_over_cp": _over(done, plain),
        "copy_less_deltas_over_cp_and_fsync": _over(done, with_sync),
        "reference_cpu_seconds_a_core": at_most(
            report["reference"]["cpu_seconds"]["median"] / len(os.sched_getaffinity(0)),
            REFERENCE_AIM,
        ),
        "reference_seconds": at_most(report["reference"]["seconds"]["median"], REFERENCE_AIM),
        **{
            f"{way}_peak_mib": at_most(max(r.peak_mib for r in done[way]), rounded(PEAK_AIM_MIB))
            for way in ("copy", "reference")
        },
    }
    return report


def _over(done: dict[str, list[Run]], cp: list[float]) -> Json:
    """Returns copying's time without the delta weights' (float32, the faster) over cp's."""
    runs = zip(done["copy"], done["deltas_float32"], cp, strict=True)
    over = spread((copy.seconds - deltas.seconds) / own for copy, deltas, own in runs)
    return over | {"aim": COPY_AIM, "aim_met": over["median"] <= COPY_AIM}


def _command(folder: Path, output: Path, way: str) -> list[str | Path]:
    return [
        *(sys.executable, "-m", "fourier_converters.cli", folder / "adapter.fft"),
        *("--to", "onnx", "--base", folder / "base" / "model.onnx"),
        *("-o", output, "--external-data", way, "--quiet"),
    ]


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
