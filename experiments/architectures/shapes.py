"""Models of random weights, in the shapes of the architectures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

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


def _encoder(shape: Shape) -> dict[str, Any]:
    """Returns what BERT and those after it call the same in their configurations."""
    return {
        "vocab_size": WORD_PIECES,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "initializer_range": shape.scale,
    }


def mpnet(shape: Shape) -> nn.Module:
    """Returns an MPNet."""
    from transformers import MPNetConfig, MPNetForSequenceClassification

    model: nn.Module = MPNetForSequenceClassification(
        MPNetConfig(
            **_encoder(shape),
        )
    )
    return model


def bert(shape: Shape) -> nn.Module:
    """Returns a BERT."""
    from transformers import BertConfig, BertForSequenceClassification

    model: nn.Module = BertForSequenceClassification(
        BertConfig(
            **_encoder(shape),
        )
    )
    return model


def deberta(shape: Shape) -> nn.Module:
    """Returns DeBERTa-v3's form of DebertaV2: positions relative, in buckets, keys shared."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    model: nn.Module = DebertaV2ForSequenceClassification(
        DebertaV2Config(
            **_encoder(shape),
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


def gpt2(shape: Shape) -> nn.Module:
    """Returns a GPT-2."""
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


def gpt_neo(shape: Shape) -> nn.Module:
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


def llama(shape: Shape) -> nn.Module:
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


def vit(shape: Shape) -> nn.Module:
    """Returns a Vision Transformer for 28 x 28 pixels."""
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


def resnet(shape: Shape) -> nn.Module:
    """Returns a ResNet of two stages of plain blocks."""
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
