"""Thousands of adapters of one layout on one base: how fast they load, and what memory they take.

    python benchmarks/many_adapters.py [--adapters 10000] [--work FOLDER]

Every file is checked in full, fitted to the live graph and put in the store of an AdapterSession.
README.md says how to read the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from measure import (
    Call,
    Json,
    at_most,
    child,
    finish,
    progress,
    rounded,
    script,
    settled_mib,
    spread,
    timed,
)

import fourier_format
from fourier_format.live import Fitter
from fourier_runtimes import AdapterSession

AIMS: Final = {"loads_per_second": 2000.0, "memory_over_coefficients": 1.2, "cold_ms": 5.0}
THREADS: Final = 4
BATCH: Final = (1, 16)
PACKAGES: Final = ("numpy", "onnx", "onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", type=int, default=10_000)
    parser.add_argument("--n", type=int, default=1000, help="coefficients a target")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100, help="cold ones, and warm ones")
    parser.add_argument("--tiny", action="store_true", help="a tiny BERT, to try the script")
    parser.add_argument("--work", type=Path, help="a folder for the files, which stay there")
    arguments = parser.parse_args()
    with _folder(arguments.work) as folder:
        if not (folder / "adapter.fft").exists():
            progress("setting up, not timed")
            tiny = ["--tiny"] if arguments.tiny else []
            child(script("minilm_setup.py", folder, "--n", str(arguments.n), *tiny))
        paths = _adapters(folder, arguments.adapters)
        session = _session(folder, paths[0])
        results = {
            "model": "tiny BERT" if arguments.tiny else "all-MiniLM-L6-v2",
            "adapters": len(paths),
            "file_bytes": paths[0].stat().st_size,
            "memory": _memory(session, paths),
            "steps": _steps(session, paths[: max(100, len(paths) // 10)]),
            "loading": _loading(session, paths, arguments.runs),
            "request": _requests(session, paths, arguments.requests),
        }
    finish("many_adapters", results, PACKAGES)


def _folder(work: Path | None) -> contextlib.AbstractContextManager[Path]:
    if work is None:
        return _temporary()
    work.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(work)


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="many-adapters-") as name:
        yield Path(name)


def _adapters(folder: Path, count: int) -> list[Path]:
    """Returns the files: the layout and fingerprints of the one that was made, other numbers."""
    first = fourier_format.load(folder / "adapter.fft")
    paths = [folder / "many" / f"a{number:05}.fft" for number in range(count)]
    paths[0].parent.mkdir(exist_ok=True)
    for number, path in enumerate(paths):
        if not path.exists():
            rng = np.random.default_rng(number)
            sets = tuple(
                replace(s, coefficients=rng.standard_normal(s.coefficients.shape, np.float32))
                for s in first.entry_sets
            )
            path.write_bytes(fourier_format.to_bytes(replace(first, entry_sets=sets)))
    os.sync()
    return paths


def _session(folder: Path, path: Path) -> AdapterSession:
    """Returns a session whose live graph has the layout of `path`, and no adapter."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = AdapterSession(
        folder / "torchscript" / "base.onnx",
        session_options=options,
        source=path.parent,
        adapters=[path],
    )
    session.unload(path.stem)
    return session


def _memory(session: AdapterSession, paths: Sequence[Path]) -> Json:
    progress("memory")
    sizes = [math.prod(bank.layout) * 4 * len(paths) for bank in session.interface.banks]
    coefficients = sum(sizes) / 2**20
    before = settled_mib()
    session.load_all(paths)
    added = settled_mib() - before
    return {
        "coefficients_mib": rounded(coefficients),
        "added_mib": rounded(added),
        "over_coefficients": at_most(added / coefficients, AIMS["memory_over_coefficients"]),
    }


def _steps(session: AdapterSession, paths: Sequence[Path]) -> Json:
    """Time what loading consists of, each alone, in the page cache."""
    fitter, adapter = Fitter(session.interface), fourier_format.load(paths[0])

    def each(step: Callable[[Path], object]) -> None:
        for path in paths:
            step(path)

    jobs: dict[str, Callable[[Path], object]] = {
        "read": Path.read_bytes,
        "load": fourier_format.load,
        "fit": lambda _: fitter.fit(adapter, "adapter"),
    }
    return {
        f"{name}_us": rounded(timed(partial(each, job)).cpu_seconds / len(paths) * 1e6)
        for name, job in jobs.items()
    }


def _loading(session: AdapterSession, paths: Sequence[Path], runs: int) -> Json:
    """Time loading all of them, with the files in the page cache, and dropped from it."""

    def by_threads() -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(session.load, paths))

    jobs: dict[str, Callable[[], object]] = {
        "": partial(session.load_all, paths),
        "_by_threads": by_threads,
    }
    found: dict[str, list[Call]] = {}
    for number, where, (suffix, job) in product(range(runs), ("cached", "dropped"), jobs.items()):
        progress(f"loading, {where}{suffix}, run {number + 1} of {runs}")
        for name in session.names:
            session.unload(name)
        if where == "dropped":
            _drop(paths)
        found.setdefault(where + suffix, []).append(timed(job))
    report: Json = {where: _rates(calls, len(paths)) for where, calls in found.items()}
    return report | {"threads": THREADS}


def _rates(calls: Sequence[Call], count: int) -> Json:
    rates = spread(count / call.seconds for call in calls)
    aim = AIMS["loads_per_second"]
    return {
        "loads_per_second": rates | {"aim": aim, "aim_met": rates["median"] >= aim},
        "loads_per_cpu_second": spread(count / call.cpu_seconds for call in calls),
    }


def _drop(paths: Sequence[Path]) -> None:
    """Have the kernel forget the files' pages, which are clean."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _requests(session: AdapterSession, paths: Sequence[Path], count: int) -> Json:
    """Time requests of one row for adapters that only their files hold, and for loaded ones."""
    progress("requests")
    ids = np.random.default_rng(0).integers(1, 90, BATCH)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    found: dict[str, list[Call]] = {"warm": [], "cold": [], "dropped": []}
    session.run(inputs, paths[0].stem)
    for path in paths[1 : count + 1]:
        for way, calls in found.items():
            if way != "warm":
                session.unload(path.stem)
            if way == "dropped":
                _drop([path])
            calls.append(timed(partial(session.run, inputs, path.stem)))
    report: Json = {
        way: {
            "ms": spread(call.seconds * 1e3 for call in calls),
            "cpu_ms": spread(call.cpu_seconds * 1e3 for call in calls),
        }
        for way, calls in found.items()
    }
    report["cold"]["ms"] |= at_most(report["cold"]["ms"]["median"], AIMS["cold_ms"])
    return report


if __name__ == "__main__":
    main()
