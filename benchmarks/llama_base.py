"""A synthetic ONNX base with LLaMA-2-7B's shapes in float16, and an adapter for it.

    python llama_base.py make FOLDER [--layers 32] [--width 4096] [--vocabulary 32000]
                                     [--shards 1] [--n 1000]
    python llama_base.py deltas ADAPTER --dtype float64

`make` writes FOLDER/base/model.onnx with its data beside it, and FOLDER/adapter.fft, for q and v,
with the base's fingerprints. Nodes have the paths that the TorchScript exporter gives them, weights
are anonymous and stored (in, out), as it leaves them. The layers are simpler than a Llama's: they
have its matrices, but neither heads nor norms. `deltas` prints how long all delta weights take.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

import fourier_format
from fourier_format import Adapter, EntrySet, Sampling, Target, sampling
from fourier_format.adapter import Array
from fourier_format.fingerprint import fingerprint, stack

ADAPTED: Final = ("q_proj", "v_proj")
_SEED: Final = 2024
_ALPHA: Final = 300.0
_SPREAD: Final = 0.02
_BLOCK: Final = 4_194_301
"""Values drawn, a prime; each tensor repeats them from a place of its own."""
_STRIDE: Final = 1_299_709
_ALIGNMENT: Final = 4096


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of a model; those of LLaMA-2-7B where nothing is said."""

    layers: int = 32
    width: int = 4096
    vocabulary: int = 32_000
    shards: int = 1

    @property
    def inner(self) -> int:
        """The width inside the MLP."""
        return self.width * 11_008 // 4096

    def weights(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yields name and stored shape of every weight, in the order of the files."""
        width, inner = self.width, self.inner
        yield "model.embed_tokens.weight", (self.vocabulary, width)
        for layer in range(self.layers):
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                yield weight_name(layer, name), (width, width)
            yield weight_name(layer, "gate_proj"), (width, inner)
            yield weight_name(layer, "up_proj"), (width, inner)
            yield weight_name(layer, "down_proj"), (inner, width)
        yield "onnx::MatMul_1", (width, self.vocabulary)


def weight_name(layer: int, module: str) -> str:
    """The anonymous name of a layer's weight: TorchScript numbers them."""
    modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    return f"onnx::MatMul_{1000 + 10 * layer + modules.index(module)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("folder", type=Path)
    make.add_argument("--n", type=int, default=1000)
    for name in ("layers", "width", "vocabulary", "shards"):
        make.add_argument(f"--{name}", type=int, default=getattr(Layout(), name))
    deltas = commands.add_parser("deltas")
    deltas.add_argument("adapter", type=Path)
    deltas.add_argument("--dtype", choices=("float32", "float64"), required=True)
    arguments = parser.parse_args()
    if arguments.command == "deltas":
        print(json.dumps({"seconds": _deltas(arguments.adapter, arguments.dtype)}))
        return
    layout = Layout(arguments.layers, arguments.width, arguments.vocabulary, arguments.shards)
    (arguments.folder / "base").mkdir(parents=True)
    model = write_base(arguments.folder / "base", layout)
    fourier_format.save(make_adapter(model, layout, arguments.n), arguments.folder / "adapter.fft")


def write_base(folder: Path, layout: Layout) -> Path:
    """Write the model into `folder`; a block of values is all that is in memory.

    Returns:
        The .onnx file.
    """
    rng = np.random.default_rng(_SEED)
    block = (rng.standard_normal(_BLOCK, np.float32) * np.float32(_SPREAD)).astype(np.float16)
    weights = list(layout.weights())
    per_shard = -(-len(weights) // layout.shards)
    tensors = []
    for shard in range(layout.shards):
        mine = weights[shard * per_shard : (shard + 1) * per_shard]
        name = "model.onnx.data" if layout.shards == 1 else f"model-{shard:05d}.data"
        with (folder / name).open("wb") as file:
            for number, (weight, shape) in enumerate(mine, shard * per_shard):
                file.seek(-(-file.tell() // _ALIGNMENT) * _ALIGNMENT)
                tensors.append(_tensor(weight, shape, name, file.tell()))
                _write(file, block, number * _STRIDE % _BLOCK, shape[0] * shape[1])
    path = folder / "model.onnx"
    path.write_bytes(_model(layout, tensors).SerializeToString())
    return path


def make_adapter(model: Path, layout: Layout, n: int) -> Adapter:
    """Returns an adapter for q and v with the fingerprints of the model's weights."""
    places = {t.name: t for t in onnx.load(model, load_external_data=False).graph.initializer}
    names, prints = [], []
    for layer in range(layout.layers):
        for module in ADAPTED:
            names.append(f"model.layers.{layer}.self_attn.{module}")
            stored = _stored(model.parent, places[weight_name(layer, module)])
            prints.append(fingerprint(np.ascontiguousarray(stored.T), names[-1]))
    shape = (layout.width, layout.width)
    recipe = Sampling(method="torch-randperm", generator=sampling.torch_generator(shape))
    coefficients = np.random.default_rng(1).standard_normal((len(names), n), np.float32)
    entry_set = EntrySet(
        id="qv",
        shape=shape,
        entries=sampling.draw(shape, n, recipe, _SEED),
        coefficients=coefficients,
        sampling=recipe,
        fingerprints=stack(prints),
    )
    targets = (
        Target(name=name, kind="linear", shape=shape, entries="qv", row=row)
        for row, name in enumerate(names)
    )
    return Adapter(alpha=_ALPHA, seed=_SEED, entry_sets=(entry_set,), targets=tuple(targets))


def _deltas(path: Path, dtype: str) -> float:
    """Returns the seconds that all delta weights take, one after the other, none of them kept."""
    adapter = fourier_format.load(path)
    start = time.perf_counter()
    for target in adapter.targets:
        fourier_format.delta_weight(adapter, target, dtype)
    return time.perf_counter() - start


def _write(file: IO[bytes], block: Array, first: int, count: int) -> None:
    while count:
        part = block[first : first + count]
        file.write(part.data)
        count -= part.size
        first = 0


def _stored(folder: Path, tensor: Any) -> Array:
    """Returns a weight as it lies in its file, (in, out) float16, mapped."""
    place = {entry.key: entry.value for entry in tensor.external_data}
    return np.memmap(
        folder / place["location"], "<f2", "r", int(place["offset"]), tuple(tensor.dims)
    )


def _tensor(name: str, shape: tuple[int, int], location: str, offset: int) -> Any:
    tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT16)
    tensor.data_location = TensorProto.EXTERNAL
    fields = {"location": location, "offset": offset, "length": 2 * shape[0] * shape[1]}
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _model(layout: Layout, tensors: list[Any]) -> Any:
    """Returns the graph: token numbers in, scores of every token out."""
    nodes = [helper.make_node("Gather", ["model.embed_tokens.weight", "ids"], ["h0"], "/embed")]
    for layer in range(layout.layers):
        nodes += _layer(layer)
    hidden = f"h{layout.layers}"
    nodes.append(
        helper.make_node("MatMul", [hidden, "onnx::MatMul_1"], ["logits"], "/lm_head/MatMul")
    )
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["tokens"])
    logits = helper.make_tensor_value_info(
        "logits", TensorProto.FLOAT16, ["tokens", layout.vocabulary]
    )
    graph = helper.make_graph(nodes, "llama", [ids], [logits], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _layer(layer: int) -> Iterator[Any]:
    """Yields one layer: h += o(tanh(q + k) * v), then h += down(tanh(gate) * up)."""
    path = f"/model/layers.{layer}"

    def linear(block: str, module: str, value: str) -> Any:
        inputs = [f"{path}/{value}", weight_name(layer, module)]
        where = f"{path}/{block}/{module}"
        return helper.make_node("MatMul", inputs, [f"{path}/{module}"], f"{where}/MatMul")

    def step(operator: str, inputs: tuple[str, ...], output: str) -> Any:
        names = [f"{path}/{value}" for value in inputs]
        return helper.make_node(operator, names, [f"{path}/{output}"], f"{path}/{output}")

    yield helper.make_node("Identity", [f"h{layer}"], [f"{path}/in"], f"{path}/in")
    for module in ("q_proj", "k_proj", "v_proj"):
        yield linear("self_attn", module, "in")
    yield step("Add", ("q_proj", "k_proj"), "scores")
    yield step("Tanh", ("scores",), "weights")
    yield step("Mul", ("weights", "v_proj"), "mixed")
    yield linear("self_attn", "o_proj", "mixed")
    yield step("Add", ("in", "o_proj"), "middle")
    yield linear("mlp", "gate_proj", "middle")
    yield linear("mlp", "up_proj", "middle")
    yield step("Tanh", ("gate_proj",), "gate")
    yield step("Mul", ("gate", "up_proj"), "inner")
    yield linear("mlp", "down_proj", "inner")
    yield helper.make_node(
        "Add", [f"{path}/middle", f"{path}/down_proj"], [f"h{layer + 1}"], f"{path}/out"
    )


if __name__ == "__main__":
    main()
