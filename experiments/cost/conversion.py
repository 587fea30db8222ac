"""Measures the way from an adapter to the ONNX model that is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from experiments.cost.benches import forms_graphs, serve_lora
from experiments.cost.timing import Job, in_turn
from experiments.trial import Context, Json
from fourier_converters.onnx import to_onnx
from fourier_format.adapter import Adapter, Target
from fourier_format.transforms import rows_of
from fourier_format.transforms.rows import whole

Array = NDArray[Any]
Delta = Callable[[], Array]
Deltas = Mapping[str, Delta]
"""Target -> what computes its delta weight, (in, out) float32, as a graph stores a weight."""


def measured(
    width: int, sizes: Sequence[int], ranks: Sequence[int], rounds: int, context: Context
) -> Json:
    """Returns seconds of a delta weight, of merging two, and of the converter.

    `delta` is one weight's. `merge` is the same for all: two deltas, computed and added to two
    weights, into arrays that are there: no graph, no file, no check. `convert` is the whole of
    fourier-convert, from an adapter in memory to a file on disk with every check; for LoRA there
    is none.
    """
    base, merged = context.folder / "base.onnx", context.folder / "merged.onnx"
    base.write_bytes(forms_graphs.pair("base", width, 1))
    model = onnx.load(base)
    weights = weights_of(model)
    adapters = {n: forms_graphs.adapter_of(width, n) for n in sizes}
    works: dict[tuple[str, int], Deltas] = {
        **{("fourier", n): fourier_deltas(adapter) for n, adapter in adapters.items()},
        **{("lora", rank): lora_deltas(adapters[sizes[0]], rank) for rank in ranks},
    }
    jobs: dict[str, Job] = {}
    for (kind, size), deltas in works.items():
        jobs[f"{kind} {size} delta"] = next(iter(deltas.values()))
        jobs[f"{kind} {size} merge"] = _merging(weights, deltas)
    for n, adapter in adapters.items():
        jobs[f"fourier {n} convert"] = _converting(adapter, base, merged)
    checkpoint = context.folder / "rounds.json"
    timed = in_turn(jobs, rounds, checkpoint, context.step)
    described = [_described(name, found) for name, found in timed.seconds.items()]
    result: Json = {"jobs": described, **timed.around}
    to_onnx(adapters[sizes[0]], base, merged, overwrite=True)
    result |= {"base_bytes": base.stat().st_size, "merged_bytes": merged.stat().st_size}
    result["same_nodes"] = onnx.load(merged).graph.node == model.graph.node
    for path in (base, merged, checkpoint):
        path.unlink()
    return result


def fourier_deltas(adapter: Adapter) -> dict[str, Delta]:
    """Returns what computes alpha Re(IDFT2) of each target, turned as the ONNX converter does."""

    def of(target: Target) -> Delta:
        return lambda: whole(rows_of(adapter, target, np.float32, turned=True), np.float32)

    return {target.name: of(target) for target in adapter.targets}


def lora_deltas(adapter: Adapter, rank: int) -> dict[str, Delta]:
    """Returns what computes A B of each target of `adapter`, random factors of a rank."""
    factors = serve_lora.factors(adapter, 0, rank)

    def of(name: str) -> Delta:
        first, second = (factors[key] for key in serve_lora.names(name))
        return lambda: np.dot(first, second)  # a product of rank 1 is a slow loop by @

    return {target.name: of(target.name) for target in adapter.targets}


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    """Returns the weights NAME.weight of a graph's targets, (in, out), by target."""
    return {
        tensor.name.removesuffix(".weight"): onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.removesuffix(".weight") in forms_graphs.TARGETS
    }


def merge(weights: Mapping[str, Array], deltas: Deltas, merged: Mapping[str, Array]) -> None:
    """Write the sum of each target's weight and delta weight to its array of `merged`."""
    for name, delta in deltas.items():
        np.add(weights[name], delta(), out=merged[name])


def _merging(weights: Mapping[str, Array], deltas: Deltas) -> Job:
    merged = {name: np.zeros_like(weight) for name, weight in weights.items()}
    return lambda: merge(weights, deltas, merged)


def _converting(adapter: Adapter, base: Path, merged: Path) -> Job:
    return lambda: to_onnx(adapter, base, merged, overwrite=True)


def _described(name: str, seconds: list[float]) -> Json:
    kind, size, job = name.split()
    return {"kind": kind, "size": int(size), "job": job, "seconds": seconds}
