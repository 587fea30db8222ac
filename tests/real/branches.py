"""What the branches beside quantised weights compute, asked of the merged graph itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.real.checks import compare

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """One branch in one run: ``term`` should be ``x`` times ``weight`` (in, out)."""

    x: Array
    weight: Array
    term: Array


def branches_of(path: Path, inputs: Mapping[str, Array]) -> list[Computed]:
    """Run the model with the ends of every branch among its outputs."""
    model = onnx.load(path)
    found = list(_branches(model))
    shown = sorted({name for x, _, term in found for name in (x, term)})
    outputs = [output.name for output in model.graph.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in shown)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [*outputs, *shown]
    values = dict(zip(names, session.run(names, dict(inputs)), strict=True))
    return [Computed(values[x], weight, values[term]) for x, weight, term in found]


def _branches(model: onnx.ModelProto) -> Iterator[tuple[str, Array, str]]:
    """Yield the names of x and of the term, and the weight between, multiplied out if need be."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if ".branch" not in node.name or node.op_type != "MatMul":
            continue
        weight, before = stored[node.input[1]], producers.get(node.input[0])
        if ".spectrum" in node.output[0]:
            continue
        if before is None or before.op_type != "Mul" or before.input[1] not in stored:
            yield node.input[0], weight, node.output[0]
            continue
        inside = producers[before.input[0]]
        waves = stored[inside.input[1]].astype(np.float64) * stored[before.input[1]]
        yield inside.input[0], waves @ weight.astype(np.float64), node.output[0]


def nearest(weight: Array, deltas: Mapping[str, Array]) -> str:
    """Name the delta (out, in) that ``weight`` (in, out) comes nearest to."""
    alike = {name: delta for name, delta in deltas.items() if delta.T.shape == weight.shape}
    return min(alike, key=lambda name: compare(alike[name].T, weight))
