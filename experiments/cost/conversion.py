"""Measures the way from an adapter to the ONNX model that is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

import fourier_format
from experiments.cost.benches import forms_graphs, serve_lora
from experiments.cost.timing import Job, in_turn
from experiments.trial import Context, Json
from fourier_converters.onnx import to_onnx
from fourier_format.adapter import Adapter

Delta = Callable[[], NDArray[np.float32]]
Deltas = Mapping[str, Delta]
"""Target -> what computes its delta weight, (in, out), as a graph stores a weight."""


def measured(
    width: int, sizes: Sequence[int], ranks: Sequence[int], rounds: int, context: Context
) -> Json:
    """Returns seconds of a delta weight, of merging two into a graph, and of the converter.

    `delta` is one weight's. `merge` is the same for all: two deltas, computed and added to the
    weights of a graph in memory. `convert` is the whole of fourier-convert, from an adapter in
    memory to a file on disk with every check; for LoRA there is none.
    """
    base, merged = context.folder / "base.onnx", context.folder / "merged.onnx"
    base.write_bytes(forms_graphs.pair("base", width, 1))
    model = onnx.load(base)
    adapters = {n: forms_graphs.adapter_of(width, n) for n in sizes}
    works: dict[tuple[str, int], Deltas] = {
        **{("fourier", n): fourier_deltas(adapter) for n, adapter in adapters.items()},
        **{("lora", rank): lora_deltas(adapters[sizes[0]], rank) for rank in ranks},
    }
    jobs: dict[str, Job] = {}
    for (kind, size), deltas in works.items():
        jobs[f"{kind} {size} delta"] = next(iter(deltas.values()))
        jobs[f"{kind} {size} merge"] = _merging(model, deltas)
    for n, adapter in adapters.items():
        jobs[f"fourier {n} convert"] = _converting(adapter, base, merged)
    checkpoint = context.folder / "rounds.json"
    seconds = in_turn(jobs, rounds, checkpoint, context.step)
    result: Json = {"jobs": [_described(name, found) for name, found in seconds.items()]}
    to_onnx(adapters[sizes[0]], base, merged, overwrite=True)
    result |= {"base_bytes": base.stat().st_size, "merged_bytes": merged.stat().st_size}
    result["same_nodes"] = onnx.load(merged).graph.node == model.graph.node
    for path in (base, merged, checkpoint):
        path.unlink()
    return result


def fourier_deltas(adapter: Adapter) -> dict[str, Delta]:
    """Returns what computes alpha Re(IDFT2) of each target."""

    def of(name: str) -> Delta:
        return lambda: fourier_format.delta_weight(adapter, name).T

    return {target.name: of(target.name) for target in adapter.targets}


def lora_deltas(adapter: Adapter, rank: int) -> dict[str, Delta]:
    """Returns what computes A B of each target of `adapter`, random factors of a rank."""
    factors = serve_lora.factors(adapter, 0, rank)

    def of(name: str) -> Delta:
        first, second = (factors[key] for key in serve_lora.names(name))
        return lambda: np.dot(first, second)  # a product of rank 1 is a slow loop by @

    return {target.name: of(target.name) for target in adapter.targets}


def merge(model: onnx.ModelProto, deltas: Deltas) -> None:
    """Add the delta weights to the initializers NAME.weight of a graph."""
    for tensor in model.graph.initializer:
        name = tensor.name.removesuffix(".weight")
        if name in deltas and name != tensor.name:
            weight = np.frombuffer(tensor.raw_data, np.float32).reshape(tensor.dims)
            tensor.raw_data = (weight + deltas[name]()).tobytes()


def _merging(model: onnx.ModelProto, deltas: Deltas) -> Job:
    return lambda: merge(model, deltas)


def _converting(adapter: Adapter, base: Path, merged: Path) -> Job:
    return lambda: to_onnx(adapter, base, merged, overwrite=True)


def _described(name: str, seconds: list[float]) -> Json:
    kind, size, job = name.split()
    return {"kind": kind, "size": int(size), "job": job, "seconds": seconds}
