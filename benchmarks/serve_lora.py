"""The peer of `serve.py`: a LoRA beside each target of an ONNX base, as Olive makes it.

A and B are inputs of the graph that are initializers, too, of rank 0: nothing given is the base.
ONNX Runtime's LoraAdapter gives them, one pair a target for all rows of a Run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from serve_cases import RANK

from fourier_converters.onnx import explain
from fourier_format.adapter import Adapter

Factors = dict[str, NDArray[np.float32]]
_SCALE: Final = 0.05
"""Of random factors' product: about as much as an adapter of these cases changes a weight."""


def names(target: str) -> tuple[str, str]:
    """What Olive calls a target's inputs."""
    return f"{target}.lora_A.weight", f"{target}.lora_B.weight"


def add_lora(base: Path, adapter: Adapter, output: Path) -> None:
    """Write `base` with a LoRA beside each of the adapter's targets; its data stays where it is."""
    model = onnx.load(base, load_external_data=False)
    graph = model.graph
    nodes = {node.name: node for node in graph.node}
    found = explain(adapter, base)["targets"]
    for target in adapter.targets:
        _add(graph, nodes[found[target.name]["node"]], target.name, target.shape)
    onnx.save(model, output)


def _add(graph: Any, product: Any, target: str, shape: tuple[int, int]) -> None:
    """Add the branch behind the bias, as PEFT adds it to what the whole layer gives."""
    last = _with_bias(graph, product)
    whole = last.output[0]
    last.output[0] = f"{target}.base"
    rank = f"{target}.rank"
    first, second = names(target)
    for name, empty, free in (
        (first, (shape[1], 0), (shape[1], rank)),
        (second, (0, shape[0]), (rank, shape[0])),
    ):
        graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(empty, np.float32), name))
        kind = onnx.TensorProto.FLOAT
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, free))
    node = onnx.helper.make_node
    branch = [
        node("MatMul", [product.input[0], first], [f"{target}.low"], f"{target}.lora_A/MatMul"),
        node("MatMul", [f"{target}.low", second], [f"{target}.up"], f"{target}.lora_B/MatMul"),
        node("Add", [f"{target}.base", f"{target}.up"], [whole], f"{target}.lora/Add"),
    ]
    place = list(graph.node).index(last) + 1
    for offset, made in enumerate(branch):
        graph.node.insert(place + offset, made)


def _with_bias(graph: Any, product: Any) -> Any:
    """The node that gives a layer's output: the bias's sum, or the product itself."""
    readers = [node for node in graph.node if product.output[0] in node.input]
    constants = {tensor.name for tensor in graph.initializer}
    if len(readers) == 1 and readers[0].op_type == "Add" and constants & {*readers[0].input}:
        return readers[0]
    return product


def factors(adapter: Adapter, seed: int, rank: int = RANK) -> Factors:
    """Random A [in, rank] and B [rank, out] for each target, B with the scale in it."""
    random = np.random.default_rng(seed)
    made: Factors = {}
    for target in adapter.targets:
        out, fed = target.shape
        first, second = names(target.name)
        size = _SCALE / np.sqrt(rank)
        made[first] = random.standard_normal((fed, rank), np.float32) / np.float32(np.sqrt(fed))
        made[second] = random.standard_normal((rank, out), np.float32) * np.float32(size)
    return made


def save(made: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Write the factors as an .onnx_adapter."""
    import onnxruntime

    form = onnxruntime.AdapterFormat()
    form.set_adapter_version(1)
    form.set_model_version(1)
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    form.set_parameters({name: value(array) for name, array in made.items()})
    form.export_adapter(str(path))


def opened(made: Iterator[Factors], folder: Path) -> list[Any]:
    """ONNX Runtime's LoraAdapters of the factors, which it reads from files."""
    import onnxruntime

    adapters = []
    for number, one in enumerate(made):
        path = folder / f"{number}.onnx_adapter"
        save(one, path)
        adapter = onnxruntime.LoraAdapter()
        adapter.Load(str(path))
        adapters.append(adapter)
    return adapters
