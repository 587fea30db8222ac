"""Ways to a session with one adapter, measured for `serve.py`: opening, merging, activating."""

from __future__ import annotations

import gc
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
from measure import Call, Json, timed
from serve_arms import Setup, adapters_of, options_of, session_of

from fourier_converters.onnx import merge_at_load
from fourier_runtimes.activating import MergedSessions
from fourier_runtimes.optimised import optimised

_CACHED_CALLS = 1000


def openings(setup: Setup, runs: int) -> Json:
    """Time them in turn, another adapter at each call; nothing is run.

    The first call of each is left out, but for the first activation's, which prepares the base.
    """
    with tempfile.TemporaryDirectory(prefix="serve-activated-") as folder:
        return _openings(setup, runs, Path(folder))


def _openings(setup: Setup, runs: int, cache: Path) -> Json:
    base = setup.files.base
    adapters = adapters_of(setup, max(setup.sizes), runs + 1)
    options = partial(options_of, setup.threads)
    merged = MergedSessions(base, providers=setup.providers, options=options, cache=cache)

    def activate(number: int) -> None:
        merged.activate(str(number), adapters[number])
        merged.wait(str(number))

    def at_load(number: int) -> Any:
        made = merge_at_load(adapters[number], base, options())
        return onnxruntime.InferenceSession(made.model, made.options, providers=setup.providers)

    first = timed(lambda: activate(0))
    kept = optimised(base, setup.providers, cache).path
    jobs = {
        "open_base": lambda _: session_of(base, setup),
        "open_optimised_base": lambda _: _without_optimising(setup.files.optimised(base), setup),
        "open_base_kept_by_activation": lambda _: _without_optimising(kept, setup),
        "merge_at_load": at_load,
        "activate": activate,
    }
    calls: dict[str, list[Call]] = {name: [] for name in jobs} | {"activate_first": [first]}
    for number in range(runs + 1):
        for name, job in jobs.items():
            gc.collect()
            call = timed(partial(job, number))
            if number:
                calls[name].append(call)
    calls["activate_cached"] = [_cached(merged, adapters[-1], runs) for _ in range(runs)]
    merged.close()
    return {"calls": calls}


def _without_optimising(path: Path, setup: Setup) -> Any:
    options = options_of(setup.threads)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=setup.providers)


def _cached(merged: MergedSessions, adapter: Any, number: int) -> Call:
    """Activating what is there, and its session."""

    def calls() -> None:
        for _ in range(_CACHED_CALLS):
            merged.activate(str(number), adapter)
            assert merged.session_for(str(number)) is not None

    whole = timed(calls)
    return Call(whole.seconds / _CACHED_CALLS, whole.cpu_seconds / _CACHED_CALLS)
