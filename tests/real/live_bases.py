"""Bases that are made live: every kind of graph, what it is fed, and the torch model behind it."""
# ruff: noqa: TID251 -- torch is what live graphs are compared with

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, PreTrainedModel

from tests.real import published
from tests.real.bases import MINILM, llama, llama_2048, llama_generating
from tests.real.cases import example_inputs
from tests.real.dequantised import layer_outputs, layer_weight
from tests.real.exports import Export, Exporter, export
from tests.real.generation import build, rounded_layers, save_checkpoint
from tests.real.rewrites import Job, rewrite
from tests.real.workspace import Array, once

Weights = Mapping[str, Array]
"""What a graph computes with, [out, in], by torch's module, where that is not the checkpoint's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """A graph and the torch model that it was made from."""

    path: Path
    model: Callable[[], PreTrainedModel]
    rounded: Callable[[], Weights] | None = None
    """The weights [out, in] that the graph computes with, where they are not the checkpoint's."""
    outputs: int = 1
    strength: float = 0.05
    """Of adapters that change the outputs by some 10 to 20 %, see ``live_reference.adapters``."""
    given: Callable[[dict[str, Array]], dict[str, Array]] = dict
    """Adds to tokens and mask what else the graph takes."""
    skipped: Sequence[str] = ()
    """Linear modules of the model that the graph lacks."""

    def targets(self) -> dict[str, Array]:
        """Return the weight [out, in] of every linear layer of the graph, by module."""
        return {
            name: module.weight.detach().numpy()
            for name, module in self.model().named_modules()
            if isinstance(module, torch.nn.Linear) and name not in self.skipped
        }


def minilm() -> PreTrainedModel:
    """The real all-MiniLM-L6-v2, its attention written out: what ONNX Runtime's optimizer fuses."""
    model: PreTrainedModel = AutoModel.from_pretrained(MINILM, attn_implementation="eager")
    return model.eval()


def _seeded(make: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return make().eval()


def _llama() -> PreTrainedModel:
    return _seeded(llama)


def _wide() -> PreTrainedModel:
    return _seeded(llama_2048)


def _generating() -> PreTrainedModel:
    return _seeded(llama_generating)


def _exported(
    folder: Path, make: Callable[[], PreTrainedModel], exporter: Exporter, tools: Sequence[str]
) -> Path:
    """Return the model as the exporter and then each of the tools leave it."""
    name = "-".join([make.__name__.strip("_"), exporter, *tools])

    def save(target: Path) -> None:
        model = make()
        if not tools:
            how = Export(exporter=exporter, dynamic=True)
            export(model, example_inputs(model), target / "model.onnx", how)
            return
        source = _exported(folder, make, exporter, tools[:-1])
        inputs = {key: value.numpy() for key, value in example_inputs(model).items()}
        job = Job(source=source, target=target / "model.onnx", config=model.config, inputs=inputs)
        rewrite(tools[-1], job)

    return once(folder / name, save) / "model.onnx"


def _rounded(
    folder: Path, make: Callable[[], PreTrainedModel], exporter: Exporter, tool: str
) -> Weights:
    """Return what a weight-only quantised graph computes with, by asking it."""
    written = layer_outputs(_exported(folder, make, exporter, ()))
    path = _exported(folder, make, exporter, (tool,))
    modules = dict(make().named_modules())
    return {
        name: layer_weight(path, output, modules[name].in_features)
        for name, output in written.items()
        if name in modules
    }


def _published_weights() -> Weights:
    from tests.real.dequantised import table

    modules = dict(minilm().named_modules())
    weights: dict[str, Array] = {
        name: layer_weight(published.MODEL, output, modules[name].in_features)
        for name, output in published.layer_outputs().items()
    }
    for name, output in (("word", "embedding"), ("position", "embedding_2")):
        module = f"embeddings.{name}_embeddings"
        weights[module] = table(published.MODEL, output, modules[module].num_embeddings)
    return weights


def _built(folder: Path, form: str) -> Path:
    """Return the graph that onnxruntime-genai's builder makes."""
    source = once(folder / "checkpoint", partial(save_checkpoint, _generating()))
    return once(folder / f"built-{form}", lambda target: build(source, target, form)) / "model.onnx"


def _built_weights(path: Path) -> Weights:
    return {n: w.numpy() for n, w in rounded_layers(path, _generating().config).items()}


def _empty_cache(tokens: dict[str, Array]) -> dict[str, Array]:
    rows = len(tokens["input_ids"])
    config = _generating().config
    size = config.hidden_size // config.num_attention_heads
    empty = np.zeros((rows, config.num_key_value_heads, 0, size), np.float32)
    return tokens | {
        f"past_key_values.{layer}.{part}": empty
        for layer in range(config.num_hidden_layers)
        for part in ("key", "value")
    }


def base_of(kind: str, folder: Path) -> Base:
    """Return a base by its name, as in ``KINDS``; each is made once."""
    family, exporter, *tools = kind.split(" ")
    make = _MODELS[family]
    minilm_ = 0.12 if make is minilm else 0.05
    if exporter == "published":
        return Base(
            path=published.MODEL,
            model=make,
            rounded=_published_weights,
            given=published.inputs,
            skipped=("pooler.dense",),
            strength=minilm_,
        )
    if family == "built":
        path = _built(folder, exporter)
        int4 = partial(_built_weights, path) if exporter != "fp32" else None
        return Base(path=path, model=make, rounded=int4, given=_empty_cache)
    how: Exporter = "dynamo" if exporter == "dynamo" else "torchscript"
    blocks = bool(tools) and tools[-1].startswith("int4")
    return Base(
        path=_exported(folder, make, how, tools),
        model=make,
        rounded=partial(_rounded, folder, make, how, tools[-1]) if blocks else None,
        outputs=2 if make is minilm else 1,
        # Its tanh is in one node with it then.
        skipped=("pooler.dense",) if "ort-all" in tools else (),
        strength=minilm_,
    )


_MODELS = {"minilm": minilm, "llama": _llama, "wide": _wide, "built": _generating}
KINDS = (
    "minilm torchscript",
    "minilm dynamo",
    "minilm torchscript fused",
    "minilm dynamo ort-all",
    "minilm torchscript int4",
    "minilm published",
    "llama dynamo",
    "llama torchscript",
    "llama dynamo int4-asymmetric",
    "built fp32",
    "built int4",
)
"""Those of which torch computes the same, with the weights that they have."""
HALF = "minilm torchscript fused-float16"
ROUNDING = ("minilm dynamo dynamic-per-channel", "minilm torchscript dynamic-per-channel")
"""int8, activations rounded by the largest of the whole batch: no row is independent of others."""
WIDE = "wide dynamo"
"""One layer as wide as Llama-3.2-1B."""
