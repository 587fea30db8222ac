"""BERT-like and Llama-like encoders in plain torch, and a plain LoRA, with transformers' names.

`train_step.py` uses them where transformers and PEFT are not installed. They have the shapes and
the operations that cost time; what tells a model's quality, and not its speed, is left out.
"""
# ruff: noqa: TID251 -- the models that are trained

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own habit
from torch import Tensor, nn


class BertAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.dense = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor) -> Tensor:
        query, key, value = (
            _split(layer(states), self.heads) for layer in (self.query, self.key, self.value)
        )
        mixed: Tensor = self.dense(_joined(F.scaled_dot_product_attention(query, key, value)))
        return _of(self.norm(states + mixed))


class BertLayer(nn.Module):
    def __init__(self, width: int, feedforward: int, heads: int) -> None:
        super().__init__()
        self.attention = BertAttention(width, heads)
        self.intermediate = nn.Linear(width, feedforward)
        self.output = nn.Linear(feedforward, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor) -> Tensor:
        states = self.attention(states)
        return _of(self.norm(states + self.output(F.gelu(self.intermediate(states)))))


class BertEmbeddings(nn.Module):
    def __init__(self, vocabulary: int, width: int, positions: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, input_ids: Tensor) -> Tensor:
        states = self.words(input_ids) + self.positions.weight[: input_ids.shape[1]]
        return _of(self.norm(states))


class Bert(nn.Module):
    def __init__(
        self, vocabulary: int, width: int, feedforward: int, layers: int, heads: int, positions: int
    ) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(vocabulary, width, positions)
        self.layer = nn.ModuleList(BertLayer(width, feedforward, heads) for _ in range(layers))

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:
        states = self.embeddings(input_ids)
        for layer in self.layer:
            states = layer(states)
        return (states,)


class LlamaAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def forward(self, states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        query, key, value = (
            _split(layer(states), self.heads) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = (_rotated(part, cosines, sines) for part in (query, key))
        return _of(
            self.o_proj(_joined(F.scaled_dot_product_attention(query, key, value, is_causal=True)))
        )


class LlamaFeedforward(nn.Module):
    def __init__(self, width: int, feedforward: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, feedforward, bias=False)
        self.up_proj = nn.Linear(width, feedforward, bias=False)
        self.down_proj = nn.Linear(feedforward, width, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        return _of(self.down_proj(F.silu(self.gate_proj(states)) * self.up_proj(states)))


class LlamaLayer(nn.Module):
    def __init__(self, width: int, feedforward: int, heads: int) -> None:
        super().__init__()
        self.self_attn = LlamaAttention(width, heads)
        self.mlp = LlamaFeedforward(width, feedforward)
        self.input_norm = nn.RMSNorm(width, eps=1e-6)
        self.post_norm = nn.RMSNorm(width, eps=1e-6)

    def forward(self, states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        states = states + self.self_attn(self.input_norm(states), cosines, sines)
        return _of(states + self.mlp(self.post_norm(states)))


class Llama(nn.Module):
    cosines: Tensor
    sines: Tensor

    def __init__(
        self, vocabulary: int, width: int, feedforward: int, layers: int, heads: int, positions: int
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(LlamaLayer(width, feedforward, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        size = width // heads
        rates = 10000.0 ** (-torch.arange(0, size, 2) / size)
        angles = (torch.arange(positions)[:, None] * rates).repeat(1, 2)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:
        states = self.embed_tokens(input_ids)
        tokens = input_ids.shape[1]
        for layer in self.layers:
            states = layer(states, self.cosines[:tokens], self.sines[:tokens])
        return (self.norm(states),)


class PlainLora(nn.Module):
    """y = base(x) + (alpha / r) B A x; A and B stay float32 and are cast to what they meet.

    That is the faster way for half precision: PEFT casts the activations to float32 instead.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        place = base.weight.device
        self.down = nn.Parameter(torch.randn(rank, base.in_features, device=place) * 0.02)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=place))

    def forward(self, states: Tensor) -> Tensor:
        low = F.linear(states, self.down.to(states.dtype))
        return _of(self.base(states) + F.linear(low, self.up.to(states.dtype)) * self.scale)


def add_lora(model: nn.Module, targets: Sequence[str], rank: int, alpha: float) -> None:
    """Put a LoRA on every target, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in targets:
            model.set_submodule(name, PlainLora(module, rank, alpha))


def _split(states: Tensor, heads: int) -> Tensor:
    return states.view(*states.shape[:-1], heads, -1).transpose(1, 2)


def _joined(states: Tensor) -> Tensor:
    return states.transpose(1, 2).flatten(-2)


def _rotated(states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = states.chunk(2, dim=-1)
    return states * cosines + torch.cat((-second, first), dim=-1) * sines


def _of(value: Tensor) -> Tensor:
    """Calling a module gives Any; this says what it is."""
    return value
