"""Llamas of random weights in a large model's shape: they say nothing, but cost what that costs.

Weights of equal shape are equal, so that a model of 7 billion is made in seconds.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

SHAPES: dict[str, dict[str, int]] = {
    "random llama-2-7b": {  # meta-llama/Llama-2-7b-hf, config.json
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "random toy": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 300,
    },
}
"""Name -> the shape, of transformers.LlamaConfig. Its tokens are bytes."""

_SPREAD = 0.02
_LARGE = 4096


def refuse_on_cpu(name: str, device: str) -> None:
    """Refuse to train a large one where it would take days.

    Raises:
        SystemExit: It is large, and the device is "cpu".
    """
    if device == "cpu" and SHAPES[name]["hidden_size"] >= _LARGE:
        raise SystemExit(f"{name} is measured on a GPU alone: give --device cuda")


def unlearned(name: str, bits: int, precision: str) -> nn.Module:
    """Returns the model in eval mode: float32, its layers' weights of 4 `bits` (NF4) or of 32."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(**SHAPES[name])
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config)
    model.model.rotary_emb = LlamaRotaryEmbedding(config)  # its tables are computed, not drawn
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if bits == 4:
            _quantise(model.model.layers, getattr(torch, precision))
            model.is_loaded_in_4bit = True  # PEFT asks for it
        for module in model.modules():
            for key, value in module.named_parameters(recurse=False):
                if value.is_meta:
                    drawn = torch.empty(value.shape).normal_(0, _SPREAD)
                    drawn = drawn if value.ndim > 1 else torch.ones(value.shape)
                    module.register_parameter(key, nn.Parameter(drawn))
    model.requires_grad_(False)
    found: nn.Module = model.eval()
    return found


def _quantise(layers: nn.Module, dtype: torch.dtype) -> None:
    """Put a 4-bit layer of random weights in place of each linear one."""
    made: dict[tuple[int, int], nn.Module] = {}
    for parent in list(layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                shape = child.in_features, child.out_features
                if shape not in made:
                    made[shape] = _quantised(*shape, dtype)
                parent.register_module(name, copy.deepcopy(made[shape]))


def _quantised(inputs: int, outputs: int, dtype: torch.dtype) -> nn.Module:
    import bitsandbytes

    layer: nn.Module = bitsandbytes.nn.Linear4bit(
        inputs,
        outputs,
        bias=False,
        compute_dtype=dtype,
        compress_statistics=False,
        quant_type="nf4",
    )
    nn.init.normal_(layer.weight, 0, _SPREAD)  # type: ignore[arg-type]  # a layer's weight is a tensor
    return layer.to("cpu")  # it is quantised as it is moved
