"""Small models, with random weights, and what tests ask of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn

from fourier_trainers.torch import FourierConfig, attach

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


class Mixed(nn.Module):
    """Ids -> embedding -> convolution -> Conv1D -> linear: a layer of each kind, rows first."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.conv = nn.Conv2d(8, 6, 3, padding=1)
        self.mix = transformers.pytorch_utils.Conv1D(10, 6)
        self.norm = nn.LayerNorm(10)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(10, 4)

    def forward(self, ids: Tensor) -> Tensor:
        """(b, h, w) -> (b, 4)."""
        x = self.conv(self.embed(ids).permute(0, 3, 1, 2)).relu()
        x = self.norm(self.mix(x.flatten(2).transpose(1, 2))).mean(1)
        return cast("Tensor", self.head(self.drop(x)))


MIXED = ("embed", "conv", "mix", "head")


def mixed(seed: int = 0) -> Any:
    """Returns a model with a layer of each kind, in eval mode."""
    torch.manual_seed(seed)
    return Mixed().eval()


def mixed_ids(rows: int = 3) -> Tensor:
    """Returns inputs for it."""
    return torch.randint(0, 11, (rows, 4, 5), generator=torch.Generator().manual_seed(1))


def layers(seed: int = 0) -> Any:
    """Returns two linear layers, "0" and "2"."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))


def bert(kind: str = "BertModel", **more: Any) -> Any:
    """Returns a tiny BERT in eval mode."""
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=16, **SIZES, **more)
    return getattr(transformers, kind)(config).eval()


def gpt2() -> Any:
    """Returns a tiny GPT-2, whose embedding and output layer share one weight."""
    torch.manual_seed(0)
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2, **ids
    )
    return transformers.GPT2LMHeadModel(config).eval()


def llama() -> Any:
    """Returns a tiny Llama in eval mode."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=50, max_position_embeddings=32, **SIZES)
    return transformers.LlamaForCausalLM(config).eval()


def t5() -> Any:
    """Returns a tiny T5 in eval mode."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = transformers.T5Config(vocab_size=50, decoder_start_token_id=0, **sizes)
    return transformers.T5ForConditionalGeneration(config).eval()


def vit() -> Any:
    """Returns a tiny ViT in eval mode."""
    torch.manual_seed(0)
    return transformers.ViTModel(transformers.ViTConfig(image_size=8, patch_size=4, **SIZES)).eval()


def token_ids(rows: int = 2, length: int = 7) -> Tensor:
    """Returns token ids below 50."""
    return torch.randint(3, 50, (rows, length), generator=torch.Generator().manual_seed(2))


def config(*targets: str, **more: Any) -> FourierConfig:
    """Returns a configuration that changes outputs at once; a small alpha keeps them tame."""
    usual: dict[str, Any] = {"n": 12, "alpha": 30.0, "init": "normal"}
    return FourierConfig(target_modules=targets, **{**usual, **more})


def attached(model: Any, *targets: str, name: str = "default", **more: Any) -> Any:
    """Returns the model with an adapter that changes its outputs."""
    return attach(model, config(*targets, **more), name)


def look(model: nn.Module) -> dict[str, Any]:
    """Returns all of a model that an adapter could leave changed."""
    return {
        "state": {key: value.clone() for key, value in model.state_dict().items()},
        "objects": {key: id(p) for key, p in model.named_parameters(remove_duplicate=False)},
        "gradients": {key: p.requires_grad for key, p in model.named_parameters()},
        "classes": {key: type(module) for key, module in model.named_modules()},
        "hooks": {
            key: (len(module._forward_hooks), len(module._forward_hooks_with_kwargs))
            for key, module in model.named_modules()
        },
        "attributes": {key: set(module.__dict__) for key, module in model.named_modules()},
    }


def assert_as_before(before: dict[str, Any], model: nn.Module) -> None:
    """Fail if anything of `look` has changed."""
    after = look(model)
    states = before.pop("state"), after.pop("state")
    assert after == before
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


def train(model: nn.Module, loss: Callable[[], Tensor], steps: int = 2, lr: float = 0.1) -> None:
    """Train what requires gradients for a few steps."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
