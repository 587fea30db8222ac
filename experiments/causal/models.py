"""Pretrained decoders: where they are, which of their weights are adapted, their tokens.

"smollm2" is SmolLM2-135M-Instruct of its package, "smollm2:4" its first four layers, "toy" that of
toys.py; a name of unlearned.SHAPES has random weights; anything else is a folder in that of
--models, a path, or a name of the hub.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments import pretrained as models
from experiments.causal import toys
from experiments.causal.unlearned import SHAPES, unlearned
from experiments.locking import folder_once
from experiments.pretrained import pretrained, quiet, smollm2

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_ADAPTED = ("q_proj", "v_proj", "q", "v")


def located(name: str, shared: Path) -> str:
    """Returns what transformers loads: of SmolLM2 or a toy a checkpoint in `shared`, written once.

    A folder of this name in that of --models comes first.

    Raises:
        SystemExit: The package of SmolLM2, or what reads its file, is not installed.
    """
    given = models.located(name)
    model, _, kept = name.partition(":")
    if given != name or model not in {"smollm2", "toy"}:
        return given
    folder = shared / "models" / name.replace(":", "-")
    with folder_once(folder) as partial:
        if partial is not None and model == "toy":
            toys.write(partial)
        elif partial is not None:
            _expand(partial, int(kept or 0))
    return str(folder)


def identity(name: str, shared: Path) -> str:
    """Returns what names that which is computed once of a model."""
    return models.identity(located(name, shared))


def kind(name: str, shared: Path) -> str:
    """Returns what transformers calls the model's kind: "llama", "gpt2"."""
    from transformers import AutoConfig

    return str(_read(AutoConfig, name, shared).model_type)


def width(name: str, shared: Path) -> int:
    """Returns how many numbers a state of the model has."""
    from transformers import AutoConfig

    return int(_read(AutoConfig, name, shared).hidden_size)


def new_model(name: str, shared: Path, *, bits: int = 32, precision: str = "float32") -> nn.Module:
    """Returns the model in eval mode: float32, or 4 `bits` by bitsandbytes (NF4).

    It has no dropout of its own, as where LoRA's paper trains (github.com/microsoft/LoRA,
    examples/NLG/src/model.py). 4-bit weights are multiplied in `precision`, "float32" or
    "bfloat16".

    Raises:
        SystemExit: There is no such model.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if name in SHAPES:
        return unlearned(name, bits, precision)
    more: dict[str, Any] = {"dtype": torch.float32}
    if bits == 4:
        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=getattr(torch, precision),
        )
    model: nn.Module = _read(AutoModelForCausalLM, name, shared, **more)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    _divide(model)
    return model.eval()


def new_tokenizer(name: str, shared: Path) -> Any:
    """Returns the model's tokenizer.

    Raises:
        SystemExit: There is no such model.
    """
    from transformers import AutoTokenizer

    if name in SHAPES:
        return toys.byte_tokenizer()
    return _read(AutoTokenizer, name, shared)


def _read(reader: Any, name: str, shared: Path, **more: Any) -> Any:
    return pretrained(reader, located(name, shared), **more)


def layers(model: nn.Module) -> nn.ModuleList:
    """Returns the decoder's layers, from the lowest."""
    decoder: Any = model.base_model
    found = decoder.layers if hasattr(decoder, "layers") else decoder.h  # Llama's, GPT-2's
    assert isinstance(found, nn.ModuleList)
    return found


def targets(model: nn.Module, trained: int) -> list[str]:
    """Returns the names of query and value of the last `trained` layers; 0: of all."""
    chosen = layers(model)[-trained:] if trained else layers(model)
    wanted = {id(module) for layer in chosen for module in layer.modules()}
    return [
        name
        for name, module in model.named_modules()
        if id(module) in wanted
        and isinstance(module, nn.Linear)
        and name.rsplit(".", maxsplit=1)[-1] in _ADAPTED
    ]


def _expand(folder: Path, kept: int) -> None:
    """Write SmolLM2, 4-bit values expanded to float32, with its first `kept` layers; 0: all."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source = smollm2()
    if importlib.util.find_spec("gguf") is None:
        raise SystemExit("SmolLM2's file is GGUF, which transformers reads with: pip install gguf")
    with quiet():
        read = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF, dtype=torch.float32)
        settings = read.config.to_dict()
        del settings["quantization_config"]  # a model that came from GGUF refuses to be saved
        if kept:
            settings["num_hidden_layers"] = kept
        model = LlamaForCausalLM(LlamaConfig(**settings))
        wanted = model.state_dict().keys()
        model.load_state_dict({key: read.state_dict()[key] for key in wanted})
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source, gguf_file=_GGUF).save_pretrained(folder)


def _divide(model: nn.Module) -> None:
    """Divide GPT-2's c_attn into query, key and value: the paper adapts the first and the last."""
    for module in list(model.modules()):
        packed = getattr(module, "c_attn", None)
        if packed is not None:
            module.c_attn = _Divided(packed)


class _Divided(nn.Module):
    """What a Conv1D of query, key and value computes, in three layers."""

    def __init__(self, packed: Any) -> None:
        super().__init__()
        for name, weight, bias in zip(
            "qkv", packed.weight.chunk(3, 1), packed.bias.chunk(3), strict=True
        ):
            layer = nn.Linear(weight.shape[0], weight.shape[1])
            layer.weight = nn.Parameter(weight.detach().T.contiguous())
            layer.bias = nn.Parameter(bias.detach().clone())
            self.add_module(name, layer)

    def forward(self, states: Tensor) -> Tensor:
        return torch.cat([layer(states) for layer in self.children()], -1)
